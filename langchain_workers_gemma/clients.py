"""The HTTP clients that all model objects of a process share.

They are made late (reading certificates costs tens of milliseconds): one set for sync calls, and one for each event
loop, since an `httpx.AsyncClient` is bound to the loop it first ran on. None of them crosses a fork, and none is ever
pickled.

A set has as many clients as there are calls in flight, divided by four. A single client would do, but its pool looks at
each of its connections on every request, more than once, and asks the system about each idle one: 512 calls, 64 in
flight, took 5.9 s in one client that keeps its connections, 1.1 s in one that keeps 20 and opens the rest anew, TLS and
all, and 0.75 s in sixteen small ones (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import platform
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx

from langchain_workers_gemma.version import __version__

if TYPE_CHECKING:
    import ssl  # not everywhere that Python runs

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)

_CALLS_A_CLIENT = 4
_CLIENTS_KEPT = 16  # when idle, with four connections each
_PYTHON = ".".join(platform.python_version_tuple()[:2])

HEADERS = {"content-type": "application/json", "user-agent": f"langchain-workers-gemma/{__version__} python/{_PYTHON}"}
"""What goes out with every request, whosever client sends it."""


@dataclass(slots=True, eq=False)
class _Lane(Generic[Client]):
    client: Client
    calls: int = 0


class _Lanes(Generic[Client]):
    """Clients with few calls each; the first ones are filled first.

    Args:
        make: Makes a client.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make: Callable[[], Client] = make
        self._lanes: list[_Lane[Client]] = []
        self._lock = threading.Lock()

    def take(self) -> _Lane[Client]:
        """A lane with room for a call."""
        with self._lock:
            lane = next((lane for lane in self._lanes if lane.calls < _CALLS_A_CLIENT), None)
            if lane is None:
                lane = _Lane(self._make())
                self._lanes.append(lane)
            lane.calls += 1
            return lane

    def leave(self, lane: _Lane[Client]) -> Client | None:
        """The call is over. Gives a client that is to be closed, since so many are not needed any more."""
        with self._lock:
            lane.calls -= 1
            if lane.calls or len(self._lanes) <= _CLIENTS_KEPT or lane not in self._lanes:
                return None
            self._lanes.remove(lane)
            return lane.client

    def empty(self) -> list[Client]:
        """All clients, which are to be closed."""
        with self._lock:
            lanes, self._lanes = self._lanes, []
            return [lane.client for lane in lanes]


@contextmanager
def client_for_a_call() -> Iterator[httpx.Client]:
    """A client for one sync call."""
    lanes = _of_process()
    lane = lanes.take()
    try:
        yield lane.client
    finally:
        spare = lanes.leave(lane)
        if spare is not None:
            spare.close()


@asynccontextmanager
async def async_client_for_a_call() -> AsyncIterator[httpx.AsyncClient]:
    """A client for one call on the running event loop."""
    lanes = await _of_loop()
    lane = lanes.take()
    try:
        yield lane.client
    finally:
        spare = lanes.leave(lane)
        if spare is not None:
            await spare.aclose()


def _options() -> dict[str, Any]:
    # Connections are not what should throttle `abatch`: the caller's `max_concurrency` is.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30)
    return {"headers": HEADERS, "limits": limits, "cookies": _NoCookies(), "verify": _tls()}


@cache
def _tls() -> ssl.SSLContext:
    """The one TLS context: reading the certificates costs tens of milliseconds."""
    return httpx.create_ssl_context()


class _NoCookies(CookieJar):
    """A jar that takes nothing: what a server sets for one account must not travel with another's calls."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Take nothing."""


# --- By process -------------------------------------------------------------------------------------------------------

_processes: dict[int, _Lanes[httpx.Client]] = {}  # by process id: a fork must not use its parent's connections


def _of_process() -> _Lanes[httpx.Client]:
    process = os.getpid()
    lanes = _processes.get(process)
    if lanes is None:  # `setdefault` is atomic: threads that come at once get the same
        lanes = _processes.setdefault(process, _Lanes(lambda: httpx.Client(**_options())))
    return lanes


@atexit.register
def _close_shared_clients() -> None:
    lanes = _processes.pop(os.getpid(), None)
    for client in lanes.empty() if lanes else ():
        client.close()


# --- By event loop ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OfLoop:
    loop: asyncio.AbstractEventLoop
    lanes: _Lanes[httpx.AsyncClient]
    keeper: AsyncGenerator[None]


_loops: dict[tuple[int, int], _OfLoop] = {}  # by process id and the loop's identity


async def _of_loop() -> _Lanes[httpx.AsyncClient]:
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop))
    known = _loops.get(key)
    if known is not None and known.loop is loop:
        return known.lanes
    for stale, other in list(_loops.items()):
        if other.loop.is_closed():
            _loops.pop(stale, None)
    lanes = _Lanes(lambda: httpx.AsyncClient(**_options()))
    keeper = _closing_with_loop(key, lanes)
    await anext(keeper)
    _loops[key] = _OfLoop(loop, lanes, keeper)
    return lanes


async def _closing_with_loop(key: tuple[int, int], lanes: _Lanes[httpx.AsyncClient]) -> AsyncGenerator[None]:
    """Closes the clients with their loop.

    `asyncio.run` and `Runner` close the async generators that a loop still has before they close the loop itself, which
    is the one moment at which connections can be closed in order.
    """
    try:
        yield
    finally:
        _loops.pop(key, None)
        for client in lanes.empty():
            await client.aclose()
