"""Map rows: `map_file` and `map_rows`, the functions that users call."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias

from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.models import get_model
from langchain_workers_gemma.scale.budget import Budget
from langchain_workers_gemma.scale.emitters import FileEmitter, QueueEmitter
from langchain_workers_gemma.scale.errors import InputChangedError
from langchain_workers_gemma.scale.journal import Journal
from langchain_workers_gemma.scale.local import Emitter, LocalRunner, Wake, Write
from langchain_workers_gemma.scale.pacing import Pacer
from langchain_workers_gemma.scale.plan import MapPlan, Record, Source
from langchain_workers_gemma.scale.progress import ProgressBar
from langchain_workers_gemma.scale.report import MapReport
from langchain_workers_gemma.scale.rows import JsonlReader, Row, enumerate_rows
from langchain_workers_gemma.scale.task import AnyRunnable, RowTask, make_task
from langchain_workers_gemma.schemas import to_json_schema

DEFAULT_CONCURRENCY = 32
"""Maximum number of rows that are attempted at the same time in one process."""

DEFAULT_CLUSTER_CONCURRENCY = 256
"""Maximum number of rows submitted to a cluster. The threads of the cluster limit how many of them run."""

PathLike: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of a run: concurrency, rate and cost. Validated when created."""

    max_concurrency: int | None
    rate: float | None
    max_cost: float | None
    scheduler: str | None

    def __post_init__(self) -> None:
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise ValueError(f"max_concurrency={self.max_concurrency!r} must be at least 1.")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate={self.rate!r} must be a number of requests a minute above 0.")
        if self.max_cost is not None and not 0 < self.max_cost < math.inf:
            raise ValueError(f"max_cost={self.max_cost!r} must be a number of US dollars above 0.")

    @property
    def concurrency(self) -> int:
        return self.max_concurrency or (DEFAULT_CLUSTER_CONCURRENCY if self.scheduler else DEFAULT_CONCURRENCY)

    def make_plan(self, source: Source, journal: Journal | None, total: int | None) -> MapPlan:
        budget = Budget(self.max_cost)
        if journal is not None:
            budget = Budget(self.max_cost, spent=journal.spent, largest=journal.largest_cost)
            budget.lost = journal.lost
        # A worker of a cluster may keep a permit for a while before it sends the request. So the rate is 2 % lower.
        pacer = Pacer(self.rate, early=max(1, int((self.rate or 0.0) / 50)) if self.scheduler else 0)
        next_permit = 0 if journal is None else journal.next_permit
        return MapPlan(source, pacer, budget, next_permit=next_permit, total=total)

    def make_runner(self, plan: MapPlan, task: RowTask, write: Write, emitter: Emitter) -> _Runner:
        if self.scheduler is None:
            return LocalRunner(plan, task, write, emitter, self.concurrency)
        from langchain_workers_gemma.scale.cluster import ClusterRunner

        return ClusterRunner(plan, task, write, emitter, self.concurrency, self.scheduler)


class _Job:
    """What is done with each row, and within which limits.

    Raises:
        ValueError: If an argument is not valid.
    """

    def __init__(
        self, runnable: AnyRunnable, prompt: str | None, system: str | None, schema: Any, limits: _Limits
    ) -> None:
        _check_price(runnable, limits.max_cost)
        self.limits = limits
        self.task = make_task(runnable, prompt=prompt, system=system, schema=schema)
        self._runnable = runnable
        self._prompt = prompt
        self._system = system
        self._schema = schema

    def build_question(self) -> dict[str, Any]:
        """Return the settings that must be the same when a run is resumed, as JSON."""
        return {
            "prompt": self._prompt,
            "system": self._system,
            "schema": None if self._schema is None else to_json_schema(self._schema),
            "model": getattr(self._runnable, "model", type(self._runnable).__name__),
            "host": getattr(self._runnable, "host", None),
        }


