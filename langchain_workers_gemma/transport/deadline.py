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
    """A thread that shuts down sockets at their deadlines. It ends when there are no more sockets."""

    def __init__(self) -> None:
        self._watched: deque[Watched] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def watch(self, watched: Watched) -> None:
        with self._lock:
            if self._process != os.getpid():  # a forked process does not have the threads of its parent
                self._watched.clear()
                self._thread, self._process = None, os.getpid()
            self._watched.append(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workers-gemma-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_TICK_SECONDS)
            with self._lock:
                now = time.monotonic()
                while self._watched and (self._watched[0].cancelled or self._watched[0].deadline <= now):
                    self._shut_down(self._watched.popleft())
                if not self._watched:
                    self._thread = None
                    return

    @staticmethod
    def _shut_down(watched: Watched) -> None:
        if watched.cancelled:
            return
        try:  # not the method of an SSLSocket, which would remove the TLS object that the reader uses
            socket.socket.shutdown(watched.connection, socket.SHUT_RDWR)
        except OSError:  # the server has closed the connection already
            return


_watchdog = _Watchdog()


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
