"""The cost of parsing and of converting schemas is linear in the input, not quadratic."""

from __future__ import annotations

import pytest

from tests.helpers.cost_growth import WORKLOADS, count_lines_run


@pytest.mark.parametrize("name", WORKLOADS)
def test_ten_times_the_input_runs_about_ten_times_the_lines(name: str) -> None:
    make_action = WORKLOADS[name]
    assert count_lines_run(make_action(20_000)) < 11 * count_lines_run(make_action(2_000))
