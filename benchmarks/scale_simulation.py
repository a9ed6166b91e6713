"""Map 100,000 rows with `map_file` and a service with latency, faults and a rate limit, in one process and on Dask.

    python -m benchmarks.scale_simulation [--rows N] [--rate N] [--workers 0 1 2 4]

Each run has its own service, driver and (if there are workers) Dask cluster, in separate processes. The service counts
its answers, so "lost" and "paid twice" are the service's figures, not the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.map_service import USAGE, Behaviour, MapService

AVERAGE_LATENCY = 0.2  # seconds, on average
FAULT_RATE = 0.02
THREADS = 64  # of all workers together
_SPAWN = multiprocessing.get_context("spawn")
_SAMPLE_INTERVAL = 1.0  # seconds
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run.

    Attributes:
        workers: The number of Dask workers, 0 for one process without Dask.
        rows: The number of rows of the data set.
        seconds: The time from the first request to the last, by the service's clock.
        service: The service's counts.
        complete: Whether each row is in the output once and in order, with its own answer.
        driver_cpu: CPU seconds of the driver.
        worker_cpu: CPU seconds of the workers and of the process with the scheduler.
        memory: The driver's memory in MB after a tenth of the rows, and at the end.
        journal: The size of the journal in bytes.
        killed: The number of workers that were killed.
    """

    workers: int
    rows: int
    seconds: float
    service: dict[str, Any]
    complete: bool
    driver_cpu: float
    worker_cpu: float
    memory: tuple[float, float]
    journal: int
    killed: int


def _serve(behaviour: Behaviour, sender: Any) -> None:
    async def main() -> None:
        service = MapService(behaviour)
        await service.start()
        sender.send(service.base_url)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def run_service(behaviour: Behaviour) -> Iterator[str]:
    """Run a service in a separate process and yield its URL."""
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_serve, args=(behaviour, sender), daemon=True)
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.terminate()
        process.join()


class _MemorySampler:
    """Measures the memory of this process after a tenth of the rows and at the end."""

    def __init__(self, target: Path, tenth: int) -> None:
        self._target = target
        self._tenth = tenth  # output size in bytes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.early = 0.0
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_INTERVAL):
            if not self.early and self._target.exists() and self._target.stat().st_size >= self._tenth:
                self.early = _get_memory()

    def end(self) -> tuple[float, float]:
        self._ended.set()
        return self.early, _get_memory()


def _get_memory() -> float:
    megabytes: float = psutil.Process().memory_info().rss / _MB
    return megabytes


