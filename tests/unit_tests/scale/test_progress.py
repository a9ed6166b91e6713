"""The text of the progress bar and of the report."""

from __future__ import annotations

import io

import pytest

from langchain_workers_gemma.scale.progress import ProgressBar, format_progress
from langchain_workers_gemma.scale.report import MapReport


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("report", "rate", "line"),
    [
        (MapReport(total=0), 0.0, "100% |####################| 0/0 rows, 0.0 rows/s, $0.0000, 0:00 left"),
        (MapReport(total=1000), 0.0, "  0% |                    | 0/1,000 rows, 0.0 rows/s, $0.0000, ? left"),
        (
            MapReport(total=36_000, succeeded=100, failed=2, cost_usd=1.23456),
            5.0,
            "  0% |                    | 102/36,000 rows, 5.0 rows/s, $1.2346, 1:59:40 left, 2 errors",
        ),
        (
            MapReport(total=4, succeeded=2, failed=1, unsent=1),
            1.0,
            "100% |####################| 4/4 rows, 1.0 rows/s, $0.0000, 0:00 left, 1 errors",
        ),
        (MapReport(succeeded=1234), 2.0, "1,234 rows, 2.0 rows/s, $0.0000"),
    ],
)
def test_a_line_has_rate_cost_and_time_left(report: MapReport, rate: float, line: str) -> None:
    assert format_progress(report, rate) == line


def test_a_terminal_shows_one_line_that_is_redrawn() -> None:
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(stream, clock)
    for done in range(51):
        bar.update(MapReport(total=100, succeeded=done + 20, resumed=20))
        clock.now += 0.125
    bar.finish(MapReport(total=100, succeeded=71, resumed=20))
    output = stream.getvalue()
    assert output.count("\n") == 1
    assert output.endswith("\n")
    assert output.count("\r") == 27  # every 0.25 seconds, and at the end
    assert "71/100 rows, 8.0 rows/s, $0.0000, 0:04 left" in output  # rows of earlier runs do not count as speed


def test_other_streams_get_one_line_per_state() -> None:
    stream, clock = io.StringIO(), FakeClock()
    bar = ProgressBar(stream, clock)
    for done in range(250):
        bar.update(MapReport(total=500, succeeded=done))
        clock.now += 0.1
    bar.finish(MapReport(total=500, succeeded=250))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert "\r" not in stream.getvalue()
    assert "250/500 rows, 10.0 rows/s" in lines[-1]


def test_the_rate_is_measured_over_the_last_half_minute() -> None:
    stream, clock = io.StringIO(), FakeClock()
    bar = ProgressBar(stream, clock)
    done = 0
    for second in range(200):
        done += 100 if second < 100 else 2
        bar.update(MapReport(total=100_000, succeeded=done))
        clock.now += 1.0
    bar.finish(MapReport(total=100_000, succeeded=done))
    assert " 1.9 rows/s" in stream.getvalue().splitlines()[-1]


def test_padding_clears_a_longer_previous_line() -> None:
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(stream, clock)
    bar.update(MapReport(total=100, cost_usd=12345.0))
    clock.now += 1.0
    bar.update(MapReport(total=100))
    first, second = stream.getvalue().split("\r")[1:]
    assert len(second) == len(first)


def test_a_report_is_printed_as_sentences() -> None:
    report = MapReport(rows=5, succeeded=2, failed=1, unsent=2, resumed=1, cost_usd=0.5, lost=1, stopped="the quota.")
    assert str(report) == (
        "2 of 5 rows have their output, 1 of them from earlier runs, 1 ended in an error, 2 were not sent, "
        "$0.500000 spent, 1 replies were lost and are counted as spent.\nStopped: the quota."
    )
    assert not report.complete
    assert MapReport(rows=2, succeeded=2).complete
    assert not MapReport(rows=2, succeeded=1).complete
