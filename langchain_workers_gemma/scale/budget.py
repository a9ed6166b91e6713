"""The budget of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_RESERVE_FACTOR = 1.5  # times the cost of the most expensive request so far is reserved for each request


class Budget:
    """A limit on the cost of a run. Requests in flight count toward it.

    Before a request is sent, an estimate of its cost is reserved. When its reply arrives, its real cost replaces the
    estimate. The estimate is 1.5 times the cost of the most expensive request so far, and proportionally more for a row
    that is larger than all rows before it. Until the first reply there is no estimate, so only one request is sent. The
    estimate of a lost reply (a worker died, or the run was killed) counts as spent: the service probably billed it.

    Args:
        limit: US dollars, or `None` for no limit.
        spent: US dollars that earlier runs spent.
        largest: The cost of the most expensive request of earlier runs, or 0 if it is unknown.
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
        """The number of requests that were allowed and are neither settled nor written off."""
        return len(self._reserved)

    def reserve(self, permit: int, size: int, *, further: bool = False) -> float | None:
        """Reserve the cost of a request.

        Args:
            permit: The number of the request.
            size: Bytes of its row.
            further: Whether the same row has another request in flight.

        Returns:
            The reserved US dollars, or `None` if the limit does not allow the request now.
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
        """Replace the reservations of requests with their real cost.

        Args:
            permits: The numbers of the requests.
            cost: The cost of all of them together, or `None` if it is unknown.
        """
        size = 0
        for permit in permits:
            estimate, row_size = self._reserved.pop(permit, (0.0, 0))
            self._total_reserved -= estimate
            size = max(size, row_size)
        if not self._reserved:
            self._total_reserved = 0.0  # removes rounding errors
        if cost is not None:
            self.spent += cost
            self._known = True
            self._largest = max(self._largest, cost / max(len(permits), 1))
            self._largest_size = max(self._largest_size, size)

    def write_off(self, permits: Sequence[int] | None = None) -> None:
        """Count the reservations of lost replies as spent.

        Args:
            permits: The numbers of the requests, or `None` for all outstanding requests.
        """
        for permit in list(self._reserved) if permits is None else permits:
            reservation = self._reserved.pop(permit, None)
            if reservation is not None:
                self.lost += 1
                self.spent += reservation[0]
                self._total_reserved -= reservation[0]