def map_file(
    source: PathLike,
    target: PathLike,
    runnable: AnyRunnable,
    *,
    prompt: str | None = None,
    system: str | None = None,
    schema: Any = None,
    max_concurrency: int | None = None,
    rate: float | None = None,
    max_cost: float | None = None,
    scheduler: str | None = None,
    show_progress: bool = False,
) -> MapReport:
    """Send every row of a JSON Lines file to a model, and write the rows with their answers to another file.

    You can kill the run at any time. Call this function again to resume: rows that are finished in the journal
    `TARGET.journal` are not sent again, rows with an error are. During the run, `target` has the first rows, up to one
    that is not finished. At the end it has all rows, in the order of the input.

    Args:
        source: The input: one JSON object per line. Blank lines are skipped.
        target: The output. Each of its rows is the input row plus `output`, `usage` and `cost_usd`, or plus `error`.
        runnable: A chat model, or, without `prompt`, any runnable whose input is a row (a dict).
        prompt: The prompt, with `{field}` for the fields of a row.
        system: A system message before it.
        schema: Schema of the answer, as for `with_structured_output`. `output` is then an object.
        max_concurrency: Maximum number of rows in flight; by default 32, or 256 on a cluster.
        rate: Maximum number of requests per minute, over all workers.
        max_cost: Maximum cost in US dollars of this and earlier runs with the same journal.
        scheduler: The address of a `dask.distributed` scheduler whose workers send the requests.
        show_progress: Whether to show a progress bar on standard error.

    Returns:
        The state of the run at its end.

    Raises:
        ValueError: If an argument is not valid. `InputChangedError` if the journal belongs to another input or prompt,
            `JournalInUseError` if another run is writing to it.
        OSError: If a file cannot be read or written.
        MapStoppedError: If the connection to the scheduler fails or closes.
    """
    job = _Job(runnable, prompt, system, schema, _Limits(max_concurrency, rate, max_cost, scheduler))
    source_path, target_path = Path(source), Path(target)
    journal_path = target_path.with_name(f"{target_path.name}.journal")
    _check_files(source_path, target_path, journal_path)
    return _map_file(job, source_path, target_path, journal_path, ProgressBar() if show_progress else None)


def map_rows(
    rows: Iterable[Mapping[str, Any]],
    runnable: AnyRunnable,
    *,
    prompt: str | None = None,
    system: str | None = None,
    schema: Any = None,
    max_concurrency: int | None = None,
    rate: float | None = None,
    max_cost: float | None = None,
    scheduler: str | None = None,
    journal: PathLike | None = None,
    show_progress: bool = False,
) -> MappedRows:
    """Send every row of an iterable to a model.

    Rows are read when they are needed and returned in the same order, so they need not fit into memory.

    Args:
        rows: The rows, each a mapping.
        runnable: See `map_file`.
        prompt: See `map_file`.
        system: See `map_file`.
        schema: See `map_file`.
        max_concurrency: See `map_file`.
        rate: See `map_file`.
        max_cost: See `map_file`.
        scheduler: See `map_file`.
        journal: A file that stores finished rows. Call this function with it and the same rows to resume a run.
        show_progress: See `map_file`.

    Returns:
        An iterator over the rows, each with `output`, `usage` and `cost_usd`, or with `error`. Its `report` is the
        state of the run. The run starts when you take the first row, and stops when you close the iterator.

    Raises:
        ValueError: If an argument is not valid.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> rows = [{"text": "good"}, {"text": "bad"}]
        >>> [row["output"] for row in map_rows(rows, RunnableLambda(lambda row: row["text"].upper()))]
        ['GOOD', 'BAD']
    """
    job = _Job(runnable, prompt, system, schema, _Limits(max_concurrency, rate, max_cost, scheduler))
    bar = ProgressBar() if show_progress else None
    return MappedRows(QueueEmitter(bar), partial(_map_rows, job, rows, journal, bar))


