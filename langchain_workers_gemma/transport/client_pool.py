"""The HTTP connections that all model objects of a process share, each in use by one call at a time.

An entry of a pool is one of httpx's own transports with a connection of its own. Entries are made late (reading
certificates costs tens of milliseconds): one pool for sync calls, and one for each event loop, since an
`httpx.AsyncHTTPTransport` is bound to the loop it first ran on. None of them crosses a fork, and none is ever pickled.
A connection is used again only for the same origin and the same token, and not after a response that left bytes on it
(`leftovers`).

One transport for all calls would do, but its pool looks at each of its connections on every request, more than once,
and asks the system about each idle one: 512 calls, 64 in flight, took 5.9 s in one that keeps its connections, 1.1 s
in one that keeps 20 and opens the rest anew, TLS and all, and 0.8 s like this (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import platform
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from langchain_workers_gemma.transport.environment import find_proxy, get_tls_context
from langchain_workers_gemma.transport.leftovers import AsyncWatchedTransport, WatchedTransport
from langchain_workers_gemma.version import __version__

Client = TypeVar("Client", WatchedTransport, AsyncWatchedTransport)

PoolKey: TypeAlias = tuple[str, bytes]
"""What a connection may be shared for: an origin such as `https://api.cloudflare.com`, and the digest of a token."""

MAX_IDLE_CLIENTS = 64  # with a connection each
MAX_IDLE_SECONDS = 30.0  # seconds
_PYTHON = ".".join(platform.python_version_tuple()[:2])

HEADERS = {"content-type": "application/json", "user-agent": f"langchain-workers-gemma/{__version__} python/{_PYTHON}"}
"""The headers of every request, whosever client sends it."""


class ClientPool(Generic[Client]):
    """Clients, each in use by one call at a time. The one that was released last is acquired first.

    The lock is reentrant: the garbage collector may close an abandoned stream, which releases its client, in the middle
    of another call of the same thread.

    Args:
        make: Makes a client for an origin.
    """

    def __init__(self, make: Callable[[str], Client]) -> None:
        self._make: Callable[[str], Client] = make
        self._idle: OrderedDict[PoolKey, deque[tuple[float, Client]]] = OrderedDict()
        self._idle_count = 0
        self._in_use: set[Client] = set()  # or an abandoned stream would be collected with its open connection
        self._is_shut_down = False
        self._lock = RLock()

    def acquire(self, key: PoolKey) -> Client:
        """Return a client for one call.

        Raises:
            APIConnectionError: If the environment names a proxy or certificates that cannot be used.
        """
        with self._lock:
            client = self._take(key, newest=True) if key in self._idle else None
        client = client or self._make(key[0])
        self._in_use.add(client)
        return client

    def release(self, key: PoolKey, client: Client) -> list[Client]:
        """Keep a client whose call has ended for the next one.

        Returns:
            Clients that the caller must close: idle for too long, or too many. They are not acquired any more.
        """
        now = time.monotonic()
        with self._lock:
            self._in_use.discard(client)
            idle = self._idle.get(key)
            self._idle_count = self._idle_count + 1 if self._idle else 1
            if idle is None:
                self._idle[key] = deque([(now, client)])
            else:
                idle.append((now, client))
                self._idle.move_to_end(key)
            return self._evict(now, key)

    def shut_down(self) -> list[Client]:
        """Return all idle clients, for the caller to close; from now on, `release` returns each at once."""
        with self._lock:
            self._is_shut_down = True
            return self._evict(time.monotonic())

    def _evict(self, now: float, key: PoolKey | None = None) -> list[Client]:
        """Take the clients that are idle for too long, or too many, of `key` and of the keys used least recently."""
        surplus: list[Client] = []
        while self._idle:
            for candidate in (next(iter(self._idle)), key):
                idle = self._idle.get(candidate) if candidate else None
                if candidate and idle and self._is_surplus(idle[0][0], now):
                    surplus.append(self._take(candidate, newest=False))
                    break
            else:
                break
        return surplus

    def _is_surplus(self, since: float, now: float) -> bool:
        return self._is_shut_down or self._idle_count > MAX_IDLE_CLIENTS or now - since >= MAX_IDLE_SECONDS

    def _take(self, key: PoolKey, *, newest: bool) -> Client:
        idle = self._idle[key]
        if len(idle) == 1:  # before it is empty: Ctrl-C may come between any two steps
            del self._idle[key]
        self._idle_count -= 1
        return (idle.pop() if newest else idle.popleft())[1]


def _build_options(origin: str) -> dict[str, Any]:
    # Connections are not what should throttle `abatch`: the caller's `max_concurrency` is.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=MAX_IDLE_SECONDS)
    return {"limits": limits, "verify": get_tls_context(origin), "proxy": find_proxy(origin)}


# --- By process -------------------------------------------------------------------------------------------------------

_processes: dict[int, ClientPool[WatchedTransport]] = {}  # by process id: a fork must not use its parent's


def get_process_pool() -> ClientPool[WatchedTransport]:
    """Return the clients for sync calls."""
    process = os.getpid()
    pool = _processes.get(process)
    if pool is None:  # `setdefault` is atomic: threads that come at once get the same
        pool = _processes.setdefault(process, ClientPool(lambda origin: WatchedTransport(**_build_options(origin))))
    return pool


@atexit.register
def _close_shared_clients() -> None:
    pool = _processes.pop(os.getpid(), None)
    if pool is not None:
        for client in pool.shut_down():
            client.close()


# --- By event loop ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LoopPool:
    loop: asyncio.AbstractEventLoop
    pool: ClientPool[AsyncWatchedTransport]
    closer: AsyncGenerator[None]


_loops: dict[tuple[int, int], _LoopPool] = {}  # by process id and the loop's identity


async def get_loop_pool() -> ClientPool[AsyncWatchedTransport]:
    """Return the clients for calls on the running event loop."""
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop))
    known = _loops.get(key)
    if known is not None and known.loop is loop:
        return known.pool
    for stale, other in list(_loops.items()):
        if other.loop.is_closed():
            _loops.pop(stale, None)
    pool = ClientPool(lambda origin: AsyncWatchedTransport(**_build_options(origin)))
    closer = _close_with_loop(pool)
    await anext(closer)
    _loops[key] = _LoopPool(loop, pool, closer)
    return pool


async def _close_with_loop(pool: ClientPool[AsyncWatchedTransport]) -> AsyncGenerator[None]:
    """Close the clients with their loop.

    `asyncio.run` and `Runner` close the async generators that a loop still has before they close the loop itself, which
    is the one moment at which connections can be closed in order.
    """
    try:
        yield
    finally:
        for client in pool.shut_down():
            await client.aclose()
