"""Faults to inject: their kind, position and frequency, as data."""

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
    """A fault for one request.

    Attributes:
        kind: `error`: an error reply. `stream_error`: an error object instead of an event. `cut`: the reply ends
            prematurely. `stall`: a pause. `reset`: the connection is reset. `garbage`: bytes that are not JSON. `html`:
            the HTML page of a proxy. `empty`: an empty body. `exact`: the bytes in `pieces`.
        status: The HTTP status of an `error`, `html`, `empty` or `exact` reply.
        code: The service's code of an error.
        message: The message of an error.
        retry_after: The seconds of its `Retry-After` header.
        after_events: The number of events of a stream before the fault. For a reply that is not streamed, 0 means
            before the reply, and any other number means in the middle of its bytes.
        seconds: The duration of a stall.
        clean: Whether a cut ends the body as if it were complete, instead of closing the connection.
        headers: Headers to add.
        content_type: The content type of an exact reply.
        pieces: The packets of an exact reply.
        path: Apply the fault only to requests whose path contains this text.
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
        """Return the packets of the reply, except for `error`, whose body depends on the route."""
        if self.kind == "html":
            return (_HTML.encode(),)
        return (_GARBAGE,) if self.kind == "garbage" else self.pieces


class FaultQueue:
    """The faults that wait for a request. Thread-safe: tests inject faults while the server's thread applies them."""

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
        """Apply faults to a random share of all requests. The same seed results in the same faults."""
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
        """The faults that wait for a request, the next one first."""
        with self._lock:
            return list(self._queue)

    @property
    def rate(self) -> float:
        """The share of all requests that get a random fault."""
        with self._lock:
            return self._rate

    def take(self, path: str) -> Fault | None:
        """Return and remove the fault for a request to a path, or return `None`."""
        with self._lock:
            for index, fault in enumerate(self._queue):
                if fault.path in path:
                    del self._queue[index]
                    return fault
            if self._rate and self._kinds and self._random.random() < self._rate:
                return self._random.choice(self._kinds)
            return None


_MIX_SETTINGS: dict[str, dict[str, Any]] = {
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
    """Return a fault of a kind with the settings for a random mix."""
    return Fault(kind=kind, **_MIX_SETTINGS.get(kind, {}))
