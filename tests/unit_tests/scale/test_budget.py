"""What may still be spent."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.scale.budget import Budget


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(1, 64), st.floats(0.001, 1.0))
def test_the_limit_holds_with_many_requests_under_way(seed: int, in_flight: int, limit: float) -> None:
    """Costs vary by half around one another, so that the first estimate covers all."""
    chance = random.Random(seed)
    budget, under_way, number = Budget(limit), list[int](), 0
    while True:
        while len(under_way) < in_flight and budget.reserve(number, 100) is not None:
            under_way.append(number)
            number += 1
        if not under_way:
            break
        finished = under_way.pop(chance.randrange(len(under_way)))
        budget.settle([finished], chance.uniform(0.0008, 0.001) if budget.spent else 0.0008)
        if number > 5000:
            break
    assert budget.spent <= limit
    if number < 5000:
        assert budget.spent >= limit - 0.0016


def test_before_any_answer_one_request_is_under_way() -> None:
    budget = Budget(1.0)
    assert budget.reserve(0, 10) == 0.0
    assert budget.reserve(1, 10) is None
    budget.settle([0], None)  # an error, which has no cost
    assert budget.reserve(1, 10) == 0.0
    assert budget.reserve(2, 10) is None
    budget.settle([1], 0.01)
    assert budget.reserve(2, 10) == pytest.approx(0.015)
    assert budget.reserve(3, 10) == pytest.approx(0.015)


def test_a_further_request_of_the_same_row_does_not_wait_for_its_first() -> None:
    budget = Budget(1.0)
    budget.reserve(0, 10)
    assert budget.reserve(1, 10, further=True) == 0.0


def test_answers_that_cost_nothing_end_the_single_file() -> None:
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


def test_what_earlier_runs_spent_counts() -> None:
    budget = Budget(1.0, spent=0.99, largest=0.02)
    assert budget.reserve(0, 10) is None
    assert Budget(1.0, spent=1.0).reserve(0, 10) is None


def test_lost_answers_count_as_spent() -> None:
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


def test_without_a_limit_nothing_is_refused_and_all_is_counted() -> None:
    budget = Budget(None)
    for number in range(100):
        assert budget.reserve(number, 10) is not None
        budget.settle([number], 0.5)
    assert budget.spent == pytest.approx(50.0)


def test_a_row_of_several_requests_counts_by_the_request() -> None:
    budget = Budget(None)
    budget.reserve(0, 10)
    budget.reserve(1, 10)
    budget.settle([0, 1], 0.02)
    assert budget.reserve(2, 10) == pytest.approx(0.015)
