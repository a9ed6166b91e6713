"""Drop one of two equal calls if an engine sends a call as data and leaves it in the text as well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_workers_gemma.response.events import Event, ToolCallDelta


@dataclass(slots=True)
class _ParsedCall:
    """A call that the service parsed, as far as it has arrived."""

    name: str
    pieces: list[str] = field(default_factory=list)
    matched: bool = False


class DuplicateFilter:
    """Drops the second of two equal calls, if one was found in text and the service sent the other as data.

    A call as data is held back only if a call of the same name was found in text.

    Attributes:
        held: The pieces of a call as data that are held back.
    """

    def __init__(self) -> None:
        self._written: list[tuple[str, Any]] = []  # calls in text, without those that arrived as data too
        self._parsed: dict[int, _ParsedCall] = {}
        self.held: list[ToolCallDelta] = []

    def add_written(self, call: ToolCallDelta) -> bool:
        """Record a call that was found in text, and return whether it is new."""
        arguments = _parse(call.arguments)
        for parsed in self._parsed.values():
            if parsed.name == call.name and not parsed.matched and _parse("".join(parsed.pieces)) == arguments:
                parsed.matched = True
                return False
        self._written.append((call.name or "", arguments))
        return True

    def add_parsed(self, delta: ToolCallDelta) -> Iterator[Event]:
        """Take a piece of a call as data, and return the pieces that are ready."""
        call = self._parsed.get(delta.index)
        if call is None:
            yield from self.release()
            call = self._parsed[delta.index] = _ParsedCall(delta.name or "")
            if any(name == delta.name for name, _ in self._written):
                self.held.append(delta)
        elif self.held and self.held[0].index == delta.index:
            self.held.append(delta)
        call.pieces.append(delta.arguments)
        if not self.held or self.held[0].index != delta.index:
            yield delta

    def release(self) -> Iterable[Event]:
        """Return the pieces of a complete call that were held back; none if the call was found in text already."""
        held, self.held = self.held, []
        if not held:
            return held
        call = self._parsed[held[0].index]
        duplicate = (call.name, _parse("".join(call.pieces)))
        if duplicate not in self._written:
            return held
        self._written.remove(duplicate)
        call.matched = True
        return ()


def _parse(arguments: str) -> Any:
    """Return the parsed arguments of a call, or an object that equals no other if they cannot be parsed."""
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return object()
