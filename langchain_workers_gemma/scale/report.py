"""The state of a run, as numbers and as a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class MapReport:
    """The state of a run.

    Attributes:
        rows: Rows read so far; all rows when the run has ended.
        total: All rows, or `None` if that is not known yet.
        succeeded: Rows that have their output, including those of earlier runs.
        failed: Rows with an error.
        unsent: Rows that were not sent, because the run stopped.
        resumed: Rows of `succeeded` that an earlier run finished.
        requests: Requests that this run sent.
        cost_usd: Cost of this and earlier runs, including lost replies.
        lost: Replies that were probably billed but never received, because a run or worker was killed or a request
            timed out.
        stopped: Why the run stopped before its end, or `None`.
    """

    rows: int = 0
    total: int | None = None
    succeeded: int = 0
    failed: int = 0
    unsent: int = 0
    resumed: int = 0
    requests: int = 0
    cost_usd: float = 0.0
    lost: int = 0
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every row has its output."""
        return self.stopped is None and self.failed == 0 and self.unsent == 0 and self.succeeded == self.rows

    @property
    def finished(self) -> int:
        """The number of rows that need no further work in this run."""
        return self.succeeded + self.failed + self.unsent

    def __str__(self) -> str:
        parts = [f"{self.succeeded:,} of {self.rows:,} rows have their output"]
        if self.resumed:
            parts.append(f"{self.resumed:,} of them from earlier runs")
        if self.failed:
            parts.append(f"{self.failed:,} ended in an error")
        if self.unsent:
            parts.append(f"{self.unsent:,} were not sent")
        parts.append(f"${self.cost_usd:.6f} spent")
        if self.lost:
            parts.append(f"{self.lost:,} replies were lost and are counted as spent")
        text = ", ".join(parts) + "."
        return text if self.stopped is None else f"{text}\nStopped: {self.stopped}"
