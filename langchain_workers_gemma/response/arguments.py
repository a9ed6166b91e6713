r"""Correct the arguments of a streamed tool call by the tool's JSON Schema.

Inference engines parse the text that Gemma writes, and make mistakes (`docs/wire.md` section 10):

- a value is a string where the schema has another type: `{"days": "3"}`;
- the special tokens around a string become part of it: `{"city": "<|\"|>Rome<|\"|>"}` (vllm#39468, LiteRT-LM#2172);
- plain quotes that Gemma wrote become part of strings and keys: `{"\"city\"": "\"Rome\""}` (vllm#51284);
- a string ends at a token inside it, and the rest becomes a key: `{"sql": "f(", "<|\"|>a<|\"|>)": null}` (vllm#44715).

Correct values are emitted as they arrive. Three kinds of strings are held until they are complete: keys, strings where
the schema has another type, and strings that contain their own quotes.
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


class _QuotedString:
    """A string that contains its own quotes. The other strings of its container decide whether they are removed."""

    __slots__ = ("as_sent", "text", "unquoted")

    def __init__(self, as_sent: str, unquoted: str) -> None:
        self.as_sent = as_sent
        self.unquoted = unquoted
        self.text: str | None = None


class _Container:
    """An object or a list that has not ended.

    Attributes:
        type: The type of its contents, by the schema.
        is_object: Whether it is an object.
        awaits_key: Whether the next string is a key.
        value: The type of the next value.
    """

    __slots__ = ("_has_bare_string", "_has_quoted_key", "_undecided", "awaits_key", "is_object", "type", "value")

    def __init__(self, type_: ArgumentType, *, is_object: bool) -> None:
        self.type = type_
        self.is_object = is_object
        self.awaits_key = is_object
        self.value = _ANYTHING if is_object else type_.item
        self._undecided: list[_QuotedString] = []
        self._has_bare_string = False
        self._has_quoted_key = False

    def note_quoted_string(self, as_sent: str, unquoted: str) -> _QuotedString:
        """Record a string that contains its own quotes.

        If Gemma wrote plain quotes instead of its tokens, all strings of a container have them (vllm#51284 shows lists
        and nested objects). If one string has none, the quotes of the others are content.
        """
        string = _QuotedString(as_sent, unquoted)
        self._undecided.append(string)
        if self._has_quoted_key or self._has_bare_string:
            self.decide(unquote=self._has_quoted_key)
        return string

    def note_bare_string(self) -> None:
        """Record a string that contains no quotes of its own."""
        if not self._has_bare_string:
            self._has_bare_string = True
            self.decide(unquote=self._has_quoted_key)

    def note_quoted_key(self) -> None:
        """Record a key that contains its own quotes. No tool has such keys, so the strings are quoted as well."""
        self._has_quoted_key = True
        self.decide(unquote=True)

    def decide(self, *, unquote: bool) -> None:
        """Decide for all undecided strings whether their quotes are removed."""
        for string in self._undecided:
            string.text = string.unquoted if unquote else string.as_sent
        self._undecided.clear()


class ArgumentsReader:
    r"""Corrects the arguments of one call, piece by piece.

    Args:
        type_: The types of its arguments, by the tool's schema.
        tokens: The special tokens that an engine may leave in a string.
        unquotes: Whether an engine may have left Gemma's plain quotes in strings and keys.

    Attributes:
        is_garbled: Whether a key holds a special token, so that the string before it ended too early.

    Example:
        >>> parameters = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
        >>> reader = ArgumentsReader(ArgumentType.of(parameters))
        >>> reader.feed('{"city": "Ro'), reader.feed('me", "days": "3'), reader.feed('"}')
        ('{"city": "Ro', 'me", "days": ', '3}')
    """

    __slots__ = (
        "_containers",
        "_has_token",
        "_held",
        "_is_at_start",
        "_output",
        "_passes_through",
        "_patterns",
        "_raw",
        "_root",
        "_step",
        "_string",
        "_tokens",
        "_unquotes",
        "is_garbled",
    )

    def __init__(self, type_: ArgumentType, tokens: StringTokens = NO_TOKENS, *, unquotes: bool = False) -> None:
        self.is_garbled = False
        self._root = type_
        self._tokens = tokens
        self._patterns = get_token_patterns(tokens)
        self._unquotes = unquotes
        self._containers: list[_Container] = []
        self._output: deque[str | _QuotedString] = deque()
        self._step = self._read_structure
        self._raw: list[str] = []  # the content of a string that is held until it ends
        self._held = ""  # text at either end of a free string that can still become a token
        self._string = StringScanner()
        self._is_at_start = False
        self._has_token = False
        self._passes_through = False  # whether a free string is open, and none of it is held

    def feed(self, text: str) -> str:
        """Take the next piece and return the text that is ready."""
        if self._passes_through and not self._output and not _NOT_PLAIN.search(text):
            return text  # most pieces of long arguments
        self._passes_through = False
        position = 0
        while position < len(text):
            position = self._step(text, position)
        return self._pop_ready()

    def flush(self) -> str:
        """End the arguments, complete or not, and return the text that was held back, as it was sent."""
        for container in self._containers:
            container.decide(unquote=False)
        if self._step == self._read_held_string:
            self._output.append('"' + "".join(self._raw))
        elif self._step == self._read_free_string:
            self._output.append('"' * self._is_at_start + self._held)
        elif self._step == self._read_rest and not self._tokens.are_all("".join(self._raw)):
            self._output.append("".join(self._raw))
        self._raw.clear()
        self._held = ""
        self._passes_through = False
        self._step = self._read_structure
        return self._pop_ready()

    def _pop_ready(self) -> str:
        ready: list[str] = []
        while self._output:
            part = self._output[0]
            text = part.text if isinstance(part, _QuotedString) else part
            if text is None:
                break
            ready.append(text)
            self._output.popleft()
        return "".join(ready)

    # --- Steps: each takes from the text at a position and returns where the next one continues -----------------------

    def _read_structure(self, text: str, position: int) -> int:
        """Between strings: brackets, commas, numbers and words."""
        match = _STRUCTURE.search(text, position)
        found = match[0] if match else ""
        end = match.end() if match else len(text)
        if ready := text[position : end - (found == '"')]:
            self._output.append(ready)
        container = self._containers[-1] if self._containers else None
        if found == '"':
            self._open_string(container)
        elif found in ("{", "["):
            self._containers.append(_Container(container.value if container else self._root, is_object=found == "{"))
        elif container and found == ",":
            container.awaits_key = container.is_object
        elif container and found:
            self._containers.pop().decide(unquote=True)
            if not self._containers:
                self._step = self._read_rest
        return end

    def _read_rest(self, text: str, position: int) -> int:
        """Read the text after the arguments: nothing, or a token that closed the call."""
        self._raw.append(text[position:])
        return len(text)

    def _open_string(self, container: _Container | None) -> None:
        self._has_token = False
        self._string.is_open = True
        self._is_at_start = True
        types = container.value.types if container else None
        is_held = container is not None and (container.awaits_key or not (types is None or "string" in types))
        self._step = self._read_held_string if is_held else self._read_free_string

    def _read_inside(self, text: str, position: int) -> tuple[str, int, bool]:
        """Return the string's content in this piece, the position after it, and whether the string ends there."""
        end = self._string.scan(text, position)
        is_over = not self._string.is_open
        return text[position : end - is_over], end, is_over

    def _read_held_string(self, text: str, position: int) -> int:
        """In a string that is held until it ends."""
        inside, position, is_over = self._read_inside(text, position)
        self._raw.append(inside)
        if is_over:
            self._end_held_string()
        return position

    def _read_free_string(self, text: str, position: int) -> int:
        """In a free string: it is emitted as it arrives, without the tokens at its ends."""
        inside, position, is_over = self._read_inside(text, position)
        inside = self._held + inside
        self._held = ""
        if self._is_at_start:
            if self._unquotes and self._containers and _opens_quotes(inside):
                self._raw.append(inside)
                self._step = self._read_held_string
                if is_over:
                    self._end_held_string()
                return position
            if not is_over and self._may_open(inside):
                self._held = inside
                return position
            inside = self._begin(inside)
        if self._patterns is not None and not self._has_token and ("<" in inside or "\\" in inside):
            inside = self._strip_tail(inside, self._patterns, is_over=is_over)
        self._output.append(inside + '"' if is_over else inside)
        self._passes_through = not (is_over or self._held or self._string.is_escaped)
        if is_over:
            self._step = self._read_structure
        return position

    # --- Strings ------------------------------------------------------------------------------------------------------

    def _may_open(self, inside: str) -> bool:
        """Return whether the start of a string can still become a token, or a quote inside the string."""
        if not inside or (self._unquotes and inside == "\\"):
            return True
        return (
            self._patterns is not None
            and bool(self._patterns.opening_begins.match(inside))
            and not (self._patterns.opening.match(inside))
        )

    def _begin(self, inside: str) -> str:
        """Begin a free string, and return its first text without a token."""
        self._is_at_start = False
        self._output.append('"')
        if self._containers:
            self._containers[-1].note_bare_string()
        opening = self._patterns.opening.match(inside) if self._patterns else None
        return inside[opening.end() :] if opening else inside

    def _strip_tail(self, inside: str, patterns: TokenPatterns, *, is_over: bool) -> str:
        """Hold back text at the end that can become tokens; at the string's end, drop the tokens."""
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
        self._step = self._read_structure
        container = self._containers[-1]
        try:
            text = from_json(f'"{raw}"')
        except ValueError:  # not JSON: emitted as it is, so the call becomes invalid
            container.awaits_key = False
            container.value = _ANYTHING
            self._output.append(f'"{raw}"')
            return
        if container.awaits_key:
            self._read_key(raw, text, container)
        elif container.value.types is None or "string" in container.value.types:
            self._read_quoted(raw, text, container)
        else:
            self._read_typed(raw, text, container)

    def _read_key(self, raw: str, text: str, container: _Container) -> None:
        name = text if text in container.type.names else self._tokens.strip(text)
        if self._unquotes and name not in container.type.names:
            bare = _unquote(name.strip())
            if bare is not None:
                container.note_quoted_key()
                name = bare
            elif name.strip() in container.type.names:
                name = name.strip()
        if name not in container.type.names and self._tokens.are_in(text) and not self._tokens.surround(name, text):
            self.is_garbled = True
        container.awaits_key = False
        container.value = container.type.get_argument(name)
        self._output.append(f'"{raw}"' if name == text else json.dumps(name))

    def _read_quoted(self, raw: str, text: str, container: _Container) -> None:
        """Read a string that may contain its own quotes."""
        bare = _unquote(text)
        if bare is None:
            container.note_bare_string()
            self._output.append(f'"{raw}"')
        else:
            self._output.append(container.note_quoted_string(f'"{raw}"', json.dumps(bare)))

    def _read_typed(self, raw: str, text: str, container: _Container) -> None:
        """Read a string where the schema has another type, and emit its value if that has the type."""
        stripped = self._tokens.strip(text)
        for spelled in (stripped, _unquote(stripped) if self._unquotes else None):
            if spelled is not None:
                value = container.value.read_string(spelled)
                if not isinstance(value, str):
                    self._output.append(json.dumps(container.value.resolve(value)))
                    return
        self._output.append(f'"{raw}"' if stripped == text else json.dumps(stripped))


def _opens_quotes(inside: str) -> bool:
    return inside.startswith(("'", '\\"'))


def _unquote(text: str) -> str | None:
    """Return the content of a text that is one string in plain quotes, `None` if it is not."""
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
