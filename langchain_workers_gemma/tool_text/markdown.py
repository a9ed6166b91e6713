"""Track code and brackets in Markdown text, to find the places where calls can begin."""

from __future__ import annotations

import re

_BLANKS = " \t\r\n"
_MARKDOWN = re.compile(r"\n|`+|~+|[(\[{]|[)\]}]|[ \t\r]+|[^\n`~()\[\]{} \t\r]+")
_TICKS = "`~"  # the characters around code; tildes are around fences only
_FENCE = 3
_BEFORE_WORDS = frozenset(" \t\r\n([{\"'\u201c\u2018«*_|")


class MarkdownState:
    """The state at one position in a Markdown text: whether it is in code, and whether calls can begin there.

    The state depends on the characters only, not on how they were split.

    Attributes:
        line_is_blank: Whether the line holds only white space so far.
    """

    def __init__(self) -> None:
        self.line_is_blank = True
        self._depth = 0  # the number of open brackets
        self._refused = False  # whether they may belong to text that was read as a call but is none
        self._last = ""  # the last character that is not white space
        self._code = 0  # the number of backticks, or tildes, that opened the current code
        self._code_kind = "`"
        self._fenced = False
        self._ticks = 0  # the number of backticks, or tildes, just before this position
        self._ticks_kind = "`"
        self._ticks_lead = False
        self._previous = "\n"

    @property
    def is_plain(self) -> bool:
        """Whether the position is outside of code, and no backtick precedes it."""
        return not (self._code or self._ticks)

    @property
    def is_at_word_start(self) -> bool:
        """Whether a word can begin here: a blank, an opening bracket or a quote precedes the position."""
        return self._previous in _BEFORE_WORDS

    @property
    def after_tick(self) -> bool:
        """Whether a backtick precedes the position."""
        return self._previous == "`"

    @property
    def line_is_free(self) -> bool:
        """Whether a line of calls can begin here: the line is blank, and no bracket of an earlier line is open.

        So a call in a list of other things stays text, like the list. An open bracket in plain text does not count,
        unless its line ends in a bracket or a comma.
        """
        return self.line_is_blank and not (self._depth and (self._refused or self._last in "([{,"))

    def begin_line(self) -> None:
        """Begin a new line, after a block of calls was removed."""
        self._end_ticks("\n")
        self._previous = "\n"
        self.line_is_blank = True

    def is_code(self, character: str) -> bool:
        """Return whether the next character is in code or belongs to its delimiters."""
        if self._ticks and character == self._ticks_kind:
            return True
        self._end_ticks(character)
        return bool(self._code)

    def add(self, text: str, *, refused: bool = False) -> None:
        """Add the next piece of the text.

        Args:
            text: The piece.
            refused: Whether it was read as the beginning of a call, but is none.
        """
        self._refused |= refused
        self._previous = text[-1:] or self._previous
        for token in _MARKDOWN.findall(text):
            kind = token[0]
            if kind in _TICKS:
                if self._ticks and kind != self._ticks_kind:
                    self._end_ticks(kind)
                self._ticks_kind = kind
                self._ticks_lead = self._ticks_lead if self._ticks else self.line_is_blank
                self._ticks += len(token)
                self.line_is_blank = False
                continue
            self._end_ticks(kind)
            if kind == "\n":
                self._end_line()
            elif kind not in _BLANKS:
                self.line_is_blank = False
                self._last = token[-1]
                if kind in "([{" and not self._code:
                    self._depth += 1
                elif kind in ")]}" and not self._code:
                    self._depth = max(0, self._depth - 1)

    def add_plain(self, text: str) -> None:
        """Add a piece without backticks and, if calls without marks are read, without line ends and brackets."""
        self._previous = text[-1]
        if self.line_is_blank or "\n" in text:
            line = text[text.rfind("\n") + 1 :]
            self.line_is_blank = not line.strip(_BLANKS)
        if self._previous not in _BLANKS:
            self._last = self._previous
        else:
            self._last = text.rstrip(_BLANKS)[-1:] or self._last

    def _end_line(self) -> None:
        if self.line_is_blank:
            self._depth = 0
        self._refused = self._refused and self._depth > 0
        if not self._fenced:  # backticks that are still open are a fence or, if there are too few, stray ones
            self._fenced = self._code >= _FENCE
            self._code = self._code if self._fenced else 0
        self.line_is_blank = True

    def _end_ticks(self, following: str) -> None:
        ticks, self._ticks = self._ticks, 0
        kind = self._ticks_kind
        if not ticks or (self._code and kind != self._code_kind):
            return
        if self._fenced:
            if self._ticks_lead and ticks >= self._code and following in _BLANKS:
                self._code, self._fenced = 0, False
        elif kind == "~":
            if self._ticks_lead and ticks >= _FENCE and not self._code:
                self._code, self._code_kind = ticks, kind
        elif self._code in (0, ticks):
            self._code, self._code_kind = (0 if self._code else ticks), kind
