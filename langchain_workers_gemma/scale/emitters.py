"""Where finished rows go: into the output file, or to the consumer of `map_rows`."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO

from langchain_workers_gemma.scale.local import Wake
from langchain_workers_gemma.scale.plan import MapPlan
from langchain_workers_gemma.scale.progress import ProgressBar
from langchain_workers_gemma.scale.report import MapReport
from langchain_workers_gemma.scale.rows import Result, Row, merge, to_output_line

_FLUSH_INTERVAL = 1.0  # seconds after which finished rows are flushed to the output file
_MAX_QUEUED_ROWS = 250  # finished rows that wait for the consumer of `map_rows`


class FileEmitter:
    """Writes finished rows to the output file."""

    is_full = False

    def __init__(self, file: BinaryIO, bar: ProgressBar | None) -> None:
        self._file = file
        self._bar = bar
        self._flushed = 0.0

    def emit(self, row: Row, result: Result) -> None:
        """Write a finished row."""
        self._file.write(to_output_line(row, result))

    def update_progress(self, plan: MapPlan) -> None:
        """Show the state of the run, and flush the file from time to time."""
        now = time.monotonic()
        if now - self._flushed >= _FLUSH_INTERVAL:
            self._file.flush()
            self._flushed = now
        if self._bar is not None:
            self._bar.update(plan.report)

    def finish(self, plan: MapPlan) -> None:
        """Show the state at the end of the run."""
        if self._bar is not None:
            self._bar.finish(plan.report)


class QueueEmitter:
    """Passes finished rows from the thread of the run to the thread of the consumer."""

    def __init__(self, bar: ProgressBar | None) -> None:
        self.report = MapReport()
        self.failure: BaseException | None = None
        self.wake: Wake | None = None
        self._bar = bar
        self._rows: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._waiting = False  # whether the run waits for the consumer to take rows
        self._abandoned = False  # whether the consumer has closed the iterator

    # --- In the thread of the run ---

    def produce(self, run: Callable[[QueueEmitter], Coroutine[Any, Any, None]]) -> None:
        """Execute the run on an event loop in this thread."""
        try:
            asyncio.run(self._produce(run))
        except asyncio.CancelledError:
            pass  # the consumer has closed the iterator
        except BaseException as error:  # noqa: BLE001 - raised in the consumer's thread
            self.failure = error
        finally:
            self._rows.put(None)

    async def _produce(self, run: Callable[[QueueEmitter], Coroutine[Any, Any, None]]) -> None:
        with self._lock:
            self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
            if self._abandoned:
                return
        try:
            await run(self)
        finally:
            with self._lock:
                self._loop = None

    @property
    def is_full(self) -> bool:
        """Whether the run must wait until the consumer takes rows."""
        if self._rows.qsize() < _MAX_QUEUED_ROWS:
            return False
        self._waiting = True  # set before the second check: a consumer that takes a row meanwhile sees it
        return self._rows.qsize() >= _MAX_QUEUED_ROWS

    def emit(self, row: Row, result: Result) -> None:
        """Pass a finished row on."""
        self._rows.put(merge(row, result))

    def update_progress(self, plan: MapPlan) -> None:
        """Show the state of the run."""
        self.report = plan.report
        if self._bar is not None:
            self._bar.update(plan.report)

    # --- In the thread of the consumer ---

    def take(self) -> dict[str, Any] | None:
        """Wait for the next row. Return `None` at the end."""
        row = self._rows.get()
        if self._waiting and self.wake is not None:
            self._waiting = False
            self._call(self.wake.set)
        return row

    def abandon(self) -> None:
        """Stop the run."""
        with self._lock:
            self._abandoned = True
        if self._main is not None:
            self._call(self._main.cancel)

    def _call(self, function: Callable[[], object]) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)
