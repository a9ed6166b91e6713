"""The tool calls of one reply: unique ids, and arguments that are whole or never run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from langchain_workers_gemma.json_text.scanner import JsonLimitError, JsonTracker
from langchain_workers_gemma.response.events import ToolCallDelta

MAX_CALLS = 1_000
"""More calls than this in one reply are refused: merging chunks takes core a time that grows with their square."""


MAX_ARGUMENT_DEPTH = 400
"""Brackets within one another; Python's own parser raises `RecursionError` from somewhere near 1,000 on."""

MAX_NUMBER_DIGITS = 4_000
"""Python's own parser raises a bare `ValueError` beyond 4,300 digits."""


class ToolCallLimitError(ValueError):
    """A reply holds more or larger calls than core's parsers of arguments can handle."""


@dataclass(slots=True)
class CollectedCall:
    """One call of a reply, so far.

    Attributes:
        position: Its place among the reply's calls, counted from 0.
        id: Its id, unique in the conversation.
        name: The tool's name; empty where the server sent none.
        pieces: The arguments' JSON text, in pieces.
        tracker: Follows them.
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
        """Take the next piece of the arguments.

        Raises:
            ToolCallLimitError: If they exceed a limit.
        """
        try:
            self.tracker.feed(arguments)
        except JsonLimitError as error:
            raise ToolCallLimitError(f"the arguments of a call {error}") from None
        self.pieces.append(arguments)

    def make_invalidating_delta(self) -> ToolCallDelta:
        """Return a last piece, for a stream, with which no parser accepts the arguments.

        Core reads streamed arguments with a parser that closes what is open, so `{"path": "/home/me`, truncated by
        `max_tokens`, would become a call and an agent would run it. No arguments at all would be none.
        """
        suffix = self.tracker.find_invalidating_suffix() if any(self.pieces) else "{]"
        return ToolCallDelta(self.position, None, None, suffix)


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """One call of a reply that has ended.

    Attributes:
        position: Its place among the reply's calls, counted from 0.
        id: Its id.
        name: The tool's name.
        text: The arguments' JSON text.
        arguments: The arguments, `None` if the call must not run.
        error: Why it must not run.
        invalidating_delta: What keeps it from running in a stream, `None` if it may run.
    """

    position: int
    id: str
    name: str
    text: str
    arguments: dict[str, Any] | None
    error: str | None = None
    invalidating_delta: ToolCallDelta | None = None


class CallLedger:
    """Keeps every call of a reply, numbers them, and assigns each an id that is new in the conversation.

    Servers repeat ids across turns, or omit them (`docs/wire.md` section 3), and LangGraph pairs calls with results
    by id over the whole conversation.

    Args:
        used_ids: Returns the ids of calls in the conversation; called at the first call, which is rare.
    """

    def __init__(self, used_ids: Callable[[], Collection[str]] = tuple) -> None:
        self._used_ids = used_ids
        self._used: set[str] = set()
        self._by_index: dict[int, CollectedCall] = {}
        self._last: set[int] = set()  # positions of the calls that nothing has followed yet

    @property
    def calls(self) -> list[CollectedCall]:
        """The calls in the order they were begun."""
        return list(self._by_index.values())

    def record(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Take a piece and return it with its final index and, on a call's first piece, its id.

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

    def end_calls(self) -> None:
        """Note that something followed the calls so far, so the end of the reply did not truncate them."""
        self._last.clear()

    def finish(self, cut: str | None, *, broken: str | None = None, parallel: bool = True) -> list[FinishedCall]:
        """Return the calls of the reply, each with what decides whether it may run.

        Args:
            cut: Why the reply was truncated, so that its last call may not be whole; `None` if it was not.
            broken: Why its stream broke, so that no engine has closed its JSON; `None` if it did not.
            parallel: Whether more than one call may run.
        """
        calls: list[FinishedCall] = []
        for call in self._by_index.values():
            text = call.arguments
            arguments = read_arguments(text)
            error = None
            if not call.name:
                error = "The call has no name."
            elif call.position in self._last and (cut or (broken and not text)):
                error = cut or broken
            elif arguments is None:
                error = broken or "The arguments are not one JSON object."
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
    """Parse the arguments of a call; `None` if the text is not one JSON object. No text means no arguments."""
    if not text:
        return {}
    try:
        arguments = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None
