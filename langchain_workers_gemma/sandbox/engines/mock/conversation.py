"""The state of a conversation: the last question, the tools called after it, and their results."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from langchain_workers_gemma.sandbox.chat import Tool, Turn
from langchain_workers_gemma.sandbox.images import Image

from .prompt_tools import find_question
from .written_calls import find_called_names

_SYSTEM = ("system", "developer")
_FAILED = re.compile(r"^\s*(?:error\b|(?:the )?call (?:to )?\S* ?failed\b)", re.IGNORECASE)
_FILLER = re.compile(r"\s*\([^()]{1,80}\)\s*$")
_MAX_HAND_OFF_CHARACTERS = 200
_MAX_QUESTION = 20_000
"""Maximum number of characters of a question that the mock model reads."""
_HAND_OFF = re.compile(r"\btransferr(?:ed|ing)\b.{0,20}\bto\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a tool call.

    Attributes:
        name: The name of the tool; empty if it is not known.
        text: The text that the tool returned.
        images: The images that the tool returned.
        failed: Whether the call failed.
    """

    name: str
    text: str
    images: tuple[Image, ...] = ()
    failed: bool = False

    @property
    def hands_off(self) -> bool:
        """Whether the call only hands off to another agent, as in LangGraph's supervisors and swarms."""
        return _HAND_OFF.search(self.text) is not None and len(self.text) < _MAX_HAND_OFF_CHARACTERS


@dataclass(frozen=True, slots=True)
class Conversation:
    """The state of a conversation.

    Attributes:
        question: The text of the last user turn that is not a tool result.
        images: The images of that turn.
        system: The system message.
        results: The results of the tool calls after the question.
        called: The names of the tools called after the question.
        answered: The texts that the assistant wrote after the question, without calls.
        earlier: The texts of the user turns before the question.
    """

    question: str
    images: tuple[Image, ...] = ()
    system: str = ""
    results: tuple[Result, ...] = ()
    called: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()


@dataclass
class _Reader:
    """Reads a conversation turn by turn. A new question resets the results."""

    tools: tuple[Tool, ...]
    question_turn: Turn = field(default_factory=lambda: Turn("user", ""))
    results: list[Result] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)

    def read(self, turns: tuple[Turn, ...]) -> None:
        names = frozenset(tool.name for tool in self.tools)
        open_calls: list[str] = []
        ids: dict[str, str] = {}
        before = ""
        for turn in turns:
            if turn.role == "assistant":
                open_calls = find_called_names(turn, names)
                ids.update((call.id, call.name) for call in turn.calls)
                self.called += open_calls
                if turn.text.strip() and (turn.calls or not open_calls):
                    self.answered.append(turn.text)
            elif turn.role == "tool":
                name = ids.get(turn.call_id or "", "")
                self.results.append(Result(name, turn.text, turn.images, _FAILED.search(turn.text) is not None))
            elif turn.role == "user":
                self._read_user(turn, open_calls, before)
            before = turn.role

    def _read_user(self, turn: Turn, open_calls: list[str], before: str) -> None:
        """Read results that were sent as a user turn, or a new question."""
        parts = _split_by_heading(turn.text, open_calls)
        if before == "assistant" and open_calls:
            self.results += _read_results(turn, open_calls, parts)
        elif self.question_turn.text and _FILLER.match(turn.text) and not turn.images:
            return  # a placeholder between two assistant messages, for templates whose roles must alternate
        elif before == "tool" and (turn.images or parts):  # images of a tool result, which are sent in a user turn
            self.results += _read_results(turn, open_calls[-1:], parts)
        else:
            if self.question_turn.text:
                self.earlier.append(self.question_turn.text)
            self.question_turn, self.results, self.called, self.answered = turn, [], [], []


def read_conversation(turns: tuple[Turn, ...], tools: tuple[Tool, ...]) -> Conversation:
    """Read the state of a conversation."""
    reader = _Reader(tools)
    reader.read(turns)
    return Conversation(
        question=_shorten(find_question(reader.question_turn.text, tools)),
        images=reader.question_turn.images,
        system="\n".join(turn.text for turn in turns if turn.role in _SYSTEM),
        results=tuple(reader.results),
        called=tuple(reader.called),
        answered=tuple(reader.answered),
        earlier=tuple(reader.earlier),
    )


def _shorten(text: str) -> str:
    """Return a text, without the middle of a very long one."""
    half = _MAX_QUESTION // 2
    return text if len(text) <= _MAX_QUESTION else f"{text[:half]}\n{text[-half:]}"


def _read_results(turn: Turn, open_calls: list[str], parts: list[tuple[str, str, str]]) -> list[Result]:
    if not parts:
        name = open_calls[0] if open_calls else ""
        return [Result(name, turn.text, turn.images, _FAILED.search(turn.text) is not None)]
    last = len(parts) - 1
    return [
        Result(
            name,
            text if heading.endswith(":") else heading,  # `The call f has no result.`
            turn.images if index == last else (),
            "failed" in heading or _FAILED.search(text) is not None,
        )
        for index, (name, heading, text) in enumerate(parts)
    ]


def _split_by_heading(text: str, names: list[str]) -> list[tuple[str, str, str]]:
    """Split a user turn into results: the name, the heading and the text of each.

    A heading is a line that names a call and its outcome: `Result of the call f:`, `The call f failed:`.
    """
    if not names:
        return []
    named = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    heading = re.compile(
        rf"^(?=[^\n]*\b(?:result|output|response|observation|call|returned|images?)\b)[^\n:]{{0,80}}?"
        rf"(?<![\w])(?P<name>{named})(?!\w)[^\n]*?(?::[ \t]*|\.[ \t]*$)",
        re.IGNORECASE | re.MULTILINE,
    )
    found = list(heading.finditer(text))
    if not found:
        return []
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [
        (match["name"], match.group().strip(), text[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    ]
