"""Read the vectors in a response, and reject incomplete ones.

`docs/wire.md` sections 1 and 9 describe the forms: the native `{"data": [[...], ...], "shape": [n, dims]}`, and
OpenAI's `{"data": [{"embedding": [...], "index": 0}, ...]}`; either can arrive in Cloudflare's envelope.
"""

from __future__ import annotations

import math
from typing import Any


class VectorsError(ValueError):
    """A response does not hold one vector for each text."""


def read_vectors(result: object, count: int) -> list[list[float]]:
    """Return one vector for each text, in the texts' order.

    Args:
        result: The response body without its envelope.
        count: The number of texts that were sent.

    Raises:
        VectorsError: If a vector is missing, extra, repeated, of another length, or holds a number that is not finite.

    Example:
        >>> read_vectors({"data": [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [1]}]}, 2)
        [[1.0], [0.5]]
    """
    data = result.get("data") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(data, list):
        raise VectorsError("it has no `data`")
    if len(data) != count:
        raise VectorsError(f"it has {len(data)} vectors for {count} texts")
    vectors = [_read_vector(item) for item in _sort_by_index(data)]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1:
        raise VectorsError(f"its vectors are of different lengths: {sorted(lengths)}")
    shape = result.get("shape")
    if shape is not None and shape != [count, *lengths]:
        raise VectorsError(f"its shape is {shape!r}, but its vectors have the shape {[count, *lengths]!r}")
    return vectors


def _sort_by_index(data: list[Any]) -> list[Any]:
    """Return the items by their `index`, where they have one."""
    if not any(isinstance(item, dict) and "index" in item for item in data):
        return data
    by_index = {item.get("index"): item for item in data if isinstance(item, dict) and _is_whole(item.get("index"))}
    if by_index.keys() != set(range(len(data))):
        raise VectorsError("an index is missing or repeated")
    return [by_index[at] for at in range(len(data))]


def _is_whole(index: object) -> bool:
    return isinstance(index, int) and not isinstance(index, bool)


def _read_vector(item: object) -> list[float]:
    numbers = item.get("embedding") if isinstance(item, dict) else item
    if not isinstance(numbers, list) or not numbers:
        raise VectorsError("a vector is missing or empty")
    try:
        vector = [*map(float, numbers)] if set(map(type, numbers)) <= {float, int} else [math.nan]
    except OverflowError:  # an integer of hundreds of digits
        vector = [math.nan]
    if not all(map(math.isfinite, vector)):
        raise VectorsError("a vector holds something that is not a finite number")
    return vector
