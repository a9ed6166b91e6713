"""Split a list of inputs into requests within the service's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MAX_PAYLOAD_BYTES = 10_000_000
"""The maximum size of a payload in bytes (`docs/wire.md` section 8)."""


def split(sizes: Sequence[int], *, max_bytes: int, max_count: int | None = None) -> Iterator[slice]:
    """Yield slices of the inputs, in order, each as large as the limits allow. An oversized input has its own slice.

    Args:
        sizes: The size of each input in JSON, in bytes.
        max_bytes: The maximum size of the inputs of one request, including the commas between them, in bytes.
        max_count: The maximum number of inputs in one request.

    Example:
        >>> list(split([4, 4, 4, 20, 1], max_bytes=9))
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    start, taken = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (taken + 1 + size > max_bytes or at - start == max_count):
            yield slice(start, at)
            start, taken = at, 0
        taken += size + (at > start)
    if start < len(sizes):
        yield slice(start, len(sizes))
