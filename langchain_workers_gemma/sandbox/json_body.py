"""Parse a JSON body within limits, so that the value can be validated, rendered and sent back.

Python's parser accepts three things that break later steps: an unpaired surrogate cannot be encoded as UTF-8, a number
too large for a float becomes infinity, and deep nesting exhausts the stack of a recursive function.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 128
"""Maximum nesting of arrays and objects in a request."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_REPLACEMENT_CHARACTER = "\ufffd"


def parse_body(body: bytes) -> Any:
    """Parse a JSON body.

    Unpaired surrogates are replaced by U+FFFD, as a JavaScript server would do.

    Args:
        body: UTF-8, with or without a byte order mark.

    Returns:
        The value.

    Raises:
        ValueError: If the body is not JSON in UTF-8, has a number that is not finite, or is nested deeper than
            `MAX_DEPTH`.
    """
    text = body.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite)
    except RecursionError:
        raise _make_too_deep_error() from None
    may_have_surrogates = _ESCAPED_SURROGATE.search(body) is not None
    if may_have_surrogates or text.count("[") + text.count("{") > MAX_DEPTH:
        return _check_and_repair(value)
    return value


def _check_and_repair(root: Any) -> Any:
    """Check the depth of a value and replace unpaired surrogates, level by level instead of by recursion."""
    holder = [root]
    level: list[Any] = [holder]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for container in level for inner in _repair(container)]
        if not level:
            return holder[0]
    raise _make_too_deep_error()


def _repair(container: list[Any] | dict[str, Any]) -> list[Any]:
    """Replace unpaired surrogates in one array or object. Return the arrays and objects inside it."""
    if isinstance(container, list):
        container[:] = [_replace_surrogates(value) for value in container]
        return [value for value in container if isinstance(value, list | dict)]
    items = [(_replace_surrogates(key), _replace_surrogates(value)) for key, value in container.items()]
    container.clear()
    container.update(items)
    return [value for _, value in items if isinstance(value, list | dict)]


def _replace_surrogates(value: Any) -> Any:
    return _SURROGATE.sub(_REPLACEMENT_CHARACTER, value) if isinstance(value, str) else value


def _make_too_deep_error() -> ValueError:
    return ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is out of range")
    return number
