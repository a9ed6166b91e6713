"""Collect the tool calls of one reply, make their ids unique, and decide which of them may run."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from langchain_workers_gemma.json_text.scanner import JsonLimitError, JsonTracker
from langchain_workers_gemma.response.events import ToolCallDelta

MAX_CALLS = 1_000
"""The maximum number of calls in one reply: core needs quadratic time to merge the chunks of many calls."""

MAX_ARGUMENT_DEPTH = 400
"""The maximum depth of nested brackets: Python's parser raises `RecursionError` near 1,000."""

MAX_NUMBER_DIGITS = 4_000
"""The maximum number of digits: Python's parser raises a plain `ValueError` beyond 4,300 digits."""


class ToolCallLimitError(ValueError):
    """A reply holds more or larger calls than core's parsers can handle."""


@dataclass(slots=True)
class CollectedCall:
    """One call of a reply, as far as it has arrived.

    Attributes:
        position: Its position among the reply's calls, counted from 0.
        id: Its id, unique in the conversation.
        name: The tool's name; empty if the server sent none.
        pieces: The arguments' JSON text, in pieces.
        tracker: Tracks the open strings and brackets of the arguments.
    """

    position: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    tracker: JsonTracker = field(default_factory=partial(JsonTracker, MAX_ARGUMENT_DEPTH, MAX_NUMBER_DIGITS))

    @property
    def arguments(self) -> str:
        """The arguments' JSON text so far."""
        return "".join(self.pieces)

    def add(self, arguments: str) -> None:
        """Add the next piece of the arguments.

        Raises:
            ToolCallLimitError: If the arguments exceed a limit.
        """
        try:
            self.tracker.feed(arguments)
        except JsonLimitError as error:
            raise ToolCallLimitError(f"the arguments of a call {error}") from None
        self.pieces.append(arguments)

    def make_invalidating_delta(self) -> ToolCallDelta:
        """Return a last piece that makes the arguments unreadable for every parser, for a stream.

        Core's parser of streamed arguments closes open strings and brackets: `{"path": "/home/me`, truncated by
        `max_tokens`, would become a call, and an agent would run it. Without any arguments, it would be a call as well.
        """
        suffix = self.tracker.find_invalidating_suffix() if any(self.pieces) else "{]"
        return ToolCallDelta(self.position, None, None, suffix)


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """One call of a reply that has ended.

    Attributes:
        position: Its position among the reply's calls, counted from 0.
        id: Its id.
        name: The tool's name.
        text: The arguments' JSON text.
        arguments: The arguments, `None` if the call must not run.
        error: Why it must not run, `None` if it may run.
        invalidating_delta: The piece that makes it invalid in a stream, `None` if it may run.
    """

    position: int
    id: str
    name: str
    text: str
    arguments: dict[str, Any] | None
    error: str | None = None
    invalidating_delta: ToolCallDelta | None = None


class CallLedger:
    """Keeps every call of a reply, numbers the calls, and assigns each an id that is new in the conversation.

    Servers repeat ids in later turns, or omit them (`docs/wire.md` section 3), but LangGraph finds the result of a call
    by its id in the whole conversation.

    Args:
        used_ids: Returns the ids of calls in the conversation. It is called at the first call, since most replies
            have none.
    """

    def __init__(self, used_ids: Callable[[], Collection[str]] = tuple) -> None:
        self._used_ids = used_ids
        self._used: set[str] = set()
        self._by_index: dict[int, CollectedCall] = {}
        self._garbled: set[int] = set()  # indexes of the calls whose arguments are not those that the model wrote
        self._last: set[int] = set()  # positions of the calls that nothing has followed so far

    @property
    def calls(self) -> list[CollectedCall]:
        """The calls in the order in which they began."""
        return list(self._by_index.values())

    def record(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Record a piece, and return it with its final index and, on a call's first piece, its id.

        Raises:
            ToolCallLimitError: If there are more calls than any model would make, or arguments beyond a limit.
        """
        call = self._by_index.get(delta.index)
        if call is None:
            if len(self._by_index) >= MAX_CALLS:
                raise ToolCallLimitError(f"it holds more than {MAX_CALLS:,} tool calls")
            if not self._by_index:
                self._used.update(self._used_ids())
            call = CollectedCall(len(self._by_index), self._make_unique_id(delta.id), delta.name or "")
            call.add(delta.arguments)
            self._by_index[delta.index] = call
            self._last = set() if delta.closed else {call.position}
            return ToolCallDelta(call.position, call.id, call.name, delta.arguments)
        call.name += delta.name or ""
        call.add(delta.arguments)
        if delta.arguments:
            self._last.add(call.position)
        return ToolCallDelta(call.position, None, delta.name, delta.arguments)

    def mark_garbled(self, index: int) -> None:
        """Record that the arguments of a call are not those that the model wrote."""
        self._garbled.add(index)

    def end_calls(self) -> None:
        """Record that something followed the calls so far, so the end of the reply did not truncate them."""
        self._last.clear()

    def finish(
        self, truncation: str | None, *, interruption: str | None = None, parallel: bool = True
    ) -> list[FinishedCall]:
        """Return the calls of the reply, each with the reason if it must not run.

        Args:
            truncation: Why the reply was truncated, so that its last call may be incomplete; `None` if it was not.
            interruption: Why the stream was interrupted, so that no engine has closed its JSON; `None` if it was not.
            parallel: Whether more than one call may run.
        """
        calls: list[FinishedCall] = []
        for index, call in self._by_index.items():
            text = call.arguments
            arguments = read_arguments(text)
            error = None
            if not call.name:
                error = "The call has no name."
            elif call.position in self._last and (truncation or (interruption and not text)):
                error = truncation or interruption
            elif index in self._garbled:
                error = "The service split the arguments in the wrong place: a key holds a special token of the model."
            elif arguments is None:
                error = interruption or "The arguments are not one JSON object."
            elif call.position and not parallel:
                error = "parallel_tool_calls=False allows one call in a reply: make this call again, by itself."
            if error:
                delta = call.make_invalidating_delta()
                calls.append(FinishedCall(call.position, call.id, call.name, text, None, error, delta))
            else:
                calls.append(FinishedCall(call.position, call.id, call.name, text, arguments))
        return calls

    def _make_unique_id(self, call_id: str | None) -> str:
        if not call_id or call_id in self._used:
            call_id = f"call_{uuid4().hex}"
        self._used.add(call_id)
        return call_id


def read_arguments(text: str) -> dict[str, Any] | None:
    """Parse the arguments of a call; `None` if the text is not one JSON object. No text means no arguments.

    Numbers beyond the range of floats are refused as well: they would become infinity, which JSON cannot hold.
    """
    if not text:
        return {}
    try:
        arguments = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(arguments, dict) or _holds_infinity(arguments):
        return None
    return arguments


def _holds_infinity(value: Any) -> bool:
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(map(_holds_infinity, value.values()))
    return isinstance(value, list) and any(map(_holds_infinity, value))
