"""The events of a reply, the same for every dialect.

A whole reply and a stream become the same events in the same order, so that every later step (reading calls, applying
stop sequences, building chunks or a message) is written once. `decoder` makes events from responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class Text:
    """A piece of the answer's text."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """A piece of the model's reasoning before its answer."""

    text: str


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a tool call.

    Attributes:
        index: Which call of this reply the piece belongs to, counted from 0.
        id: The call's id; on its first piece only.
        name: The tool's name; on its first piece only.
        arguments: The next piece of the arguments' JSON text.
        closed: Whether the text after the call shows that the call is complete.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str
    closed: bool = False


@dataclass(slots=True)
class GarbledCall:
    """A call whose arguments are not those that the model wrote, because the engine ended a string too early.

    Attributes:
        index: Which call of this reply it is, counted from 0.
    """

    index: int


@dataclass(slots=True)
class CallsEnd:
    """Something follows the calls so far, so none of them can have been truncated."""


@dataclass(slots=True)
class Usage:
    """A usage report as the service sent it: `prompt_tokens`, `completion_tokens`, ..., `neurons`."""

    report: Mapping[str, Any]


@dataclass(slots=True)
class Finish:
    """Why the reply ended, as the service reported it.

    Attributes:
        reason: `stop`, `length`, `tool_calls`, ...; empty if only a `stop_reason` was sent.
        stop_reason: An integer if the model ended the reply itself, the stop sequence if one was hit.
    """

    reason: str
    stop_reason: object = None


Event: TypeAlias = Text | Reasoning | ToolCallDelta | GarbledCall | CallsEnd | Usage | Finish


class Stage(Protocol):
    """One step between the decoder and the message: takes events, returns events, does no I/O."""

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        ...

    def flush(self) -> Sequence[Event]:
        """End the reply and return what was held back."""
        ...
