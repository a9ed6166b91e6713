"""`workers-gemma map --scheduler` keeps every limit when workers die or join, or the driver is killed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_workers_gemma.scale import map_rows
from tests.helpers.map_service import Behaviour, MapService
from tests.scale_tests.processes import COST, Cluster, Job, kill_process, run_cluster

THREADS = 6
"""The threads of each worker, so the number of requests in flight when it dies."""


@pytest.fixture
def service() -> Iterator[MapService]:
    with MapService(Behaviour(latency=0.02)) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, service: MapService) -> Job:
    return Job(tmp_path, service, rows=300)


@pytest.fixture
def cluster(tmp_path: Path, job: Job) -> Iterator[Cluster]:
    with run_cluster(tmp_path, job.environment) as running:
        yield running


def test_a_worker_and_then_the_driver_are_killed(cluster: Cluster, job: Job, service: MapService) -> None:
    """Each row is written once and in order. Finished rows are paid once, others at most once more for each kill."""
    chance = random.Random(1)
    service.behaviour = Behaviour(latency=0.02, fault_rate=0.05)
    options = ["--scheduler", cluster.address]
    first, _second = cluster.add_worker(THREADS), cluster.add_worker(THREADS)
    process = job.start(*options)
    service.wait_for_answers(chance.randrange(20, 80))
    first.kill()
    service.wait_for_answers(chance.randrange(100, 160))
    kill_process(process)
    known, before = job.read_outputs().keys(), service.counts.answered.copy()
    assert known
    cluster.add_worker(THREADS)
    code, error = job.run(*options)
    assert code == 0, error
    job.assert_complete()
    assert f"{len(known)} of them from earlier runs" in error
    assert all(service.counts.answered[row] == before[row] for row in known)
    # The rows in flight at both kills, and two permits that may wait for an attempt, may be paid twice.
    assert service.counts.answered.total() <= 300 + 3 * THREADS + 2


def test_the_cost_limit_is_kept_when_a_worker_dies(cluster: Cluster, job: Job, service: MapService) -> None:
    limit = 150 * COST
    first, _second = cluster.add_worker(THREADS), cluster.add_worker(THREADS)
    process = job.start("--scheduler", cluster.address, "--max-cost", f"{limit:.9f}")
    service.wait_for_answers(50)
    first.kill()
    _, error = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "the cost limit of" in error
    assert 120 <= service.counts.answered.total() <= 150
    assert sum("output" in row for row in job.read_target()) == len(job.read_outputs())
    assert len(job.read_target()) == 300


def test_the_rate_is_kept_when_workers_die_and_join(cluster: Cluster, job: Job, service: MapService) -> None:
    first = cluster.add_worker(THREADS)
    process = job.start("--scheduler", cluster.address, "--rate", "1800")
    service.wait_for_answers(60)
    cluster.add_worker(THREADS)
    service.wait_for_answers(120)
    first.kill()
    cluster.add_worker(THREADS)
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    job.assert_complete()
    arrivals = service.counts.arrivals
    assert arrivals[-1] - arrivals[0] >= (len(arrivals) - 1) * (60 / 1800) * 0.9


def test_a_quota_stops_all_workers(cluster: Cluster, job: Job, service: MapService) -> None:
    service.behaviour = Behaviour(latency=0.02, quota=60)
    cluster.add_worker(THREADS)
    cluster.add_worker(THREADS)
    code, error = job.run("--scheduler", cluster.address)
    assert code == 1
    assert "00:00 UTC" in error
    assert sum("output" in row for row in job.read_target()) == 60
    assert len(service.counts.arrivals) <= 60 + 6 * THREADS  # of 300: the answered rows and those in flight
    assert len(job.read_target()) == 300


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_and_a_new_run_continues(cluster: Cluster, job: Job, service: MapService) -> None:
    cluster.add_worker(THREADS)
    process = job.start("--scheduler", cluster.address)
    service.wait_for_answers(50)
    cluster.scheduler.kill()
    _, error = process.communicate(timeout=400)
    assert process.returncode == 1
    assert f"The connection to the scheduler at {cluster.address!r} closed. Run again to continue." in error
    assert "Traceback" not in error.partition("workers-gemma:")[2]
    assert job.run_in_process() == 0
    job.assert_complete()


def test_an_unreachable_scheduler_ends_with_exit_code_1(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from langchain_workers_gemma.scale import cluster

    monkeypatch.setattr(cluster, "_CONNECT_TIMEOUT", 0.5)
    assert job.run_in_process("--scheduler", "tcp://127.0.0.1:1") == 1
    assert "Cannot connect to the scheduler at 'tcp://127.0.0.1:1'" in capsys.readouterr().err


def _kill_worker_on_row_3(row: dict[str, Any]) -> str:
    if row["id"] == 3:
        os._exit(1)
    return f"answer {row['id']}"


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "threads"), [(2, 1), (1, 4)])
def test_only_a_row_that_kills_its_workers_has_an_error(workers: int, threads: int) -> None:
    """Rows that were in the same workers each time have an answer, though Dask reports `KilledWorker` for them too."""
    local_cluster = import_module("distributed").LocalCluster
    with local_cluster(
        n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        rows = [{"id": index} for index in range(8)]
        found = list(map_rows(rows, RunnableLambda(_kill_worker_on_row_3), scheduler=cluster.scheduler_address))
    assert [row.get("output") for row in found] == [None if index == 3 else f"answer {index}" for index in range(8)]
    assert found[3]["error"].startswith("KilledWorker: each worker that attempted this row died.")
