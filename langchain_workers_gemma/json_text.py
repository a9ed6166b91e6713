"""Finds the JSON that a model meant in the text it wrote: bare, fenced, or with prose around it."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

_FENCE = re.compile(r"```[ \t]*(?:json|JSON)?[ \t]*\r?\n?")
_MOST_TRIES = 64
_DECODER = json.JSONDecoder(strict=False)


class NoJsonError(ValueError):
    """There is no JSON in the text."""


def find_json(text: str, *, partial: bool = False) -> Any:
    r"""The JSON value in a text.

    Args:
        text: What the model wrote.
        partial: Take what there is of a value that has not ended.

    Raises:
        NoJsonError: If there is none.

    Example:
        >>> find_json('Here you are: {"a": 1} Enjoy!')
        {'a': 1}
        >>> find_json('```json\n{"a": [1, 2', partial=True)
        {'a': [1, 2]}
    """
    body = text.strip()
    try:
        if body[:1] in ("{", "["):
            return from_json(body, allow_partial="trailing-strings" if partial else False)
    except ValueError as error:
        if partial:
            raise NoJsonError(str(error)) from None
    fenced = _FENCE.search(body)
    if fenced is not None and body[fenced.end() : fenced.end() + 1] in ("{", "["):
        body = body[fenced.end() :]
    if partial:
        return _growing(body)
    return _first_whole(body)


def is_cut_json(text: str) -> bool:
    """Whether a text is JSON that breaks off, so that more of it would have been readable."""
    start = text.find("{")
    if start < 0:
        return False
    try:
        from_json(text[start:])
    except ValueError:
        pass
    else:
        return False
    try:
        from_json(text[start:], allow_partial="trailing-strings")
    except ValueError:
        return False
    return True


def _growing(body: str) -> Any:
    start = body.find("{")
    if start < 0:
        raise NoJsonError("it holds no JSON object")
    end = body.find("\n```", start)
    try:
        return from_json(body[start:end] if end > 0 else body[start:], allow_partial="trailing-strings")
    except ValueError as error:
        raise NoJsonError(str(error)) from None


def _first_whole(body: str) -> Any:
    """The first object that can be read, with whatever stands around it."""
    position = body.find("{")
    for _ in range(_MOST_TRIES):
        if position < 0:
            break
        try:
            return _DECODER.raw_decode(body, position)[0]
        except (ValueError, RecursionError):
            if is_cut_json(body[position:]):
                break  # an object inside one that breaks off is not what was meant
            position = body.find("{", position + 1)
    raise NoJsonError("it holds no whole JSON object")
