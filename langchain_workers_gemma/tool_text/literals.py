"""Read the values in a call safely: JSON values and Python literals.

No code is evaluated. Values that JSON cannot hold (NaN, a set, bytes, an f-string, a name, a sum), and values nested
deeper than `MAX_DEPTH`, raise `UnreadableError`. A word without quotes is returned as a `Constant`, since the tool's
schema decides whether `02134` is a string.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from langchain_workers_gemma.schemas.argument_types import Constant, read_constant
from langchain_workers_gemma.tool_text.source import Source, Steps, TruncatedError, UnreadableError

MAX_DEPTH = 64
"""The maximum depth of nested lists and objects: arguments are never as deep, and no reader's stack overflows."""

CLOSERS = {"(": ")", "[": "]", "{": "}"}

BLANK = re.compile(r"[ \t\r\n\f]+")
_COMMENT = re.compile(r"[^\n]+")
_WORD = re.compile(r"[\w.+\-]+")
_UNQUOTED = {quote: re.compile(rf"[^{quote}\\]+") for quote in "\"'`"}
_NULLS = ("null", "None")
_NUMBER_LIKE = re.compile(r"[+-]?\.?[0-9][\w.+\-]*")

_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3})|N\{([^{}]{1,99})\}"
    r"|(\r?\n)|([\"'\\/abfnrtv`]))"
)
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_OTHER_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JSON_ESCAPES = "\"'`\\/nrtu"
# A Windows path that was written without escapes: `\new` in it is not a line end.
_RAW_PATH = re.compile(
    r"""(?:^|(?<=[\s"'=(,;]))(?:[A-Za-z]:\\(?!["'`\\nrtbf]|u[0-9a-fA-F]{4})"""  # C:\Users
    r"""|[A-Za-z]:\\(?!u[0-9a-fA-F]{4})[\w.-]+(?:\\[\w.-]+)*\\?$"""  # C:\new\table, and nothing else
    r"""|\\\\[\w.-]{2,}\\(?!\\)"""  # \\server\share
    r"""|\.\.\\(?!u[0-9a-fA-F]{4})\w"""  # ..\new
    r"""|%[A-Za-z_]\w*%\\(?!\\|u[0-9a-fA-F]{4}))"""  # %TEMP%\new
)
_DOUBTFUL_PATH = re.compile(r"""(?:^|(?<=[\s"'=(,;]))[A-Za-z]:\\[nrtbf][a-z]""")  # `C:\new` among other words


def unescape(text: str) -> str:
    r"""Return the value of a string, with JSON's and Python's escapes decoded.

    A text with a Windows path in single backslashes was written without escapes: `C:\new` does not hold a line end.

    Example:
        >>> unescape(r"one\ntwo") == "one\ntwo", unescape(r"C:\new\table") == r"C:\new\table"
        (True, True)
    """
    if _RAW_PATH.search(text):
        return text
    text = _ESCAPE.sub(_unescape_one, text)  # as in Python, a backslash that starts no escape stays
    if _SURROGATE.search(text):  # JSON writes a character beyond U+FFFF as two escapes
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def unescape_json(text: str) -> str:
    r"""Return the value of a string in plain quotes, in a notation whose strings usually have no escapes.

    Only JSON's escapes for line ends, quotes and code points are decoded; the `\b` of a regular expression stays.

    Raises:
        UnreadableError: If it is not clear whether the string holds a Windows path or an escape after a colon.
    """
    if _RAW_PATH.search(text):
        return text
    if _DOUBTFUL_PATH.search(text):
        raise UnreadableError("a path or an escape")
    return unescape(_OTHER_ESCAPE.sub(lambda match: match[0] if match[1] in _JSON_ESCAPES else "\\" + match[0], text))


def _unescape_one(match: re.Match[str]) -> str:
    short, long, byte, octal, name, line_end, simple = match.groups()
    if digits := short or long or byte:
        code = int(digits, 16)
        return chr(code) if code <= 0x10FFFF else match[0]
    if octal:
        return chr(int(octal, 8))
    if name:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            return match[0]
    return "" if line_end else _SIMPLE_ESCAPES.get(simple, simple)


def skip(source: Source) -> Steps[None]:
    """Skip white space and Python comments."""
    yield from source.run(BLANK)
    while (yield from source.peek()) == "#":
        yield from source.run(_COMMENT)
        yield from source.run(BLANK)


