"""The requests that the inspector shows, each with its response, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

State: TypeAlias = Literal["running", "complete", "cut", "abandoned"]
"""`running`: not finished. `complete`: sent to its end. `cut`: ended prematurely by the sandbox, because of a fault.
`abandoned`: closed by the client before its end."""

Headers: TypeAlias = tuple[tuple[str, str], ...]

MAX_EXCHANGES = 500
"""Maximum number of stored exchanges. Beyond it the oldest are removed."""
MAX_BYTES = 32_000_000
"""Maximum number of bytes of all stored bodies. Beyond it the oldest exchanges are removed."""
MAX_REQUEST_BYTES = 12_000_000
"""Maximum number of stored bytes of a request body, which is more than the service accepts."""
MAX_RESPONSE_BYTES = 2_000_000
"""Maximum number of stored bytes at the start of a response body."""
MAX_PACKETS = 10_000
"""Maximum number of stored packets at the start of a response."""
MAX_TAIL_BYTES = 16_384
"""Number of stored bytes at the end of a longer response, where a stream has its usage."""
_PACKET_OVERHEAD = 120


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a response body.

    Attributes:
        at: Seconds after the request was received.
        data: The bytes.
    """

    at: float
    data: bytes


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its response so far.

    Attributes:
        id: Its number.
        started_at: The time at which the request was received, in seconds since the epoch.
        method: The HTTP method.
        path: The path, with percent escapes decoded.
        query: The query string.
        headers: The headers of the request.
        request_body: The body of the request, or its start.
        request_bytes: The length of the whole body.
        style: The form of the route, as in `service.call.Style`; `None` if it is unknown.
        path_params: The parameters in the path.
        dialect: The names of the active dialects.
        fault: The kind of the injected fault.
        status: The HTTP status, or `None` before the response starts.
        response_headers: The headers of the response.
        packets: The packets of the response body, or its first packets.
        tail: The end of a response body that is too long to be stored.
        packet_count: The number of packets sent.
        response_bytes: The number of bytes sent.
        first_byte: Seconds until the response started.
        duration: Seconds until the response ended.
        state: The state of the exchange.
        size: The bytes of memory that the exchange takes.
        counted: The part of `size` that the log has counted.
        summary: The data of its row in the list, after it has ended.
    """

    id: int
    started_at: float
    method: str
    path: str
    query: str
    headers: Headers
    request_body: bytearray = field(default_factory=bytearray)
    request_bytes: int = 0
    style: str | None = None
    path_params: dict[str, str] = field(default_factory=dict)
    dialect: tuple[str, ...] = ()
    fault: str | None = None
    status: int | None = None
    response_headers: Headers = ()
    packets: list[Packet] = field(default_factory=list)
    tail: bytes = b""
    packet_count: int = 0
    response_bytes: int = 0
    first_byte: float | None = None
    duration: float | None = None
    state: State = "running"
    size: int = 0
    counted: int = 0
    summary: dict[str, Any] | None = None
    _clock: float = field(default_factory=time.perf_counter)

    def get_elapsed(self) -> float:
        """Return the seconds since the request was received."""
        return time.perf_counter() - self._clock

    def get_header(self, name: str) -> str:
        """Return a header of the response, or an empty text if there is none."""
        return next((value for key, value in self.response_headers if key == name), "")

    def receive(self, data: bytes) -> None:
        """Record a chunk of the request body."""
        self.request_bytes += len(data)
        kept = data[: MAX_REQUEST_BYTES - len(self.request_body)]
        self.request_body += kept
        self.size += len(kept)

    def start(self, status: int, headers: Headers) -> None:
        """Record the status and the headers of the response."""
        self.status, self.response_headers, self.first_byte = status, headers, self.get_elapsed()

    def send(self, data: bytes) -> None:
        """Record a packet of the response body."""
        if not data:
            return
        self.packet_count += 1
        self.response_bytes += len(data)
        if not self.tail and self.response_bytes <= MAX_RESPONSE_BYTES and len(self.packets) < MAX_PACKETS:
            self.packets.append(Packet(self.get_elapsed(), data))
            self.size += len(data) + _PACKET_OVERHEAD
        else:
            self.tail = (self.tail + data)[-MAX_TAIL_BYTES:]

    def end(self, state: State) -> None:
        """Record the final state, unless the exchange has already ended."""
        if self.state == "running":
            self.state, self.duration = state, self.get_elapsed()


class Watcher:
    """Collects changed exchanges until `take` is called. Each exchange is stored at most once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._awake = asyncio.Event()
        self._changed: dict[int, Exchange] = {}
        self.reset = False
        self.closed = False

    def notify(self, exchange: Exchange | None) -> None:
        """Record a changed exchange, or with `None` that the log was cleared. Can be called from any thread."""
        if exchange is None:
            self.reset = True
            self._changed.clear()
        else:
            self._changed[exchange.id] = exchange
        self._wake_up()

    def close(self) -> None:
        """End the watch."""
        self.closed = True
        self._wake_up()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - a timeout is not an error here
        """Wait for a change, at most for a number of seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._awake.wait()
        self._awake.clear()

    def take(self) -> tuple[bool, list[Exchange]]:
        """Return whether the log was cleared, and the exchanges that have changed since the last call."""
        changed, self._changed = self._changed, {}
        reset, self.reset = self.reset, False
        return reset, list(changed.values())

    def _wake_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._awake.set)


class ExchangeLog:
    """The exchanges, oldest first. The server's thread writes to it. Any thread may clear it."""

    def __init__(self, max_exchanges: int = MAX_EXCHANGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_exchanges = max_exchanges
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._exchanges: dict[int, Exchange] = {}
        self._watchers: list[Watcher] = []
        self._counter = 0
        self._size = 0
        self.dropped = 0
        """The number of exchanges that were removed to limit memory."""

    def add(self, method: str, path: str, query: str, headers: Headers) -> Exchange:
        """Add a request."""
        with self._lock:
            self._counter += 1
            exchange = Exchange(self._counter, time.time(), method, path, query, headers)
            self._exchanges[exchange.id] = exchange
        self.record_change(exchange)
        return exchange

    def record_change(self, exchange: Exchange) -> None:
        """Notify the watchers, and remove the oldest exchanges if the log is too large."""
        with self._lock:
            if exchange.id in self._exchanges:
                self._size += exchange.size - exchange.counted
                exchange.counted = exchange.size
                self._trim()
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.notify(exchange)

    def list_all(self) -> list[Exchange]:
        """Return all stored exchanges."""
        with self._lock:
            return list(self._exchanges.values())

    def get(self, exchange_id: int) -> Exchange | None:
        """Return an exchange, or `None` if it is not stored."""
        with self._lock:
            return self._exchanges.get(exchange_id)

    def clear(self) -> None:
        """Remove all exchanges."""
        with self._lock:
            self._exchanges.clear()
            self._size = self.dropped = 0
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.notify(None)

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch for changes. Needs a running event loop."""
        watcher = Watcher(asyncio.get_running_loop())
        with self._lock:
            self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.remove(watcher)

    def close(self) -> None:
        """End all watches, because the server stops."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.close()

    def _trim(self) -> None:
        while len(self._exchanges) > 1 and (len(self._exchanges) > self._max_exchanges or self._size > self._max_bytes):
            oldest = next(iter(self._exchanges))
            self._size -= self._exchanges.pop(oldest).counted
            self.dropped += 1
