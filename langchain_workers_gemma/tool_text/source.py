"""Let readers treat a text that arrives in pieces as if it were complete.

A reader is a recursive descent parser, written as a generator that yields when it needs characters that have not
arrived. All readers use the methods of `Source`, whose results depend on the characters only, not on how the text was
split. So a stream has the same result as the whole reply. After a reader has failed, no character is read again, so the
time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import re

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""A reader: it yields when it needs more characters, and returns its result."""


class UnreadableError(Exception):
    """The text here is not in the reader's notation."""


class TruncatedError(UnreadableError):
    """The text ended before the call or value was complete."""


class Source:
    """The text so far, with a position in it, and the text that was consumed since `hold`."""

    __slots__ = ("_base", "_ended", "_held", "_hold_base", "_hold_pos", "_holding", "_pos", "_text")

    def __init__(self) -> None:
        self._text = ""  # the characters of earlier pieces that were not consumed, and the newest piece
        self._pos = 0
        self._base = 0  # the number of characters before `_text`
        self._ended = False
        self._holding = False
        self._held: list[str] = []
        self._hold_base = 0
        self._hold_pos = 0

    @classmethod
    def of(cls, text: str) -> Source:
        """Return a source of a complete text."""
        source = cls()
        source.feed(text)
        source.end()
        return source

    @property
    def waiting(self) -> str:
        """The text that was not consumed: the beginning of a literal that may continue."""
        return self._text[self._pos :]

    @property
    def holding(self) -> bool:
        """Whether consumed characters are kept, for a reader that may fail."""
        return self._holding

    def feed(self, piece: str) -> None:
        """Add a piece at the end."""
        if self._holding and self._pos > self._hold_pos:
            self._held.append(self._text[self._hold_pos : self._pos])
        self._text = self._text[self._pos :] + piece  # the rest is never longer than the longest literal
        self._base += self._pos
        self._pos = self._hold_pos = 0

    def end(self) -> None:
        """Mark the end of the text."""
        self._ended = True

    def tell(self) -> int:
        """Return the number of characters that were consumed."""
        return self._base + self._pos

    def hold(self) -> None:
        """Begin to keep the consumed characters, for `get_held`."""
        self._holding = True
        self._held = []
        self._hold_pos = self._pos
        self._hold_base = self.tell()

    def get_held(self, start: int | None = None) -> str:
        """Return the text that was consumed since `hold`, or since the later position `start`, a result of `tell`."""
        pieces = [self._text[self._hold_pos : self._pos]]
        length = self.tell() - (self._hold_base if start is None else start)
        missing = length - len(pieces[0])
        for piece in reversed(self._held):
            if missing <= 0:
                break
            pieces.append(piece)
            missing -= len(piece)
        text = "".join(reversed(pieces))
        return text[len(text) - length :]

    def release(self) -> None:
        """Stop keeping consumed characters, and forget those that were kept."""
        self._holding = False
        self._held = []

    def peek(self) -> Steps[str]:
        """Return the next character, an empty string at the end."""
        while self._pos >= len(self._text):
            if self._ended:
                return ""
            yield
        return self._text[self._pos]

    def startswith(self, *literals: str) -> Steps[str]:
        """Return which of `literals` is here, an empty string if none is; consume nothing."""
        while not self._text.startswith(literals, self._pos):
            rest = self._text[self._pos : self._pos + max(map(len, literals))]
            if self._ended or not any(literal.startswith(rest) for literal in literals):
                return ""
            yield
        return next(literal for literal in literals if self._text.startswith(literal, self._pos))

    def accept(self, *literals: str) -> Steps[str]:
        """Return which of `literals` is here, an empty string if none is, and consume it."""
        literal = yield from self.startswith(*literals)
        self._pos += len(literal)
        return literal

    def accept_truncated(self, *literals: str) -> bool:
        """Consume the beginning of one of `literals`, if the text ended within it. Call it after `accept`."""
        rest = self._text[self._pos :]
        if not self._ended or not any(literal.startswith(rest) for literal in literals):
            return False
        self._pos = len(self._text)
        return True

    def advance(self) -> None:
        """Consume the character that `peek` returned."""
        self._pos += 1

    def take_chunk(self, pattern: re.Pattern[str]) -> str:
        """Consume and return the characters that have arrived and match `pattern`."""
        match = pattern.match(self._text, self._pos)
        if match is None:
            return ""
        self._pos = match.end()
        return match[0]

    def run(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Consume and return the longest run of characters that match `pattern`, over any number of pieces."""
        pieces = []
        while (yield from self.peek()) and (piece := self.take_chunk(pattern)):
            pieces.append(piece)
        return "".join(pieces)

    def make_unreadable_error(self) -> UnreadableError:
        """Return the error for unexpected text, or for the end of the text."""
        if self._ended and self._pos >= len(self._text):
            return TruncatedError("the text ends here")
        return UnreadableError("no call in this notation")
