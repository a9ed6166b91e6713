"""LangChain messages -> turns, a neutral form of text, images, calls and results, independent of any template.

Takes string content, v0 and v1 content blocks, and the block forms of other providers that agents carry along. What no
Gemma on these hosts can take raises `ValueError` here, before any request.
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
        arguments: Its arguments; for a call that could not be read, `{"unreadable_arguments": text}`.
        unreadable: Whether it could not be read. Such a call counts only if a result answers it.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    unreadable: bool = False


@dataclass(slots=True)  # never changed, but not frozen: construction would take three times as long
class Turn:
    """One turn of a conversation.

    Attributes:
        role: The role.
        parts: The texts and images.
        calls: The tools that an assistant calls.
        thought: An assistant's reasoning before it; `None` where the model does not see its thoughts again.
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
"""The outcome of a call: `missing` if the history has no result of it, `later` if the result comes too late."""


@dataclass(slots=True)
class ToolResult(Turn):
    """What a tool returned, or that it returned nothing.

    Attributes:
        call_id: The call it answers.
        name: The tool, or more of the call where its name does not identify it.
        outcome: The outcome of the call.
    """

    call_id: str = ""
    name: str = ""
    outcome: Outcome = "success"


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How messages become turns.

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
    """The role of a message's class; `None` if the message names it. `isinstance` is slow on pydantic's classes."""

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
    """The messages of a conversation, and the call ids in them, computed on demand.

    Attributes:
        messages: The messages.
    """

    messages: Sequence[BaseMessage]

    def call_ids(self) -> frozenset[str]:
        """Return the ids of its calls."""
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
        options: What the model takes.
        changes: Where to note what is left out.

    Raises:
        ValueError: If a message or block is of a kind that cannot be sent; the text names it and the cure.
    """
    if not messages:
        raise ValueError("messages is empty: pass at least one message.")
    rules = options.content
    turns: list[Turn] = []
    for message in messages:
        role = _ROLE_BY_KIND[type(message)] or _get_role(message)
        content = message.content
        if isinstance(content, str):
            blank = not content or (role == "assistant" and content.isspace())
            parts: tuple[Part, ...] = () if blank else (content,)
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
    """Add the thoughts of the messages after the last human one: the model needs those between its tool calls."""
    for turn, message in zip(reversed(turns), reversed(messages), strict=True):
        if turn.role == "user":
            return
        if turn.role == "assistant":
            turn.thought = _read_thought(message)


def _read_thought(message: BaseMessage) -> str:
    """Return the reasoning in a message, in any provider's form."""
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
