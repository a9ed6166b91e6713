r"""Read the arguments of a call by the tool's JSON Schema while they arrive.

Engines read what Gemma writes with parsers of their own, and get some of it wrong (`docs/wire.md` section 10):

- a value is a string where the schema has another type: `{"days": "3"}`;
- tokens that surround a string reach it: `{"city": "<|\"|>Rome<|\"|>"}` (vllm#39468, LiteRT-LM#2172);
- what Gemma wrote in plain quotes keeps them, keys included: `{"\"city\"": "\"Rome\""}` (vllm#51284).

Correct values are emitted as they arrived. Values that must be seen whole are held until then: a key, a string where
the schema has another type, and strings in quotes of their own.
"""

from __future__ import annotations

import json
import re
from collections import deque

from pydantic_core import from_json

from langchain_workers_gemma.json_text.scanner import StringScanner
from langchain_workers_gemma.response.string_tokens import (
    MAX_TAIL,
    NO_TOKENS,
    StringTokens,
    TokenPatterns,
    get_token_patterns,
)
from langchain_workers_gemma.schemas.argument_types import ArgumentType

_STRUCTURE = re.compile(r'["{}\[\],]')
_NOT_PLAIN = re.compile(r'["\\<]')
_ANYTHING = ArgumentType((), {})


class _Undecided:
    """A string in quotes of its own; the rest of its object or list decides whether they are removed."""

    __slots__ = ("as_sent", "text", "unquoted")

    def __init__(self, as_sent: str, unquoted: str) -> None:
        self.as_sent = as_sent
        self.unquoted = unquoted
        self.text: str | None = None


class _Place:
    """An object or a list that is open.

    Attributes:
        type: What it can hold.
        is_object: Whether it is an object.
        awaits_key: Whether the next string is a key.
        value: What the next value can be.
    """

    __slots__ = ("_has_bare_string", "_has_quoted_key", "_undecided", "awaits_key", "is_object", "type", "value")

    def __init__(self, type_: ArgumentType, *, is_object: bool) -> None:
        self.type = type_
        self.is_object = is_object
        self.awaits_key = is_object
        self.value = _ANYTHING if is_object else type_.get_item
        self._undecided: list[_Undecided] = []
        self._has_bare_string = False
        self._has_quoted_key = False

    def note_quoted_string(self, as_sent: str, unquoted: str) -> _Undecided:
        """Note a string in quotes of its own.

        All strings of a place are in plain quotes if Gemma used them in place of its tokens (vllm#51284 has them in
        lists and nested objects); where one does not, they belong to the others.
        """
        string = _Undecided(as_sent, unquoted)
        self._undecided.append(string)
        if self._has_quoted_key or self._has_bare_string:
            self.decide(unquote=self._has_quoted_key)
        return string

    def note_bare_string(self) -> None:
        """Note a string without quotes of its own."""
        if not self._has_bare_string:
            self._has_bare_string = True
            self.decide(unquote=self._has_quoted_key)

    def note_quoted_key(self) -> None:
        """Note a key in quotes of its own, which no tool has: its strings are quoted as well."""
        self._has_quoted_key = True
        self.decide(unquote=True)

    def decide(self, *, unquote: bool) -> None:
        """Settle the strings that are undecided."""
        for string in self._undecided:
            string.text = string.unquoted if unquote else string.as_sent
        self._undecided.clear()


