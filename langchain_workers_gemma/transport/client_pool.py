"""The HTTP clients that all model objects of a process share, each lent to one call at a time.

They are made late (reading certificates costs tens of milliseconds): one set for sync calls, and one for each event
loop, since an `httpx.AsyncClient` is bound to the loop it first ran on. None of them crosses a fork, and none is ever
pickled.

One client for all calls would do, but its pool looks at each of its connections on every request, more than once, and
asks the system about each idle one: 512 calls, 64 in flight, took 5.9 s in one client that keeps its connections, 1.1 s
in one that keeps 20 and opens the rest anew, TLS and all, and 0.8 s like this (benchmarks/README.md). Nor can a stream
that is collected as garbage in the middle of another call find a lock that this call holds.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import platform
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx

from langchain_workers_gemma.version import __version__

if TYPE_CHECKING:
    import ssl  # not everywhere that Python runs

Client = TypeVar("Client", httpx.Client, httpx.AsyncClient)

MAX_IDLE_CLIENTS = 64  # clients, with a connection each
MAX_IDLE_SECONDS = 30.0  # seconds
_PYTHON = ".".join(platform.python_version_tuple()[:2])

HEADERS = {"content-type": "application/json", "user-agent": f"langchain-workers-gemma/{__version__} python/{_PYTHON}"}
"""What goes out with every request, whosever client sends it."""


class ClientPool(Generic[Client]):
    """Clients, each lent to one call at a time. The one that came back last is lent first.

    There is no lock: deque and set do what they do to one member at once, in whatever thread.

    Args:
        make: Makes a client.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make: Callable[[], Client] = make
        self._idle: deque[tuple[float, Client]] = deque()
        self._lent: set[Client] = set()  # or an abandoned stream would be collected with its open connection
        self._ended = False

    def acquire(self) -> Client:
        """A client for one call."""
        try:
            client = self._idle.pop()[1]
        except IndexError:
            client = self._make()
        self._lent.add(client)
        return client

    def release(self, client: Client) -> None:
        """The call is over."""
        self._lent.discard(client)
        self._idle.append((time.monotonic(), client))

    def end(self) -> None:
        """From now on all clients are superfluous."""
        self._ended = True

    def evict(self) -> Iterator[Client]:
        """Clients that are to be closed: too many, or idle for too long. They are lent no more."""
        while self._idle:
            try:
                since, client = self._idle.popleft()
            except IndexError:  # another thread was faster
                return
            keep = len(self._idle) < MAX_IDLE_CLIENTS and time.monotonic() - since < MAX_IDLE_SECONDS
            if keep and not self._ended:
                self._idle.appendleft((since, client))
                return
            yield client


def _options() -> dict[str, Any]:
    # Connections are not what should throttle `abatch`: the caller's `max_concurrency` is.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=MAX_IDLE_SECONDS)
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

_processes: dict[int, ClientPool[httpx.Client]] = {}  # by process id: a fork must not use its parent's connections


def process_pool() -> ClientPool[httpx.Client]:
    """The clients for sync calls."""
    process = os.getpid()
    clients = _processes.get(process)
    if clients is None:  # `setdefault` is atomic: threads that come at once get the same
        clients = _processes.setdefault(process, ClientPool(lambda: httpx.Client(**_options())))
    return clients


@atexit.register
def _close_shared_clients() -> None:
    clients = _processes.pop(os.getpid(), None)
    if clients is not None:
        clients.end()
        for client in clients.evict():
            client.close()


# --- By event loop ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OfLoop:
    loop: asyncio.AbstractEventLoop
    clients: ClientPool[httpx.AsyncClient]
    closer: AsyncGenerator[None]


_loops: dict[tuple[int, int], _OfLoop] = {}  # by process id and the loop's identity


async def loop_pool() -> ClientPool[httpx.AsyncClient]:
    """The clients for calls on the running event loop."""
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop))
    known = _loops.get(key)
    if known is not None and known.loop is loop:
        return known.clients
    for stale, other in list(_loops.items()):
        if other.loop.is_closed():
            _loops.pop(stale, None)
    clients = ClientPool(lambda: httpx.AsyncClient(**_options()))
    closer = _ending_with_loop(clients)
    await anext(closer)
    _loops[key] = _OfLoop(loop, clients, closer)
    return clients


async def _ending_with_loop(clients: ClientPool[httpx.AsyncClient]) -> AsyncGenerator[None]:
    """Closes the clients with their loop.

    `asyncio.run` and `Runner` close the async generators that a loop still has before they close the loop itself, which
    is the one moment at which connections can be closed in order.
    """
    try:
        yield
    finally:
        clients.end()
        for client in clients.evict():
            await client.aclose()
