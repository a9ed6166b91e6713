"""End a sync read that takes too long after the response is complete.

httpx sets the timeout of a read when the request is sent. Async calls use `asyncio.timeout`. A blocked sync read ends
when another thread shuts down its socket.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_TICK_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class Watched:
    """A connection that is shut down at its deadline, unless that is cancelled.

    Attributes:
        deadline: The time of the shutdown, by the monotonic clock.
        connection: The socket.
        cancelled: Whether the read has ended.
    """

    deadline: float
    connection: socket.socket
    cancelled: bool = False

    def cancel(self) -> None:
        """Cancel the shutdown, since the read has ended."""
        self.cancelled = True


class _Watchdog:
    """A thread that shuts down sockets at their deadlines. It ends when there are no more sockets.

    It has no lock, which Ctrl-C could leave locked. At worst two threads watch at the same time, which does no harm.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all sockets and the thread, since a forked process does not have the threads of its parent."""
        self._watched: deque[Watched] = deque()
        self._thread: threading.Thread | None = None

    def watch(self, watched: Watched) -> None:
        self._watched.append(watched)  # before `_thread` is read: see the end of `_run`
        if self._thread is None:
            try:
                threading.Thread(target=self._run, name="workers-gemma-watchdog", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter shuts down: the read has httpx's timeout
                watched.cancel()
                with suppress(ValueError):  # another thread took it
                    self._watched.remove(watched)

    def _run(self) -> None:
        self._thread = threading.current_thread()
        while self._thread is not None:
            time.sleep(_TICK_SECONDS)
            self._shut_down_due(time.monotonic())
            if not self._watched:
                self._thread = None
                if self._watched:  # one was added before `_thread` was `None`, so no other thread was started
                    self._thread = threading.current_thread()

    def _shut_down_due(self, now: float) -> None:
        with suppress(IndexError, ValueError):  # no more sockets, or another thread took this one
            while (first := self._watched[0]).cancelled or first.deadline <= now:
                self._watched.remove(first)  # only now: another thread ends when it sees no sockets
                self._shut_down(first)

    @staticmethod
    def _shut_down(watched: Watched) -> None:
        if watched.cancelled:
            return
        try:  # not the method of an SSLSocket, which would remove the TLS object that the reader uses
            socket.socket.shutdown(watched.connection, socket.SHUT_RDWR)
        except OSError:  # the server has closed the connection already
            return


_watchdog = _Watchdog()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_watchdog.reset)


def shut_down_after(seconds: float, network_stream: Any) -> Watched | None:
    """Shut down the connection of a response after some seconds.

    Args:
        seconds: The time to wait; the thread checks it every quarter of a second.
        network_stream: httpcore's stream of the response.

    Returns:
        An object that can cancel the shutdown, `None` if the socket is not known.
    """
    connection = network_stream.get_extra_info("socket") if network_stream is not None else None
    if not isinstance(connection, socket.socket):
        return None
    watched = Watched(time.monotonic() + seconds, connection)
    _watchdog.watch(watched)
    return watched
