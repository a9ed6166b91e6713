"""JSON inside of other text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def json_spans(text: str) -> Iterator[tuple[Any, int, int]]:
    """Each JSON object or array in a text, and where it begins and ends."""
    decoder = json.JSONDecoder()
    at = 0
    while (start := min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
        else:
            yield value, start, at
