"""Steps between the decoder and the message that only concern text: the thinking channel, and stop sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable

from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.response.stages.markers import longest_open_suffix


class ThinkingChannel:
    r"""Turns Gemma 4's thinking channel, leaked as text, into reasoning.

    `<|channel>thought\n...<channel|>`, an empty one when thinking is off (`docs/wire.md` section 6). Only a channel
    that opens a line counts: a marker inside prose is prose.
    """

    _OPENING = "<|channel>thought"
    _CLOSING = "<channel|>"
    _FOLLOWS = ("\n", _CLOSING)

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._line_start = True

    def feed(self, event: Event) -> Iterable[Event]:
        """Take one event and give those that can be told now."""
        if type(event) is not Text:
            return (*self.flush(), event) if self._held and isinstance(event, ToolCallDelta) else (event,)
        if not self._held and not self._thinking and "<" not in event.text:
            if event.text:
                self._line_start = event.text.endswith("\n")
            return (event,)
        return self._read(self._held + event.text, last=False)

    def flush(self) -> Iterable[Event]:
        """The reply has ended: give what was held back."""
        return self._read(self._held, last=True) if self._held else ()

    def _read(self, text: str, *, last: bool) -> list[Event]:
        self._held = ""
        events: list[Event] = []
        while text:
            step = self._inside if self._thinking else self._outside
            text, more = step(text, events, last=last)
            if not more:
                self._held = text
                break
        return events

    def _inside(self, text: str, events: list[Event], *, last: bool) -> tuple[str, bool]:
        thought, closing, rest = text.partition(self._CLOSING)
        if closing:
            self._thinking = False
            self._line_start = True
        else:
            keep = 0 if last else longest_open_suffix(text, (self._CLOSING,))
            thought, rest = text[: len(text) - keep], text[len(text) - keep :]
        if thought:
            events.append(Reasoning(thought))
        return rest, bool(closing)

    def _outside(self, text: str, events: list[Event], *, last: bool) -> tuple[str, bool]:
        at = self._find_opening(text)
        if at is None:
            keep = 0 if last else self._open_at_end(text)
            self._tell(text[: len(text) - keep], events)
            return text[len(text) - keep :], False
        self._tell(text[:at], events)
        rest = text[at + len(self._OPENING) :].removeprefix("\n")
        self._thinking = True
        return rest, True

    def _find_opening(self, text: str) -> int | None:
        for match in re.finditer(re.escape(self._OPENING), text):
            after = text[match.end() : match.end() + len(self._CLOSING)]
            if self._opens_line(text, match.start()) and after.startswith(self._FOLLOWS):
                return match.start()
        return None

    def _open_at_end(self, text: str) -> int:
        """How much of the end could still become an opening with what must follow it."""
        keep = longest_open_suffix(text, [self._OPENING + follows for follows in self._FOLLOWS])
        return keep if keep and self._opens_line(text, len(text) - keep) else 0

    def _opens_line(self, text: str, at: int) -> bool:
        return text[at - 1] == "\n" if at else self._line_start

    def _tell(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(Text(text))
            self._line_start = text.endswith("\n")
