"""Injected faults: their kind, time and frequency, as data."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FaultKind = Literal["error", "stream_error", "cut", "stall", "reset", "garbage", "html", "empty", "exact"]

KINDS: tuple[FaultKind, ...] = ("error", "stream_error", "cut", "stall", "reset", "garbage", "html", "empty")
"""The kinds that `Sandbox.chaos` mixes by default."""

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
_GARBAGE = b'\x00\xff\xfe{"response": "not JSON\x80'


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of one request.

    Attributes:
        kind: `error`: an error reply. `stream_error`: an error object in place of an event. `cut`: the reply ends
            early. `stall`: silence. `reset`: the connection is reset. `garbage`: bytes that are not JSON. `html`: a
            proxy's page. `empty`: no body at all. `exact`: the bytes given.
        status: The HTTP status of an error, a page, an empty or an exact reply.
        code: The service's code of an error.
        message: The message of an error.
        retry_after: Seconds in its `Retry-After`.
        after_events: How many events of a stream come before it; in a whole reply 0 is before the reply, more is
            halfway through its bytes.
        seconds: How long a stall lasts.
        clean: Whether a cut ends the body as if it were complete, or closes the connection.
        headers: Headers to add.
        content_type: The content type of an exact reply.
        pieces: The packets of an exact reply.
        path: Only requests whose path contains this.
    """

    kind: FaultKind = "error"
    status: int = 500
    code: int | None = None
    message: str | None = None
    retry_after: float | None = None
    after_events: int = 0
    seconds: float = 0.0
    clean: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    pieces: tuple[bytes, ...] = ()
    path: str = ""

    @property
    def replaces_reply(self) -> bool:
        """Whether the fault replaces the whole reply."""
        return self.kind in ("error", "garbage", "html", "empty", "exact")

    def body(self) -> tuple[bytes, ...]:
        """Return the packets of a reply that replaces the real one; an error's body depends on the route."""
        if self.kind == "html":
            return (_HTML.encode(),)
        return (_GARBAGE,) if self.kind == "garbage" else self.pieces


class FaultQueue:
    """The faults that wait for a request; thread-safe, since tests inject while the server's thread takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()
        self._rate = 0.0
        self._kinds: tuple[Fault, ...] = ()
        self._random = random.Random(0)  # noqa: S311 - a mix of faults, not a secret

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Apply a fault to the next requests, after those injected before."""
        with self._lock:
            self._queue.extend([fault] * times)

    def mix(self, rate: float, seed: int, kinds: Iterable[FaultKind | Fault]) -> None:
        """Apply faults to a share of all requests; the same seed gives the same mix."""
        with self._lock:
            self._rate = rate
            self._kinds = tuple(kind if isinstance(kind, Fault) else _make_default_fault(kind) for kind in kinds)
            self._random = random.Random(seed)  # noqa: S311

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._queue.clear()
            self._rate = 0.0

    @property
    def pending(self) -> list[Fault]:
        """The faults that wait for a request, first to last."""
        with self._lock:
            return list(self._queue)

    @property
    def rate(self) -> float:
        """The share of all requests that a mix applies to."""
        with self._lock:
            return self._rate

    def take(self, path: str) -> Fault | None:
        """Take the fault for the next request, if there is one."""
        with self._lock:
            for at, fault in enumerate(self._queue):
                if fault.path in path:
                    del self._queue[at]
                    return fault
            if self._rate and self._kinds and self._random.random() < self._rate:
                return self._random.choice(self._kinds)
            return None


_CHAOS: dict[str, dict[str, Any]] = {
    "error": {"status": 429, "code": 3040, "retry_after": 0},
    "stream_error": {"status": 500, "code": 3043, "message": "Internal server error", "after_events": 2},
    "cut": {"after_events": 2},
    "reset": {"after_events": 1},
    "stall": {"seconds": 0.01, "after_events": 1},
    "html": {"status": 502},
    "garbage": {"status": 200},
    "empty": {"status": 200},
}


def _make_default_fault(kind: FaultKind) -> Fault:
    """Return a fault of a kind with the settings that a mix uses."""
    return Fault(kind=kind, **_CHAOS.get(kind, {}))