def _run_driver(url: str, folder: Path, rows: int, rate: float, scheduler: str | None, results: Any) -> None:
    """Map the rows as a user's program does, and send the CPU time and the memory to the parent process."""
    from langchain_workers_gemma import ChatWorkersGemma
    from langchain_workers_gemma.scale import map_file

    llm = ChatWorkersGemma(base_url=url, account_id="account", api_token="a-token", max_tokens=64)
    target = folder / "out.jsonl"
    sampler = _MemorySampler(target, tenth=rows * 200 // 10)
    started = time.process_time()
    report = map_file(
        folder / "in.jsonl", target, llm, prompt="Label: {text}", max_concurrency=4 * THREADS, rate=rate,
        scheduler=scheduler,
    )  # fmt: skip
    assert report.complete, report
    results.send((time.process_time() - started, sampler.end()))


def run_once(rows: int, rate: int, workers: int, *, kill: bool = False) -> RunResult:
    """Map one data set and return the figures.

    Args:
        rows: The number of rows.
        rate: The limit on requests per minute, of the service and of the client.
        workers: The number of Dask workers, 0 for one process without Dask.
        kill: Whether to kill a worker after half of the rows.
    """
    behaviour = Behaviour(latency=AVERAGE_LATENCY, fault_rate=FAULT_RATE, requests_per_minute=rate)
    with tempfile.TemporaryDirectory() as name, run_service(behaviour) as url, _start_cluster(workers) as cluster:
        folder = Path(name)
        with (folder / "in.jsonl").open("w") as file:
            file.writelines(json.dumps({"id": row, "text": f"this is row {row}"}) + "\n" for row in range(rows))
        receiver, sender = _SPAWN.Pipe(duplex=False)
        address = None if cluster is None else cluster.scheduler_address
        before = time.process_time()
        driver = _SPAWN.Process(target=_run_driver, args=(url, folder, rows, rate, address, sender))
        driver.start()
        if kill:
            _kill_halfway(cluster, folder / "out.jsonl", rows)
        driver_cpu, memory = receiver.recv()
        driver.join()
        worker_cpu = time.process_time() - before + _get_worker_cpu(cluster)
        counted = _fetch_counts(url)
        return RunResult(
            workers, rows, counted["seconds"], counted, _is_complete(folder / "out.jsonl", rows), driver_cpu,
            worker_cpu if cluster else 0.0, memory, (folder / "out.jsonl.journal").stat().st_size, int(kill),
        )  # fmt: skip


@contextmanager
def _start_cluster(workers: int) -> Iterator[Any]:
    if not workers:
        yield None
        return
    from distributed import LocalCluster

    threads = max(THREADS // workers, 1)
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=True,
        dashboard_address="127.0.0.1:0",
        memory_limit=None,
    ) as cluster:
        yield cluster


def _get_worker_pids(cluster: Any) -> list[int]:
    return [nanny.process.pid for nanny in cluster.workers.values() if nanny.process is not None]


def _get_worker_cpu(cluster: Any) -> float:
    if cluster is None:
        return 0.0
    times = [psutil.Process(pid).cpu_times() for pid in _get_worker_pids(cluster)]
    return sum(used.user + used.system for used in times)


def _kill_halfway(cluster: Any, target: Path, rows: int) -> None:
    """Kill a worker after half of the rows. Its nanny starts a new one."""
    while not target.exists() or target.stat().st_size < rows * 200 // 2:
        time.sleep(_SAMPLE_INTERVAL)
    psutil.Process(_get_worker_pids(cluster)[0]).kill()


def _fetch_counts(url: str) -> dict[str, Any]:
    import httpx

    found: dict[str, Any] = httpx.get(f"{url}/counts", trust_env=False).json()
    return found


def _is_complete(target: Path, rows: int) -> bool:
    with target.open() as file:
        return all(
            row["id"] == index and row["output"] == f"answer {index}"
            for index, row in enumerate(map(json.loads, file))
        ) and _count_lines(target) == rows  # fmt: skip


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def format_table(runs: list[RunResult], rate: int) -> str:
    """Return the results as a Markdown table."""
    head = (
        "| run | rows | time | rows per minute | of the limit | most in a minute | lost | paid twice | "
        "driver CPU per row | workers and scheduler CPU per row | driver memory at 10 % and at the end |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    return head + "\n".join(_format_row(run, rate) for run in runs)


def _format_row(run: RunResult, rate: int) -> str:
    name = "one process" if not run.workers else f"{run.workers} workers" if run.workers > 1 else "1 worker"
    requests = run.service["requests"] / run.seconds * 60
    lost = run.rows - run.service["rows"]
    return (
        f"| {name}{', one killed' if run.killed else ''} | {run.rows:,} | {run.seconds:.0f} s | "
        f"{run.rows / run.seconds * 60:,.0f} | {requests / rate:.1%} | {run.service['most_in_a_minute']:,} | "
        f"{lost if run.complete else 'INCOMPLETE'} | {run.service['answers'] - run.service['rows']} | "
        f"{run.driver_cpu / run.rows * 1000:.2f} ms | "
        f"{'' if not run.workers else f'{run.worker_cpu / run.rows * 1000:.2f} ms'} | "
        f"{run.memory[0]:.0f} MB, {run.memory[1]:.0f} MB |"
    )


def extrapolate(run: RunResult, rows: int = 10**9) -> str:
    """Return an estimate of the time and cost of a larger data set, based on the result of a run."""
    from langchain_workers_gemma.models import get_model

    model = get_model("@cf/google/gemma-4-26b-a4b-it")
    assert model is not None
    cost = model.cost_usd(USAGE["prompt_tokens"] * rows, USAGE["completion_tokens"] * rows)
    assert cost is not None
    core_days = rows / run.rows / 86_400
    lines = [
        f"{rows:,} rows of {USAGE['prompt_tokens']} tokens in and {USAGE['completion_tokens']} out: ${cost:,.0f}.",
        f"Journal: {run.journal / run.rows * rows / 1e9:,.0f} GB.",
        f"CPU in core days: driver {run.driver_cpu * core_days:,.0f}, others {run.worker_cpu * core_days:,.0f}.",
    ]
    fastest = run.rows / run.driver_cpu
    for rate in (300, 3_000, 30_000, int(fastest * 60)):
        days = rows / rate / 60 / 24
        lines.append(
            f"At {rate:,} requests per minute: {days:,.0f} days ({days / 365.25:,.1f} years), "
            f"{max(rate / 60 * 5.0, 1):,.0f} concurrent requests if each takes 5 s."
        )
    lines.append(f"(The last rate is the maximum of a driver on one core: {fastest:,.0f} rows per second.)")
    return "\n".join(lines)


def main() -> None:
    """Run the simulation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=12_000, help="requests per minute")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="*",
        default=[0, 1, 2, 4],
        help="numbers of Dask workers, 0 for one process without Dask",
    )
    parser.add_argument("--kill", action="store_true", help="kill a worker of the last run after half of the rows")
    options = parser.parse_args()
    runs = []
    for workers in options.workers:
        last = workers == options.workers[-1]
        runs.append(run_once(options.rows, options.rate, workers, kill=options.kill and last and workers > 0))
        print(format_table(runs[-1:], options.rate).splitlines()[-1], flush=True)
    print(f"\n{format_table(runs, options.rate)}\n\n{extrapolate(runs[-1])}")


if __name__ == "__main__":
    main()
