"""Pool the HTTP connections that all model objects of a process share. One call at a time uses a connection.

A client in a pool is one of httpx's transports with a single connection. Clients are created when they are needed,
since reading certificates takes tens of milliseconds. There is one pool for sync calls, and one for each event loop,
since an `httpx.AsyncHTTPTransport` is bound to the loop on which it first ran. No client is used after a fork, and none
is pickled. A connection is reused only for the same origin and the same token, and not after a response that left bytes
on it (`leftovers`).

A single transport for all calls is slower: its own pool checks all its connections several times in each request, and
makes a system call for each idle one. 512 calls, 64 at a time, took 5.9 s with a pool that keeps all connections, 1.1 s
with one that keeps 20 and opens new ones with TLS, and 0.8 s with this pool (benchmarks/README.md).
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
"""The key for sharing a connection: an origin such as `https://api.cloudflare.com`, and the digest of a token."""

MAX_IDLE_CLIENTS = 64  # each with one connection
MAX_IDLE_SECONDS = 30.0  # seconds
_PYTHON = ".".join(platform.python_version_tuple()[:2])

HEADERS = {"content-type": "application/json", "user-agent": f"langchain-workers-gemma/{__version__} python/{_PYTHON}"}
"""The headers of every request, also if the caller's client sends it."""


class ClientPool(Generic[Client]):
    """A pool of clients, each used by one call at a time. The client that was released last is acquired first.

    The lock is reentrant: during a call, the garbage collector can close an abandoned stream in the same thread, which
    releases its client.

    Args:
        make: Creates a client for an origin.
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
            APIConnectionError: If the proxy or the certificates in the environment cannot be used.
        """
        with self._lock:
            client = self._take(key, newest=True) if key in self._idle else None
        client = client or self._make(key[0])
        self._in_use.add(client)
        return client

    def release(self, key: PoolKey, client: Client) -> list[Client]:
        """Return a client to the pool after its call.

        Returns:
            Clients that the caller must close: they are idle for too long, or too many, and are no longer in the pool.
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

    def abandon(self, client: Client) -> None:
        """Forget a client that no call can use any more."""
        self._in_use.discard(client)

    def shut_down(self) -> list[Client]:
        """Return all idle clients, which the caller must close. From now on, `release` returns each client at once."""
        with self._lock:
            self._is_shut_down = True
            return self._evict(time.monotonic())

    def _evict(self, now: float, key: PoolKey | None = None) -> list[Client]:
        """Remove the clients that are idle for too long, or too many, from `key` and the least recently used keys."""
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
        if len(idle) == 1:  # before it is empty, since Ctrl-C can come at any step
            del self._idle[key]
        self._idle_count -= 1
        return (idle.pop() if newest else idle.popleft())[1]


def _build_options(origin: str) -> dict[str, Any]:
    # The caller's `max_concurrency` limits `abatch`, not the number of connections.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=MAX_IDLE_SECONDS)
    return {"limits": limits, "verify": get_tls_context(origin), "proxy": find_proxy(origin)}


# --- By process -------------------------------------------------------------------------------------------------------

_processes: dict[int, ClientPool[WatchedTransport]] = {}  # by process id: a fork must not use its parent's pool


def get_process_pool() -> ClientPool[WatchedTransport]:
    """Return the pool for sync calls."""
    process = os.getpid()
    pool = _processes.get(process)
    if pool is None:  # `setdefault` is atomic, so concurrent threads get the same pool
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
    """Return the pool for calls on the running event loop."""
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
    """Close the clients when their loop ends.

    `asyncio.run` and `Runner` close the async generators of a loop before they close the loop itself. That is the only
    moment when connections can be closed properly.
    """
    try:
        yield
    finally:
        for client in pool.shut_down():
            await client.aclose()
