"""Find JSON inside other text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MAX_STARTS = 2_000


def find_json_spans(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield each JSON object or array in a text, with its start and end.

    The number of positions that are tried is limited, because each attempt can take linear time.
    """
    decoder = json.JSONDecoder()
    end = 0
    for _ in range(_MAX_STARTS):
        start = min((found for found in (text.find("{", end), text.find("[", end)) if found >= 0), default=-1)
        if start < 0:
            return
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value, start, end
