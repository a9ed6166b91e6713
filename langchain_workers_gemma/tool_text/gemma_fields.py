"""Read Gemma's own notation for the arguments of a call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.tool_text.literals import (
    _FLOAT,
    _INTEGER,
    BLANK,
    CLOSERS,
    MAX_DEPTH,
    _read_character,
    constant,
    read_quoted,
)
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import _NOT_IN_WORDS, QUOTE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection


_NO_TOKEN = re.compile(r"[^<]+")


KEY = re.compile(r"[\w$@./\-]+")


_BARE = re.compile(r"[^,<()\[\]{}]+")


def read_fields(source: Source, known: Collection[str] = (), depth: int = 0) -> Steps[dict[str, Any]]:
    """Read arguments or an object in Gemma 4's and FunctionGemma's notation, `{city:<|"|>Paris<|"|>,n:42}`.

    Where the special tokens were stripped, strings have lost their quotes. Such a string goes on over a comma that no
    key follows: `{q:Paris, France}` holds one string.

    Args:
        source: Where to read, before the opening brace or parenthesis.
        known: The keys there can be, if that is known, so that `{q:Paris, and: more}` is one string too.
        depth: How many lists and objects are open around it.

    Raises:
        UnreadableError: It is no such object.
    """
    if depth > MAX_DEPTH:
        raise UnreadableError("nested too deep")
    closer = CLOSERS[(yield from source.peek())]
    source.advance()
    fields: dict[str, Any] = {}
    key, bare = "", None
    while True:
        before = yield from source.run(BLANK)
        if (yield from source.peek()) == closer:
            source.advance()
            _settle(fields, key, bare)
            return fields
        new_key, words = yield from _read_key(source)
        if bare is not None and (new_key is None or _goes_on(bare, new_key, known)):
            bare += [",", before, words, (yield from _read_bare(source, closer))]
        elif new_key is None:
            raise source.unreadable()
        else:
            _settle(fields, key, bare)
            key = new_key
            fields[key], bare = yield from _read_value(source, closer, depth)
        yield from source.run(BLANK)
        if not (yield from source.accept(",")) and (yield from source.peek()) != closer:
            raise source.unreadable()


def _goes_on(bare: list[str], key: str, known: Collection[str]) -> bool:
    """Whether words go on with what looks like a key, because there is no such key."""
    return bool(known) and key not in known and (len(bare) > 1 or isinstance(_bare_value(bare[0]), str))


def _settle(fields: dict[str, Any], key: str, bare: list[str] | None) -> None:
    """Give `key` the value that its words stand for, now that they are complete."""
    if bare is not None:
        fields[key] = _bare_value("".join(bare))


def _bare_value(words: str) -> Any:
    words = words.strip()
    try:
        return constant(words)
    except UnreadableError:
        if _INTEGER.fullmatch(words) or _FLOAT.fullmatch(words):
            raise  # a number beyond what can be read is no string
        return words


def _read_key(source: Source) -> Steps[tuple[str | None, str]]:
    """Read a key and its colon or, as users report of Gemma 4, equals sign (vllm#51307).

    Returns:
        The key, `None` if none stands here, and what was passed.
    """
    if (quoted := (yield from _read_string(source))) is not None:
        yield from source.run(BLANK)
        if not (yield from source.accept(":", "=")):
            raise source.unreadable()
        return quoted, quoted
    word = yield from source.run(KEY)
    blank = yield from source.run(BLANK)
    separator = (yield from source.accept(":", "=")) if word else ""
    return word if separator else None, word + blank + separator


def _read_value(source: Source, closer: str, depth: int) -> Steps[tuple[Any, list[str] | None]]:
    """Read a value; its words instead if it has no quotes, since they may go on after a comma."""
    yield from source.run(BLANK)
    opener = yield from source.peek()
    if opener == "{":
        return (yield from read_fields(source, depth=depth + 1)), None
    if opener == "[":
        return (yield from _read_items(source, depth + 1)), None
    if (quoted := (yield from _read_string(source))) is not None:
        return quoted, None
    return None, [(yield from _read_bare(source, closer))]


def _read_items(source: Source, depth: int) -> Steps[list[Any]]:
    if depth > MAX_DEPTH:
        raise UnreadableError("nested too deep")
    source.advance()
    items: list[Any] = []
    while True:
        yield from source.run(BLANK)
        if (yield from source.accept("]")):
            return items
        value, bare = yield from _read_value(source, "]", depth)
        items.append(value if bare is None else _bare_value("".join(bare)))
        yield from source.run(BLANK)
        if not (yield from source.accept(",")) and (yield from source.peek()) != "]":
            raise source.unreadable()


def _read_string(source: Source) -> Steps[str | None]:
    """Read a string in quotes of any kind, `None` if none stands here."""
    character = yield from source.peek()
    if character in ('"', "'"):
        return (yield from read_quoted(source))
    token = (yield from source.accept(*QUOTE_TOKENS)) if character == "<" else ""
    if not token:
        return None
    pieces = []
    while True:
        pieces.append((yield from source.run(_NO_TOKEN)))
        if (yield from source.accept(token)):
            return "".join(pieces)
        pieces.append((yield from _read_character(source)))


def _read_bare(source: Source, closer: str) -> Steps[str]:
    """Read words without quotes up to a comma or `closer`; brackets within them come in pairs."""
    pieces = []
    depth = 0
    while True:
        pieces.append((yield from source.run(_BARE)))
        character = yield from source.peek()
        if not depth and character in (",", closer):
            return "".join(pieces)
        if character == "<" and (yield from source.startswith(*_NOT_IN_WORDS)):
            raise UnreadableError("a special token inside words")
        if character in CLOSERS:
            depth += 1
        elif depth and character in CLOSERS.values():
            depth -= 1
        pieces.append((yield from _read_character(source)))
