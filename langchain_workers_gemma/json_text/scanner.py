"""Scan JSON that arrives in pieces, reading each character once."""

from __future__ import annotations

import re

_IN_STRING = re.compile(r'["\\]')
_INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRUCTURAL = re.compile(r'["{}\[\],]')
_NESTED = re.compile(r'["{}\[\]]')
_WATCHED = re.compile(r'["{}\[\]]|[0-9]+')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_REPLACEMENT = "\ufffd"


class StringScanner:
    """Finds the end of a JSON string that arrives in pieces.

    Attributes:
        is_open: Whether a string has begun and not ended.
        is_escaped: Whether the piece before ended in a backslash.
    """

    __slots__ = ("is_escaped", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.is_escaped = False

    def scan(self, text: str, position: int) -> int:
        """Skip the content of the open string and its closing quote, and return the index after them."""
        if self.is_escaped and position < len(text):
            position += 1
            self.is_escaped = False
        inside = _INSIDE.match(text, position)
        end = position if inside is None else inside.end()
        if end == len(text):
            return end
        if text[end] == "\\":  # the last character of the piece
            self.is_escaped = True
        else:
            self.is_open = False
        return end + 1


class ValueScanner:
    """Finds the end of one JSON value in a growing text, reading each character once."""

    __slots__ = ("_depth", "_string")

    def __init__(self) -> None:
        self._depth = 0
        self._string = StringScanner()

    def scan(self, text: str, start: int = 0) -> int | None:
        """Return the index after the value's end in this piece, or `None` if it continues.

        Args:
            text: The piece.
            start: Where to begin in it.
        """
        position, string = start, self._string
        while True:
            if string.is_open:
                position = string.scan(text, position)
                if string.is_open:
                    return None
            elif (match := (_NESTED if self._depth else _STRUCTURAL).search(text, position)) is None:
                return None
            else:
                position = match.end()
                character = match.group()
                if character == '"':
                    string.is_open = True
                    continue
                if character in "{[":
                    self._depth += 1
                elif self._depth == 0:
                    return position - 1  # a number or a word ends before what follows it
                else:
                    self._depth -= 1
            if self._depth == 0:
                return position


class JsonLimitError(ValueError):
    """JSON is nested too deeply, or holds too long a number, for other parsers."""


class JsonTracker:
    """Tracks strings, brackets and numbers of JSON that arrives in pieces, reading each character once.

    Args:
        max_depth: The maximum depth of nested brackets.
        max_digits: The maximum number of digits in a number.
    """

    __slots__ = ("_closers", "_digits", "_is_mismatched", "_max_depth", "_max_digits", "_string")

    def __init__(self, max_depth: int, max_digits: int) -> None:
        self._max_depth = max_depth
        self._max_digits = max_digits
        self._closers: list[str] = []  # the closing characters of open brackets, the innermost last
        self._is_mismatched = False  # whether a closing bracket did not match the open one
        self._digits = 0  # digits of a number at the end of the previous piece
        self._string = StringScanner()

    def feed(self, text: str) -> None:
        """Track the next piece.

        Raises:
            JsonLimitError: If brackets are nested too deeply, or a number is too long.
        """
        position, string = 0, self._string
        while True:
            if string.is_open:
                position = string.scan(text, position)
                if string.is_open:
                    break
            match = _WATCHED.search(text, position)
            if match is None:
                break
            position = match.end()
            found = match.group()
            if found == '"':
                string.is_open = True
            elif found in "{[":
                self._open("}" if found == "{" else "]")
            elif found in "}]":
                self._is_mismatched = self._is_mismatched or not self._closers or self._closers.pop() != found
            else:
                self._check_number(match, ends_piece=position == len(text))
        if text and not text[-1].isdigit():
            self._digits = 0

    def find_invalidating_suffix(self) -> str:
        r"""Return a suffix that makes `json.loads` and core's `parse_partial_json` reject the text.

        `parse_partial_json` closes open strings and brackets, but fails at a closing bracket that does not match.

        Example:
            >>> tracker = JsonTracker(max_depth=400, max_digits=4_000)
            >>> tracker.feed('{"path": "/home/me')
            >>> tracker.find_invalidating_suffix()
            '"]'
        """
        if self._is_mismatched:
            return "]"  # core fails at the earlier bracket
        end_of_string = ('\\"' if self._string.is_escaped else '"') if self._string.is_open else ""
        return end_of_string + ("]" if self._closers and self._closers[-1] == "}" else "}")

    def _open(self, closer: str) -> None:
        self._closers.append(closer)
        if len(self._closers) > self._max_depth:
            raise JsonLimitError(f"nest more than {self._max_depth} deep")

    def _check_number(self, match: re.Match[str], *, ends_piece: bool) -> None:
        digits = len(match.group()) + (self._digits if match.start() == 0 else 0)
        self._digits = digits if ends_piece else 0
        if digits > self._max_digits:
            raise JsonLimitError(f"hold a number of more than {self._max_digits:,} digits")


class StringDecoder:
    """Decodes the inside of a JSON string that arrives in pieces."""

    __slots__ = ("_held", "_high")

    def __init__(self) -> None:
        self._held = ""  # an incomplete escape
        self._high: int | None = None  # the first half of a surrogate pair

    def feed(self, text: str) -> tuple[str, str | None]:
        """Return the decoded text, and the text after the closing quote, or `None` if the quote has not arrived."""
        text = self._held + text
        self._held = ""
        decoded: list[str] = []
        position = 0
        while True:
            match = _IN_STRING.search(text, position)
            end = len(text) if match is None else match.start()
            if end > position:
                self._replace_lone_high(decoded)
                decoded.append(text[position:end])
            if match is None:
                return "".join(decoded), None
            if match.group() == '"':
                self._replace_lone_high(decoded)
                return "".join(decoded), text[match.end() :]
            taken = self._decode_escape(text, match.start(), decoded)
            if taken is None:
                self._held = text[match.start() :]
                return "".join(decoded), None
            position = taken

    def _decode_escape(self, text: str, start: int, decoded: list[str]) -> int | None:
        """Decode one escape, and return the position after it, or `None` if it is incomplete."""
        kind = text[start + 1 : start + 2]
        if not kind:
            return None
        if kind != "u":
            self._replace_lone_high(decoded)
            decoded.append(_ESCAPES.get(kind, kind))
            return start + 2
        digits = text[start + 2 : start + 6]
        if len(digits) < 4:
            return None
        try:
            code = int(digits, 16)
        except ValueError:
            code = 0xFFFD
        if 0xDC00 <= code < 0xE000 and self._high is not None:
            decoded.append(chr(0x10000 + ((self._high - 0xD800) << 10) + (code - 0xDC00)))
            self._high = None
            return start + 6
        self._replace_lone_high(decoded)
        if 0xD800 <= code < 0xDC00:
            self._high = code
        else:
            decoded.append(_REPLACEMENT if 0xDC00 <= code < 0xE000 else chr(code))
        return start + 6

    def _replace_lone_high(self, decoded: list[str]) -> None:
        """Replace a first half without a second one, which cannot be encoded."""
        if self._high is not None:
            decoded.append(_REPLACEMENT)
            self._high = None
