"""Collect the text, thoughts and calls that the reader finds, and return them as events."""

from __future__ import annotations

from langchain_workers_gemma.response.events import Reasoning, Text, ToolCallDelta

_BLANKS = " \t\r\n"


class Emitter:
    """Collects text, thoughts and calls, without the white space that only separated a call from text.

    Args:
        first_index: The index of the first call.
        holds_blanks: Whether calls are possible, so that line ends are held until the next text.
    """

    def __init__(self, first_index: int, *, holds_blanks: bool) -> None:
        self._index = first_index
        self._holds_blanks = holds_blanks
        self._events: list[Text | Reasoning | ToolCallDelta] = []
        self._pieces: list[str] = []  # text after the events
        self._thoughts: list[str] = []  # thoughts after the events; one of the two lists is always empty
        self._has_text = False
        self._blank: list[str] = []  # white space that is held until the next text
        self._thought_blank: list[str] = []
        self._separator: str | None = None  # after a call: the white space between it and the text before

    @property
    def after_call(self) -> bool:
        """Whether nothing but white space has arrived since a call."""
        return self._separator is not None

    @property
    def passes_text(self) -> bool:
        """Whether text without line ends can be emitted unchanged."""
        return self._has_text and not self._blank and self._separator is None

    def passes_thought(self, text: str) -> bool:
        """Return whether a piece of a thought can be emitted unchanged."""
        return not self._thought_blank and ("\n" not in text or text[-1] not in _BLANKS)

    def note_text(self) -> None:
        """Record that text was emitted unchanged."""
        self._has_text = True

    def add_text(self, text: str) -> None:
        """Add a piece of text."""
        if not self._holds_blanks:
            self._put(text)
            return
        body = text.rstrip(_BLANKS)
        if body:
            self._put(self._find_gap() + body)
        tail = text[len(body) :]
        if self._has_text and not self._blank and not self.after_call:  # spaces before a line end are not held
            line_end = tail.find("\n")
            spaces = tail if line_end < 0 else tail[:line_end]
            self._put(spaces)
            tail = tail[len(spaces) :]
        if tail:
            self._blank.append(tail)

    def add_thought(self, text: str) -> None:
        """Add a piece of a thought. Line ends at the end of a thought are dropped."""
        body = text.rstrip(_BLANKS)
        if body:
            self._put_thought("".join([*self._thought_blank, body]))
            self._thought_blank.clear()
        tail = text[len(body) :]
        if tail and not self._thought_blank and "\n" not in tail:
            self._put_thought(tail)
        elif tail:
            self._thought_blank.append(tail)

    def end_thought(self) -> None:
        """Drop the white space at the end of a thought."""
        self._thought_blank.clear()

    def add_call(self, name: str, arguments: str, *, closed: bool) -> None:
        """Add a call."""
        blank = "".join(self._blank)
        self._separator = self._separator or blank[: blank.rfind("\n") + 1]  # the rest indents the call
        self._blank.clear()
        self._end_pieces()
        self._events.append(ToolCallDelta(self._index, None, name, arguments, closed=closed))
        self._index += 1

    def close(self) -> None:
        """End the text. White space at its end is part of it, unless a call precedes it."""
        if not self.after_call:
            self._put("".join(self._blank))
        self._blank.clear()
        self._separator = None
        self._thought_blank.clear()

    def pop_events(self) -> list[Text | Reasoning | ToolCallDelta]:
        """Return the events since the last call, and forget them."""
        self._end_pieces()
        events, self._events = self._events, []
        return events

    def _find_gap(self) -> str:
        blank = "".join(self._blank)
        self._blank.clear()
        if self._separator is None:
            return blank
        gap, self._separator = (self._separator or blank) if self._has_text else "", None
        return gap

    def _put(self, text: str) -> None:
        if text:
            self._has_text = True
            if self._thoughts:
                self._end_pieces()
            self._pieces.append(text)

    def _put_thought(self, text: str) -> None:
        if text:
            if self._pieces:
                self._end_pieces()
            self._thoughts.append(text)

    def _end_pieces(self) -> None:
        if self._thoughts:
            self._events.append(Reasoning("".join(self._thoughts)))
            self._thoughts.clear()
        if self._pieces:
            self._events.append(Text("".join(self._pieces)))
            self._pieces.clear()
