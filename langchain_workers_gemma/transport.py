"""The I/O: drives an exchange with httpx, sync and async. The one module that touches the network for calls.

Clients are made late (a TLS context costs tens of milliseconds) and shared by all model objects of a process: one for
sync calls, and one for each event loop, since an `httpx.AsyncClient` is bound to the loop it first ran on. None of them
crosses a fork, and none is ever pickled.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpx

from langchain_workers_gemma.chunks import Piece
from langchain_workers_gemma.errors import APIConnectionError, APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange import Deliver, Flow, Read, Reply, Send, Sleep
from langchain_workers_gemma.request import Request
from langchain_workers_gemma.status_errors import ErrorContext, unreadable_reply

if TYPE_CHECKING:
    import ssl  # not everywhere that Python runs

# Connections are not what should throttle `abatch`: the caller's `max_concurrency` is. Idle ones are kept for reuse.
# Not many, though: httpcore asks the system about each idle one on every request, so that with 100 of them 512 calls,
# 64 in flight, took five times as long as with 20 (benchmarks/README.md).
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=30)


@dataclass(slots=True)
class Transport:
    """Sends requests and reads replies.

    Attributes:
        headers: What goes out with every request.
        timeout: Time limits.
        client: The caller's own client for sync calls.
        async_client: The caller's own client for async calls.
    """

    headers: dict[str, str]
    timeout: httpx.Timeout
    client: httpx.Client | None = None
    async_client: httpx.AsyncClient | None = None

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Drive an exchange, giving the pieces it delivers."""
        client = self.client or _shared_client()
        response: httpx.Response | None = None
        body: Iterator[bytes] = iter(())
        try:
            action = next(flow)
            while True:
                outcome: Any = None
                failure: WorkersGemmaError | None = None
                try:
                    if isinstance(action, Read):
                        outcome = next(body, None)
                    elif isinstance(action, Send):
                        if response is not None:
                            response.close()
                        response = client.send(self._request(client, action.request), stream=True)
                        body = response.iter_bytes()
                        outcome = Reply(response.status_code, _lowered(response.headers))
                    elif isinstance(action, Sleep):
                        time.sleep(action.seconds)
                except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
                    failure = typed_error(error, response)
                if isinstance(action, Deliver):
                    yield action.pieces
                action = flow.send(outcome) if failure is None else flow.throw(failure)
        except StopIteration:
            return
        finally:
            flow.close()
            if response is not None:
                response.close()

    async def arun(self, flow: Flow) -> AsyncGenerator[list[Piece]]:
        """Drive an exchange, giving the pieces it delivers."""
        client = self.async_client or await _shared_async_client()
        response: httpx.Response | None = None
        body: AsyncIterator[bytes] | None = None
        try:
            action = next(flow)
            while True:
                outcome: Any = None
                failure: WorkersGemmaError | None = None
                try:
                    if isinstance(action, Read):
                        outcome = await anext(body, None) if body is not None else None
                    elif isinstance(action, Send):
                        if response is not None:
                            await response.aclose()
                        response = await client.send(self._request(client, action.request), stream=True)
                        body = response.aiter_bytes()
                        outcome = Reply(response.status_code, _lowered(response.headers))
                    elif isinstance(action, Sleep):
                        await asyncio.sleep(action.seconds)
                except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
                    failure = typed_error(error, response)
                if isinstance(action, Deliver):
                    yield action.pieces
                action = flow.send(outcome) if failure is None else flow.throw(failure)
        except StopIteration:
            return
        finally:
            flow.close()
            if response is not None:
                await response.aclose()

    def _request(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        headers = httpx.Headers(self.headers)
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        for name, value in request.headers.items():
            headers[name] = value  # one by one: names may differ in case only, and each goes out once
        return client.build_request(
            request.method, request.url, content=request.body(), headers=headers, timeout=self.timeout
        )


def typed_error(error: Exception, response: httpx.Response | None = None) -> WorkersGemmaError:
    """The typed error for a failure of the connection, chained to it.

    Args:
        error: What the client raised.
        response: The reply that was being read, if its head had come.
    """
    said = str(error) or type(error).__name__
    typed: WorkersGemmaError
    if isinstance(error, httpx.DecodingError) and response is not None:
        why = f"its content encoding is broken ({said})"
        typed = unreadable_reply(response.status_code, _lowered(response.headers), b"", why, ErrorContext())
    elif isinstance(error, httpx.TimeoutException):
        kind = type(error).__name__.removesuffix("Timeout").lower()
        typed = APITimeoutError(f"The service did not answer in time ({kind} timeout): {said}. See `timeout`.")
    else:
        typed = APIConnectionError(f"The connection to the service failed: {type(error).__name__}: {said}")
    if isinstance(error, httpx.RequestError):
        # The cause goes wherever the error goes, into Dask's pickles for one, and its request holds the token.
        with suppress(RuntimeError):  # it has none
            error.request = httpx.Request(error.request.method, error.request.url)
    typed.__cause__ = error
    return typed


def _lowered(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


# --- Shared clients ---------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_clients: dict[int, httpx.Client] = {}  # by process id: a fork must not use its parent's connections
_loops: dict[tuple[int, int], tuple[asyncio.AbstractEventLoop, AsyncGenerator[httpx.AsyncClient]]] = {}
_async_clients: dict[tuple[int, int], httpx.AsyncClient] = {}


def _shared_client() -> httpx.Client:
    process = os.getpid()
    client = _clients.get(process)
    if client is None:
        with _lock:
            client = _clients.get(process)
            if client is None:
                client = _clients[process] = httpx.Client(limits=_LIMITS, cookies=_no_cookies(), verify=_tls())
    return client


@cache
def _tls() -> ssl.SSLContext:
    """The one TLS context: reading the certificates costs tens of milliseconds, and every event loop has a client."""
    return httpx.create_ssl_context()


def _no_cookies() -> CookieJar:
    """A jar that takes nothing: what a server sets for one account must not travel with another's calls."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


async def _shared_async_client() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop))
    client = _async_clients.get(key)
    if client is not None and _loops[key][0] is loop and not client.is_closed:
        return client
    for stale, (other, _) in list(_loops.items()):
        if other.is_closed():
            _loops.pop(stale, None)
            _async_clients.pop(stale, None)
    keeper = _kept_until_loop_ends()
    client = await anext(keeper)
    _loops[key] = (loop, keeper)
    _async_clients[key] = client
    return client


async def _kept_until_loop_ends() -> AsyncGenerator[httpx.AsyncClient]:
    """A client that is closed with its loop.

    `asyncio.run` and `Runner` close the async generators that a loop still has before they close the loop itself, which
    is the one moment at which connections can be closed in order.
    """
    client = httpx.AsyncClient(limits=_LIMITS, cookies=_no_cookies(), verify=_tls())
    try:
        yield client
    finally:
        await client.aclose()


@atexit.register
def _close_shared_client() -> None:
    client = _clients.pop(os.getpid(), None)
    if client is not None:
        client.close()


def _forget_lock() -> None:
    """A fork may happen while another thread holds the lock; the child gets its own."""
    global _lock  # noqa: PLW0603 - the child process's own lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)

__all__ = ["Transport", "typed_error"]
