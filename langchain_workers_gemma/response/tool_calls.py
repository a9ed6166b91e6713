"""The tool calls of one reply: unique ids, and arguments that are whole or never run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from langchain_workers_gemma.response.events import ToolCallDelta

MAX_CALLS = 1_000
"""More calls than this in one reply are refused: merging chunks takes core a time that grows with their square."""


MAX_ARGUMENT_DEPTH = (
    400  # brackets within one another; Python's own parser raises `RecursionError` from somewhere near 1,000 on
)
MAX_NUMBER_DIGITS = 4_000  # digits; Python's own parser raises a bare `ValueError` beyond 4,300


class ToolCallLimitError(ValueError):
    """A reply holds calls as no model would make them, which core's parsers of arguments cannot be trusted with."""


_WATCHED = re.compile(r'["{}\[\]]|[0-9]+')
_IN_STRING = re.compile(r'["\\]')


class _Guard:
    """Watches arguments that arrive in pieces, looking at each character once."""

    __slots__ = ("_depth", "_digits", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._digits = 0  # of a number that ends the piece before
        self._in_string = False
        self._escaped = False

    def check(self, text: str) -> None:
        """Take the next piece.

        Raises:
            UnreasonableCallsError: If brackets nest too deeply, or a number is too long.
        """
        position = 1 if self._escaped and text else 0
        self._escaped = self._escaped and not text
        while match := (_IN_STRING if self._in_string else _WATCHED).search(text, position):
            position = match.end()
            found = match.group()
            if found == "\\":
                self._escaped = position == len(text)
                position += 1
            elif found == '"':
                self._in_string = not self._in_string
            elif found in "{[":
                self._depth += 1
                if self._depth > MAX_ARGUMENT_DEPTH:
                    raise ToolCallLimitError(f"the arguments of a call nest more than {MAX_ARGUMENT_DEPTH} deep")
            elif found in "}]":
                self._depth -= 1
            else:
                self._check_number(match, ends_piece=position == len(text))
        if text and not text[-1].isdigit():
            self._digits = 0

    def _check_number(self, match: re.Match[str], *, ends_piece: bool) -> None:
        digits = len(match.group()) + (self._digits if match.start() == 0 else 0)
        self._digits = digits if ends_piece else 0
        if digits > MAX_NUMBER_DIGITS:
            raise ToolCallLimitError(f"the arguments of a call hold a number of more than {MAX_NUMBER_DIGITS:,} digits")


@dataclass(slots=True)
class CollectedCall:
    """One call of a reply, as far as it has come.

    Attributes:
        position: Its place among the reply's calls, counted from 0.
        id: Its id, unique in the conversation.
        name: The tool's name; empty where the server gave none.
        pieces: The arguments' JSON text, in pieces.
        guard: Watches them.
    """

    position: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    guard: _Guard = field(default_factory=_Guard)

    @property
    def arguments(self) -> str:
        """The arguments' JSON text so far."""
        return "".join(self.pieces)


class CallLedger:
    """Keeps every call of a reply, numbers them, and gives each an id that the conversation has not seen.

    Servers repeat ids across turns, or omit them (`docs/wire.md` section 3), and LangGraph pairs calls with results
    by id over the whole conversation.

    Args:
        used_ids: Gives the ids that the conversation holds already. Asked at the first call, which seldom comes.
    """

    def __init__(self, used_ids: Callable[[], Collection[str]] = tuple) -> None:
        self._used_ids = used_ids
        self._used: set[str] = set()
        self._by_index: dict[int, CollectedCall] = {}

    @property
    def calls(self) -> list[CollectedCall]:
        """The calls in the order they were begun."""
        return list(self._by_index.values())

    def record(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Take a piece and give it back with its final index and, on a call's first piece, its id.

        Raises:
            UnreasonableCallsError: If there are more calls than any model would make, or arguments out of all measure.
        """
        call = self._by_index.get(delta.index)
        if call is None:
            if len(self._by_index) >= MAX_CALLS:
                raise ToolCallLimitError(f"it holds more than {MAX_CALLS:,} tool calls")
            if not self._by_index:
                self._used.update(self._used_ids())
            call = CollectedCall(len(self._by_index), self._fresh(delta.id), delta.name or "", [delta.arguments])
            call.guard.check(delta.arguments)
            self._by_index[delta.index] = call
            return ToolCallDelta(call.position, call.id, call.name, delta.arguments)
        call.name += delta.name or ""
        call.guard.check(delta.arguments)
        call.pieces.append(delta.arguments)
        return ToolCallDelta(call.position, None, delta.name, delta.arguments)

    def invalidating_deltas(self, *, cut: bool) -> Iterator[ToolCallDelta]:
        """For each call that must not run, a last piece that makes every reader of its arguments give up.

        Core reads streamed arguments with a parser that closes what is open, so `{"path": "/home/me`, cut by
        `max_tokens`, would become a call and an agent would run it.

        Args:
            cut: Whether the reply was cut short, so that arguments that have not begun are missing, not empty.
        """
        for call in self._by_index.values():
            arguments = call.arguments
            if not call.name or read_arguments(arguments, cut=cut) is None:
                yield ToolCallDelta(call.position, None, None, invalidating_suffix(arguments))

    def _fresh(self, call_id: str | None) -> str:
        if not call_id or call_id in self._used:
            call_id = f"call_{uuid4().hex}"
        self._used.add(call_id)
        return call_id


def read_arguments(text: str, *, cut: bool = False) -> dict[str, Any] | None:
    """The arguments of a call, or `None` if the text is not one whole JSON object.

    No text at all means no arguments, unless the reply was cut.
    """
    if not text:
        return None if cut else {}
    try:
        arguments = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None


_STRUCTURAL = re.compile(r'["\\{}\[\]]')


def invalidating_suffix(arguments: str) -> str:
    r"""A suffix that makes arguments unreadable for `json.loads` and for core's `parse_partial_json` alike.

    The latter closes open strings and brackets, but gives up at a closing bracket that does not match.

    Example:
        >>> invalidating_suffix('{"path": "/home/me')
        '"]'
        >>> invalidating_suffix('[1, 2')
        '}'
    """
    if not arguments:
        return "{]"
    closers: list[str] = []
    in_string = False
    position = 0
    while match := _STRUCTURAL.search(arguments, position):
        position = match.end()
        character = match.group()
        if in_string:
            if character == "\\":
                position += 1
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            closers.append("}" if character == "{" else "]")
        elif character in "}]" and (not closers or closers.pop() != character):
            return "]"  # core gives up at this bracket already
    ends_in_escape = position > len(arguments)
    end_of_string = ('\\"' if ends_in_escape else '"') if in_string else ""
    return end_of_string + ("]" if closers and closers[-1] == "}" else "}")
