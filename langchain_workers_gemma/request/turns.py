"""LangChain messages -> turns, a neutral form that knows text, images, calls and results, and nothing of any wire.

Takes string content, v0 and v1 content blocks, and the block forms of OpenAI and Anthropic that agents carry along.
What no Gemma on these hosts can take raises `ValueError` here, before any request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma.request.images import Image, ImageRules, _image_url

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


Part: TypeAlias = str | Image


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that an assistant made.

    Attributes:
        id: Its id.
        name: The tool.
        arguments: Its arguments; for a call that could not be read, `{"unreadable_arguments": text}`.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(slots=True)  # not frozen, which would make it three times as slow to make; nothing changes one all the same
class Turn:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        parts: What is said.
        calls: The tools that an assistant calls.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    calls: tuple[Call, ...] = ()

    @property
    def text(self) -> str:
        """Its text, without images."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """Its images."""
        return tuple(part for part in self.parts if isinstance(part, Image))


@dataclass(slots=True)
class ToolResult(Turn):
    """What a tool gave.

    Attributes:
        call_id: The call it answers.
        name: The tool.
        failed: Whether it failed.
    """

    call_id: str = ""
    name: str = ""
    failed: bool = False


_ROLE_BY_NAME: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
}


class _RoleByKind(dict[type[BaseMessage], Role | None]):
    """Who speaks in a kind of message; `None` if the message says so itself. `isinstance` is slow on pydantic's."""

    def __missing__(self, kind: type[BaseMessage]) -> Role | None:
        for known, role in list(self.items()):
            if issubclass(kind, known):
                self[kind] = role
                return role
        raise ValueError(
            f"messages: {kind.__name__} cannot be sent. Use HumanMessage, SystemMessage, AIMessage, ToolMessage or "
            "ChatMessage."
        )


_ROLE_BY_KIND = _RoleByKind({
    HumanMessage: "user", AIMessage: "assistant", ToolMessage: "tool", SystemMessage: "system", ChatMessage: None
})  # fmt: skip
# Blocks of an assistant's message that say what its other fields say too, or what must not be shown to a model again.
_SKIPPED_FOR_ASSISTANT = frozenset({
    "reasoning", "thinking", "redacted_thinking", "tool_call", "tool_call_chunk", "tool_use", "invalid_tool_call",
    "function_call", "input_json_delta",
})  # fmt: skip


@dataclass(frozen=True)
class History:
    """The messages of a conversation, and what one of them may ask of the others; most never do.

    Attributes:
        messages: The messages.
    """

    messages: Sequence[BaseMessage]

    @cached_property
    def names(self) -> dict[str, str]:
        """The tools that calls name, by the calls' ids."""
        return {
            str(call["id"]): str(call["name"] or "")
            for message in self.messages
            if isinstance(message, AIMessage)
            for call in (*message.tool_calls, *message.invalid_tool_calls)
        }

    @cached_property
    def answered(self) -> set[str]:
        """Ids of the calls that a result answers."""
        return {message.tool_call_id for message in self.messages if isinstance(message, ToolMessage)}


def to_turns(history: History, rules: ImageRules) -> list[Turn]:
    """The messages as turns.

    Raises:
        ValueError: If a message or block is of a kind that cannot be sent; the text says which, and what to do.
    """
    if not history.messages:
        raise ValueError("messages is empty: give at least one message.")
    turns: list[Turn] = []
    for message in history.messages:
        role = _ROLE_BY_KIND[type(message)] or _role_by_name(message)
        content = message.content
        parts = _parts(content, rules, role) if not isinstance(content, str) else (content,) if content else ()
        if role == "user":
            turns.append(Turn("user", parts))
        elif isinstance(message, AIMessage):
            calls = _calls(message, history) if message.tool_calls or message.invalid_tool_calls else ()
            turns.append(Turn("assistant", parts, calls))
        elif isinstance(message, ToolMessage):
            turns.append(_result(message, parts, history))
        else:
            turns.append(_checked(Turn(role, parts)))
    return turns


# --- One message ------------------------------------------------------------------------------------------------------


def _result(message: ToolMessage, parts: tuple[Part, ...], history: History) -> ToolResult:
    name = message.name or history.names.get(message.tool_call_id, "")
    return ToolResult("tool", parts, (), message.tool_call_id, name, message.status == "error")


def _checked(turn: Turn) -> Turn:
    if turn.role == "system" and turn.images:
        raise ValueError("messages: a system message holds text only. Put images into a HumanMessage.")
    return turn


def _role_by_name(message: BaseMessage) -> Role:
    name = getattr(message, "role", "")
    role = _ROLE_BY_NAME.get(name.lower())
    if role is None:
        raise ValueError(f"messages: a ChatMessage's role must be one of {sorted(_ROLE_BY_NAME)}, not {name!r}.")
    return role


def _calls(message: AIMessage, history: History) -> tuple[Call, ...]:
    """The calls of an assistant's message. One that could not be read counts only if a result answers it."""
    calls = [Call(str(call["id"] or ""), call["name"], call["args"]) for call in message.tool_calls]
    calls += [
        Call(str(call["id"]), call["name"] or "", {"unreadable_arguments": call["args"]})
        for call in message.invalid_tool_calls
        if call["id"] in history.answered
    ]
    return tuple(calls)


def _parts(content: Sequence[str | dict[str, Any]], rules: ImageRules, role: Role) -> tuple[Part, ...]:
    parts = (
        block if isinstance(block, str) else _part(block, rules)
        for block in content
        if isinstance(block, str) or role != "assistant" or block.get("type") not in _SKIPPED_FOR_ASSISTANT
    )
    return tuple(part for part in parts if part)


def _part(block: Mapping[str, Any], rules: ImageRules) -> Part:
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return str(block["text"])
    if kind in ("image", "image_url"):
        url = _image_url(block)
        if url is None:
            raise ValueError(
                "messages: an image block needs `base64` with `mime_type`, or `url`; a file id cannot be sent."
            )
        return rules.check(url)
    raise ValueError(
        f"messages: a content block of type {kind!r} cannot be sent: Gemma on these services takes text"
        f"{' and images' if rules.images else ''} only. Leave it out, or turn it into text."
    )