def read_literal(source: Source, depth: int = 0, *, python: bool = False) -> Steps[Any]:
    """Read a JSON value or a Python literal. They differ in quotes and a few words, and Gemma mixes the two.

    Args:
        source: The text to read.
        depth: The number of lists and objects around the value.
        python: Whether adjacent strings are joined, as in Python.

    Raises:
        UnreadableError: If it is neither, or JSON cannot hold the value.
    """
    opener = yield from source.peek()
    if depth == MAX_DEPTH and opener in CLOSERS:
        raise UnreadableError("nested too deeply")
    if opener == "{":
        return (yield from _read_object(source, depth + 1, python=python))
    if opener in ("[", "("):
        return (yield from _read_sequence(source, opener, depth + 1, python=python))
    if opener in ('"', "'"):
        return (yield from _read_strings(source, joined=python))
    word = yield from source.run(_WORD)
    if word in ("r", "R", "u", "U") and (yield from source.peek()) in ('"', "'"):
        return (yield from _read_strings(source, raw=word in "rR", joined=python))
    if word in _NULLS:
        return None
    if not is_constant(word):
        raise source.make_unreadable_error()  # a word at the end of the text may be truncated
    return Constant(word)


def is_constant(word: str) -> bool:
    """Return whether a word without quotes can be a value: a constant, or a string that looks like a number."""
    try:
        read_constant(word)
    except ValueError:
        return bool(_NUMBER_LIKE.fullmatch(word))
    return True


def read_text(text: str) -> Any:
    """Read a text that is one JSON value or Python literal.

    Raises:
        UnreadableError: If it is not.
    """
    source = Source.of(text)
    return run_to_end(_read_all(source))


def run_to_end(reading: Steps[Any]) -> Any:
    """Run a reader of a source that has ended, and return its result.

    Raises:
        UnreadableError: If the text cannot be read, or is truncated.
    """
    try:
        next(reading)
    except TruncatedError:  # this text has ended, not the text that contains it
        raise UnreadableError("the text of a value is truncated") from None
    except StopIteration as done:
        return done.value
    raise AssertionError("a reader of a source that has ended must not wait")


def _read_all(source: Source) -> Steps[Any]:
    yield from skip(source)
    value = yield from read_literal(source)
    yield from skip(source)
    if (yield from source.peek()):
        raise source.make_unreadable_error()
    return value


def _read_object(source: Source, depth: int, *, python: bool) -> Steps[dict[str, Any]]:
    source.advance()
    fields: dict[str, Any] = {}
    while True:
        yield from skip(source)
        if (yield from source.accept("}")):
            return fields
        key = (yield from read_quoted(source))[1]
        yield from skip(source)
        if not (yield from source.accept(":")):
            raise source.make_unreadable_error()
        yield from skip(source)
        fields[key] = yield from read_literal(source, depth, python=python)
        yield from skip(source)
        if not (yield from source.accept(",")) and (yield from source.peek()) != "}":
            raise source.make_unreadable_error()


def _read_sequence(source: Source, opener: str, depth: int, *, python: bool) -> Steps[Any]:
    source.advance()
    items: list[Any] = []
    comma = ""
    while True:
        yield from skip(source)
        if (yield from source.accept(CLOSERS[opener])):
            break
        if items and not comma:
            raise source.make_unreadable_error()
        items.append((yield from read_literal(source, depth, python=python)))
        yield from skip(source)
        comma = yield from source.accept(",")
    if opener == "(" and len(items) == 1 and not comma:
        return items[0]  # in Python, parentheses around one value are not a tuple
    return items


def _read_strings(source: Source, *, raw: bool = False, joined: bool) -> Steps[str]:
    """Read a string and, if `joined`, the adjacent strings, which Python joins."""
    texts = [(yield from read_quoted(source, unescape=str if raw else unescape))[1]]
    while joined:
        yield from skip(source)
        prefix = yield from source.startswith(*_PREFIXES)
        if not prefix:
            break
        if prefix not in "\"'":
            source.advance()
        texts.append((yield from read_quoted(source, unescape=str if prefix[0] in "rR" else unescape))[1])
    return "".join(texts)


_PREFIXES = tuple(prefix + quote for prefix in ("", *"rRuU") for quote in "\"'")


def read_quoted(
    source: Source, *, quotes: str = "\"'", unescape: Callable[[str], str] = unescape
) -> Steps[tuple[str, str]]:
    """Read a string in the plain or triple quotes of JSON or Python. It may hold line ends.

    Args:
        source: The text to read.
        quotes: The characters that are quotes.
        unescape: Decodes the escapes in the string.

    Returns:
        The source text of the string, and its value.

    Raises:
        UnreadableError: If there is no string.
    """
    quote = yield from source.peek()
    if not quote or quote not in quotes:
        raise source.make_unreadable_error()
    close = yield from source.accept(quote * 3)
    if not close:
        source.advance()
        close = quote
    pieces = []
    while True:
        pieces.append((yield from source.run(_UNQUOTED[quote])))
        if (yield from source.accept(close)):
            break
        pieces.append((yield from read_character(source)))
        if pieces[-1] == "\\":
            pieces.append((yield from read_character(source)))
    text = "".join(pieces)
    return f"{close}{text}{close}", unescape(text) if "\\" in text else text


def read_character(source: Source) -> Steps[str]:
    """Consume and return one character of a string.

    Raises:
        TruncatedError: If the text ends inside the string.
    """
    character = yield from source.peek()
    if not character:
        raise TruncatedError("the text ends inside a string")
    source.advance()
    return character
