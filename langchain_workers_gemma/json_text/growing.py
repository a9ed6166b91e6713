"""Parse a JSON object that arrives in pieces, with a snapshot after each piece."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic_core import from_json

from langchain_workers_gemma.json_text.scanner import StringDecoder

_OPENING = re.compile(r'\{\s*"')
_STILL_OPENING = re.compile(r"\{\s*\Z")
_WHITE_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"[-+.\w]*")
_NOTHING: Any = object()

_State: TypeAlias = Callable[[str, int], int]


class _MalformedError(ValueError):
    """The text is not JSON; a signal within this module."""


class PartialJsonParser:
    """Parses the first JSON object in a growing text.

    Parsing the whole text after each piece takes quadratic time. This parser reads each character once, and a snapshot
    copies only the objects and lists that are still open. All snapshots share those that have ended, so callers must
    not change them.

    Snapshots only grow: a key appears when its value begins, a string is a prefix of the final one, and a number
    appears when it is complete. If the text turns out not to be JSON, the snapshot no longer changes.
    """

    def __init__(self) -> None:
        self._head: str | None = ""  # text before the object that may be the object's beginning
        self._open: list[tuple[Any, list[str]]] = []  # the containers that have not ended, with the key being read
        self._value: Any = _NOTHING  # the whole object, once it has ended
        self._state: _State = self._expect_value
        self._decoder = StringDecoder()
        self._string: str | None = None  # the string being read
        self._scalar = ""
        self._changed = False

    def feed(self, text: str) -> bool:
        """Take the next piece, and return whether the snapshot has changed."""
        if self._head is not None:
            text = self._begin(self._head + text)
        self._changed = False
        position = 0
        try:
            while position < len(text):
                position = self._state(text, position)
        except _MalformedError:
            self._state = self._ignore
        return self._changed

    def get_snapshot(self) -> Any:
        """Return the object so far, `None` before it has begun."""
        if self._value is not _NOTHING:
            return self._value
        value: Any = _NOTHING if self._string is None or self._state == self._read_key else self._string
        for container, keys in reversed(self._open):
            copied = container.copy()
            if value is not _NOTHING:
                _put(copied, keys, value)
            value = copied
        return None if value is _NOTHING else value

    def _begin(self, text: str) -> str:
        """Search for the beginning of the object, and return its text so far."""
        found = _OPENING.search(text)
        if found is not None:
            self._head = None
            return text[found.start() :]
        tail = _STILL_OPENING.search(text)
        self._head = "" if tail is None else "{"
        return ""

    # --- States: each reads from a position and returns the position of the next one ---

    def _ignore(self, text: str, _position: int) -> int:
        return len(text)

    def _expect_value(self, text: str, position: int) -> int:
        position = _skip(text, position)
        character = text[position : position + 1]
        if character in ("{", "["):
            self._open.append(({} if character == "{" else [], [""]))
            self._changed = True
            self._state = self._expect_first_key if character == "{" else self._expect_first_item
            return position + 1
        if character == '"':
            self._string = ""
            self._changed = True
            self._state = self._read_string
            return position + 1
        if character:
            self._scalar = ""
            self._state = self._read_scalar
        return position

    def _expect_first_item(self, text: str, position: int) -> int:
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            return self._close(position)
        if position < len(text):
            self._state = self._expect_value
        return position

    def _expect_first_key(self, text: str, position: int) -> int:
        position = _skip(text, position)
        if text[position : position + 1] == "}":
            return self._close(position)
        return self._expect_key(text, position)

    def _expect_key(self, text: str, position: int) -> int:
        position = _skip(text, position)
        if text[position : position + 1] not in ('"', ""):
            raise _MalformedError
        if position < len(text):
            self._string = ""
            self._state = self._read_key
            position += 1
        return position

    def _read_key(self, text: str, position: int) -> int:
        decoded, rest = self._decoder.feed(text[position:])
        self._string = (self._string or "") + decoded
        if rest is None:
            return len(text)
        self._open[-1][1][0] = self._string
        self._string = None
        self._state = self._expect_colon
        return len(text) - len(rest)

    def _expect_colon(self, text: str, position: int) -> int:
        position = _skip(text, position)
        if text[position : position + 1] not in (":", ""):
            raise _MalformedError
        if position < len(text):
            self._state = self._expect_value
            position += 1
        return position

    def _read_string(self, text: str, position: int) -> int:
        decoded, rest = self._decoder.feed(text[position:])
        self._string = (self._string or "") + decoded
        self._changed = self._changed or bool(decoded)
        if rest is None:
            return len(text)
        self._add(self._string)
        self._string = None
        return len(text) - len(rest)

    def _read_scalar(self, text: str, position: int) -> int:
        match = _SCALAR.match(text, position)
        end = position if match is None else match.end()
        self._scalar += text[position:end]
        if end < len(text):
            try:
                self._add(from_json(self._scalar))
            except ValueError:
                raise _MalformedError from None
            self._changed = True
        return end

    def _expect_end(self, text: str, position: int) -> int:
        position = _skip(text, position)
        character = text[position : position + 1]
        if not character:
            return position
        in_object = isinstance(self._open[-1][0], dict)
        if character == ",":
            self._state = self._expect_key if in_object else self._expect_value
            return position + 1
        if character == ("}" if in_object else "]"):
            return self._close(position)
        raise _MalformedError

    def _close(self, position: int) -> int:
        self._add(self._open.pop()[0])
        return position + 1

    def _add(self, value: Any) -> None:
        """Add a value that has ended to the container that holds it."""
        if self._open:
            _put(*self._open[-1], value)
            self._state = self._expect_end
        else:
            self._value = value
            self._state = self._ignore


def _skip(text: str, position: int) -> int:
    match = _WHITE_SPACE.match(text, position)
    return position if match is None else match.end()


def _put(container: Any, keys: list[str], value: Any) -> None:
    if isinstance(container, dict):
        container[keys[0]] = value
    else:
        container.append(value)
