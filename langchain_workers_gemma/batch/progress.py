"""The progress bar of a batch, drawn by `tqdm` if the caller requests one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """Receives the progress of a batch."""

    def advance(self, count: int) -> None:
        """Add a number of finished inputs."""

    def show_status(self, status: str) -> None:
        """Show the status that the service reports."""


class _NoProgress:
    def advance(self, count: int) -> None:
        """No-op."""

    def show_status(self, status: str) -> None:
        """No-op."""


class _TqdmProgress:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, count: int) -> None:
        self._bar.update(count)

    def show_status(self, status: str) -> None:
        self._bar.set_postfix_str(status)


@contextmanager
def open_progress_bar(total: int, *, show: bool) -> Iterator[Progress]:
    """Open a progress bar, or an object that shows nothing.

    Raises:
        ImportError: If a bar is requested and `tqdm` is not installed.
    """
    if not show:
        yield _NoProgress()
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            'show_progress=True needs tqdm. Install it: pip install "langchain-workers-gemma[progress]"'
        ) from error
    with tqdm(total=total, desc="batch", unit="input") as bar:
        yield _TqdmProgress(bar)
