"""The core of a run: which row is next, whether a request may be sent, what is done, what it cost.

No I/O, no clock and no concurrency here: the source of rows is an iterator, the time is an argument, and what has to be
written down is returned. `local` and `cluster` drive it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from langchain_workers_gemma.scale.budget import Budget
from langchain_workers_gemma.scale.outcome import Outcome
from langchain_workers_gemma.scale.pacing import Pacer
from langchain_workers_gemma.scale.report import MapReport
from langchain_workers_gemma.scale.rows import Result, Row

MAX_ATTEMPTS = 5
"""Attempts at a row that end in an error which may pass."""

MAX_REFUSALS = 20
"""Attempts at a row that the service refuses with HTTP 429; each also slows the whole run."""

MAX_WINDOW_ROWS = 10_000
MAX_WINDOW_BYTES = 32 * 1024 * 1024
"""Finished rows that wait for an unfinished one before them; beyond it no further row is read."""

_MAX_RETRY_AFTER = 900.0  # seconds; a service that asks for more stops the run
_INITIAL_DELAY = 0.5  # seconds before a row is retried
_MAX_DELAY = 30.0  # seconds

Record: TypeAlias = dict[str, Any]
"""A line of the journal."""

Source: TypeAlias = Iterator[tuple[Row, Result | None]]
"""Rows, each with its result if an earlier run has it."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request.

    Attributes:
        number: Its number, unique in the journal.
        reserved: What the request is estimated to cost.
    """

    number: int
    reserved: float

    def to_record(self) -> Record:
        """Return the journal's line, which has to be written before the request is sent."""
        return {"permit": self.number, "reserved": self.reserved}


@dataclass(slots=True)
class _Attempted:
    """A row that has been handed out."""

    row: Row
    attempts: int = 0
    refusals: int = 0
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None


