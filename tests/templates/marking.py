"""Histories whose every text is unique, and where each must be in a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma.json_text.encoding import replace_lone_surrogates

MARK = re.compile(r"mk\d+km")
_TOKEN = re.compile(r"<[|\w]+>|<\w+\||\|>")  # a text that looks like markup would part the prompt that a test reads
Speaker: TypeAlias = Literal["system", "user", "assistant", "call", "result", "thought"]


@dataclass
class Expected:
    """One text of a history.

    Attributes:
        mark: The mark in its text.
        speaker: Its author.
        text: Its text, with the mark.
        message: The index of its message.
        name: The tool that is called, or that returned the result.
        failed: Whether the tool failed.
        beside_calls: Whether it is in a message with calls.
        late: Whether it is a result that does not follow its call at once.
    """

    mark: str
    speaker: Speaker
    text: str
    message: int
    name: str = ""
    failed: bool = False
    beside_calls: bool = False
    late: bool = False


@dataclass
class Marked:
    """A history with marks.

    Attributes:
        messages: The messages.
        expected: Their texts, in the order in which a prompt must have them.
        images: How many images they hold.
        calls: The name and the arguments of each call, by the index of its message.
        tools: The names of the tools that are called.
    """

    messages: list[BaseMessage] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    images: int = 0
    calls: dict[int, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)

    @property
    def tools(self) -> list[str]:
        """The names of the tools that are called."""
        return sorted({name for calls in self.calls.values() for name, _ in calls if name})


def role_of(message: BaseMessage) -> str:
    """Return the author of a message."""
    if isinstance(message, ChatMessage):
        return {"system": "system", "developer": "system", "user": "user", "human": "user"}.get(
            message.role.lower(), "assistant"
        )
    for kind, role in (
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (ToolMessage, "tool"),
        (SystemMessage, "system"),
    ):
        if isinstance(message, kind):
            return role
    raise AssertionError(message)


class _Marker:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str) -> tuple[str, str]:
        """Put a new mark before a text."""
        mark = f"mk{self.count}km"
        self.count += 1
        return mark, f"{mark} {_TOKEN.sub('(token)', replace_lone_surrogates(text))}"


def mark_history(messages: Sequence[BaseMessage]) -> Marked:
    """Put a mark into every text, every call and every thought of a history."""
    marker = _Marker()
    said: dict[int, list[Expected]] = {}
    marked = Marked()
    for at, message in enumerate(messages):
        said[at] = []
        following = (messages[number] for number in _run_of_results(messages, at + 1))
        answered = {one.tool_call_id for one in following if isinstance(one, ToolMessage)}
        marked.messages.append(_marked_message(message, at, marker, said[at], marked, answered))
    _resolve(marked, said)
    return marked


def _answered_invalid_calls(message: BaseMessage, answered: set[str]) -> list[Any]:
    calls = message.invalid_tool_calls if isinstance(message, AIMessage) else ()
    return [call for call in calls if call["id"] in answered]


def _marked_message(
    message: BaseMessage, at: int, marker: _Marker, said: list[Expected], marked: Marked, answered: set[str]
) -> BaseMessage:
    role = role_of(message)
    update: dict[str, Any] = {}
    invalid = _answered_invalid_calls(message, answered)
    beside = bool(invalid) or bool(isinstance(message, AIMessage) and message.tool_calls)
    if isinstance(message, AIMessage):
        thought = message.additional_kwargs.get("reasoning_content")
        if isinstance(thought, str) and thought.strip():
            mark, text = marker(thought)
            said.append(Expected(mark, "thought", text, at, beside_calls=beside))
            update["additional_kwargs"] = {**message.additional_kwargs, "reasoning_content": text}
    speaker: Speaker = "result" if role == "tool" else role  # type: ignore[assignment]

    def mark_text(text: str) -> str:
        if not text.strip():
            return text
        mark, text = marker(text)
        failed = getattr(message, "status", "") == "error"
        said.append(Expected(mark, speaker, text, at, failed=failed, beside_calls=beside))
        return text

    def mark_thought(text: str) -> str:
        if not text.strip():
            return text
        mark, text = marker(text)
        shown = beside and "additional_kwargs" not in update  # else those are the thoughts that go back
        thoughts = sum(one.speaker == "thought" for one in said)
        said.insert(thoughts, Expected(mark, "thought", text, at, beside_calls=shown))
        return text

    def mark_block(block: Any) -> Any:
        thought = _marked_thought(block, mark_thought) if role == "assistant" and isinstance(block, dict) else None
        return thought or _marked_block(block, mark_text, marked, assistant=role == "assistant")

    content = message.content
    update["content"] = mark_text(content) if isinstance(content, str) else list(map(mark_block, content))
    if isinstance(message, AIMessage) and beside:
        update |= _marked_calls(message, invalid, at, marker, said, marked)
    return message.model_copy(update=update)


def _marked_calls(
    message: AIMessage, invalid: Sequence[Any], at: int, marker: _Marker, said: list[Expected], marked: Marked
) -> dict[str, Any]:
    """Return the calls of a message with marks; an invalid one that no result answers is left out."""
    calls: list[dict[str, Any]] = []
    for call in message.tool_calls:
        mark, text = marker("")
        calls.append({**call, "args": {**call["args"], "mark": text.strip()}})
        said.append(Expected(mark, "call", mark, at, name=call["name"], beside_calls=True))
    marked.calls[at] = [(str(call["name"]), dict(call["args"])) for call in calls]
    broken: list[dict[str, Any]] = []
    for call in invalid:
        mark, text = marker(str(call["args"]))
        broken.append({**call, "args": text})
        said.append(Expected(mark, "call", mark, at, name=call["name"] or "", beside_calls=True))
        marked.calls[at].append((call["name"] or "", {"unreadable_arguments": text}))
    return {"tool_calls": calls, "invalid_tool_calls": broken}


def _marked_thought(block: dict[str, Any], mark_thought: Callable[[str], str]) -> dict[str, Any] | None:
    """Return a block of reasoning with marks in its texts; `None` for any other block."""
    kind = block.get("type")
    if kind not in ("reasoning", "thinking"):
        return None
    if isinstance(block.get(kind), str):
        return {**block, kind: mark_thought(block[kind])}
    summary = block.get("summary")
    if isinstance(summary, list):
        return {**block, "summary": [{**part, "text": mark_thought(part["text"])} for part in summary]}
    return block


def _marked_block(block: Any, mark_text: Any, marked: Marked, *, assistant: bool) -> Any:
    if isinstance(block, str):
        return mark_text(block)
    if block.get("type") in ("text", "text-plain") and isinstance(block.get("text"), str):
        return {**block, "text": mark_text(block["text"])}
    if block.get("type") in ("image", "image_url") and not assistant:
        marked.images += 1
    return block


# --- The order that a prompt must have --------------------------------------------------------------------------------


@dataclass
class _Call:
    id: str
    name: str
    results: list[int] = field(default_factory=list)


def _resolve(marked: Marked, said: Mapping[int, list[Expected]]) -> None:
    """Order the texts: results follow their calls in the order of the calls, then the texts between them."""
    messages = marked.messages
    at = 0
    names: dict[str, str] = {}  # of the nearest call before, by id
    while at < len(messages):
        marked.expected += said[at]
        calling = messages[at]
        at += 1
        if not isinstance(calling, AIMessage) or at - 1 not in marked.calls:
            if isinstance(calling, ToolMessage):
                _name_late(calling, said[at - 1], names)
            continue
        run = list(_run_of_results(messages, at))
        marked.expected += _round(calling, run, marked, said, names)
        at += len(run)


def _round(
    calling: AIMessage,
    run: Sequence[int],
    marked: Marked,
    said: Mapping[int, list[Expected]],
    names: dict[str, str],
) -> list[Expected]:
    """Return the texts of the messages after a call, in their order in a prompt."""
    made = (*calling.tool_calls, *calling.invalid_tool_calls)
    calls = [_Call(call["id"] or "", call["name"] or "") for call in made]
    names |= {call.id: call.name for call in calls}
    rest: list[Expected] = []
    for number in run:
        message = marked.messages[number]
        asked = message.tool_call_id if isinstance(message, ToolMessage) else None
        matching = [call for call in calls if call.id == asked]
        if matching:
            next((call for call in matching if not call.results), matching[-1]).results.append(number)
            continue
        if isinstance(message, ToolMessage):
            _name_late(message, said[number], names)
        rest += said[number]
    found: list[Expected] = []
    for call in calls:
        for number in call.results:
            for one in said[number]:
                one.name = call.name
            found += said[number]
    return found + rest


def _name_late(message: ToolMessage, said: list[Expected], names: Mapping[str, str]) -> None:
    for one in said:
        one.late = True
        one.name = message.name or names.get(message.tool_call_id, "")


def _run_of_results(messages: Sequence[BaseMessage], at: int) -> Iterator[int]:
    while at < len(messages) and role_of(messages[at]) in ("tool", "system"):
        yield at
        at += 1
