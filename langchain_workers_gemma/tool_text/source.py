"""Characters that arrive in pieces, for readers that are written as if the text were complete.

A reader is a generator that yields where it needs characters that have not arrived yet, and otherwise is plain
recursive descent. All of them use the few methods of `Source`, whose results depend on the characters alone and never
on where the pieces were split, so that a stream reads as the whole reply does. No character is looked at again after a
reader has failed, so that the time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import re

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""A reader: yields whenever it waits for more characters, returns what it has read."""


class UnreadableError(Exception):
    """The text here is not in the reader's notation."""


class CutError(UnreadableError):
    """The text ended before the construct here was complete."""


class Source:
    """The text so far: a position in it, and what was passed since `hold`."""

    __slots__ = ("_base", "_ended", "_held", "_hold_base", "_hold_pos", "_holding", "_pos", "_text")

    def __init__(self) -> None:
        self._text = ""  # the newest piece, after the few characters of the one before that are not passed yet
        self._pos = 0
        self._base = 0  # how many characters were passed before `_text`
        self._ended = False
        self._holding = False
        self._held: list[str] = []
        self._hold_base = 0
        self._hold_pos = 0

    @classmethod
    def of(cls, text: str) -> Source:
        """Return a source of a text that is all there."""
        source = cls()
        source.feed(text)
        source.end()
        return source

    @property
    def waiting(self) -> str:
        """What has arrived and is not passed yet: the beginning of a literal that may continue."""
        return self._text[self._pos :]

    @property
    def holding(self) -> bool:
        """Whether passed characters are kept, for a reader that may fail."""
        return self._holding

    def feed(self, piece: str) -> None:
        """Add a piece at the end."""
        if self._holding and self._pos > self._hold_pos:
            self._held.append(self._text[self._hold_pos : self._pos])
        self._text = self._text[self._pos :] + piece  # what is left never outgrows the longest literal looked for
        self._base += self._pos
        self._pos = self._hold_pos = 0

    def end(self) -> None:
        """Mark the end of the text."""
        self._ended = True

    def tell(self) -> int:
        """Return how many characters have been passed."""
        return self._base + self._pos

    def hold(self) -> None:
        """Begin to keep what is passed, for `held`."""
        self._holding = True
        self._held = []
        self._hold_pos = self._pos
        self._hold_base = self.tell()

    def get_held(self, start: int | None = None) -> str:
        """Return what was passed since `hold`, or since the later place `start` that `tell` returned."""
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
        """Forget what was kept."""
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
        """Return which of `literals` is here, an empty string if none does; nothing is passed."""
        while not self._text.startswith(literals, self._pos):
            rest = self._text[self._pos : self._pos + max(map(len, literals))]
            if self._ended or not any(literal.startswith(rest) for literal in literals):
                return ""
            yield
        return next(literal for literal in literals if self._text.startswith(literal, self._pos))

    def accept(self, *literals: str) -> Steps[str]:
        """Do as `startswith`, and pass what it returns."""
        literal = yield from self.startswith(*literals)
        self._pos += len(literal)
        return literal

    def accept_cut(self, *literals: str) -> bool:
        """Pass the beginning of one of `literals`, if the text ended within it. To be used after `accept`."""
        rest = self._text[self._pos :]
        if not self._ended or not any(literal.startswith(rest) for literal in literals):
            return False
        self._pos = len(self._text)
        return True

    def advance(self) -> None:
        """Pass the character that `peek` returned."""
        self._pos += 1

    def take_chunk(self, pattern: re.Pattern[str]) -> str:
        """Pass what `pattern` matches of the characters that are there."""
        match = pattern.match(self._text, self._pos)
        if match is None:
            return ""
        self._pos = match.end()
        return match[0]

    def run(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Pass the longest run of `pattern`, one set of characters repeated, over as many pieces as it takes."""
        pieces = []
        while (yield from self.peek()) and (piece := self.take_chunk(pattern)):
            pieces.append(piece)
        return "".join(pieces)

    def make_unreadable_error(self) -> UnreadableError:
        """Return the error for what is here: something else, or the end."""
        if self._ended and self._pos >= len(self._text):
            return CutError("the text ends here")
        return UnreadableError("no call in this notation")
