"""Remember what each server accepts, as long as the model object lives."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock

from langchain_workers_gemma.request.server_limits import NO_SERVER_LIMITS, ServerLimits


class ServerMemory:
    """The forms of a constraint that servers accept, and their other limits.

    It is thread-safe. A copy of the model object, or one from a pickle, starts with an empty memory.

    Attributes:
        version: Increases when forms or limits are learned, so that cached preparations are rebuilt.
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
        """Remember that the form at a position worked, and that those before it failed."""
        with self._lock:
            if position > self._first_form.get(key, 0):
                self._first_form[key] = position
                self.version += 1

    def get_limits(self, key: Hashable) -> ServerLimits:
        """Return the limits of a server."""
        return self._limits.get(key, NO_SERVER_LIMITS)

    def keep_limits(self, key: Hashable, limits: ServerLimits) -> None:
        """Remember the limits of a server, merged with those that are known."""
        with self._lock:
            known = self._limits.get(key, NO_SERVER_LIMITS)
            learned = known.merge(limits)
            if learned != known:
                self._limits[key] = learned
                self.version += 1

    def __reduce__(self) -> tuple[type[ServerMemory], tuple[()]]:
        return ServerMemory, ()
