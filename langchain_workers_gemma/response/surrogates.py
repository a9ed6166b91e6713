"""Join the two halves of a surrogate pair that a server has split between two events."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_workers_gemma.json_text.encoding import replace_lone_surrogates
from langchain_workers_gemma.response.events import Event, Reasoning, Text


class SurrogateJoiner:
    """Holds a first half until the second half arrives, and replaces lone halves with U+FFFD."""

    def __init__(self) -> None:
        self._held: dict[type[Text | Reasoning], str] = {}

    def join(self, events: Iterable[Event]) -> list[Event]:
        """Return the events without split characters."""
        joined: list[Event] = []
        for event in events:
            if not isinstance(event, Text | Reasoning):
                joined.append(event)
                continue
            kind = type(event)
            text = self._held.pop(kind, "") + event.text
            if text and "\ud800" <= text[-1] <= "\udbff":
                self._held[kind] = text[-1]
                text = text[:-1]
            if text:
                joined.append(kind(replace_lone_surrogates(text)))
        return joined

    def flush(self) -> list[Event]:
        """End the reply and return the events that were held back."""
        kinds = list(self._held)
        self._held.clear()
        return [kind("\ufffd") for kind in kinds]
