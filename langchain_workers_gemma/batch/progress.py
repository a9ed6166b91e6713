"""The progress bar of a batch, which `tqdm` draws where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """What is told while a batch is worked on."""

    def advance(self, count: int) -> None:
        """So many more inputs have been answered."""

    def say(self, status: str) -> None:
        """The service says `queued` or `running`."""


class _Silence:
    def advance(self, count: int) -> None:
        """Nobody asked."""

    def say(self, status: str) -> None:
        """Nobody asked."""


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, count: int) -> None:
        self._bar.update(count)

    def say(self, status: str) -> None:
        self._bar.set_postfix_str(status)


@contextmanager
def open_progress_bar(total: int, *, show: bool) -> Iterator[Progress]:
    """Something to tell progress to: a bar, or nothing.

    Raises:
        ImportError: If a bar is asked for and `tqdm` is missing.
    """
    if not show:
        yield _Silence()
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            'show_progress=True needs tqdm, which an extra installs: pip install "langchain-workers-gemma[progress]"'
        ) from error
    with tqdm(total=total, desc="batch", unit="input") as bar:
        yield _Bar(bar)
