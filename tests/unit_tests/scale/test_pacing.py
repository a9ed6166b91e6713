"""Pacing: when requests may be sent, on a fake clock."""

from __future__ import annotations

import heapq
import math
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.scale.pacing import Pacer
from tests.helpers.map_service import count_busiest_minute


def send_request(pacer: Pacer, now: float) -> float:
    """Wait for the pacer's delay, record a request, and return its time."""
    now += pacer.get_delay(now)
    assert pacer.get_delay(now) <= 1e-9
    pacer.record_request(now)
    return now


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([0.5, 1, 2, 7, 60, 99, 100, 300, 1500, 10_000]),
    st.lists(st.sampled_from([0.0, 0.001, 0.05, 0.7, 3.0, 61.0]), min_size=1, max_size=400),
)
def test_no_minute_has_more_requests_than_the_rate(rate: float, idle: list[float]) -> None:
    pacer, now, sent = Pacer(rate), 1000.0, []
    for seconds in idle:
        now = send_request(pacer, now + seconds)
        sent.append(now)
    assert count_busiest_minute(sent) <= max(rate, 1)


@pytest.mark.parametrize("rate", [1, 30, 300, 6000])
def test_a_busy_run_uses_the_whole_rate(rate: int) -> None:
    pacer, now = Pacer(rate), 0.0
    sent = []
    for _ in range(rate * 3):
        now = send_request(pacer, now)
        sent.append(now)
    minutes = (sent[-1] - sent[0]) / 60
    assert len(sent) / minutes >= 0.99 * rate


def test_the_second_request_of_a_run_is_delayed() -> None:
    pacer = Pacer(6000)
    pacer.record_request(0.0)
    assert pacer.get_delay(0.0) == pytest.approx(60 / 5940)


def test_a_delayed_request_is_caught_up() -> None:
    pacer = Pacer(6000)
    pacer.record_request(0.0)
    pacer.record_request(0.5)  # much later than allowed
    assert pacer.get_delay(0.5) == 0.0


def test_without_a_rate_there_are_no_delays() -> None:
    pacer = Pacer(None)
    for _ in range(1000):
        assert pacer.get_delay(5.0) == 0.0
        pacer.record_request(5.0)


def test_early_permits_widen_the_spacing() -> None:
    assert Pacer(10, early=1).interval == pytest.approx(60 / 9)
    assert Pacer(1, early=1).interval == pytest.approx(60)


@pytest.mark.parametrize("rate_limit", [True, False])
def test_a_refusal_pauses_all_requests_for_retry_after(rate_limit: bool) -> None:
    pacer = Pacer(None)
    pacer.record_request(0.0)
    pacer.record_refusal(1.0, 20.0, rate_limit=rate_limit)
    assert pacer.get_delay(1.0) == pytest.approx(20.0)
    assert pacer.get_delay(21.0) <= pacer.interval


def test_refusals_without_retry_after_double_the_pause_until_a_success() -> None:
    pacer, now, pauses = Pacer(None), 0.0, []
    for _ in range(8):
        now += 2.0 + pacer.get_delay(now + 2.0)
        pacer.record_request(now)
        pacer.record_refusal(now, None, rate_limit=False)
        pauses.append(pacer.get_delay(now))
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(pauses) == 30.0
    pacer.record_success()
    now += 100.0
    pacer.record_refusal(now, None, rate_limit=False)
    assert pacer.get_delay(now) == 1.0


def test_refusals_of_concurrent_requests_count_once() -> None:
    pacer = Pacer(60)
    for moment in range(32):
        pacer.record_request(moment / 100)
    for moment in range(32):
        pacer.record_refusal(5.0 + moment / 1000, 0.0, rate_limit=True)
    assert pacer.interval == pytest.approx(1.5)


def test_a_rate_limit_widens_the_spacing_and_successes_narrow_it() -> None:
    pacer = Pacer(None)
    for moment in range(100):
        pacer.record_request(moment / 10)
    pacer.record_refusal(10.0, 0.0, rate_limit=True)
    widened = pacer.interval
    assert widened == pytest.approx(0.15)  # 1.5 times the observed spacing
    for _ in range(1000):
        pacer.record_success()
    assert pacer.interval == 0.0


def test_a_capacity_error_does_not_change_the_spacing() -> None:
    pacer = Pacer(None)
    pacer.record_request(0.0)
    pacer.record_refusal(10.0, 0.0, rate_limit=False)
    assert pacer.interval == 0.0


def test_spacing_has_bounds() -> None:
    pacer, now = Pacer(300), 0.0
    for _ in range(100):
        now += 10.0
        pacer.record_request(now)
        pacer.record_refusal(now, 0.0, rate_limit=True)
    assert pacer.interval == 5.0
    for _ in range(1000):
        pacer.record_success()
    assert pacer.interval == pytest.approx(60 / 297)
    assert math.isfinite(pacer.get_delay(now))


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("rate", [None, 600])
def test_a_run_adapts_to_the_limit_of_the_service(rate: float | None, retry_after: float | None) -> None:
    """300 requests in any minute are accepted, 32 are in flight, and each reply takes 2 seconds."""
    pacer, now, minutes = Pacer(rate), 0.0, 30
    accepted: deque[float] = deque()
    in_flight: list[tuple[float, bool]] = []
    answered = refused = 0
    while now < minutes * 60:
        delay = pacer.get_delay(now)
        if len(in_flight) < 32 and delay == 0.0:
            pacer.record_request(now)
            while accepted and now - accepted[0] >= 60.0:
                accepted.popleft()
            is_accepted = len(accepted) < 300
            if is_accepted:
                accepted.append(now)
            heapq.heappush(in_flight, (now + (2.0 if is_accepted else 0.05), is_accepted))
            continue
        ends = in_flight[0][0] if in_flight else math.inf
        now = max(now, min(ends, now + delay) if len(in_flight) < 32 else ends)
        while in_flight and in_flight[0][0] <= now:
            if heapq.heappop(in_flight)[1]:
                answered += 1
                pacer.record_success()
            else:
                refused += 1
                pacer.record_refusal(now, retry_after, rate_limit=True)
    assert answered >= 0.8 * 300 * minutes
    assert refused <= 0.1 * answered