class ArgumentsReader:
    r"""Reads the arguments of one call.

    Args:
        type_: The types of its arguments, by the tool's schema.
        tokens: The special tokens that can reach a string.
        unquotes: Whether an engine may have taken Gemma's plain quotes for a part of strings and keys.

    Example:
        >>> parameters = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
        >>> reader = ArgumentsReader(ArgumentType.of(parameters))
        >>> reader.feed('{"city": "Ro'), reader.feed('me", "days": "3'), reader.feed('"}')
        ('{"city": "Ro', 'me", "days": ', '3}')
    """

    __slots__ = (
        "_begins",
        "_flows",
        "_has_token",
        "_held",
        "_out",
        "_patterns",
        "_places",
        "_raw",
        "_root",
        "_string",
        "_take",
        "_tokens",
        "_unquotes",
    )

    def __init__(self, type_: ArgumentType, tokens: StringTokens = NO_TOKENS, *, unquotes: bool = False) -> None:
        self._root = type_
        self._tokens = tokens
        self._patterns = get_token_patterns(tokens)
        self._unquotes = unquotes
        self._places: list[_Place] = []
        self._out: deque[str | _Undecided] = deque()
        self._take = self._read_structure
        self._raw: list[str] = []  # the inside of a string that is held to its end
        self._held = ""  # what can still become a token, at either end of a string that goes through
        self._string = StringScanner()
        self._begins = False
        self._has_token = False
        self._flows = False  # whether a string goes through, and nothing of it is held

    def feed(self, text: str) -> str:
        """Take the next piece and return what is ready."""
        if self._flows and not self._out and not _NOT_PLAIN.search(text):
            return text  # most pieces of long arguments
        self._flows = False
        position = 0
        while position < len(text):
            position = self._take(text, position)
        return self._take_ready()

    def flush(self) -> str:
        """Return the arguments end here, whole or not: return what was held back, as it was sent."""
        for place in self._places:
            place.decide(unquote=False)
        if self._take == self._read_held_string:
            self._out.append('"' + "".join(self._raw))
        elif self._take == self._read_free_string:
            self._out.append('"' * self._begins + self._held)
        self._raw.clear()
        self._held = ""
        self._flows = False
        self._take = self._read_structure
        return self._take_ready()

    def _take_ready(self) -> str:
        ready: list[str] = []
        while self._out:
            part = self._out[0]
            text = part.text if isinstance(part, _Undecided) else part
            if text is None:
                break
            ready.append(text)
            self._out.popleft()
        return "".join(ready)

    # --- Steps: each takes from the text at a position and returns where the next one continues -----------------------

    def _read_structure(self, text: str, position: int) -> int:
        """Between strings: brackets, commas, numbers and words."""
        match = _STRUCTURE.search(text, position)
        found = match[0] if match else ""
        end = match.end() if match else len(text)
        if ready := text[position : end - (found == '"')]:
            self._out.append(ready)
        place = self._places[-1] if self._places else None
        if found == '"':
            self._open_string(place)
        elif found in ("{", "["):
            self._places.append(_Place(place.value if place else self._root, is_object=found == "{"))
        elif place and found == ",":
            place.awaits_key = place.is_object
        elif place and found:
            self._places.pop().decide(unquote=True)
        return end

    def _open_string(self, place: _Place | None) -> None:
        self._has_token = False
        self._string.is_open = True
        self._begins = True
        types = place.value.types if place else None
        is_held = place is not None and (place.awaits_key or not (types is None or "string" in types))
        self._take = self._read_held_string if is_held else self._read_free_string

    def _read_inside(self, text: str, position: int) -> tuple[str, int, bool]:
        """Return a string's inside in this piece, the position behind it, and whether the string ends there."""
        end = self._string.scan(text, position)
        is_over = not self._string.is_open
        return text[position : end - is_over], end, is_over

    def _read_held_string(self, text: str, position: int) -> int:
        """In a string that is held to its end."""
        inside, position, is_over = self._read_inside(text, position)
        self._raw.append(inside)
        if is_over:
            self._end_held_string()
        return position

    def _read_free_string(self, text: str, position: int) -> int:
        """In a string that goes through, but for tokens at its ends."""
        inside, position, is_over = self._read_inside(text, position)
        inside = self._held + inside
        self._held = ""
        if self._begins:
            if self._unquotes and self._places and _opens_quotes(inside):
                self._raw.append(inside)
                self._take = self._read_held_string
                if is_over:
                    self._end_held_string()
                return position
            if not is_over and self._may_open(inside):
                self._held = inside
                return position
            inside = self._begin(inside)
        if self._patterns is not None and not self._has_token and ("<" in inside or "\\" in inside):
            inside = self._strip_tail(inside, self._patterns, is_over=is_over)
        self._out.append(inside + '"' if is_over else inside)
        self._flows = not (is_over or self._held or self._string.is_escaped)
        if is_over:
            self._take = self._read_structure
        return position

    # --- Strings ------------------------------------------------------------------------------------------------------

    def _may_open(self, inside: str) -> bool:
        """Return whether the beginning of a string can still become a token, or a quote of its own."""
        if not inside or (self._unquotes and inside == "\\"):
            return True
        return (
            self._patterns is not None
            and bool(self._patterns.opening_begins.match(inside))
            and not (self._patterns.opening.match(inside))
        )

    def _begin(self, inside: str) -> str:
        """Begin a string that goes through; return what it begins with, without a token."""
        self._begins = False
        self._out.append('"')
        if self._places:
            self._places[-1].note_bare_string()
        opening = self._patterns.opening.match(inside) if self._patterns else None
        return inside[opening.end() :] if opening else inside

    def _strip_tail(self, inside: str, patterns: TokenPatterns, *, is_over: bool) -> str:
        """Hold back, or drop at the string's end, what are tokens there."""
        match = (patterns.closing if is_over else patterns.tail).search(inside)
        body, tail = (inside[: match.start()], match[0]) if match else (inside, "")
        self._has_token = len(tail) > MAX_TAIL or bool(patterns.token.search(body))
        if self._has_token:
            return inside
        if not is_over:
            self._held = tail
        return body

    def _end_held_string(self) -> None:
        raw = "".join(self._raw)
        self._raw.clear()
        self._take = self._read_structure
        place = self._places[-1]
        try:
            text = from_json(f'"{raw}"')
        except ValueError:  # no JSON: it goes through as it is, and the call with it is invalid
            place.awaits_key = False
            place.value = _ANYTHING
            self._out.append(f'"{raw}"')
            return
        if place.awaits_key:
            self._read_key(raw, text, place)
        elif place.value.types is None or "string" in place.value.types:
            self._read_quoted(raw, text, place)
        else:
            self._read_typed(raw, text, place)

    def _read_key(self, raw: str, text: str, place: _Place) -> None:
        name = text if text in place.type.names else self._tokens.strip(text)
        if self._unquotes and name not in place.type.names:
            bare = _unquote(name.strip())
            if bare is not None:
                place.note_quoted_key()
                name = bare
            elif name.strip() in place.type.names:
                name = name.strip()
        place.awaits_key = False
        place.value = place.type.get_argument(name)
        self._out.append(f'"{raw}"' if name == text else json.dumps(name))

    def _read_quoted(self, raw: str, text: str, place: _Place) -> None:
        """Read a string that may be in quotes of its own."""
        bare = _unquote(text)
        if bare is None:
            place.note_bare_string()
            self._out.append(f'"{raw}"')
        else:
            self._out.append(place.note_quoted_string(f'"{raw}"', json.dumps(bare)))

    def _read_typed(self, raw: str, text: str, place: _Place) -> None:
        """Read a string where the schema has another type: its value, if that is of the type."""
        stripped = self._tokens.strip(text)
        for spelled in (stripped, _unquote(stripped) if self._unquotes else None):
            if spelled is not None:
                value = place.value.read_string(spelled)
                if not isinstance(value, str):
                    self._out.append(json.dumps(place.value.resolve(value)))
                    return
        self._out.append(f'"{raw}"' if stripped == text else json.dumps(stripped))


def _opens_quotes(inside: str) -> bool:
    return inside.startswith(("'", '\\"'))


def _unquote(text: str) -> str | None:
    """Return the inside of a text that is one string in plain quotes, `None` if it is not."""
    if len(text) < 3 or text[0] != text[-1]:
        return None
    if text[0] == "'":
        inside = text[1:-1]
        return None if "'" in inside or "\\" in inside else inside
    if text[0] != '"':
        return None
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
