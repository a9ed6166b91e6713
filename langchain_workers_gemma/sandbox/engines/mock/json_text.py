"""JSON inside of other text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MAX_STARTS = 2_000


def find_json_spans(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield each JSON object or array in a text, and where it begins and ends.

    The number of places that are tried is limited, since one of them can take as long as the text is.
    """
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(_MAX_STARTS):
        start = min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)
        if start < 0:
            return
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
        else:
            yield value, start, at
