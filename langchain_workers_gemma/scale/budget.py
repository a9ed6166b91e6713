"""The budget of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_RESERVE_FACTOR = 1.5  # what is reserved for a request, in terms of the most expensive one so far


class Budget:
    """A limit on the cost of a run, which requests that are under way keep as well.

    Before a request is sent, an estimate of its cost is reserved; its real cost replaces the estimate when the answer
    is there. The estimate is half as much again as the most expensive request so far, and in proportion more for a row
    that is larger than all before. While no request has been answered, there is no estimate, so only one is under way.
    An answer that is lost (a worker died, the run was killed) counts as spent: it was probably billed.

    Args:
        limit: US dollars, or `None` for no limit.
        spent: What has been spent before.
        largest: The cost of the most expensive request before, if any is known.
    """

    def __init__(self, limit: float | None = None, *, spent: float = 0.0, largest: float = 0.0) -> None:
        self.limit = limit
        self.spent = spent
        self.lost = 0
        self._largest = largest
        self._largest_size = 0
        self._known = largest > 0
        self._reserved: dict[int, tuple[float, int]] = {}
        self._total_reserved = 0.0

    @property
    def outstanding(self) -> int:
        """How many requests have been allowed and are not accounted for."""
        return len(self._reserved)

    def reserve(self, permit: int, size: int, *, further: bool = False) -> float | None:
        """Reserve the cost of a request.

        Args:
            permit: The number of the request.
            size: Bytes of its row.
            further: Whether another request of the same row is under way.

        Returns:
            What was reserved, or `None` if the limit does not allow it now.
        """
        estimate = self._largest * _RESERVE_FACTOR
        if self._largest_size:
            estimate *= max(1.0, size / self._largest_size)
        if self.limit is not None:
            if not self._known and self._reserved and not further:
                return None
            if self.spent + self._total_reserved + estimate > self.limit or self.spent >= self.limit:
                return None
        self._reserved[permit] = (estimate, size)
        self._total_reserved += estimate
        return estimate

    def settle(self, permits: Sequence[int], cost: float | None) -> None:
        """Replace what was reserved for requests by what they cost together; `None` if none was answered."""
        size = 0
        for permit in permits:
            estimate, reserved_for = self._reserved.pop(permit, (0.0, 0))
            self._total_reserved -= estimate
            size = max(size, reserved_for)
        if not self._reserved:
            self._total_reserved = 0.0  # no rounding error stays
        if cost is not None:
            self.spent += cost
            self._known = True
            self._largest = max(self._largest, cost / max(len(permits), 1))
            self._largest_size = max(self._largest_size, size)

    def write_off(self, permits: Sequence[int] | None = None) -> None:
        """Count what was reserved for lost answers as spent.

        Args:
            permits: The requests, or `None` for all that are outstanding.
        """
        for permit in list(self._reserved) if permits is None else permits:
            found = self._reserved.pop(permit, None)
            if found is not None:
                self.lost += 1
                self.spent += found[0]
                self._total_reserved -= found[0]
