"""The plan of a run, on a fake clock: no row is ever lost, repeated or out of order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.scale import plan as plan_module
from langchain_workers_gemma.scale.budget import Budget
from langchain_workers_gemma.scale.outcome import UNSENT, Outcome
from langchain_workers_gemma.scale.pacing import Pacer
from langchain_workers_gemma.scale.plan import MAX_ATTEMPTS, MAX_REFUSALS, MapPlan, Permit
from langchain_workers_gemma.scale.rows import Result, Row

DONE = Outcome("done", output="yes", cost_usd=0.001, answered=1)


def make_plan(
    count: int, *, known: dict[int, Result] | None = None, limit: float | None = None, **kwargs: Any
) -> MapPlan:
    rows = (Row(index, {"id": index}, size=10) for index in range(count))
    source = ((row, (known or {}).get(row.index)) for row in rows)
    return MapPlan(source, kwargs.pop("pacer", Pacer()), Budget(limit), **kwargs)


def take_results(plan: MapPlan) -> list[tuple[int, Result]]:
    """Take all rows that are ready, with their results."""
    found = []
    while (ready := plan.take_ready()) is not None:
        found.append((ready[0].index, ready[1]))
    return found


def get_permit(plan: MapPlan, now: float) -> Permit:
    """Request a permit, which must be available."""
    permit = plan.request_permit(now, 10)
    assert isinstance(permit, Permit)
    return permit


def add_permit(outcome: Outcome, permit: Permit) -> Outcome:
    """Return an outcome that has used a permit."""
    return replace(outcome, permits=(permit.number,))


OUTCOMES = [
    DONE,
    DONE,
    DONE,
    Outcome("failed", error="bad row"),
    Outcome("retry", error="a glitch"),
    Outcome("retry", error="a timeout", may_be_billed=True),
    Outcome("refused", error="429", rate_limit=True),
    Outcome("refused", error="3040", retry_after=2.0),
    UNSENT,
]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 16), st.sampled_from([None, 60, 6000]))
def test_every_row_is_emitted_once_and_in_order(seed: int, count: int, concurrency: int, rate: float | None) -> None:
    generator = random.Random(seed)
    known = {index: Result("before") for index in range(count) if generator.random() < 0.3}
    plan = make_plan(count, known=known, pacer=Pacer(rate))
    now, running, out, sent = 0.0, list[tuple[Row, Permit]](), list[tuple[int, Result]](), Counter[int]()
    finished: Counter[int] = Counter()
    row = None
    while not plan.is_drained:
        out += take_results(plan)
        now += 0.001
        row = row or (plan.get_next_row(now) if len(running) < concurrency else None)
        if row is not None:
            permit = plan.request_permit(now, row.size)
            if isinstance(permit, Permit):
                running.append((row, permit))
                sent[row.index] += 1
                row = None
                continue
            assert isinstance(permit, float)
            now += permit if permit < 1000 else 0.0
        if running and (row is not None or len(running) == concurrency or generator.random() < 0.5):
            ended, permit = running.pop(generator.randrange(len(running)))
            record = plan.settle(ended, add_permit(generator.choice(OUTCOMES), permit), now)
            finished[ended.index] += record is not None and "row" in record
        elif not running and row is None and (retry_at := plan.get_retry_time()) is not None:
            now = max(now, retry_at)
    assert [index for index, _ in out] == list(range(count))
    assert all(out[index][1] == result for index, result in known.items())
    assert not sent.keys() & known.keys()
    assert finished == Counter(set(range(count)) - known.keys())
    report = plan.report
    assert report.succeeded + report.failed == report.rows == count
    assert report.resumed == len(known)
    assert report.requests == sent.total()


@pytest.mark.parametrize(
    ("outcome", "attempts"),
    [
        (Outcome("retry", error="a glitch"), MAX_ATTEMPTS),
        (Outcome("refused", error="429", retry_after=0.0), MAX_REFUSALS),
        (Outcome("failed", error="a bad row"), 1),
    ],
)
def test_attempts_at_a_row_are_bounded(outcome: Outcome, attempts: int) -> None:
    plan, now = make_plan(1), 0.0
    for _ in range(attempts):
        now = max(now, plan.get_retry_time() or 0.0)
        row = plan.get_next_row(now)
        assert row is not None
        now += plan._pacer.get_delay(now)
        plan.settle(row, add_permit(outcome, get_permit(plan, now)), now)
    assert plan.get_next_row(now + 100) is None
    assert take_results(plan) == [(0, Result(error=outcome.error))]
    assert plan.is_drained


def test_delays_between_attempts_at_a_row_grow() -> None:
    plan, now, delays = make_plan(1), 0.0, []
    for _ in range(MAX_ATTEMPTS - 1):
        row = plan.get_next_row(now)
        assert row is not None
        plan.settle(row, add_permit(Outcome("retry", error="x"), get_permit(plan, now)), now)
        retry_at = plan.get_retry_time()
        assert retry_at is not None
        assert plan.get_next_row(retry_at - 0.01) is None
        delays.append(retry_at - now)
        now = retry_at
    for delay, maximum in zip(delays, [0.5, 1, 2, 4], strict=True):
        assert maximum / 2 <= delay <= maximum


def test_usage_and_cost_of_all_attempts_at_a_row_are_added() -> None:
    plan = make_plan(1)
    failed = Outcome("retry", error="x", cost_usd=0.5, answered=1, usage={"total_tokens": 2, "details": {"a": 1}})
    done = Outcome(
        "done", output="y", cost_usd=0.25, answered=1, usage={"total_tokens": 3, "details": {"a": 2, "b": 3}}
    )
    records = []
    for now, outcome in ((0.0, failed), (9.0, done)):
        row = plan.get_next_row(now)
        assert row is not None
        records.append(plan.settle(row, add_permit(outcome, get_permit(plan, now)), now))
    assert records[0] == {"settled": [0], "paid": 0.5}
    assert records[1] == {
        "settled": [1],
        "paid": 0.25,
        "row": 0,
        "output": "y",
        "usage": {"total_tokens": 5, "details": {"a": 3, "b": 3}},
        "cost_usd": 0.75,
    }
    assert plan.report.cost_usd == 0.75


def test_a_refusal_delays_every_request() -> None:
    plan = make_plan(2)
    first, second = plan.get_next_row(0.0), plan.get_next_row(0.0)
    assert first is not None
    assert second is not None
    plan.settle(first, add_permit(Outcome("refused", error="429", retry_after=7.0), get_permit(plan, 0.0)), 1.0)
    assert plan.request_permit(1.0, 10) == 7.0


def test_a_retry_after_of_hours_stops_the_run() -> None:
    plan = make_plan(2)
    row = plan.get_next_row(0.0)
    assert row is not None
    plan.settle(row, add_permit(Outcome("refused", error="429: later", retry_after=7200.0), get_permit(plan, 0.0)), 0.0)
    assert plan.report.stopped == "the service requests a wait of 7200 seconds. 429: later"


@pytest.mark.parametrize("in_flight", [0, 3])
def test_a_quota_stops_the_run_and_names_the_reset_time(in_flight: int) -> None:
    plan = make_plan(10, utc_now=lambda: datetime(2026, 11, 25, 18, 29, 30, tzinfo=UTC))
    rows = [plan.get_next_row(0.0) for _ in range(in_flight + 2)]
    permits = [get_permit(plan, 0.0) for _ in rows]
    outcomes = [
        DONE,
        Outcome("stop", error="QuotaExceededError: used up.\nMore.", quota_exhausted=True),
        *[DONE] * in_flight,
    ]
    for row, permit, outcome in zip(rows, permits, outcomes, strict=True):
        assert row is not None
        plan.settle(row, add_permit(outcome, permit), 0.0)
    assert plan.request_permit(0.0, 10) is None
    assert plan.get_next_row(0.0) is None
    out = take_results(plan)
    assert [index for index, _ in out] == list(range(10))
    assert [result.error for _, result in out].count(None) == 1 + in_flight  # replies to requests in flight count
    assert out[1][1] == Result(error="Not sent: QuotaExceededError: used up.", unsent=True)
    assert plan.report.stopped is not None
    assert "That is on 2026-11-26, in 5 h 30 min" in plan.report.stopped
    assert (plan.report.succeeded, plan.report.unsent) == (1 + in_flight, 9 - in_flight)
    assert not plan.report.complete


def test_the_cost_limit_stops_the_run_after_all_replies() -> None:
    plan, now = make_plan(100, limit=0.01), 0.0
    running: list[tuple[Row, Permit]] = []
    row = plan.get_next_row(now)
    while not plan.is_stopped:
        assert row is not None
        permit = plan.request_permit(now, row.size)
        if isinstance(permit, Permit):
            running.append((row, permit))
            row = plan.get_next_row(now)
        elif permit is not None:
            assert permit == float("inf")
            ended, used = running.pop(0)
            plan.settle(ended, add_permit(DONE, used), now)
    assert running == []
    assert 0.0085 <= plan.report.cost_usd <= 0.01
    assert plan.report.stopped is not None
    assert plan.report.stopped.startswith("the cost limit of $0.01 does not allow another request")


def test_replies_without_a_cost_stop_a_run_with_a_cost_limit() -> None:
    plan = make_plan(3, limit=1.0)
    row = plan.get_next_row(0.0)
    assert row is not None
    plan.settle(row, add_permit(Outcome("done", output="x", answered=1), get_permit(plan, 0.0)), 0.0)
    assert plan.report.stopped is not None
    assert "no price is published" in plan.report.stopped


def test_a_further_request_neither_waits_for_the_budget_nor_stops_the_run() -> None:
    plan = make_plan(3, limit=0.01)
    row = plan.get_next_row(0.0)
    assert row is not None
    plan.settle(row, add_permit(Outcome("done", output="x", answered=1, cost_usd=0.009), get_permit(plan, 0.0)), 0.0)
    assert plan.request_permit(0.0, 10, further=True) is None
    assert not plan.is_stopped


def test_permit_numbers_continue_and_permits_can_be_returned() -> None:
    plan = make_plan(3, limit=1.0, next_permit=7)
    permit = get_permit(plan, 0.0)
    assert permit.to_record() == {"permit": 7, "reserved": 0.0}
    assert plan.outstanding == 1
    assert plan.return_permit(7) == {"settled": [7]}
    assert plan.outstanding == 0


def test_rows_after_an_unfinished_row_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "MAX_WINDOW_ROWS", 50)
    plan = make_plan(1000)
    first = plan.get_next_row(0.0)
    assert first is not None
    sent_count = 0
    while (row := plan.get_next_row(0.0)) is not None:
        sent_count += 1
        plan.settle(row, add_permit(DONE, get_permit(plan, 0.0)), 0.0)
    assert sent_count == 50
    assert not plan.has_ready
    plan.settle(first, add_permit(DONE, get_permit(plan, 0.0)), 0.0)
    assert len(take_results(plan)) == 51
    assert plan.get_next_row(0.0) is not None


def test_large_rows_after_an_unfinished_row_are_bounded_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "MAX_WINDOW_BYTES", 100_000)
    plan = make_plan(1000)
    assert plan.get_next_row(0.0) is not None
    sent_count = 0
    while (row := plan.get_next_row(0.0)) is not None:
        sent_count += 1
        big = Outcome("done", output="x" * 10_000, permits=(get_permit(plan, 0.0).number,))
        plan.settle(row, big, 0.0)
    assert sent_count == 10


def test_lost_replies_are_reported() -> None:
    plan = make_plan(3, limit=1.0)
    row = plan.get_next_row(0.0)
    assert row is not None
    record = plan.settle(row, add_permit(Outcome("failed", error="t", may_be_billed=True), get_permit(plan, 0.0)), 0.0)
    assert record == {"row": 0, "error": "t"}  # its permit stays open in the journal
    get_permit(plan, 0.0)
    plan.write_off()
    assert plan.report.lost == 2
