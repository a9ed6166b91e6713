"""Where a conversation stands: what was asked last, which tools were called since, and what they gave."""

from __future__ import annotations

import re
from dataclasses import dataclass

from langchain_workers_gemma.sandbox.chat import Tool, Turn

from .prompt_tools import question_in

_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Conversation:
    """The state of a conversation.

    Attributes:
        question: The last user turn that is no tool result.
        asked: That turn itself, for its images.
        system: The system message.
        results: Name and outcome of each tool call since the question.
        called: The names of the tools called since the question.
        turns: How many turns there are.
    """

    question: str
    asked: Turn
    system: str
    results: tuple[tuple[str, str], ...]
    called: tuple[str, ...]
    turns: int


def read_conversation(turns: tuple[Turn, ...], tools: tuple[Tool, ...]) -> Conversation:
    """Read where a conversation stands."""
    names = tuple(tool.name for tool in tools)
    results: list[tuple[str, str]] = []
    called: list[str] = []
    asked = Turn("user", "")
    for before, turn in zip((asked, *turns), turns, strict=False):
        if turn.role == "user":
            answered = _mentioned(names, turn.text) if before.role == "assistant" else []
            told = [name for name in answered if name in _mentioned(names, before.text)]
            if told and not before.calls:
                results.extend((name, turn.text) for name in told[:1])
                called.extend(told)
            else:
                results, called, asked = [], [], turn
        elif turn.role == "assistant":
            called.extend(call.name for call in turn.calls)
        elif turn.role == "tool":
            results.append((_name_of(turn, turns), turn.text))
    system = "\n".join(turn.text for turn in turns if turn.role in _SYSTEM)
    question = question_in(asked.text, tools)
    return Conversation(question, asked, system, tuple(results), tuple(called), len(turns))


def _mentioned(names: tuple[str, ...], text: str) -> list[str]:
    return [name for name in names if re.search(rf"(?<![\w]){re.escape(name)}(?!\w)", text)]


def _name_of(result: Turn, turns: tuple[Turn, ...]) -> str:
    named = (call.name for turn in reversed(turns) for call in turn.calls if call.id == result.call_id)
    return next(named, "the tool")
