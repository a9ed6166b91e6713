"""The progress bar of a run, on standard error."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from langchain_workers_gemma.scale.report import MapReport

_BAR_WIDTH = 20  # characters of the bar
_REDRAW_INTERVAL = 0.2  # seconds, on a terminal
_LINE_INTERVAL = 10.0  # seconds, where each update is a new line, such as in a log
_RATE_SAMPLES = 30  # samples, one per second; the displayed rate is the mean over them


class ProgressBar:
    """Shows the progress of a run: rows, rate, cost and the time left.

    On a terminal it redraws one line. Anywhere else it writes a line from time to time.

    Args:
        stream: Where to write.
        clock: Returns seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._redraws = self._stream.isatty()
        self._interval = _REDRAW_INTERVAL if self._redraws else _LINE_INTERVAL
        self._drawn_at = -float("inf")
        self._length = 0
        self._samples: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)  # (time, rows done in this run)

    def update(self, report: MapReport) -> None:
        """Show the state, unless it was shown a moment ago."""
        now = self._clock()
        done = report.finished - report.resumed
        if not self._samples or now - self._samples[-1][0] >= 1.0:
            self._samples.append((now, done))
        if now - self._drawn_at >= self._interval:
            self._draw(report, now, done)

    def finish(self, report: MapReport) -> None:
        """Show the final state, and end the line."""
        now = self._clock()
        self._draw(report, now, report.finished - report.resumed)
        if self._redraws:
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self, report: MapReport, now: float, done: int) -> None:
        self._drawn_at = now
        line = format_progress(report, self._measure_rate(now, done))
        if self._redraws:
            padding = " " * max(0, self._length - len(line))
            self._length = len(line)
            self._stream.write(f"\r{line}{padding}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _measure_rate(self, now: float, done: int) -> float:
        """Return the rows per second over the last 30 seconds."""
        if not self._samples:
            return 0.0
        since, before = self._samples[0]
        return (done - before) / (now - since) if now > since else 0.0


def format_progress(report: MapReport, rate: float) -> str:
    """Return the state of a run as text.

    Args:
        report: The state.
        rate: Rows per second.

    Example:
        >>> format_progress(MapReport(rows=60, total=100, succeeded=48, failed=2, cost_usd=0.0123), 5.0)
        ' 50% |##########          | 50/100 rows, 5.0 rows/s, $0.0123, 0:10 left, 2 errors'
    """
    finished, total = report.finished, report.total
    parts = [f"{rate:.1f} rows/s", f"${report.cost_usd:.4f}"]
    if total is None:
        head = f"{finished:,} rows"
    else:
        share = finished / total if total else 1.0
        head = f"{int(share * 100):3}% |{'#' * int(share * _BAR_WIDTH):{_BAR_WIDTH}}| {finished:,}/{total:,} rows"
        parts.append(f"{_format_time_left(total - finished, rate)} left")
    if report.failed:
        parts.append(f"{report.failed:,} errors")
    return ", ".join([head, *parts])


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _format_time_left(rows: int, rate: float) -> str:
    if rows == 0:
        return _format_duration(0)
    return _format_duration(rows / rate) if rate > 0 else "?"
