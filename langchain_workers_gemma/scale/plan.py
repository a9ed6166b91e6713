"""The plan of a run: which row is next, whether a request may be sent, which rows are finished, and what they cost.

No I/O, no clock and no concurrency: the source of rows is an iterator, the time is an argument, and methods return the
records for the journal. `local` and `cluster` execute the plan.
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
"""Maximum number of attempts at a row that end in a retryable error."""

MAX_REFUSALS = 20
"""Maximum number of attempts at a row that the service refuses with HTTP 429. Each also slows the whole run."""

MAX_WINDOW_ROWS = 10_000
MAX_WINDOW_BYTES = 32 * 1024 * 1024
"""Maximum size of the window: finished rows that wait for an unfinished row before them. If it is full, no further row
is read."""

_MAX_RETRY_AFTER = 900.0  # seconds; the run stops if the service requests a longer wait
_INITIAL_DELAY = 0.5  # seconds before a row is retried
_MAX_DELAY = 30.0  # seconds

Record: TypeAlias = dict[str, Any]
"""A line of the journal."""

Source: TypeAlias = Iterator[tuple[Row, Result | None]]
"""Rows, each with its result if an earlier run has one."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request.

    Attributes:
        number: Its number, unique in the journal.
        reserved: The estimated cost of the request in US dollars.
    """

    number: int
    reserved: float

    def to_record(self) -> Record:
        """Return the record for the journal. Write it before the request is sent."""
        return {"permit": self.number, "reserved": self.reserved}


@dataclass(slots=True)
class _RowState:
    """The state of a row that has been attempted and has no result yet."""

    row: Row
    attempts: int = 0
    refusals: int = 0
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None


class MapPlan:
    """Decides what a run does next.

    Args:
        source: The rows, with results of earlier runs.
        pacer: Decides when requests may be sent.
        budget: Decides how much may be spent.
        next_permit: The first permit number that no earlier run has used.
        total: The number of rows, if known.
        utc_now: Returns the date and time, to compute when a quota resets.
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
        self._waiting: list[tuple[float, int]] = []  # (time, index) of rows that wait for a retry
        self._attempted: dict[int, _RowState] = {}  # rows in flight, and rows that wait for a retry
        self._window: dict[int, tuple[Row, Result]] = {}  # finished, not yet emitted
        self._window_bytes = 0
        self._emitted = 0
        self._report = MapReport(total=total)

    # --- State --------------------------------------------------------------------------------------------------------

    @property
    def report(self) -> MapReport:
        """The state of the run."""
        self._report.cost_usd = self._budget.spent
        self._report.lost = self._budget.lost
        return self._report

    @property
    def is_stopped(self) -> bool:
        """Whether no further request is sent."""
        return self._report.stopped is not None

    @property
    def is_drained(self) -> bool:
        """Whether every row has a result, and all have been emitted."""
        return self._exhausted and not self._attempted and not self._window

    @property
    def has_ready(self) -> bool:
        """Whether `take_ready` has a row to return."""
        return self._emitted in self._window

    @property
    def outstanding(self) -> int:
        """The number of permits that are neither settled nor written off."""
        return self._budget.outstanding

    def stop(self, reason: str) -> None:
        """Stop the run: send no further request. The rows without a result become rows with an error."""
        if self._report.stopped is None:
            self._report.stopped = reason

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def get_next_row(self, now: float) -> Row | None:
        """Return the next row to attempt.

        Returns:
            The row, or `None` if there is none now: all rows are in flight or finished, wait for a retry
            (`get_retry_time`), or the window is full and rows must be emitted first.
        """
        if self.is_stopped:
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
                self._attempted[row.index] = _RowState(row)
                return row
            if result is None:
                self._finish(row, Result(error=row.error))
            else:
                self._report.resumed += 1
                self._finish(row, result)
        return None

    def get_retry_time(self) -> float | None:
        """Return the time of the next retry, or `None` if no row waits for one."""
        return self._waiting[0][0] if self._waiting else None

    def take_ready(self) -> tuple[Row, Result] | None:
        """Return and remove the next row in the order of the input, or return `None` if it is not finished."""
        found = self._window.pop(self._emitted, None)
        if found is not None:
            self._emitted += 1
            self._window_bytes -= _estimate_size(*found)
        return found

    # --- Requests -----------------------------------------------------------------------------------------------------

    def request_permit(self, now: float, size: int, *, further: bool = False) -> Permit | float | None:
        """Return a permit for one request, if the limits allow it.

        Args:
            now: The time.
            size: Bytes of the row.
            further: Whether the row has a permit already, and needs another one for a further call. It must not wait
                for the budget, because the budget may be waiting for this row.

        Returns:
            The permit; or the seconds after which to try again, infinite if a reply must arrive first; or `None` if the
            run has stopped or the budget does not allow the further call.
        """
        if self.is_stopped:
            return None
        delay = self._pacer.get_delay(now)
        if delay > 0:
            return delay
        reserved = self._budget.reserve(self._next_permit, size, further=further)
        if reserved is None:
            if further:
                return None
            if self._budget.outstanding:
                return float("inf")
            self.stop(
                f"the cost limit of ${self._budget.limit:g} does not allow another request "
                f"(${self._budget.spent:.6f} spent). Run again with a higher limit to continue."
            )
            return None
        self._pacer.record_request(now)
        permit = Permit(self._next_permit, reserved)
        self._next_permit += 1
        return permit

    def return_permit(self, number: int) -> Record:
        """Release a permit for which no request was sent. Return the record for the journal."""
        self._budget.settle((number,), None)
        return {"settled": [number]}

    def write_off(self) -> None:
        """Count all outstanding requests as spent: their replies are lost."""
        self._budget.write_off()

    # --- Outcomes -----------------------------------------------------------------------------------------------------

    def settle(self, row: Row, outcome: Outcome, now: float) -> Record | None:
        """Process the outcome of an attempt.

        Args:
            row: The row.
            outcome: The outcome of the attempt.
            now: The time.

        Returns:
            The record for the journal, or `None` if there is nothing to record.
        """
        state = self._attempted[row.index]
        self._account(outcome, now)
        state.usage = _add_usage(state.usage, outcome.usage)
        if outcome.cost_usd is not None:
            state.cost_usd = (state.cost_usd or 0.0) + outcome.cost_usd
        record: Record = {}
        if outcome.permits and not outcome.may_be_billed:
            record["settled"] = list(outcome.permits)
            if outcome.cost_usd:
                record["paid"] = outcome.cost_usd
        result = self._make_result(state, outcome, now)
        if result is not None:
            record |= {"row": row.index, **result.to_fields()}
            del self._attempted[row.index]
            self._finish(row, result)
        return record or None

    def _account(self, outcome: Outcome, now: float) -> None:
        """Update pacer, budget and report with an outcome, and stop the run if no further row can succeed."""
        self._report.requests += len(outcome.permits)
        if outcome.may_be_billed:
            self._budget.write_off(outcome.permits)
        else:
            self._budget.settle(outcome.permits, outcome.cost_usd)
        if outcome.status == "done":
            self._pacer.record_success()
        if outcome.status == "refused":
            self._pacer.record_refusal(now, outcome.retry_after, rate_limit=outcome.rate_limit)
            if (outcome.retry_after or 0.0) > _MAX_RETRY_AFTER:
                self.stop(f"the service requests a wait of {outcome.retry_after:.0f} seconds. {outcome.error}")
        if outcome.status == "stop":
            self.stop(f"{outcome.error}{_format_reset_advice(self._utc_now()) if outcome.quota_exhausted else ''}")
        if self._budget.limit is not None and outcome.answered and outcome.cost_usd is None:
            self.stop("the cost of the replies is unknown, so the cost limit does not work: no price is published.")

    def _make_result(self, state: _RowState, outcome: Outcome, now: float) -> Result | None:
        """Return the result of a row, or `None` if the row must be attempted again or stays unsent."""
        if outcome.status == "done":
            return Result(outcome.output, state.usage, state.cost_usd)
        state.attempts += outcome.status == "retry"
        state.refusals += outcome.status == "refused"
        is_exhausted = state.attempts >= MAX_ATTEMPTS or state.refusals >= MAX_REFUSALS
        if outcome.status == "failed" or is_exhausted:
            return Result(error=outcome.error, usage=state.usage, cost_usd=state.cost_usd)
        delay = _choose_delay(state.attempts) if outcome.status == "retry" else 0.0
        heapq.heappush(self._waiting, (now + delay, state.row.index))
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
        """Finish the waiting rows, and as many unread rows as the window can take, with an error: they are not sent."""
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
    """Estimate the bytes of memory that a finished row takes."""
    output = result.output
    return row.size + (len(output) if isinstance(output, str) else len(str(output))) + 500


def _choose_delay(attempts: int) -> float:
    max_delay: float = min(_INITIAL_DELAY * 2 ** (attempts - 1), _MAX_DELAY)
    return max_delay * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret


def _add_usage(total: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the sum of two token usages, including their details."""
    if total is None or more is None:
        return more if total is None else total
    summed = dict(total)
    for key, value in more.items():
        known = summed.get(key)
        summed[key] = _add_usage(known or {}, value) if isinstance(value, dict) else (known or 0) + value
    return summed


def _format_reset_advice(now: datetime) -> str:
    """Return a sentence with the time of the next reset of the free allocation, which is 00:00 UTC."""
    reset = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes = divmod(int((reset - now).total_seconds()) // 60, 60)
    return f"\nThat is on {reset:%Y-%m-%d}, in {hours} h {minutes:02} min. Run again then to continue."
