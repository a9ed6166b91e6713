"""What the package does grows with its input and not with the input's square."""

from __future__ import annotations

import pytest

from tests.helpers.work import WORK, lines_run


@pytest.mark.parametrize("name", WORK)
def test_ten_times_the_input_is_no_more_than_ten_times_the_work(name: str) -> None:
    prepare = WORK[name]
    assert lines_run(prepare(20_000)) < 11 * lines_run(prepare(2_000))
