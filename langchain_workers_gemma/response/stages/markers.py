"""Find the beginning of a marker at the end of a text."""

from __future__ import annotations

from collections.abc import Sequence


def measure_open_suffix(text: str, markers: Sequence[str]) -> int:
    """Return the number of characters at the end of `text` that could still become one of `markers`.

    Example:
        >>> measure_open_suffix("so far </", ["</end>"])
        2
    """
    longest = max(map(len, markers)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        tail = text[-size:]
        if any(marker.startswith(tail) for marker in markers):
            return size
    return 0
