"""Safe readers of the values in a call: JSON and Python literals, and Gemma's own notation for arguments.

Nothing is evaluated. A value that JSON cannot hold (NaN, a set, bytes, an f-string, a name, a sum), one nested deeper
than `MAX_DEPTH` and an integer longer than Python reads are refused with `UnreadableError`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.tool_text.source import CutError, Source, Steps, UnreadableError

if TYPE_CHECKING:
    pass

MAX_DEPTH = 64
"""How deep lists and objects may be nested: no tool's arguments come near it, and no reader's stack overflows."""

MAX_DIGITS = 4300
"""The longest number read: Python refuses longer integers, because reading them takes quadratic time."""


CLOSERS = {"(": ")", "[": "]", "{": "}"}

BLANK = re.compile(r"[ \t\r\n\f]+")
_COMMENT = re.compile(r"[^\n]+")
_WORD = re.compile(r"[\w.+\-]+")
_UNQUOTED = {'"': re.compile(r'[^"\\]+'), "'": re.compile(r"[^'\\]+")}

_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*+)")
_FLOAT = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")

_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3})|(\r?\n)|([\"'\\/abfnrtv]))"
)
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def skip(source: Source) -> Steps[None]:
    """Pass white space and Python comments."""
    yield from source.run(BLANK)
    while (yield from source.peek()) == "#":
        yield from source.run(_COMMENT)
        yield from source.run(BLANK)


def read_literal(source: Source, depth: int = 0) -> Steps[Any]:
    """Read a JSON value or a Python literal: the two differ in a few words and in quotes, and Gemma mixes them.

    Args:
        source: Where to read.
        depth: How many lists and objects are open around the value.

    Raises:
        UnreadableError: It is neither, or JSON cannot hold it.
    """
    opener = yield from source.peek()
    if depth == MAX_DEPTH and opener in CLOSERS:
        raise UnreadableError("nested too deep")
    if opener == "{":
        return (yield from _read_object(source, depth + 1))
    if opener in ("[", "("):
        return (yield from _read_sequence(source, opener, depth + 1))
    if opener in ('"', "'"):
        return (yield from read_quoted(source))
    word = yield from source.run(_WORD)
    if word in ("r", "R", "u", "U") and (yield from source.peek()) in ('"', "'"):
        return (yield from read_quoted(source, raw=word in "rR"))
    try:
        return constant(word)
    except UnreadableError:
        raise source.unreadable() from None  # where the text ends inside the word, it is cut


def read_text(text: str) -> Any:
    """Read a text that is one JSON value or Python literal.

    Raises:
        UnreadableError: It is not.
    """
    source = Source()
    source.feed(text)
    source.end()
    try:
        next(_read_all(source))
    except CutError:  # this text has ended, not the one that it was found in
        raise UnreadableError("the text of a value was cut") from None
    except StopIteration as done:
        return done.value
    raise AssertionError("a source that has ended keeps no reader waiting")


def _read_all(source: Source) -> Steps[Any]:
    yield from skip(source)
    value = yield from read_literal(source)
    yield from skip(source)
    if (yield from source.peek()):
        raise source.unreadable()
    return value


def _read_object(source: Source, depth: int) -> Steps[dict[str, Any]]:
    source.advance()
    fields: dict[str, Any] = {}
    while True:
        yield from skip(source)
        if (yield from source.accept("}")):
            return fields
        key = yield from read_quoted(source)
        yield from skip(source)
        if not (yield from source.accept(":")):
            raise source.unreadable()
        yield from skip(source)
        fields[key] = yield from read_literal(source, depth)
        yield from skip(source)
        if not (yield from source.accept(",")) and (yield from source.peek()) != "}":
            raise source.unreadable()


def _read_sequence(source: Source, opener: str, depth: int) -> Steps[Any]:
    source.advance()
    items: list[Any] = []
    comma = ""
    while True:
        yield from skip(source)
        if (yield from source.accept(CLOSERS[opener])):
            break
        if items and not comma:
            raise source.unreadable()
        items.append((yield from read_literal(source, depth)))
        yield from skip(source)
        comma = yield from source.accept(",")
    if opener == "(" and len(items) == 1 and not comma:
        return items[0]  # Python's parentheses around a value, no tuple
    return items


def read_quoted(source: Source, *, raw: bool = False) -> Steps[str]:
    """Read a string in plain quotes as JSON or Python write it, triple ones included; line ends may stand in it.

    Args:
        source: Where to read.
        raw: Whether backslashes are left alone.
    """
    quote = yield from source.peek()
    if quote not in ('"', "'"):
        raise source.unreadable()
    close = yield from source.accept(quote * 3)
    if not close:
        source.advance()
        close = quote
    pieces = []
    while True:
        pieces.append((yield from source.run(_UNQUOTED[quote])))
        if (yield from source.accept(close)):
            break
        pieces.append((yield from _read_character(source)))
        if pieces[-1] == "\\":
            pieces.append((yield from _read_character(source)))
    text = "".join(pieces)
    return text if raw or "\\" not in text else _unescape(text)


def _read_character(source: Source) -> Steps[str]:
    character = yield from source.peek()
    if not character:
        raise CutError("the text ends inside a string")
    source.advance()
    return character


def _unescape(text: str) -> str:
    text = _ESCAPE.sub(_unescape_one, text)  # a backslash that starts no escape stays, as Python has it
    if _SURROGATE.search(text):  # JSON writes a character beyond U+FFFF as two
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def _unescape_one(match: re.Match[str]) -> str:
    short, long, byte, octal, line_end, simple = match.groups()
    if digits := short or long or byte:
        code = int(digits, 16)
        return chr(code) if code <= 0x10FFFF else match[0]
    if octal:
        return chr(int(octal, 8))
    return "" if line_end else _SIMPLE_ESCAPES.get(simple, simple)


def constant(word: str) -> Any:
    """What a word stands for: a number, true, false or null, in JSON's spelling or Python's.

    Raises:
        UnreadableError: It is none of them, or a number that JSON cannot hold.
    """
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if len(word) > MAX_DIGITS:
        raise UnreadableError("too long for a number")
    if _INTEGER.fullmatch(word):
        try:
            return int(word)
        except ValueError:  # this process has set a lower limit than Python's own
            raise UnreadableError("too long for an integer") from None
    if _LEADING_ZERO.match(word) or not _FLOAT.fullmatch(word):
        raise UnreadableError("no constant")
    number = float(word)
    if not math.isfinite(number):
        raise UnreadableError("too large for a float")
    return number