class MapPlan:
    """Decides what a run does next.

    Args:
        source: The rows, with results of earlier runs.
        pacer: When requests may be sent.
        budget: What may be spent.
        next_permit: The first number that no earlier run has used.
        total: How many rows there are, if known.
        utc_now: Returns the date and time, to name the time at which a quota resets.
    """

    def __init__(
        self,
        source: Source,
        pacer: Pacer,
        budget: Budget,
        *,
        next_permit: int = 0,
        total: int | None = None,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._utc_now = utc_now
        self._pacer = pacer
        self._budget = budget
        self._next_permit = next_permit
        self._exhausted = False
        self._waiting: list[tuple[float, int]] = []  # (when, index) of rows to be retried
        self._attempted: dict[int, _Attempted] = {}  # handed out, or waiting to be retried
        self._window: dict[int, tuple[Row, Result]] = {}  # finished, not yet emitted
        self._window_bytes = 0
        self._emitted = 0
        self._report = MapReport(total=total)

    # --- State --------------------------------------------------------------------------------------------------------

    @property
    def report(self) -> MapReport:
        """The numbers so far."""
        self._report.cost_usd = self._budget.spent
        self._report.lost = self._budget.lost
        return self._report

    @property
    def stopped(self) -> bool:
        """Whether no further request is sent."""
        return self._report.stopped is not None

    @property
    def in_flight(self) -> int:
        """How many rows are handed out and have not returned."""
        return len(self._attempted) - len(self._waiting)

    @property
    def drained(self) -> bool:
        """Whether every row has a result, and all have been emitted."""
        return self._exhausted and not self._attempted and not self._window

    @property
    def has_ready(self) -> bool:
        """Whether `ready` has a row."""
        return self._emitted in self._window

    @property
    def outstanding(self) -> int:
        """How many permits are not accounted for."""
        return self._budget.outstanding

    def stop(self, reason: str) -> None:
        """Send no further request. The rows that are left become rows with an error."""
        if self._report.stopped is None:
            self._report.stopped = reason

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def get_next_row(self, now: float) -> Row | None:
        """Hand out the next row to attempt.

        Returns:
            The row; `None` if none can be handed out now: all are handed out, wait to be retried (`retry_at`), or
            the window is full and results have to be emitted first.
        """
        if self.stopped:
            self._finish_unsent()
            return None
        if self._waiting and self._waiting[0][0] <= now:
            return self._attempted[heapq.heappop(self._waiting)[1]].row
        while not self._exhausted and self._has_room():
            found = next(self._source, None)
            if found is None:
                self._exhausted = True
                return None
            row, result = found
            self._report.rows += 1
            if result is None and row.error is None:
                self._attempted[row.index] = _Attempted(row)
                return row
            if result is None:
                self._finish(row, Result(error=row.error))
            else:
                self._report.resumed += 1
                self._finish(row, result)
        return None

    def retry_at(self) -> float | None:
        """Return when the next row is to be retried, or `None` if none waits."""
        return self._waiting[0][0] if self._waiting else None

    def take_ready(self) -> tuple[Row, Result] | None:
        """Take the next finished row in the order of the input, or `None` if it is not finished."""
        found = self._window.pop(self._emitted, None)
        if found is not None:
            self._emitted += 1
            self._window_bytes -= _estimate_size(*found)
        return found

    # --- Requests -----------------------------------------------------------------------------------------------------

    def request_permit(self, now: float, size: int, *, further: bool = False) -> Permit | float | None:
        """Allow one request, if the limits permit it.

        Args:
            now: The time.
            size: Bytes of the row.
            further: Whether the row has a permit already, and needs another for a further call. It must not wait for
                the budget, which may be waiting for this very row.

        Returns:
            The permit; or the seconds after which to ask again, infinite if an answer has to arrive first; or `None` if
            the run has stopped or a further call has to be given up.
        """
        if self.stopped:
            return None
        delay = self._pacer.delay(now)
        if delay > 0:
            return delay
        reserved = self._budget.reserve(self._next_permit, size, further=further)
        if reserved is None:
            if further:
                return None
            if self._budget.outstanding:
                return float("inf")
            self.stop(
                f"the cost limit of ${self._budget.limit:g} leaves no room for another request "
                f"(${self._budget.spent:.6f} spent). Run again with a higher limit to go on."
            )
            return None
        self._pacer.take(now)
        permit = Permit(self._next_permit, reserved)
        self._next_permit += 1
        return permit

    def return_permit(self, number: int) -> Record:
        """Take back a permit for which no request was sent."""
        self._budget.settle((number,), None)
        return {"settled": [number]}

    def write_off(self) -> None:
        """Count all requests that are not accounted for as spent: their answers are lost."""
        self._budget.write_off()

    # --- Outcomes -----------------------------------------------------------------------------------------------------

    def settle(self, row: Row, outcome: Outcome, now: float) -> Record | None:
        """Take the outcome of an attempt.

        Args:
            row: The row that was handed out.
            outcome: How the attempt ended.
            now: The time.

        Returns:
            The journal's line, or `None` if there is nothing to write down.
        """
        attempted = self._attempted[row.index]
        self._account(outcome, now)
        attempted.usage = _add_usage(attempted.usage, outcome.usage)
        if outcome.cost_usd is not None:
            attempted.cost_usd = (attempted.cost_usd or 0.0) + outcome.cost_usd
        record: Record = {}
        if outcome.permits and not outcome.perhaps_billed:
            record["settled"] = list(outcome.permits)
            if outcome.cost_usd:
                record["paid"] = outcome.cost_usd
        result = self._make_result(attempted, outcome, now)
        if result is not None:
            record |= {"row": row.index, **result.to_fields()}
            del self._attempted[row.index]
            self._finish(row, result)
        return record or None

    def _account(self, outcome: Outcome, now: float) -> None:
        """Update pacer, budget and report with an outcome, and stop the run if no row can have an answer."""
        self._report.requests += len(outcome.permits)
        if outcome.perhaps_billed:
            self._budget.write_off(outcome.permits)
        else:
            self._budget.settle(outcome.permits, outcome.cost_usd)
        if outcome.status == "done":
            self._pacer.succeed()
        if outcome.status == "refused":
            self._pacer.refuse(now, outcome.retry_after, rate_limit=outcome.rate_limit)
            if (outcome.retry_after or 0.0) > _MAX_RETRY_AFTER:
                self.stop(f"the service asks to wait {outcome.retry_after:.0f} seconds. {outcome.error}")
        if outcome.status == "stop":
            self.stop(f"{outcome.error}{_reset_advice(self._utc_now()) if outcome.quota else ''}")
        if self._budget.limit is not None and outcome.answered and outcome.cost_usd is None:
            self.stop("answers carry no cost, so the cost limit cannot be kept: the model has no published price.")

    def _make_result(self, attempted: _Attempted, outcome: Outcome, now: float) -> Result | None:
        """Return the result of a row, or `None` if it has to be retried or is left unsent."""
        if outcome.status == "done":
            return Result(outcome.output, attempted.usage, attempted.cost_usd)
        attempted.attempts += outcome.status == "retry"
        attempted.refusals += outcome.status == "refused"
        given_up = attempted.attempts >= MAX_ATTEMPTS or attempted.refusals >= MAX_REFUSALS
        if outcome.status == "failed" or given_up:
            return Result(error=outcome.error, usage=attempted.usage, cost_usd=attempted.cost_usd)
        delay = _choose_delay(attempted.attempts) if outcome.status == "retry" else 0.0
        heapq.heappush(self._waiting, (now + delay, attempted.row.index))
        return None

    # --- Finishing ----------------------------------------------------------------------------------------------------

    def _finish(self, row: Row, result: Result) -> None:
        self._window[row.index] = (row, result)
        self._window_bytes += _estimate_size(row, result)
        if result.unsent:
            self._report.unsent += 1
        elif result.error is None:
            self._report.succeeded += 1
        else:
            self._report.failed += 1

    def _finish_unsent(self) -> None:
        """Return the rows that wait, and as many unread ones as the window holds, an error: they are not sent."""
        reason = (self._report.stopped or "").partition("\n")[0]
        unsent = Result(error=f"Not sent: {reason}", unsent=True)
        for _, index in self._waiting:
            self._finish(self._attempted.pop(index).row, unsent)
        self._waiting.clear()
        while not self._exhausted and self._has_room():
            found = next(self._source, None)
            if found is None:
                self._exhausted = True
                return
            row, result = found
            self._report.rows += 1
            self._report.resumed += result is not None
            if result is None:
                result = unsent if row.error is None else Result(error=row.error)
            self._finish(row, result)

    def _has_room(self) -> bool:
        return len(self._window) < MAX_WINDOW_ROWS and self._window_bytes < MAX_WINDOW_BYTES


def _estimate_size(row: Row, result: Result) -> int:
    """Return about how many bytes a finished row takes."""
    output = result.output
    return row.size + (len(output) if isinstance(output, str) else len(str(output))) + 500


def _choose_delay(attempts: int) -> float:
    longest: float = min(_INITIAL_DELAY * 2 ** (attempts - 1), _MAX_DELAY)
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret


def _add_usage(total: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the sum of two counts, details included."""
    if total is None or more is None:
        return more if total is None else total
    summed = dict(total)
    for key, value in more.items():
        known = summed.get(key)
        summed[key] = _add_usage(known or {}, value) if isinstance(value, dict) else (known or 0) + value
    return summed


def _reset_advice(now: datetime) -> str:
    """Return when the free allocation of Workers AI resets, which is at 00:00 UTC."""
    reset = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes = divmod(int((reset - now).total_seconds()) // 60, 60)
    return f"\nThat is on {reset:%Y-%m-%d}, in {hours} h {minutes:02} min: run again then to go on."
