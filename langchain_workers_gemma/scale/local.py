"""Execute a plan in this process, on one event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from langchain_workers_gemma.scale.outcome import UNSENT
from langchain_workers_gemma.scale.plan import MapPlan, Permit, Record
from langchain_workers_gemma.scale.rows import Result, Row
from langchain_workers_gemma.scale.task import RowTask

Write: TypeAlias = Callable[[Record | None, Row | None], None]
"""Writes a record to the journal."""

_MAX_WAIT = 1.0  # seconds after which the loop of a runner wakes, to emit rows and update the progress


class Emitter(Protocol):
    """Receives the finished rows in the order of the input."""

    @property
    def is_full(self) -> bool:
        """Whether it can take no further row now."""

    def emit(self, row: Row, result: Result) -> None:
        """Receive a row."""

    def update_progress(self, plan: MapPlan) -> None:
        """Receive the progress of the run. Called often."""


class Wake:
    """An event that wakes the loop of a runner when an attempt has ended or rows can be emitted again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the loop."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until `set` is called, at most for a number of seconds."""
        try:
            async with asyncio.timeout(max(0.0, min(seconds, _MAX_WAIT))):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


def emit_ready(plan: MapPlan, emitter: Emitter) -> bool:
    """Emit the finished rows that are next in order. Return whether a row was emitted."""
    emitted = False
    while not emitter.is_full and (found := plan.take_ready()) is not None:
        emitter.emit(*found)
        emitted = True
    emitter.update_progress(plan)
    return emitted


class LocalRunner:
    """Attempts rows concurrently in this process.

    Args:
        plan: The plan of the run.
        task: The task for each row.
        write: Writes a record to the journal.
        emitter: Receives the finished rows.
        concurrency: Maximum number of rows that are attempted at the same time.
    """

    def __init__(self, plan: MapPlan, task: RowTask, write: Write, emitter: Emitter, concurrency: int) -> None:
        self._plan = plan
        self._task = task
        self._write = write
        self._emitter = emitter
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._row: Row | None = None  # the next row, waiting for its permit
        self._failure: BaseException | None = None
        self.wake = Wake()

    async def run(self) -> None:
        """Run the plan to its end.

        When the run is cancelled, it sends no further request, waits for the replies in flight and keeps them.
        """
        try:
            await self._run_loop()
        except BaseException:
            self._plan.stop("interrupted.")
            await asyncio.gather(*self._running, return_exceptions=True)
            raise

    async def _run_loop(self) -> None:
        while True:
            emit_ready(self._plan, self._emitter)
            if self._failure is not None:
                raise self._failure
            if self._plan.is_drained and not self._running:
                return  # both are checked: an attempt ends a moment after its row is settled
            seconds = self._start_attempt(time.monotonic())
            if seconds == 0 or self._plan.is_drained or (self._plan.has_ready and not self._emitter.is_full):
                await asyncio.sleep(0)
            else:
                await self.wake.wait(seconds)

    def _start_attempt(self, now: float) -> float:
        """Start an attempt if the limits allow one.

        Returns:
            Seconds after which to try again; 0 if an attempt was started or the row was settled.
        """
        if len(self._running) >= self._concurrency:
            return math.inf
        if self._row is None:
            self._row = self._plan.get_next_row(now)
        if self._row is None:
            retry_at = self._plan.get_retry_time()
            return math.inf if retry_at is None else max(retry_at - now, 0.001)
        permit = self._plan.request_permit(now, self._row.size)
        if isinstance(permit, float):
            return permit
        row, self._row = self._row, None
        if permit is None:
            self._plan.settle(row, UNSENT, now)
            return 0
        self._write(permit.to_record(), None)
        task = asyncio.create_task(self._attempt(row, permit))
        self._running.add(task)
        task.add_done_callback(self._end_attempt)
        return 0

    def _end_attempt(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error  # not an error of the row: the journal cannot be written
        self.wake.set()

    async def _attempt(self, row: Row, permit: Permit) -> None:
        outcome = await self._task.arun(row.data, permit.number, lambda: self._wait_for_permit(row))
        self._write(self._plan.settle(row, outcome, time.monotonic()), row)

    async def _wait_for_permit(self, row: Row) -> int | None:
        """Wait for the permit of one more request for a row."""
        while True:
            permit = self._plan.request_permit(time.monotonic(), row.size, further=True)
            if permit is None:
                return None
            if isinstance(permit, Permit):
                self._write(permit.to_record(), None)
                return permit.number
            await asyncio.sleep(min(permit, _MAX_WAIT))
