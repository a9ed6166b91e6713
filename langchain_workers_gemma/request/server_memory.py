"""What a server was seen to take, kept for the life of a model object."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock

from langchain_workers_gemma.request.server_limits import NO_SERVER_LIMITS, ServerLimits


class ServerMemory:
    """Which forms of a constraint a server takes, and what it was seen to refuse beside them.

    Threads share it. A copy of the model object, a pickle included, starts without it.

    Attributes:
        version: Changes when forms or limits are learned, so that cached preparations are made again.
    """

    def __init__(self) -> None:
        self.version = 0
        self._first_form: dict[Hashable, int] = {}
        self._limits: dict[Hashable, ServerLimits] = {}
        self._lock = Lock()

    def get_first_form(self, key: Hashable) -> int:
        """Return the position of the first form of a constraint that has not failed."""
        return self._first_form.get(key, 0)

    def keep_form(self, key: Hashable, position: int) -> None:
        """Keep that the forms before a position failed, and that the one there did not."""
        with self._lock:
            if position > self._first_form.get(key, 0):
                self._first_form[key] = position
                self.version += 1

    def get_limits(self, key: Hashable) -> ServerLimits:
        """Return what a server was seen to refuse."""
        return self._limits.get(key, NO_SERVER_LIMITS)

    def keep_limits(self, key: Hashable, limits: ServerLimits) -> None:
        """Keep what a server was seen to refuse."""
        with self._lock:
            known = self._limits.get(key, NO_SERVER_LIMITS)
            learned = known.merge(limits)
            if learned != known:
                self._limits[key] = learned
                self.version += 1

    def __reduce__(self) -> tuple[type[ServerMemory], tuple[()]]:
        return ServerMemory, ()
