"""Execute a plan on the workers of a `dask.distributed` scheduler.

Each attempt at a row is one Dask future. Dask decides which worker runs it, and runs it on another worker if that one
dies. Before an attempt sends a request, it takes a permit from a Dask `Queue`. Only the driver, the process that called
`map_rows` or `map_file`, puts permits into the queue. So the rate limit, a pause after a refusal and the cost limit
hold for the requests of all workers together, including attempts that Dask repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import pickle
import time
import uuid
from collections import deque
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Final, TypeAlias

from langchain_workers_gemma.scale.errors import MapStoppedError
from langchain_workers_gemma.scale.local import Emitter, Wake, Write, emit_ready
from langchain_workers_gemma.scale.outcome import UNSENT, Outcome, make_failure
from langchain_workers_gemma.scale.plan import MapPlan
from langchain_workers_gemma.scale.rows import Row
from langchain_workers_gemma.scale.task import RowTask

# `distributed` has no complete type hints.
Client: TypeAlias = Any
Future: TypeAlias = Any
Queue: TypeAlias = Any
Completed: TypeAlias = Any

INSTALL_COMMAND = 'pip install "langchain-workers-gemma[scale]"'

# Items of the queue that are not numbers of permits.
_STOP: Final = "stop"  # the run is stopping
_LATER: Final = "later"  # no permit is available now: the attempt ends, and the row is attempted again later
_CONNECT_TIMEOUT = 15.0  # seconds
_MAX_WAIT = 10.0  # seconds within which the driver answers each attempt that waits for a permit
_PERMIT_TIMEOUT = 30.0  # seconds after which an attempt assumes that the driver is dead
_FURTHER_WAITS = 5  # how often an attempt that has sent a request waits for the permit of its next one
_POLL_INTERVAL = 0.25  # seconds between two checks of a delayed permit


class ClusterRunner:
    """Attempts rows on a cluster.

    Args:
        plan: The plan of the run.
        task: The task for each row.
        write: Writes a record to the journal.
        emitter: Receives the finished rows.
        concurrency: Maximum number of submitted futures. The threads of the cluster limit how many of them run.
        scheduler: The scheduler's address.

    Raises:
        ImportError: If `distributed` is not installed.
        ValueError: If the task cannot be pickled.
    """

    def __init__(
        self, plan: MapPlan, task: RowTask, write: Write, emitter: Emitter, concurrency: int, scheduler: str
    ) -> None:
        self._plan = plan
        self._task = _pickle(task)
        self._write = write
        self._emitter = emitter
        self._concurrency = concurrency
        self._scheduler = scheduler
        self._name = f"workers-gemma-map-{uuid.uuid4().hex}"
        self._submitted = 0
        self._rows: dict[str, Row] = {}  # submitted rows, by the key of their future
        self._suspects: deque[Row] = deque()  # rows whose workers died; each is attempted again while no other one is
        self._suspected: set[int] = set()  # the indexes of all rows that were ever in `_suspects`
        self._suspect_key: str | None = None  # the key of the future of the suspect that is attempted now
        self._is_blocked = False  # whether the budget allows no request before a reply arrives
        self._pending_permit: int | None = None  # the permit that waits for a free place in the queue
        self._submitted_event = asyncio.Event()  # set when a future has been submitted
        self.wake = Wake()

    async def run(self) -> None:
        """Run the plan to its end.

        When the run is cancelled, it sends no further request, waits for the replies in flight and keeps them.

        Raises:
            MapStoppedError: If the connection to the scheduler fails or closes.
        """
        distributed = _import_distributed()
        closed: type[OSError] = distributed.comm.CommClosedError
        try:
            client = await distributed.Client(
                self._scheduler, asynchronous=True, set_as_default=False, timeout=_CONNECT_TIMEOUT
            )
        except (OSError, ValueError) as error:
            raise MapStoppedError(f"Cannot connect to the scheduler at {self._scheduler!r}: {error}") from error
        async with client:
            queue = await distributed.Queue(self._name, client=client, maxsize=1)
            completed = distributed.as_completed(loop=client.loop, with_results=True, raise_errors=False)
            helpers = [
                asyncio.create_task(self._grant_permits(queue)),
                asyncio.create_task(self._collect_outcomes(completed)),
            ]
            for helper in helpers:
                helper.add_done_callback(lambda _: self.wake.set())
            try:
                await self._run_loop(client, completed, helpers)
            except closed as error:
                raise self._make_lost_error() from error
            except asyncio.CancelledError:
                self._plan.stop("interrupted.")
                while self._rows and not any(helper.done() for helper in helpers):
                    await self.wake.wait(1.0)
                raise
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                with contextlib.suppress(closed):  # permits that stay in the queue count as lost replies
                    await self._return_unclaimed(queue)

    async def _run_loop(self, client: Client, completed: Completed, helpers: list[asyncio.Task[None]]) -> None:
        while True:
            emit_ready(self._plan, self._emitter)
            for helper in helpers:
                if helper.done():
                    helper.result()
            if self._plan.is_drained and not self._rows:
                return
            if self._is_blocked and not self._rows:
                self._plan.write_off()  # the workers that took these permits have died
                self._is_blocked = False
            started = self._submit(client, completed)
            if started or self._plan.is_drained or (self._plan.has_ready and not self._emitter.is_full):
                await asyncio.sleep(0)
            else:
                retry_at = self._plan.get_retry_time()
                await self.wake.wait(1.0 if retry_at is None else max(retry_at - time.monotonic(), 0.01))

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _submit(self, client: Client, completed: Completed) -> bool:
        """Submit rows until the maximum number of futures is in flight. Return whether a row was submitted."""
        started = False
        while len(self._rows) < self._concurrency and not self._is_blocked:
            is_suspect = bool(self._suspects) and self._suspect_key is None
            row = self._suspects.popleft() if is_suspect else self._plan.get_next_row(time.monotonic())
            if row is None:
                break
            started = True
            try:
                data = pickle.dumps(dict(row.data))
            except Exception as error:  # noqa: BLE001 - pickling runs the row's own code
                self._settle(row, make_failure(error))
                continue
            key = f"{self._name}-{self._submitted}"
            self._submitted += 1
            self._rows[key] = row
            if is_suspect:
                self._suspect_key = key
            future = client.submit(_attempt, self._task, data, self._name, key=key, pure=False)
            completed.add(future)
            self._submitted_event.set()
        return started

    async def _collect_outcomes(self, completed: Completed) -> None:
        """Settle the rows whose futures are done."""
        while True:
            await self._submitted_event.wait()
            self._submitted_event.clear()
            async for future, result in completed:
                row = self._rows.pop(future.key)
                if future.key == self._suspect_key:
                    self._suspect_key = None
                if self._is_first_suspicion(row, future, result):
                    self._suspected.add(row.index)
                    self._suspects.append(row)
                else:
                    self._settle(row, self._get_outcome(future, result))
                self.wake.set()

    def _is_first_suspicion(self, row: Row, future: Future, result: Any) -> bool:
        """Return whether Dask reports for the first time that the workers of a row died.

        Dask reports every task that a dying worker had, so a row that kills its workers makes other rows fail too. Each
        of these rows is attempted once more while no other one is. A row that fails then is the cause.
        """
        has_killed_worker = future.status == "error" and isinstance(result[1], _import_distributed().KilledWorker)
        return has_killed_worker and row.index not in self._suspected

    def _settle(self, row: Row, outcome: Outcome) -> None:
        self._write(self._plan.settle(row, outcome, time.monotonic()), row)

    def _get_outcome(self, future: Future, result: Any) -> Outcome:
        """Return the outcome of a future.

        Raises:
            MapStoppedError: If the future was lost together with the scheduler.
        """
        if future.status == "finished":
            outcome: Outcome = result
            return outcome
        if future.status != "error":
            raise MapStoppedError(
                f"The connection to the scheduler at {self._scheduler!r} was lost. Run again to continue."
            )
        error = result[1]
        if isinstance(error, _import_distributed().KilledWorker):
            return Outcome("failed", error=f"KilledWorker: each worker that attempted this row died. {error}")
        # An attempt catches the errors of its row, so this is an error of the worker, such as a missing package.
        return Outcome("stop", error=f"a worker cannot run an attempt. {type(error).__name__}: {error}")

    def _make_lost_error(self) -> MapStoppedError:
        return MapStoppedError(f"The connection to the scheduler at {self._scheduler!r} closed. Run again to continue.")

    # --- Permits ------------------------------------------------------------------------------------------------------

    async def _grant_permits(self, queue: Queue) -> None:
        """Put permits into the queue, as fast as attempts take them and the limits allow.

        An attempt blocks a thread of its worker while it waits. It stops waiting after `_PERMIT_TIMEOUT`, so that it
        does not wait indefinitely after the driver was killed. While the driver runs, an attempt must not reach that
        timeout: if no permit is available for long, the driver puts `_LATER` into the queue.
        """
        while True:
            if not self._rows:
                await self._submitted_event.wait()
            if not self._rows:
                await asyncio.sleep(_POLL_INTERVAL)
                continue
            permit = self._plan.request_permit(time.monotonic(), max(row.size for row in self._rows.values()))
            self._is_blocked = permit == math.inf
            if self._is_blocked:
                await queue.put(_LATER)  # no row may block a thread while the budget waits for replies
            elif isinstance(permit, float):
                max_wait = _MAX_WAIT / len(self._rows)
                await asyncio.sleep(min(permit, max_wait, _POLL_INTERVAL))
                if permit > max_wait:
                    await queue.put(_LATER)
            elif permit is None:
                await queue.put(_STOP)
            else:
                self._write(permit.to_record(), None)
                self._pending_permit = permit.number
                await queue.put(permit.number)
                self._pending_permit = None

    async def _return_unclaimed(self, queue: Queue) -> None:
        """Return the permits that no attempt has taken to the plan."""
        if queue.client.status != "running":
            return
        unclaimed = {item for item in await queue.get(batch=True) if isinstance(item, int)}
        if self._pending_permit is not None:
            unclaimed.add(self._pending_permit)
        for number in unclaimed:
            self._write(self._plan.return_permit(number), None)
        queue.close()


# --- On a worker ------------------------------------------------------------------------------------------------------


def _attempt(task: bytes, data: bytes, queue_name: str) -> Outcome:
    """Wait for a permit and attempt a row. Runs in a thread of a worker."""
    permit = _await_permit(queue_name)
    if permit is None:
        return UNSENT
    row = pickle.loads(data)  # noqa: S301 - Dask's own transport is pickle
    return _unpickle(task).run(row, permit, partial(_await_permit, queue_name, _FURTHER_WAITS))


def _await_permit(queue_name: str, waits: int = 1) -> int | None:
    """Wait for a permit and return its number.

    Returns:
        The number, or `None` if no permit is available now, the run is stopping, or the driver is dead.
    """
    for _ in range(waits):
        try:
            item = _open_queue(queue_name).get(timeout=_PERMIT_TIMEOUT)
        except (TimeoutError, KeyError):  # KeyError: the queue was deleted
            return None
        if item != _LATER:
            return None if item == _STOP else int(item)
    return None


@lru_cache(maxsize=8)
def _open_queue(name: str) -> Queue:
    distributed = _import_distributed()
    return distributed.Queue(name, client=distributed.get_client(), maxsize=1)


@lru_cache(maxsize=8)
def _unpickle(task: bytes) -> RowTask:
    loaded: RowTask = pickle.loads(task)  # noqa: S301 - as above
    return loaded


def _import_distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise ImportError(f"scheduler=... needs the package {error.name!r}. Install it: {INSTALL_COMMAND}") from error


def _pickle(task: RowTask) -> bytes:
    _import_distributed()
    try:
        data: bytes = import_module("cloudpickle").dumps(task)
    except Exception as error:
        raise ValueError(f"runnable cannot be pickled to send it to the workers of a cluster: {error}") from error
    return data
