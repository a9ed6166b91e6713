"""The cluster runner with a cluster inside this process: every outcome except killed processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.scale import cluster as module
from langchain_workers_gemma.scale import map_file, map_rows
from langchain_workers_gemma.scale import plan as plan_module
from tests.helpers.map_service import Behaviour, MapService
from tests.scale_tests.processes import COST

THREADS = 4


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with import_module("distributed").LocalCluster(
        n_workers=2, threads_per_worker=THREADS, processes=False, dashboard_address="127.0.0.1:0", protocol="inproc"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def service() -> Iterator[MapService]:
    with MapService() as running:
        yield running


def make_llm(service: MapService) -> ChatWorkersGemma:
    return ChatWorkersGemma(base_url=service.base_url, account_id="account", api_token="secret-token")


def make_rows(count: int) -> list[dict[str, Any]]:
    return [{"id": index, "text": f"row {index}"} for index in range(count)]


def test_rows_return_in_order_with_faults_and_bad_rows(address: str, service: MapService) -> None:
    service.behaviour = Behaviour(fault_rate=0.1, bad_rows=frozenset({7}))
    rows = map_rows(make_rows(60), make_llm(service), prompt="{text}", scheduler=address)
    found = list(rows)
    assert [row["id"] for row in found] == list(range(60))
    assert [row["id"] for row in found if "error" in row] == [7]
    assert all(row["output"] == f"answer {row['id']}" for row in found if "error" not in row)
    assert rows.report.cost_usd == pytest.approx(59 * COST)
    assert rows.report.requests == len(service.counts.arrivals) == 60 + service.counts.faults


def test_limits(address: str, service: MapService, tmp_path: Path) -> None:
    service.behaviour = Behaviour(latency=0.01)
    rows = map_rows(make_rows(200), make_llm(service), prompt="{text}", scheduler=address, max_cost=50 * COST)
    found = list(rows)
    assert rows.report.stopped is not None
    assert rows.report.stopped.startswith("the cost limit")
    assert 45 <= service.counts.answered.total() <= 50
    assert sum("output" in row for row in found) == service.counts.answered.total()
    assert rows.report.lost == 0

    service.behaviour = Behaviour(quota=service.counts.answered.total() + 20)
    rows = map_rows(make_rows(200), make_llm(service), prompt="{text}", scheduler=address)
    assert sum("output" in row for row in list(rows)) == 20
    assert "00:00 UTC" in str(rows.report)


def test_max_concurrency_limits_the_rows_in_the_cluster(address: str, service: MapService) -> None:
    service.behaviour = Behaviour(latency=0.01)
    rows = map_rows(make_rows(10), make_llm(service), prompt="{text}", scheduler=address, max_concurrency=1)
    assert [row["output"] for row in rows] == [f"answer {index}" for index in range(10)]
    assert service.max_concurrent_requests == 1


def test_a_runnable_that_cannot_be_pickled(address: str, tmp_path: Path) -> None:
    lock = threading.Lock()
    source = tmp_path / "in.jsonl"
    source.write_text("{}\n")
    with pytest.raises(ValueError, match="runnable cannot be pickled to send it to the workers of a cluster"):
        map_file(source, tmp_path / "out.jsonl", RunnableLambda(lambda _: lock.locked()), scheduler=address)


def test_a_row_that_cannot_be_pickled(address: str) -> None:
    rows: list[dict[str, Any]] = [{"id": 0}, {"id": 1, "lock": threading.Lock()}, {"id": 2}]
    found = list(map_rows(rows, RunnableLambda(lambda row: row["id"]), scheduler=address))
    assert [row.get("output") for row in found] == [0, None, 2]
    assert "cannot pickle" in found[1]["error"]


class Unloadable:
    """An object that a worker cannot unpickle."""

    def __reduce__(self) -> Any:
        return _raise_import_error, ()


def _raise_import_error() -> None:
    raise ModuleNotFoundError("No module named 'something'")


def test_a_worker_that_cannot_load_the_task_stops_the_run(address: str) -> None:
    unloadable = Unloadable()
    rows = map_rows(make_rows(5), RunnableLambda(lambda _: str(unloadable)), scheduler=address)
    assert all(row["error"].startswith("Not sent: a worker cannot run an attempt.") for row in rows)
    assert "ModuleNotFoundError: No module named 'something'" in str(rows.report)


def test_attempts_that_would_wait_long_return_their_row(
    address: str, service: MapService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused run does not block the workers' threads: rows return to the driver, and none is lost."""
    monkeypatch.setattr(module, "_MAX_WAIT", 0.2)
    returned = 0
    settle = plan_module.MapPlan.settle

    def count(self: Any, row: Any, outcome: Any, now: float) -> Any:
        nonlocal returned
        returned += outcome.status == "unsent"
        return settle(self, row, outcome, now)

    monkeypatch.setattr(plan_module.MapPlan, "settle", count)
    rows = map_rows(make_rows(6), make_llm(service), prompt="{text}", scheduler=address, rate=240)
    assert [row["output"] for row in rows] == [f"answer {index}" for index in range(6)]
    assert returned > 0
    assert service.counts.answered.total() == 6


def test_closing_waits_for_the_rows_in_flight(address: str, service: MapService, tmp_path: Path) -> None:
    service.behaviour = Behaviour(latency=0.05)
    options: dict[str, Any] = {"prompt": "{text}", "scheduler": address, "journal": tmp_path / "journal"}
    with map_rows(make_rows(2000), make_llm(service), **options) as rows:
        next(rows)
    answered = service.counts.answered.total()
    assert answered < 2000
    assert rows.report.succeeded == answered
    with map_rows(make_rows(answered), make_llm(service), **options) as rows:
        for _ in range(answered // 2):
            next(rows)


async def test_inside_a_running_event_loop(address: str) -> None:
    rows = map_rows(make_rows(3), RunnableLambda(lambda row: row["id"]), scheduler=address)
    assert await asyncio.to_thread(list, rows) == [
        {**row, "output": row["id"], "usage": None, "cost_usd": None} for row in make_rows(3)
    ]
