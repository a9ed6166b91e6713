"""`workers-gemma map` is killed at random times in one process: each row is written once, in order, and paid once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.helpers.map_service import Behaviour, MapService
from tests.scale_tests.processes import COST, Job, kill_process


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_continues_after_kills_at_random_times(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    in_flight = 8
    with MapService(Behaviour(latency=0.01, fault_rate=0.1), seed=seed) as service:
        job = Job(tmp_path, service, rows=300)
        options = ["--max-concurrency", str(in_flight)]
        known: set[int] = set()
        for _ in range(3):
            before = service.counts.answered.copy()
            process = job.start(*options)
            service.wait_for_answers(before.total() + chance.randrange(1, 70))
            kill_process(process)
            assert all(service.counts.answered[row] == before[row] for row in known)  # never paid twice
            known |= job.read_outputs().keys()
            assert service.counts.answered.total() - before.total() <= len(known) + in_flight
        before = service.counts.answered.copy()
        code, error = job.run(*options)
        assert code == 0, error
        assert f"{len(known)} of them from earlier runs" in error
        assert all(service.counts.answered[row] == before[row] for row in known)
        assert service.counts.answered.total() <= 300 + 3 * in_flight  # only the rows in flight at each kill
        job.assert_complete()


def test_a_finished_job_sends_nothing_in_a_second_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MapService(Behaviour(bad_rows=frozenset({3, 5}))) as service:
        job = Job(tmp_path, service, rows=10)
        assert job.run_in_process() == 1
        assert "2 ended in an error" in capsys.readouterr().err
        assert ["error" in row for row in job.read_target()] == [index in (3, 5) for index in range(10)]
        service.behaviour = Behaviour()
        requests = len(service.counts.arrivals)
        assert job.run_in_process() == 0
        assert len(service.counts.arrivals) == requests + 2
        job.assert_complete()
        assert job.run_in_process() == 0
        assert len(service.counts.arrivals) == requests + 2
        job.assert_complete()


def test_the_cost_limit_is_kept_across_killed_runs(tmp_path: Path) -> None:
    """Answers that were in flight at a kill are counted, although they are lost."""
    limit = 100 * COST
    with MapService(Behaviour(latency=0.02)) as service:
        job = Job(tmp_path, service, rows=300)
        options = ["--max-concurrency", "8", "--max-cost", f"{limit:.9f}"]
        for answers in (20, 55):
            process = job.start(*options)
            service.wait_for_answers(answers)
            kill_process(process)
        code, error = job.run(*options)
        assert code == 1
        assert "the cost limit of" in error
        assert 70 <= service.counts.answered.total() <= 100
        assert len(job.read_target()) == 300
        assert all(("output" in row) != ("error" in row) for row in job.read_target())
        assert job.run_in_process("--max-cost", "1") == 0
        job.assert_complete()


def test_ctrl_c_keeps_the_answers_in_flight(tmp_path: Path) -> None:
    with MapService(Behaviour(latency=0.2)) as service:
        job = Job(tmp_path, service, rows=1000)
        process = job.start("--max-concurrency", "8")
        service.wait_for_answers(20)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=400)
        assert process.returncode == 130
        answered = job.read_outputs()
        assert len(answered) == service.counts.answered.total() < 1000
        shown = job.read_target()
        assert [row["id"] for row in shown] == list(range(len(shown)))  # the first rows, up to the first unfinished one


def test_a_quota_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MapService(Behaviour(quota=25)) as service:
        job = Job(tmp_path, service, rows=100)
        assert job.run_in_process("--max-concurrency", "4") == 1
        assert "00:00 UTC" in capsys.readouterr().err
        assert len(service.counts.arrivals) <= 25 + 4
        assert sum("output" in row for row in job.read_target()) == 25
        service.behaviour = Behaviour()
        assert job.run_in_process() == 0
        job.assert_complete()
        assert service.counts.answered.total() == 100


def test_the_rate_is_kept_when_the_run_is_restarted(tmp_path: Path) -> None:
    """1,200 requests per minute are one every 50 ms."""
    with MapService(Behaviour(fault_rate=0.1)) as service:
        job = Job(tmp_path, service, rows=60)
        process = job.start("--rate", "1200")
        service.wait_for_answers(20)
        kill_process(process)
        assert job.run("--rate", "1200")[0] == 0
        job.assert_complete()
        arrivals = service.counts.arrivals
        assert len(arrivals) > 60  # some requests failed and were retried
        assert arrivals[-1] - arrivals[0] >= (len(arrivals) - 1) * 0.05 * 0.9
