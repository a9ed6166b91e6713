"""The budget of a run: reservations, costs and lost replies."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.scale.budget import Budget


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(1, 64), st.floats(0.001, 1.0))
def test_the_limit_holds_with_many_requests_in_flight(seed: int, in_flight: int, limit: float) -> None:
    """Costs vary little, so that the first estimate covers all of them."""
    generator = random.Random(seed)
    budget, in_flight_requests, number = Budget(limit), list[int](), 0
    while True:
        while len(in_flight_requests) < in_flight and budget.reserve(number, 100) is not None:
            in_flight_requests.append(number)
            number += 1
        if not in_flight_requests:
            break
        finished = in_flight_requests.pop(generator.randrange(len(in_flight_requests)))
        budget.settle([finished], generator.uniform(0.0008, 0.001) if budget.spent else 0.0008)
        if number > 5000:
            break
    assert budget.spent <= limit
    if number < 5000:
        assert budget.spent >= limit - 0.0016


def test_one_request_is_in_flight_before_the_first_reply() -> None:
    budget = Budget(1.0)
    assert budget.reserve(0, 10) == 0.0
    assert budget.reserve(1, 10) is None
    budget.settle([0], None)  # an error has no cost
    assert budget.reserve(1, 10) == 0.0
    assert budget.reserve(2, 10) is None
    budget.settle([1], 0.01)
    assert budget.reserve(2, 10) == pytest.approx(0.015)
    assert budget.reserve(3, 10) == pytest.approx(0.015)


def test_a_further_request_of_a_row_does_not_wait_for_the_first() -> None:
    budget = Budget(1.0)
    budget.reserve(0, 10)
    assert budget.reserve(1, 10, further=True) == 0.0


def test_a_free_reply_allows_concurrent_requests() -> None:
    budget = Budget(1.0)
    budget.reserve(0, 10)
    budget.settle([0], 0.0)
    assert budget.reserve(1, 10) == 0.0
    assert budget.reserve(2, 10) == 0.0


def test_a_larger_row_reserves_more_in_proportion() -> None:
    budget = Budget(1.0)
    budget.reserve(0, 100)
    budget.settle([0], 0.01)
    assert budget.reserve(1, 50) == pytest.approx(0.015)
    assert budget.reserve(2, 1000) == pytest.approx(0.15)
    assert budget.reserve(3, 100_000) is None


def test_the_cost_of_earlier_runs_counts() -> None:
    budget = Budget(1.0, spent=0.99, largest=0.02)
    assert budget.reserve(0, 10) is None
    assert Budget(1.0, spent=1.0).reserve(0, 10) is None


def test_lost_replies_count_as_spent() -> None:
    budget = Budget(1.0, largest=0.02)
    for number in range(3):
        budget.reserve(number, 10)
    budget.settle([0], 0.01)
    budget.write_off([1])
    assert budget.spent == pytest.approx(0.04)
    assert (budget.lost, budget.outstanding) == (1, 1)
    budget.write_off()
    assert budget.spent == pytest.approx(0.07)
    assert (budget.lost, budget.outstanding) == (2, 0)
    budget.write_off([1])
    assert budget.lost == 2


def test_without_a_limit_every_request_is_allowed_and_counted() -> None:
    budget = Budget(None)
    for number in range(100):
        assert budget.reserve(number, 10) is not None
        budget.settle([number], 0.5)
    assert budget.spent == pytest.approx(50.0)


def test_a_row_with_several_requests_is_counted_per_request() -> None:
    budget = Budget(None)
    budget.reserve(0, 10)
    budget.reserve(1, 10)
    budget.settle([0, 1], 0.02)
    assert budget.reserve(2, 10) == pytest.approx(0.015)
