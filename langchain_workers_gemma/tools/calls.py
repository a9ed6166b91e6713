"""The tool calls of one reply: unique ids, and arguments that are whole or never run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

from langchain_workers_gemma.events import ToolCallDelta

MOST_CALLS = 1_000
"""More calls than this in one reply are refused: merging chunks takes core a time that grows with their square."""


class TooManyCallsError(ValueError):
    """A reply holds more calls than any model would make."""


@dataclass(slots=True)
class CollectedCall:
    """One call of a reply, as far as it has come.

    Attributes:
        position: Its place among the reply's calls, counted from 0.
        id: Its id, unique in the conversation.
        name: The tool's name; empty where the server gave none.
        pieces: The arguments' JSON text, in pieces.
    """

    position: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The arguments' JSON text so far."""
        return "".join(self.pieces)


class CallLedger:
    """Keeps every call of a reply, numbers them, and gives each an id that the conversation has not seen.

    Servers repeat ids across turns, or omit them (`shared/wire.md` section 3), and LangGraph pairs calls with results
    by id over the whole conversation.

    Args:
        used_ids: The ids that the conversation holds already.
    """

    def __init__(self, used_ids: Collection[str] = ()) -> None:
        self._used = set(used_ids)
        self._by_index: dict[int, CollectedCall] = {}

    @property
    def calls(self) -> list[CollectedCall]:
        """The calls in the order they were begun."""
        return list(self._by_index.values())

    def record(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Take a piece and give it back with its final index and, on a call's first piece, its id.

        Raises:
            TooManyCallsError: If there are more calls than any model would make.
        """
        call = self._by_index.get(delta.index)
        if call is None:
            if len(self._by_index) >= MOST_CALLS:
                raise TooManyCallsError(f"it holds more than {MOST_CALLS:,} tool calls")
            call = CollectedCall(len(self._by_index), self._fresh(delta.id), delta.name or "", [delta.arguments])
            self._by_index[delta.index] = call
            return ToolCallDelta(call.position, call.id, call.name, delta.arguments)
        call.name += delta.name or ""
        call.pieces.append(delta.arguments)
        return ToolCallDelta(call.position, None, delta.name, delta.arguments)

    def seals(self, *, cut: bool) -> Iterator[ToolCallDelta]:
        """For each call that must not run, a last piece that makes every reader of its arguments give up.

        Core reads streamed arguments with a parser that closes what is open, so `{"path": "/home/me`, cut by
        `max_tokens`, would become a call and an agent would run it.

        Args:
            cut: Whether the reply was cut short, so that arguments that have not begun are missing, not empty.
        """
        for call in self._by_index.values():
            arguments = call.arguments
            if not call.name or read_arguments(arguments, cut=cut) is None:
                yield ToolCallDelta(call.position, None, None, seal(arguments))

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


def seal(arguments: str) -> str:
    r"""A suffix that makes arguments unreadable for `json.loads` and for core's `parse_partial_json` alike.

    The latter closes open strings and brackets, but gives up at a closing bracket that does not match.

    Example:
        >>> seal('{"path": "/home/me')
        '"]'
        >>> seal('[1, 2')
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
