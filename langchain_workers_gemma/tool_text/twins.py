"""Count a call that arrives both as text and as data once (reported of engines that leave calls in the text)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_workers_gemma.response.events import Event, ToolCallDelta


@dataclass(slots=True)
class _Given:
    """A call that the service has read itself, so far."""

    name: str
    pieces: list[str] = field(default_factory=list)
    matched: bool = False


class TwinFilter:
    """Drops the second of two equal calls of which one was read out of text and the other arrived as data.

    A call as data is held back only while one of the same name has been read out of text.

    Attributes:
        held: The pieces of a call as data that are held back.
    """

    def __init__(self) -> None:
        self._written: list[tuple[str, Any]] = []  # calls out of text, without those that arrived as data too
        self._given: dict[int, _Given] = {}
        self.held: list[ToolCallDelta] = []

    def add_written(self, call: ToolCallDelta) -> bool:
        """Return whether a call that was read out of text is new."""
        arguments = _parse(call.arguments)
        for given in self._given.values():
            if given.name == call.name and not given.matched and _parse("".join(given.pieces)) == arguments:
                given.matched = True
                return False
        self._written.append((call.name or "", arguments))
        return True

    def add_given(self, delta: ToolCallDelta) -> Iterator[Event]:
        """Take a piece of a call as data, and return the pieces that can be emitted."""
        call = self._given.get(delta.index)
        if call is None:
            yield from self.release()
            call = self._given[delta.index] = _Given(delta.name or "")
            if any(name == delta.name for name, _ in self._written):
                self.held.append(delta)
        elif self.held and self.held[0].index == delta.index:
            self.held.append(delta)
        call.pieces.append(delta.arguments)
        if not self.held or self.held[0].index != delta.index:
            yield delta

    def release(self) -> Iterable[Event]:
        """Return the pieces held back, now that the call is complete; none if it was read out of text already."""
        held, self.held = self.held, []
        if not held:
            return held
        call = self._given[held[0].index]
        twin = (call.name, _parse("".join(call.pieces)))
        if twin not in self._written:
            return held
        self._written.remove(twin)
        call.matched = True
        return ()


def _parse(arguments: str) -> Any:
    """Return the arguments of a call, or what replaces some that cannot be read."""
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return object()
