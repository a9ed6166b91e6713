"""Read arguments in Gemma 4's and FunctionGemma's notation, `{city:<|"|>Paris<|"|>,n:42}`, and its deviations.

The tokens around strings can be missing or replaced (`docs/wire.md` section 6; sgl-project/sglang#39240,
ollama/ollama#15315).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from langchain_workers_gemma.schemas.argument_types import ArgumentType, Word
from langchain_workers_gemma.tool_text.gemma_strings import PLAIN_QUOTES, GemmaStrings
from langchain_workers_gemma.tool_text.literals import (
    BLANK,
    CLOSERS,
    MAX_DEPTH,
    is_constant,
    read_character,
    read_text,
    run_to_end,
)
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import (
    CALL_CLOSERS,
    QUOTES,
    SPECIAL,
)

_WITH_APOSTROPHES = re.compile(r"'[^']*+(?:(?<=\w)'(?=\w)[^']*+)+'")
KEY = re.compile(r"[\w$@./\-]+")
_SPACED_KEY = re.compile(r"[^\n:=,<{}\[\]]+")
_BARE = re.compile(r"[^,<()\[\]{}]+")
_TEXT_TYPES = frozenset({"string", "null"})
_NOT_IN_WORDS = tuple(dict.fromkeys((*SPECIAL, *CALL_CLOSERS)))


class _Value(NamedTuple):
    """A value that was read.

    Attributes:
        value: The value.
        words: The words of a value without quotes, which may continue after a comma; `None` if `value` is complete.
    """

    value: Any
    words: list[str] | None = None


class _Bare(NamedTuple):
    """Words without quotes.

    Attributes:
        text: The words.
        quoted: Whether they are a string without its opening token.
    """

    text: str
    quoted: bool = False


class GemmaFields(GemmaStrings):
    """Reads the arguments of one call."""

    def read(self, parameters: ArgumentType) -> Steps[dict[str, Any]]:
        """Read arguments in braces or parentheses, which can be doubled.

        If the special tokens were removed, strings have no quotes. Such a string continues after a comma if no key
        follows: `{q:Paris, France}` holds one string.

        Args:
            parameters: The types of the tool's arguments. Other keys are words: `{q:Paris, and: more}` is one string.

        Raises:
            UnreadableError: If the text is not in this notation.
        """
        source = self._source
        closer = CLOSERS[(yield from source.peek())]
        self._open(closer)
        yield from source.run(BLANK)
        if (yield from source.peek()) != "{":
            return (yield from self._read_fields(closer, parameters))
        fields = yield from self.read(parameters)
        if not self.ended_early:
            yield from source.run(BLANK)
            if (yield from source.peek()) != closer:
                raise source.make_unreadable_error()
            self._close()
        return fields

    def read_container(self, kind: ArgumentType) -> Steps[Any]:
        """Read a text that is one list or one object.

        Raises:
            UnreadableError: If it is not.
        """
        source = self._source
        opener = yield from source.peek()
        if opener not in ("{", "["):
            raise source.make_unreadable_error()
        self._open(CLOSERS[opener])
        value: Any = yield from (self._read_fields("}", kind) if opener == "{" else self._read_items(kind.item))
        if (yield from source.peek()):
            raise source.make_unreadable_error()
        return value

    def _open(self, closer: str) -> None:
        if len(self._closers) > MAX_DEPTH:
            raise UnreadableError("nested too deeply")
        self._source.advance()
        self._closers.append(closer)

    def _close(self) -> None:
        self._source.advance()
        self._closers.pop()

    def _read_fields(self, closer: str, kind: ArgumentType) -> Steps[dict[str, Any]]:
        """Read keys and values up to the closing bracket."""
        source = self._source
        fields: dict[str, Any] = {}
        spaced_names = any(" " in name for name in kind.names)
        keys = tuple(f"{name}:" for name in kind.names)
        self._names.update(kind.names)
        key, words = "", None
        while True:
            before = yield from source.run(BLANK)
            if (yield from source.peek()) == closer:
                self._close()
                break
            if key and (words is None or is_constant("".join(words).strip())) and (yield from source.accept(",")):
                continue  # an extra comma; after words it may be part of them
            new_key, passed = yield from self._read_key(required=words is None, spaced_names=spaced_names)
            if self._inner_quotes and new_key not in kind.names:
                raise source.make_unreadable_error()
            if words is not None and (new_key is None or _continues(words, new_key, kind)):
                more = yield from self._read_bare(closer)
                words += (",", before, passed, more.text)
                if more.quoted:
                    fields[key], words = "".join(words), None
            elif new_key is None:
                raise source.make_unreadable_error()
            else:
                _set_words(fields, key, words)
                key = new_key
                fields[key], words = yield from self._read_value(closer, kind.get_argument(key), keys)
            if not self.ended_early:
                yield from self._expect_next(closer, keys)
            if self.ended_early:
                break
        _set_words(fields, key, words)
        return fields

    def _expect_next(self, closer: str, keys: tuple[str, ...] = ()) -> Steps[None]:
        """Consume the comma after a value, unless its container or the whole call ends there.

        Args:
            closer: The bracket that closes the container.
            keys: An object's keys, each with its colon. The comma before one can be missing (hybridgroup/yzma#243).
        """
        source = self._source
        yield from source.run(BLANK)
        if (yield from source.accept(",", ";")):
            return
        if keys and (yield from source.startswith(*keys)):
            return
        if (yield from source.peek()) != closer:
            self.ended_early = bool((yield from source.accept(*CALL_CLOSERS)))
            if not self.ended_early:
                raise source.make_unreadable_error()

    def _read_key(self, *, required: bool, spaced_names: bool = False) -> Steps[tuple[str | None, str]]:
        """Read a key with its colon, or with the equals sign that Gemma 4 can write instead (vllm-project/vllm#51307).

        Args:
            required: Whether only a key can follow. Then the keys of nested objects can hold blanks.
            spaced_names: Whether an argument's name can hold blanks.

        Returns:
            The key, `None` if there is none, and the text that was consumed.
        """
        source = self._source
        character = yield from source.peek()
        if character and (character in PLAIN_QUOTES or character == "<"):
            string = yield from self.read_string()
            if string is None:
                return None, ""
            raw, key = string
        else:
            spaced = required and (len(self._closers) > 1 or spaced_names)
            raw = yield from source.run(_SPACED_KEY if spaced else KEY)
            key = raw.rstrip()
        blank = yield from source.run(BLANK)
        separator = (yield from source.accept(":", "=")) if raw else ""
        if self.ended_early or (character == "<" and not separator):
            raise source.make_unreadable_error()
        return key if separator else None, raw + blank + separator

    def _read_value(self, closer: str, kind: ArgumentType, keys: tuple[str, ...] = ()) -> Steps[_Value]:
        source = self._source
        yield from source.run(BLANK)
        opener = yield from source.peek()
        if opener in ("{", "["):
            start = source.tell()
            self._open(CLOSERS[opener])
            value: Any = yield from (self._read_fields("}", kind) if opener == "{" else self._read_items(kind.item))
            if kind.types is not None and kind.types <= _TEXT_TYPES and not self.ended_early:
                return _Value(source.get_held(start))  # a string that holds JSON, without its quotes
            return _Value(value)
        wrapped = yield from self.read_wrapped(closer)
        if wrapped is not None:
            return _Value(wrapped)
        string = yield from self.read_string()
        if string is None:
            more = yield from self._read_bare(closer)
            return _Value(more.text) if more.quoted else _Value(None, [more.text])
        raw, text = string
        if self.ended_early:
            return _Value(text)
        blank = yield from source.run(BLANK)
        if (yield from self.ends_value(closer)):
            return _Value(text)
        token = yield from source.accept(*QUOTES)
        if raw[0] in PLAIN_QUOTES and token:  # the end of a string with two kinds of quotes
            return _Value(text)
        if raw[0] not in PLAIN_QUOTES:
            return _Value((yield from self.read_token_quoted(raw, text, blank, token, closer, keys)))
        more = yield from self._read_bare(closer)
        if not blank and not more.quoted and more.text.endswith(raw[0]):
            return _Value((raw + more.text)[1:-1])  # quotes within the string: `"echo "hi""`
        words = [raw, blank, more.text]  # quotes around the first words only: `"machine learning" site:arxiv.org`
        return _Value("".join(words)) if more.quoted else _Value(None, words)

    def _read_items(self, kind: ArgumentType) -> Steps[list[Any]]:
        source = self._source
        items: list[Any] = []
        while True:
            yield from source.run(BLANK)
            if (yield from source.peek()) == "]":
                self._close()
                return items
            value, words = yield from self._read_value("]", kind)
            items.append(value if words is None else _make_word(words))
            if not self.ended_early:
                yield from self._expect_next("]")
            if self.ended_early:
                return items

    def _read_bare(self, closer: str) -> Steps[_Bare]:
        """Read words without quotes, up to a comma or `closer` outside of brackets."""
        source = self._source
        pieces = []
        depth = 0
        while True:
            pieces.append((yield from source.run(_BARE)))
            character = yield from source.peek()
            if not depth and character in (",", closer):
                return _Bare("".join(pieces))
            if character == "<" and (yield from source.accept(*QUOTES)):  # the opening token is missing
                yield from source.run(BLANK)
                if (yield from source.peek()) not in (",", closer):
                    raise source.make_unreadable_error()
                return _Bare("".join(pieces), quoted=True)
            if character == "<" and (yield from source.startswith(*_NOT_IN_WORDS)):
                if not depth and any(map(str.strip, pieces)) and (yield from source.startswith(*CALL_CLOSERS)):
                    return _Bare("".join(pieces))
                raise UnreadableError("a special token inside words")
            if character in CLOSERS:
                depth += 1
            elif character in CLOSERS.values():
                if not depth and character in self._closers:
                    raise UnreadableError("a closing bracket without an opening one")
                depth = max(0, depth - 1)
            pieces.append((yield from read_character(source)))


def read_container(text: str, kind: ArgumentType) -> Any:
    r"""Read a text that is one list or one object, in Gemma's notation, as JSON or as Python.

    Args:
        text: The text.
        kind: The type of the value.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> read_container('[<|"|>a<|"|>,<|"|>b<|"|>]', ArgumentType.of({}))
        ['a', 'b']
    """
    try:
        return read_text(text)
    except UnreadableError:
        pass
    source = Source.of(text.strip())
    try:
        return run_to_end(GemmaFields(source).read_container(kind))
    except UnreadableError as error:
        raise ValueError(str(error)) from None


def _continues(words: list[str], key: str, kind: ArgumentType) -> bool:
    """Return whether words continue with text that looks like a key, because the object has no such key."""
    return bool(kind.names) and key not in kind.names and (len(words) > 1 or not is_constant(words[0].strip()))


def _set_words(fields: dict[str, Any], key: str, words: list[str] | None) -> None:
    """Set `key` to the value of its words, if there are any."""
    if words is not None:
        fields[key] = _make_word(words)


def _make_word(words: list[str]) -> str:
    """Join words to a `Word`, or to a string if together they are one in single quotes that has apostrophes."""
    text = "".join(words).strip()
    return text[1:-1] if _WITH_APOSTROPHES.fullmatch(text) else Word(text)
