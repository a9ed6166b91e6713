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
"""Under way, sent as a whole, ended early by the sandbox (a fault), or left by the client."""

Headers: TypeAlias = tuple[tuple[str, str], ...]

MAX_EXCHANGES = 500
"""Exchanges that are kept; the oldest go first."""
MAX_BYTES = 32_000_000
"""Bytes of all bodies that are kept; the oldest exchanges go first."""
MAX_REQUEST_BYTES = 12_000_000
"""Bytes of one request's body that are kept; more than the service takes."""
MAX_RESPONSE_BYTES = 2_000_000
"""Bytes of one response's body that are kept, from its start."""
MAX_PACKETS = 10_000
"""Packets of one response that are kept, from its start."""
MAX_TAIL_BYTES = 16_384
"""Bytes of the end of a longer response that are kept, because a stream's usage is there."""
_PACKET_OVERHEAD = 120


@dataclass(frozen=True, slots=True)
class Packet:
    """Bytes of a response's body.

    Attributes:
        at: Seconds after the request arrived.
        data: The bytes.
    """

    at: float
    data: bytes


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and its response, as far as it got.

    Attributes:
        id: Its number.
        started_at: When the request arrived, in seconds since the epoch.
        method: The HTTP method.
        path: The path, percent escapes decoded.
        query: The query string.
        headers: The request's headers.
        request_body: The request's body, or its start.
        request_bytes: The length of the whole body.
        style: The form of the route: `native`, `openai`, `binding`, `dataoorts` or `aimlapi`; `None` if not known.
        path_params: What the route read from the path.
        dialect: Names of the dialects that were on.
        fault: The kind of the fault that was injected.
        status: The HTTP status, `None` before the response starts.
        response_headers: The response's headers.
        packets: The response's body in the packets it was sent in, or its start.
        tail: The end of a response that is longer than what is kept.
        packet_count: How many packets were sent.
        response_bytes: How many bytes were sent.
        first_byte: Seconds until the response started.
        duration: Seconds until it ended.
        state: Its state.
        size: Bytes of memory that it takes.
        counted: How many of them the log has counted.
        summary: Its line in the list, once it has ended.
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
        """Return the seconds since the request arrived."""
        return time.perf_counter() - self._clock

    def get_header(self, name: str) -> str:
        """Return a header of the response, empty if it has none of that name."""
        return next((value for key, value in self.response_headers if key == name), "")

    def receive(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        self.request_bytes += len(data)
        kept = data[: MAX_REQUEST_BYTES - len(self.request_body)]
        self.request_body += kept
        self.size += len(kept)

    def start(self, status: int, headers: Headers) -> None:
        """Take the start of the response."""
        self.status, self.response_headers, self.first_byte = status, headers, self.get_elapsed()

    def send(self, data: bytes) -> None:
        """Take a packet of the response's body."""
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
        """Note how it ended; what ended already stays as it is."""
        if self.state == "running":
            self.state, self.duration = state, self.get_elapsed()


class Watcher:
    """Collects changes until they are taken; bounded, since a change of one exchange is noted once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._awake = asyncio.Event()
        self._changed: dict[int, Exchange] = {}
        self.reset = False
        self.closed = False

    def notify(self, exchange: Exchange | None) -> None:
        """Note a change: of an exchange, or (`None`) of everything; from any thread."""
        if exchange is None:
            self.reset = True
            self._changed.clear()
        else:
            self._changed[exchange.id] = exchange
        self._wake_up()

    def close(self) -> None:
        """Mark the end of changes."""
        self.closed = True
        self._wake_up()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - it returns at the end of the time, without an error
        """Wait for a change, or until the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._awake.wait()
        self._awake.clear()

    def take(self) -> tuple[bool, list[Exchange]]:
        """Return whether everything was cleared, and the exchanges that changed since."""
        changed, self._changed = self._changed, {}
        reset, self.reset = self.reset, False
        return reset, list(changed.values())

    def _wake_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._awake.set)


class ExchangeLog:
    """The exchanges, oldest first. The server's thread writes; any thread may clear."""

    def __init__(self, max_exchanges: int = MAX_EXCHANGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_exchanges = max_exchanges
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._exchanges: dict[int, Exchange] = {}
        self._watchers: list[Watcher] = []
        self._counter = 0
        self._size = 0
        self.dropped = 0
        """How many exchanges had to go to keep memory bounded."""

    def add(self, method: str, path: str, query: str, headers: Headers) -> Exchange:
        """Note a request."""
        with self._lock:
            self._counter += 1
            exchange = Exchange(self._counter, time.time(), method, path, query, headers)
            self._exchanges[exchange.id] = exchange
        self.note_change(exchange)
        return exchange

    def note_change(self, exchange: Exchange) -> None:
        """Notify the watchers, and drop the oldest exchanges where the log is too large."""
        with self._lock:
            if exchange.id in self._exchanges:
                self._size += exchange.size - exchange.counted
                exchange.counted = exchange.size
                self._trim()
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.notify(exchange)

    def list_all(self) -> list[Exchange]:
        """Return every exchange that is kept."""
        with self._lock:
            return list(self._exchanges.values())

    def get(self, exchange_id: int) -> Exchange | None:
        """Return one exchange, `None` if it is not kept."""
        with self._lock:
            return self._exchanges.get(exchange_id)

    def clear(self) -> None:
        """Forget every exchange."""
        with self._lock:
            self._exchanges.clear()
            self._size = self.dropped = 0
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.notify(None)

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch for changes, within a running event loop."""
        watcher = Watcher(asyncio.get_running_loop())
        with self._lock:
            self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.remove(watcher)

    def close(self) -> None:
        """End every watch: the server stops."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.close()

    def _trim(self) -> None:
        while len(self._exchanges) > 1 and (len(self._exchanges) > self._max_exchanges or self._size > self._max_bytes):
            oldest = next(iter(self._exchanges))
            self._size -= self._exchanges.pop(oldest).counted
            self.dropped += 1
