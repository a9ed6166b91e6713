"""Parse the JSON of responses, which can hold the halves of surrogate pairs that servers split."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json


def parse_json(data: bytes) -> Any:
    """Parse JSON. Strings can hold lone surrogates: an engine writes them when a token ends within a character.

    Raises:
        ValueError: If it is not JSON.

    Example:
        >>> parse_json(b'{"response": "half of a pair: ' + bytes([92]) + b'ud83d"}')["response"][-1] == chr(0xD83D)
        True
    """
    try:
        return from_json(data, cache_strings="keys")
    except ValueError as error:
        if b"\\u" not in data or not _is_about_surrogates(error):
            raise
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise error from None


def _is_about_surrogates(error: ValueError) -> bool:
    text = str(error)
    return "surrogate" in text or "hex escape" in text
