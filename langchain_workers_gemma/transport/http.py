"""The I/O over HTTP: lines that send requests and read replies with httpx. The one module that sends calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx

from langchain_workers_gemma.errors import APIConnectionError, APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Flow, ResponseHead
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, unreadable_reply
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.transport.client_pool import HEADERS, ClientPool, loop_pool, process_pool
from langchain_workers_gemma.transport.driver import AsyncExchange, run_flow

_HEADERS = httpx.Headers(HEADERS)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)


@dataclass(slots=True)
class Transport:
    """Sends requests and reads replies.

    Attributes:
        token: The API token.
        timeout: Time limits.
        client: The caller's own client for sync calls.
        async_client: The caller's own client for async calls.
    """

    token: str
    timeout: httpx.Timeout
    client: httpx.Client | None = None
    async_client: httpx.AsyncClient | None = None

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Drive an exchange, giving the pieces it delivers."""
        return run_flow(flow, _Connection(self))

    def arun(self, flow: Flow) -> AsyncExchange:
        """Drive an exchange, giving the pieces it delivers."""
        return AsyncExchange(flow, _AsyncConnection(self))

    def request(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """A request in httpx's form."""
        if client is self.client or client is self.async_client:  # it may have cookies, parameters, ways of its own
            return client.build_request(
                request.method,
                request.url,
                headers=self._headers(_HEADERS, request),
                content=request.body(),
                timeout=self.timeout,
            )
        return httpx.Request(
            request.method,
            _parsed(request.url),
            headers=self._headers(client.headers, request),
            content=request.body(),
            extensions={"timeout": self.timeout.as_dict()},
        )

    def _headers(self, base: httpx.Headers, request: Request) -> httpx.Headers:
        headers = base.copy()
        headers["authorization"] = f"Bearer {self.token}"
        headers["accept"] = "text/event-stream" if request.stream else "application/json"
        for name, value in request.headers.items():
            headers[name] = value  # one by one: names may differ in case only, and each goes out once
        return headers


@lru_cache(maxsize=128)
def _parsed(url: str) -> httpx.URL:
    """A URL in httpx's form; parsing it takes longer than making all the rest of a request."""
    return httpx.URL(url)


class _Connection:
    """A line to the service, for sync calls."""

    __slots__ = ("_body", "_client", "_clients", "_response", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._clients = process_pool()
        self._client: httpx.Client | None = None
        self._response: httpx.Response | None = None
        self._body: Iterator[bytes] = iter(())

    def send(self, request: Request) -> ResponseHead:
        client = self._transport.client or self._client
        if client is None:
            client = self._client = self._clients.acquire()
        try:
            if self._response is not None:
                self._response.close()
            response = client.send(self._transport.request(client, request), stream=True)
        except _FAILURES as error:
            raise _typed(error) from error
        self._response = response
        self._body = response.iter_bytes()
        return _head(response)

    def read(self) -> bytes | None:
        try:
            return next(self._body, None)
        except _FAILURES as error:
            raise _typed(error, self._response) from error

    def abort(self) -> None:
        stream = _network_stream(self._response)
        if stream is not None:
            stream.close()

    def close(self) -> None:
        client, self._client = self._client, None
        try:
            if self._response is not None:
                self._response.close()
        finally:
            if client is not None:
                self._clients.release(client)
                for evict in self._clients.evict():
                    evict.close()


class _AsyncConnection:
    """A line to the service, for async calls."""

    __slots__ = ("_body", "_client", "_clients", "_response", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._clients: ClientPool[httpx.AsyncClient] | None = None
        self._client: httpx.AsyncClient | None = None
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None

    async def send(self, request: Request) -> ResponseHead:
        client = self._transport.async_client or self._client
        if client is None:
            self._clients = await loop_pool()
            client = self._client = self._clients.acquire()
        try:
            if self._response is not None:
                await self._response.aclose()
            response = await client.send(self._transport.request(client, request), stream=True)
        except _FAILURES as error:
            raise _typed(error) from error
        self._response = response
        self._body = response.aiter_bytes()
        return _head(response)

    async def read(self) -> bytes | None:
        try:
            return None if self._body is None else await anext(self._body, None)
        except _FAILURES as error:
            raise _typed(error, self._response) from error

    async def abort(self) -> None:
        stream = _network_stream(self._response)
        if stream is not None:
            await stream.aclose()

    async def close(self) -> None:
        client, self._client = self._client, None
        try:
            if self._response is not None:
                await self._response.aclose()
        finally:
            if self._clients is not None and client is not None:
                self._clients.release(client)
                for evict in self._clients.evict():
                    await evict.aclose()


def _network_stream(response: httpx.Response | None) -> Any:
    """What a reply came over: the pool of its client, ours or the caller's, sees that it is closed and opens another.

    `None` where there is none to close: other clients' transports need not tell, and in HTTP/2 calls share it.
    """
    if response is None or not response.http_version.startswith("HTTP/1"):
        return None
    return response.extensions.get("network_stream")


def _head(response: httpx.Response) -> ResponseHead:
    return ResponseHead(response.status_code, {name.lower(): value for name, value in response.headers.items()})


def _typed(error: Exception, response: httpx.Response | None = None) -> WorkersGemmaError:
    """The typed error for a failure of the connection, to be chained to it.

    Args:
        error: What the client raised.
        response: The reply that was being read, if its head had come.
    """
    said = str(error) or type(error).__name__
    if isinstance(error, httpx.RequestError):
        # The cause goes wherever the error goes, into Dask's pickles for one, and its request holds the token.
        with suppress(RuntimeError):  # it has none
            error.request = httpx.Request(error.request.method, error.request.url)
    if isinstance(error, httpx.DecodingError) and response is not None:
        head = _head(response)
        why = f"its content encoding is broken ({said})"
        return unreadable_reply(head.status, head.headers, b"", why, ErrorContext())
    if isinstance(error, httpx.TimeoutException):
        kind = type(error).__name__.removesuffix("Timeout").lower()
        return APITimeoutError(f"The service did not answer in time ({kind} timeout): {said}. See `timeout`.")
    return APIConnectionError(f"The connection to the service failed: {type(error).__name__}: {said}")