class MappedRows(Iterator[dict[str, Any]]):
    """The rows of `map_rows`, in order. Closing it, or leaving its `with` block, stops the run."""

    def __init__(self, emitter: QueueEmitter, run: Callable[[QueueEmitter], Coroutine[Any, Any, None]]) -> None:
        self._emitter = emitter
        self._thread = threading.Thread(target=emitter.produce, args=(run,), name="map_rows", daemon=True)
        self._ended = False

    @property
    def report(self) -> MapReport:
        """The state of the run."""
        return self._emitter.report

    def __next__(self) -> dict[str, Any]:
        if self._ended:
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
        row = self._emitter.take()
        if row is None:
            self._ended = True
            self._thread.join()
            if self._emitter.failure is not None:
                raise self._emitter.failure
            raise StopIteration
        return row

    def close(self) -> None:
        """Stop the run. Waits for the replies in flight, so that they are in the journal."""
        self._ended = True
        if self._thread.ident is not None:
            self._emitter.abandon()
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    def __del__(self) -> None:
        if not self._ended and self._thread.ident is not None:
            self._emitter.abandon()


class _Runner(Protocol):
    """The interface of `LocalRunner` and `ClusterRunner`."""

    wake: Wake

    async def run(self) -> None:
        """Run the plan to its end."""


def _map_file(job: _Job, source: Path, target: Path, journal_path: Path, bar: ProgressBar | None) -> MapReport:
    with source.open("rb") as file:
        survey = JsonlReader(file).survey()
    with Journal(journal_path, job.build_question(), survey) as journal, source.open("rb") as file:
        reader = JsonlReader(file)
        plan = job.limits.make_plan(_resume(reader, journal), journal, survey.rows)
        with target.open("wb") as output:
            emitter = FileEmitter(output, bar)
            try:
                _run(lambda: job.limits.make_runner(plan, job.task, journal.write, emitter).run())
            finally:
                emitter.finish(plan)
        if reader.survey() != survey:
            raise InputChangedError(f"{str(source)!r} changed while it was read. Restore it and run again.")
    return plan.report


async def _map_rows(
    job: _Job,
    rows: Iterable[Mapping[str, Any]],
    journal: PathLike | None,
    bar: ProgressBar | None,
    emitter: QueueEmitter,
) -> None:
    with contextlib.ExitStack() as stack:
        opened = None if journal is None else stack.enter_context(Journal(Path(journal), job.build_question()))
        total = len(rows) if isinstance(rows, list | tuple) else None
        plan = job.limits.make_plan(_resume(enumerate_rows(rows), opened), opened, total)
        emitter.report = plan.report
        runner = job.limits.make_runner(plan, job.task, _discard if opened is None else opened.write, emitter)
        emitter.wake = runner.wake
        await runner.run()
        if bar is not None:
            bar.finish(plan.report)


def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end, even if this thread has a running event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(_call(make))
        return
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, _call(make)).result()


async def _call(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await make()


def _resume(rows: Iterable[Row], journal: Journal | None) -> Source:
    for row in rows:
        yield row, None if journal is None or row.error is not None else journal.get_result(row)


def _discard(record: Record | None, row: Row | None) -> None:
    """Do nothing: the run has no journal."""


def _check_price(runnable: AnyRunnable, max_cost: float | None) -> None:
    """Check that the cost of requests is known if there is a cost limit.

    Raises:
        ValueError: If no price of the model is published.
    """
    if max_cost is None or not isinstance(runnable, ChatWorkersGemma):
        return
    published = get_model(runnable.model, runnable.host)
    if published is None or published.input_price is None:
        raise ValueError(
            f"max_cost={max_cost!r} needs a published price, and {runnable.model!r} on {runnable.host!r} has none. "
            "Leave it out, and limit the cost by the number of rows and max_tokens."
        )


def _check_files(source: Path, target: Path, journal: Path) -> None:
    """Check that the input can be read and the output written.

    Raises:
        ValueError: If one of them cannot.
    """
    if not source.exists():
        raise ValueError(f"The input {str(source)!r} does not exist.")
    if not source.is_file():
        raise ValueError(f"The input {str(source)!r} must be a regular file, because it is read twice.")
    if not target.parent.is_dir():
        raise ValueError(f"The folder of the output {str(target)!r} does not exist.")
    if not target.exists():
        return
    if not target.is_file() or target.samefile(source):
        raise ValueError(f"The output {str(target)!r} must be a regular file, and not the input.")
    if target.stat().st_size and not journal.exists():
        raise ValueError(
            f"The output {str(target)!r} exists, but its journal {journal.name!r} does not, so it is not overwritten. "
            "Remove the output, or use another one."
        )
