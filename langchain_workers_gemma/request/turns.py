"""Convert LangChain messages to turns: texts, images, calls and results, independent of any chat template.

It accepts string content, v0 and v1 content blocks, and the blocks of other providers in an agent's history. Content
that no Gemma on these hosts can read raises `ValueError` before any request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma.request.content import ContentRules, Part, read_assistant_parts, read_input_parts
from langchain_workers_gemma.request.images import Image

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

Changes: TypeAlias = list[str]
"""Descriptions of the changes to a history; each function that changes something appends to it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that an assistant made.

    Attributes:
        id: Its id.
        name: The tool.
        arguments: Its arguments; `{"unreadable_arguments": text}` if they are not a JSON object.
        unreadable: Whether they are not. Such a call is kept only if it has a result.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    unreadable: bool = False


@dataclass(slots=True)  # not frozen, although it is never changed: construction would take three times as long
class Turn:
    """One turn of a conversation.

    Attributes:
        role: The role.
        parts: The texts and images.
        calls: The calls that an assistant makes.
        thought: The assistant's reasoning before the turn; `None` if the model does not see it again.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    calls: tuple[Call, ...] = ()
    thought: str | None = None

    @property
    def text(self) -> str:
        """Its text, without images."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """Its images."""
        return tuple(part for part in self.parts if isinstance(part, Image))


Outcome: TypeAlias = Literal["success", "error", "missing", "later"]
"""The outcome of a call: `missing` if the history has no result, `later` if the result does not follow the call."""


@dataclass(slots=True)
class ToolResult(Turn):
    """The result of a call, or the note that it has none.

    Attributes:
        call_id: The id of the call.
        name: The tool's name, with a number if several calls have that name.
        outcome: The outcome of the call.
    """

    call_id: str = ""
    name: str = ""
    outcome: Outcome = "success"


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """Options for converting messages to turns.

    Attributes:
        content: Which content blocks may be sent.
        replays_thoughts: Whether thoughts after the last human message are shown to the model again.
    """

    content: ContentRules
    replays_thoughts: bool = False


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
    """The role of each message class; `None` if the message holds it. `isinstance` is slow on pydantic's classes."""

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


@dataclass(slots=True)
class History:
    """The messages of a conversation, from which the call ids are computed on demand.

    Attributes:
        messages: The messages.
    """

    messages: Sequence[BaseMessage]

    def get_call_ids(self) -> frozenset[str]:
        """Return the ids of all calls in the conversation."""
        return frozenset(
            str(call["id"])
            for message in self.messages
            if isinstance(message, AIMessage)
            for call in (*message.tool_calls, *message.invalid_tool_calls)
        )


def to_turns(messages: Sequence[BaseMessage], options: TurnOptions, changes: Changes) -> list[Turn]:
    """Return the messages as turns.

    Args:
        messages: The conversation.
        options: How to convert them.
        changes: The list to which descriptions of changes are added.

    Raises:
        ValueError: If a message or block cannot be sent; the text names it and the cure.
    """
    if not messages:
        raise ValueError("messages is empty: pass at least one message.")
    rules = options.content
    turns: list[Turn] = []
    for message in messages:
        role = _ROLE_BY_KIND[type(message)] or _get_role(message)
        content = message.content
        if isinstance(content, str):
            is_blank = not content or (role == "assistant" and content.isspace())
            parts: tuple[Part, ...] = () if is_blank else (content,)
        elif role == "assistant":
            parts = read_assistant_parts(content, changes)
        else:
            parts = read_input_parts(content, rules, role, changes)
        if role == "user":
            turns.append(Turn("user", parts))
        elif isinstance(message, AIMessage):
            calls = _read_calls(message) if message.tool_calls or message.invalid_tool_calls else ()
            turns.append(Turn("assistant", parts, calls))
        elif isinstance(message, ToolMessage):
            name = message.name or ""
            turns.append(ToolResult("tool", parts, (), None, message.tool_call_id, name, message.status))
        else:
            turns.append(Turn(role, parts))
    if options.replays_thoughts:
        _add_thoughts(turns, messages)
    return turns


def _get_role(message: BaseMessage) -> Role:
    name = getattr(message, "role", "")
    role = _ROLE_BY_NAME.get(name.lower())
    if role is None:
        raise ValueError(f"messages: a ChatMessage's role must be one of {sorted(_ROLE_BY_NAME)}, not {name!r}.")
    return role


def _read_calls(message: AIMessage) -> tuple[Call, ...]:
    calls = [Call(str(call["id"] or ""), call["name"], call["args"]) for call in message.tool_calls]
    calls += [
        Call(str(call["id"] or ""), call["name"] or "", {"unreadable_arguments": call["args"]}, unreadable=True)
        for call in message.invalid_tool_calls
    ]
    return tuple(calls)


# --- Thoughts ---------------------------------------------------------------------------------------------------------


def _add_thoughts(turns: Sequence[Turn], messages: Sequence[BaseMessage]) -> None:
    """Add the thoughts in messages after the last human message: the model needs them between its tool calls."""
    for turn, message in zip(reversed(turns), reversed(messages), strict=True):
        if turn.role == "user":
            return
        if turn.role == "assistant":
            turn.thought = _read_thought(message)


def _read_thought(message: BaseMessage) -> str:
    """Return the reasoning in a message of any provider."""
    thought = message.additional_kwargs.get("reasoning_content")
    if isinstance(thought, str):
        return thought
    blocks = message.content if isinstance(message.content, list) else ()
    return "\n".join(text for block in blocks if isinstance(block, dict) for text in _read_thought_texts(block))


def _read_thought_texts(block: Mapping[str, Any]) -> list[str]:
    kind = block.get("type")
    if kind not in ("reasoning", "thinking"):
        return []
    text = block.get(kind)
    summary = block.get("summary")
    texts = [text] if text else [part.get("text") for part in summary] if isinstance(summary, list) else []
    return [text for text in texts if isinstance(text, str) and text]
