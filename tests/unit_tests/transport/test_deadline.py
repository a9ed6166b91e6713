"""A thread shuts down the connections whose reads take too long; it misses none."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from langchain_workers_gemma.transport import deadline

pytestmark = pytest.mark.lowest


class FakeStream:
    """httpcore's stream of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def get_extra_info(self, name: str) -> Any:
        return self.connection if name == "socket" else None


class ComparedDeadline(float):
    """A deadline that runs a check of another thread while it is compared."""

    watchdog: deadline._Watchdog
    others_checks: list[bool]

    def __gt__(self, now: float) -> bool:
        self.others_checks.append(bool(self.watchdog._watched))
        return super().__gt__(now)

    def __le__(self, now: float) -> bool:
        self.others_checks.append(bool(self.watchdog._watched))
        return super().__le__(now)


def test_a_socket_that_is_not_due_is_seen_by_other_threads_at_any_time() -> None:
    """Two threads can watch at the same time. One that sees no socket ends, and the other one then ends as well."""
    watchdog = deadline._Watchdog()
    due = ComparedDeadline(10.0)
    due.watchdog, due.others_checks = watchdog, []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watchdog._watched.append(deadline.Watched(due, ours))
        watchdog._shut_down_due(now=9.0)
        assert due.others_checks == [True]
        assert len(watchdog._watched) == 1
        watchdog._shut_down_due(now=10.0)
        assert theirs.recv(1) == b""  # shut down
        assert not watchdog._watched


def test_a_response_is_read_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as when the interpreter shuts down, or the process has as many threads as it may have."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watchdog = deadline._Watchdog()
    monkeypatch.setattr(deadline, "_watchdog", watchdog)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watched = deadline.shut_down_after(5.0, FakeStream(ours))
        assert watched is not None
        assert watched.cancelled
        assert not watchdog._watched  # or each call would leave a socket
