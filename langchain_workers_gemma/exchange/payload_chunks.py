"""Split a list of inputs into requests within the service's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_PAYLOAD_BYTES = 10_000_000
"""A payload must stay under 10 MB (`docs/wire.md` section 8)."""


def split(sizes: Sequence[int], *, room: int, most: int | None = None) -> Iterator[slice]:
    """Yield slices of the inputs, in order, each as large as the limits allow; an oversized input has its own slice.

    Args:
        sizes: How many bytes each input takes in JSON.
        room: The bytes of a request for its inputs, with the commas between them.
        most: The most inputs of a request.

    Example:
        >>> list(split([4, 4, 4, 20, 1], room=9))
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    start, taken = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (taken + 1 + size > room or at - start == most):
            yield slice(start, at)
            start, taken = at, 0
        taken += size + (at > start)
    if start < len(sizes):
        yield slice(start, len(sizes))
