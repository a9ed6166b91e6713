"""Mark each text of a history with a unique mark, and compute the order of the texts in a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma.json_text.encoding import replace_lone_surrogates

MARK = re.compile(r"mk\d+km")
_TOKEN = re.compile(r"<[|\w]+>|<\w+\||\|>")  # would be read as markup of the prompt
Speaker: TypeAlias = Literal["system", "user", "assistant", "call", "result", "thought"]


@dataclass
class Expected:
    """A text of a history that a prompt must contain.

    Attributes:
        mark: The mark in the text.
        speaker: The author, or the kind of text.
        text: The text with the mark.
        message: The index of its message.
        name: The tool that is called, or that returned the result.
        failed: Whether the tool failed.
        beside_calls: Whether it is in a message with calls.
        late: Whether it is a result that does not directly follow its call.
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
class MarkedHistory:
    """A history with marks.

    Attributes:
        messages: The messages.
        expected: Their texts, in the order of the prompt.
        images: The number of images in them.
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


def get_role(message: BaseMessage) -> str:
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
        """Create a mark, and return it and the text with the mark at its start."""
        mark = f"mk{self.count}km"
        self.count += 1
        return mark, f"{mark} {_TOKEN.sub('(token)', replace_lone_surrogates(text))}"


def mark_history(messages: Sequence[BaseMessage]) -> MarkedHistory:
    """Add a mark to every text, call and thought of a history."""
    marker = _Marker()
    texts: dict[int, list[Expected]] = {}
    marked = MarkedHistory()
    for at, message in enumerate(messages):
        texts[at] = []
        following = (messages[number] for number in _find_results(messages, at + 1))
        answered = {one.tool_call_id for one in following if isinstance(one, ToolMessage)}
        marked.messages.append(_mark_message(message, at, marker, texts[at], marked, answered))
    _order_texts(marked, texts)
    return marked


def _get_answered_invalid_calls(message: BaseMessage, answered: set[str]) -> list[Any]:
    calls = message.invalid_tool_calls if isinstance(message, AIMessage) else ()
    return [call for call in calls if call["id"] in answered]


def _mark_message(
    message: BaseMessage, at: int, marker: _Marker, texts: list[Expected], marked: MarkedHistory, answered: set[str]
) -> BaseMessage:
    role = get_role(message)
    update: dict[str, Any] = {}
    invalid = _get_answered_invalid_calls(message, answered)
    has_calls = bool(invalid) or bool(isinstance(message, AIMessage) and message.tool_calls)
    if isinstance(message, AIMessage):
        thought = message.additional_kwargs.get("reasoning_content")
        if isinstance(thought, str) and thought.strip():
            mark, text = marker(thought)
            texts.append(Expected(mark, "thought", text, at, beside_calls=has_calls))
            update["additional_kwargs"] = {**message.additional_kwargs, "reasoning_content": text}
    speaker: Speaker = "result" if role == "tool" else role  # type: ignore[assignment]

    def mark_text(text: str) -> str:
        if not text.strip():
            return text
        mark, text = marker(text)
        failed = getattr(message, "status", "") == "error"
        texts.append(Expected(mark, speaker, text, at, failed=failed, beside_calls=has_calls))
        return text

    def mark_thought(text: str) -> str:
        if not text.strip():
            return text
        mark, text = marker(text)
        shown = has_calls and "additional_kwargs" not in update  # otherwise those thoughts are sent
        thoughts = sum(one.speaker == "thought" for one in texts)
        texts.insert(thoughts, Expected(mark, "thought", text, at, beside_calls=shown))
        return text

    def mark_block(block: Any) -> Any:
        thought = _mark_thoughts(block, mark_thought) if role == "assistant" and isinstance(block, dict) else None
        return thought or _mark_block(block, mark_text, marked, assistant=role == "assistant")

    content = message.content
    update["content"] = mark_text(content) if isinstance(content, str) else list(map(mark_block, content))
    if isinstance(message, AIMessage) and has_calls:
        update |= _mark_calls(message, invalid, at, marker, texts, marked)
    return message.model_copy(update=update)


def _mark_calls(
    message: AIMessage, invalid: Sequence[Any], at: int, marker: _Marker, texts: list[Expected], marked: MarkedHistory
) -> dict[str, Any]:
    """Return the calls of a message with marks. Invalid calls without a result are left out."""
    calls: list[dict[str, Any]] = []
    for call in message.tool_calls:
        mark, text = marker("")
        calls.append({**call, "args": {**call["args"], "mark": text.strip()}})
        texts.append(Expected(mark, "call", mark, at, name=call["name"], beside_calls=True))
    marked.calls[at] = [(str(call["name"]), dict(call["args"])) for call in calls]
    invalid_calls: list[dict[str, Any]] = []
    for call in invalid:
        mark, text = marker(str(call["args"]))
        invalid_calls.append({**call, "args": text})
        texts.append(Expected(mark, "call", mark, at, name=call["name"] or "", beside_calls=True))
        marked.calls[at].append((call["name"] or "", {"unreadable_arguments": text}))
    return {"tool_calls": calls, "invalid_tool_calls": invalid_calls}


def _mark_thoughts(block: dict[str, Any], mark_thought: Callable[[str], str]) -> dict[str, Any] | None:
    """Return a reasoning block with marks in its texts, or `None` for another block."""
    kind = block.get("type")
    if kind not in ("reasoning", "thinking"):
        return None
    if isinstance(block.get(kind), str):
        return {**block, kind: mark_thought(block[kind])}
    summary = block.get("summary")
    if isinstance(summary, list):
        return {**block, "summary": [{**part, "text": mark_thought(part["text"])} for part in summary]}
    return block


def _mark_block(block: Any, mark_text: Any, marked: MarkedHistory, *, assistant: bool) -> Any:
    if isinstance(block, str):
        return mark_text(block)
    if block.get("type") in ("text", "text-plain") and isinstance(block.get("text"), str):
        return {**block, "text": mark_text(block["text"])}
    if block.get("type") in ("image", "image_url") and not assistant:
        marked.images += 1
    return block


# --- The order of the texts in a prompt -------------------------------------------------------------------------------


@dataclass
class _Call:
    id: str
    name: str
    results: list[int] = field(default_factory=list)


def _order_texts(marked: MarkedHistory, texts: Mapping[int, list[Expected]]) -> None:
    """Order the texts: results follow their calls, in the order of the calls. The texts between them come after."""
    messages = marked.messages
    at = 0
    names: dict[str, str] = {}  # tool name of the last call with an id
    while at < len(messages):
        marked.expected += texts[at]
        calling = messages[at]
        at += 1
        if not isinstance(calling, AIMessage) or at - 1 not in marked.calls:
            if isinstance(calling, ToolMessage):
                _mark_as_late(calling, texts[at - 1], names)
            continue
        run = list(_find_results(messages, at))
        marked.expected += _order_round(calling, run, marked, texts, names)
        at += len(run)


def _order_round(
    calling: AIMessage,
    run: Sequence[int],
    marked: MarkedHistory,
    texts: Mapping[int, list[Expected]],
    names: dict[str, str],
) -> list[Expected]:
    """Return the texts of the messages after a call, in their order in a prompt."""
    all_calls = (*calling.tool_calls, *calling.invalid_tool_calls)
    calls = [_Call(call["id"] or "", call["name"] or "") for call in all_calls]
    names |= {call.id: call.name for call in calls}
    rest: list[Expected] = []
    for number in run:
        message = marked.messages[number]
        call_id = message.tool_call_id if isinstance(message, ToolMessage) else None
        matching = [call for call in calls if call.id == call_id]
        if matching:
            next((call for call in matching if not call.results), matching[-1]).results.append(number)
            continue
        if isinstance(message, ToolMessage):
            _mark_as_late(message, texts[number], names)
        rest += texts[number]
    found: list[Expected] = []
    for call in calls:
        for number in call.results:
            for one in texts[number]:
                one.name = call.name
            found += texts[number]
    return found + rest


def _mark_as_late(message: ToolMessage, texts: list[Expected], names: Mapping[str, str]) -> None:
    for one in texts:
        one.late = True
        one.name = message.name or names.get(message.tool_call_id, "")


def _find_results(messages: Sequence[BaseMessage], at: int) -> Iterator[int]:
    while at < len(messages) and get_role(messages[at]) in ("tool", "system"):
        yield at
        at += 1
