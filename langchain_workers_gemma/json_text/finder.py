"""Find JSON in a model's text: bare, fenced, or with other text around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from pydantic_core import from_json

from langchain_workers_gemma.json_text.encoding import replace_lone_surrogates
from langchain_workers_gemma.json_text.scanner import ValueScanner

_OBJECT = re.compile(r'\{\s*["}]')
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_MAX_TRIES = 64
_DECODER = json.JSONDecoder(strict=False)


class NoJsonError(ValueError):
    """There is no JSON in the text."""


def find_json(text: str) -> Any:
    r"""Return the JSON value in a text.

    If the whole text is JSON, return its value; else return the first object in it that is not empty. Objects within
    one that is truncated or cannot be parsed are ignored.

    Args:
        text: The text that the model wrote.

    Raises:
        NoJsonError: If there is none.

    Example:
        >>> find_json('Here you are: {"a": 1} Enjoy!')
        {'a': 1}
        >>> find_json('With {braces}:\n```json\n{"a": [1, 2]}\n```')
        {'a': [1, 2]}
    """
    body = replace_lone_surrogates(text).strip()
    if body[:1] in ("{", "["):
        try:
            return from_json(body)
        except ValueError:
            pass
    return _find_first_object(body)


def find_last_object(text: str) -> dict[str, Any]:
    """Return the last JSON object in a text that is not empty and not within another object.

    Args:
        text: The model's thoughts, which can hold drafts.

    Raises:
        NoJsonError: If there is none.

    Example:
        >>> find_last_object('First {"a": 1}, no, rather {"a": 2}.')
        {'a': 2}
    """
    last: dict[str, Any] | None = None
    for value in _iterate_objects(replace_lone_surrogates(text)):
        last = value or last
    if last is None:
        raise NoJsonError("it holds no whole JSON object")
    return last


def is_truncated_json(text: str) -> bool:
    """Return whether a text holds truncated JSON."""
    text = replace_lone_surrogates(text)
    found = _OBJECT.search(text)
    body = text[text.find("{") if found is None else found.start() :] if "{" in text else ""
    if not body or not _is_incomplete(body):
        return False
    try:
        from_json(_replace_lenient_characters(body), allow_partial=True)
    except ValueError:
        return False
    return True


def _is_incomplete(text: str) -> bool:
    return ValueScanner().scan(text) is None


def _find_first_object(body: str) -> Any:
    """Return the first object that can be parsed and is not empty, else an empty one."""
    empty: Any = None
    for value in _iterate_objects(body, max_tries=_MAX_TRIES):
        if value:
            return value
        empty = value
    if empty is not None:
        return empty
    raise NoJsonError("it holds no whole JSON object")


def _iterate_objects(body: str, max_tries: int | None = None) -> Iterator[Any]:
    """Yield the outermost objects of a text; an object that cannot be parsed is skipped with its contents."""
    position = 0
    for _ in count() if max_tries is None else range(max_tries):
        found = _OBJECT.search(body, position)
        if found is None:
            return
        try:
            value, position = _read(body, found.start())
        except ValueError:
            end = ValueScanner().scan(body, found.start())
            if end is None:
                return
            position = end
        else:
            yield value


def _read(body: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at `start`, and the position where it ends.

    Raises:
        ValueError: If it cannot be parsed.
    """
    try:
        value, end = _DECODER.raw_decode(body, start)
        if r"\u" in body[start:end]:
            # A lone surrogate is parsed like any other character, but it cannot be encoded later.
            value = _DECODER.decode(_replace_lone_escapes(body[start:end]))
    except RecursionError:
        raise NoJsonError("it is nested too deeply") from None
    return value, end


def _replace_lone_escapes(text: str) -> str:
    """Replace the escapes of lone surrogates, which cannot be encoded, with escapes of U+FFFD."""
    return _ESCAPE.sub(lambda match: r"\ufffd" if match.group(1) else match.group(), text)


def _replace_lenient_characters(text: str) -> str:
    """Replace what only lenient parsers accept: raw control characters in strings, and lone surrogates."""
    return re.sub(r"[\x00-\x1f]", " ", _replace_lone_escapes(text))
