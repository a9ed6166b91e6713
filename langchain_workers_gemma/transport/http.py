"""Perform I/O over HTTP: send requests and read responses with httpx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import httpx
from pydantic import SecretStr

from langchain_workers_gemma.errors import WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Flow, ResponseHead
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.gateway import check_header
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.transport.client_pool import HEADERS, ClientPool, PoolKey, get_loop_pool, get_process_pool
from langchain_workers_gemma.transport.content_coding import ACCEPTED, ContentCodingError, Inflater, get_decoder
from langchain_workers_gemma.transport.deadline import Watched, shut_down_after
from langchain_workers_gemma.transport.driver import GRACE_TIMEOUT, AsyncExchange, run_flow
from langchain_workers_gemma.transport.failures import (
    FAILURES,
    make_not_decodable_error,
    make_not_ended_error,
    make_typed_error,
    mask_failure,
)
from langchain_workers_gemma.transport.leftovers import (
    AsyncWatchedTransport,
    Reads,
    WatchedTransport,
    atrace_connection,
    get_reads,
    trace_connection,
)


@dataclass(slots=True)
class Transport:
    """Sends requests and reads responses.

    Attributes:
        token: The API token, `None` if the server needs none.
        timeout: The timeouts of each step.
        client: The caller's own client for sync calls.
        async_client: The caller's own client for async calls.
    """

    token: SecretStr | None = field(repr=False)
    timeout: httpx.Timeout
    client: httpx.Client | None = None
    async_client: httpx.AsyncClient | None = None
    _base_headers: dict[tuple[bool, bytes], httpx.Headers] = field(default_factory=dict, init=False, repr=False)
    _token_digest: bytes = field(default=b"", init=False, repr=False)

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Run an exchange, and yield the pieces that it delivers."""
        return run_flow(flow, _Connection(self))

    def arun(self, flow: Flow) -> AsyncExchange:
        """Run an exchange, and yield the pieces that it delivers."""
        return AsyncExchange(flow, _AsyncConnection(self))

    def build_callers_request(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """Return a request for the caller's client, which may have its own cookies, parameters and hooks."""
        return client.build_request(
            request.method,
            request.url,
            headers=self._build_headers(request),
            content=request.encode_body(),
            timeout=self.timeout,
            extensions={"trace": trace_connection if isinstance(client, httpx.Client) else atrace_connection},
        )

    def build_own_request(self, request: Request) -> httpx.Request:
        """Return a request in httpx's form."""
        url, body = _parse_url(request.url), request.encode_body()
        built = httpx.Request(
            request.method,
            url,
            headers=self._build_headers(request, url.netloc),
            stream=httpx.ByteStream(body),
            extensions={"timeout": self.timeout.as_dict()},
        )
        built.headers["content-length"] = str(len(body))  # httpx has copied them
        return built

    def make_pool_key(self, request: Request) -> PoolKey:
        """Return the key under which the connection of a request is shared."""
        if not self._token_digest:
            secret = self.token.get_secret_value().encode() if self.token else b""
            self._token_digest = blake2b(secret, digest_size=16).digest()
        return _get_origin(request.address.base_url), self._token_digest

    def get_secrets(self, request: Request | None) -> tuple[str, ...]:
        """Return the texts that must not appear in an error, even if the server repeats them."""
        sent = {} if request is None else request.headers
        credentials = [
            value.removeprefix("Bearer ") for name, value in sent.items() if name.lower().endswith("authorization")
        ]
        return (*credentials, self.token.get_secret_value()) if self.token else tuple(credentials)

    def _build_headers(self, request: Request, netloc: bytes = b"") -> httpx.Headers:
        """Return the headers of a request, which callers must not change: requests may share them.

        A name in another case replaces the default, so each header is sent once.
        """
        base = self._base_headers.get((request.stream, netloc))
        if base is None:
            base = self._base_headers[request.stream, netloc] = self._build_base_headers(request.stream, netloc)
        if not request.headers:
            return base
        headers = httpx.Headers(base)
        for name, value in request.headers.items():
            headers[name] = value
        return headers

    def _build_base_headers(self, stream: bool, netloc: bytes) -> httpx.Headers:  # noqa: FBT001 - a key of the cache
        """Return the headers that every request to a server has."""
        accept = "text/event-stream" if stream else "application/json"
        host = {"host": netloc.decode("ascii")} if netloc else {}
        headers = httpx.Headers({**host, **HEADERS, "accept": accept, "accept-encoding": ACCEPTED})
        if self.token is not None:
            headers["authorization"] = f"Bearer {check_header('api_token', self.token.get_secret_value())}"
        return headers


@lru_cache(maxsize=128)
def _parse_url(url: str) -> httpx.URL:
    """Parse a URL, which takes longer than building the rest of a request."""
    return httpx.URL(url)


@lru_cache(maxsize=128)
def _get_origin(base_url: str) -> str:
    url = httpx.URL(base_url)
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


class _ConnectionState:
    """The state of a connection to the service, sync or async, and of the response that it reads.

    Args:
        transport: The transport that has opened it.
    """

    __slots__ = ("_deadline", "_head", "_inflater", "_key", "_reads", "_request", "_response", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._key: PoolKey | None = None
        self._request: Request | None = None
        self._response: httpx.Response | None = None
        self._head = ResponseHead(0, {})
        self._reads: Reads | None = None
        self._inflater: Inflater | None = None
        self._deadline: float | None = None

    def _begin_response(self, response: httpx.Response) -> ResponseHead:
        """Store a response whose body will be read, and return its head.

        Raises:
            ContentCodingError: If its coding was not accepted.
            httpx.RemoteProtocolError: If it existed before the request.
        """
        self._response = response
        self._reads = get_reads(_get_network_stream(response))
        self._head = _build_head(response)
        self._inflater = _get_decoder(response, self._head)
        return self._head

    def _to_typed_error(self, error: Exception, key: PoolKey | None = None) -> WorkersGemmaError:
        """Return the typed error for a failure; chain it with `raise ... from`.

        Args:
            error: One of `FAILURES`.
            key: The key of the connection in the pool, `None` for the caller's client.
        """
        return make_typed_error(mask_failure(error, self._transport.get_secrets(self._request)), key)

    def _to_coding_error(self, error: ContentCodingError) -> WorkersGemmaError:
        return make_not_decodable_error(self._head, error, self._transport.get_secrets(self._request))


class _Connection(_ConnectionState):
    """A connection to the service, for the requests of one sync call."""

    __slots__ = ("_body", "_client", "_pool", "_watched")

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._pool: ClientPool[WatchedTransport] = get_process_pool()
        self._client: WatchedTransport | None = None
        self._body: Iterator[bytes] = iter(())
        self._watched: Watched | None = None

    def send(self, request: Request) -> ResponseHead:
        self._request = request
        try:
            self._end_response(self._client)
            response = self._send(request)
            if self._client is not None:
                self._client.stream = _get_network_stream(response)
            head = self._begin_response(response)
            body: Iterator[bytes] = iter(_get_raw_body(response))
        except ContentCodingError as error:
            raise self._to_coding_error(error) from None
        except FAILURES as error:
            raise self._to_typed_error(error, self._key) from error
        except BaseException:
            self._abandon_client()
            raise
        self._body = body if self._inflater is None else _inflate(body, self._inflater)
        return head

    def read(self, *, is_complete: bool = False) -> bytes | None:
        if is_complete:
            self._limit_reading()
        try:
            return next(self._body, None)
        except ContentCodingError as error:
            raise self._to_coding_error(error) from None
        except FAILURES as error:
            raise self._to_typed_error(error) from error
        except BaseException:
            self._abandon_client()
            raise

    def abort(self) -> None:
        self._close_client(self._client)

    def close(self) -> None:
        try:
            self._end_response(self._client)
        except FAILURES:
            raise
        except BaseException:
            self._abandon_client()
            raise
        finally:
            client, self._client = self._client, None
            if client is not None and self._key is not None:
                for surplus in self._pool.release(self._key, client):
                    surplus.close()

    def _send(self, request: Request) -> httpx.Response:
        if self._transport.client is not None:
            client = self._transport.client
            try:
                return client.send(self._transport.build_callers_request(client, request), stream=True)
            except httpx.HTTPStatusError as error:
                return error.response  # a hook of the client raised it; the exchange reads the response
        if self._client is None:
            self._key = self._transport.make_pool_key(request)
            self._client = self._pool.acquire(self._key)
        return self._client.handle_request(self._transport.build_own_request(request))

    def _limit_reading(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_TIMEOUT
            self._watched = shut_down_after(GRACE_TIMEOUT, _get_network_stream(self._response))
        elif time.monotonic() > self._deadline:
            raise make_not_ended_error()

    def _abandon_client(self) -> None:
        """Keep the client from other calls after Ctrl-C, which can leave a lock of httpcore locked.

        Every later request on it would then wait forever, and so would closing it. So its socket alone is closed.
        """
        client, self._client = self._client, None
        if client is not None:
            self._response = self._reads = None
            self._pool.abandon(client)
            if client.stream is not None:
                client.stream.close()

    def _close_client(self, client: WatchedTransport | None) -> None:
        stream = _get_network_stream(self._response)
        if stream is not None:
            stream.close()
            if client is not None:
                client.connects = True

    def _end_response(self, client: WatchedTransport | None) -> None:
        self._deadline = None
        if self._watched is not None:
            self._watched.cancel()
            self._watched = None
        reads, self._reads = self._reads, None
        if self._response is not None:
            try:
                if reads is not None and reads.end_response(self._head.headers):
                    self._close_client(client)
            finally:
                response, self._response = self._response, None
                response.close()


class _AsyncConnection(_ConnectionState):
    """A connection to the service, for the requests of one async call."""

    __slots__ = ("_body", "_client", "_pool")

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._pool: ClientPool[AsyncWatchedTransport] | None = None
        self._client: AsyncWatchedTransport | None = None
        self._body: AsyncIterator[bytes] | None = None

    async def send(self, request: Request) -> ResponseHead:
        self._request = request
        try:
            await self._end_response(self._client)
            response = await self._send(request)
            head = self._begin_response(response)
            body: AsyncIterator[bytes] = aiter(_get_raw_body(response))
        except ContentCodingError as error:
            raise self._to_coding_error(error) from None
        except FAILURES as error:
            raise self._to_typed_error(error, self._key) from error
        self._body = body if self._inflater is None else _ainflate(body, self._inflater)
        return head

    async def read(self, *, is_complete: bool = False) -> bytes | None:
        if self._body is None:
            return None
        try:
            if not is_complete:
                return await anext(self._body, None)
            return await self._read_in_time(self._body)
        except ContentCodingError as error:
            raise self._to_coding_error(error) from None
        except FAILURES as error:
            raise self._to_typed_error(error) from error

    async def abort(self) -> None:
        await self._close_client(self._client)

    async def close(self) -> None:
        client, self._client = self._client, None
        try:
            await self._end_response(client)
        finally:
            if self._pool is not None and client is not None and self._key is not None:
                for surplus in self._pool.release(self._key, client):
                    await surplus.aclose()

    async def _send(self, request: Request) -> httpx.Response:
        if self._transport.async_client is not None:
            client = self._transport.async_client
            try:
                return await client.send(self._transport.build_callers_request(client, request), stream=True)
            except httpx.HTTPStatusError as error:
                return error.response  # a hook of the client raised it; the exchange reads the response
        if self._client is None:
            self._pool = await get_loop_pool()
            self._key = self._transport.make_pool_key(request)
            self._client = self._pool.acquire(self._key)
        return await self._client.handle_async_request(self._transport.build_own_request(request))

    async def _read_in_time(self, body: AsyncIterator[bytes]) -> bytes | None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + GRACE_TIMEOUT
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(body, None)
        except TimeoutError:
            raise make_not_ended_error() from None

    async def _close_client(self, client: AsyncWatchedTransport | None) -> None:
        stream = _get_network_stream(self._response)
        if stream is not None:
            await stream.aclose()
            if client is not None:
                client.connects = True

    async def _end_response(self, client: AsyncWatchedTransport | None) -> None:
        self._deadline = None
        reads, self._reads = self._reads, None
        if self._response is not None:
            try:
                if reads is not None and reads.end_response(self._head.headers):
                    await self._close_client(client)
            finally:
                response, self._response = self._response, None
                await response.aclose()


def _inflate(body: Iterator[bytes], inflater: Inflater) -> Iterator[bytes]:
    for data in body:
        yield from inflater.feed(data)
    inflater.flush()


async def _ainflate(body: AsyncIterator[bytes], inflater: Inflater) -> AsyncIterator[bytes]:
    async for data in body:
        for piece in inflater.feed(data):
            yield piece
    inflater.flush()


def _get_network_stream(response: httpx.Response | None) -> Any:
    """Return the network stream of a response, `None` if there is none to close.

    After it is closed, its pool opens another. Other transports may not expose it, and in HTTP/2 several calls share
    it.
    """
    if response is None or not response.extensions.get("http_version", b"HTTP/1.1").startswith(b"HTTP/1"):
        return None
    return response.extensions.get("network_stream")


def _get_raw_body(response: httpx.Response) -> Any:
    """Return the iterable of a raw body. A hook of the caller's client may have read it, or closed it unread.

    Raises:
        httpx.ResponseNotRead: If a hook has read the body without storing it.
    """
    if response.is_stream_consumed:
        return httpx.ByteStream(response.content)
    return httpx.ByteStream(b"") if response.is_closed else response.stream


def _get_decoder(response: httpx.Response, head: ResponseHead) -> Inflater | None:
    """Return the decoder of a body, `None` if httpx has decoded it already or it has no coding.

    Raises:
        ContentCodingError: If the coding was not accepted.
    """
    coding = head.headers.get("content-encoding")
    return None if coding is None or response.is_closed else get_decoder(coding)


def _build_head(response: httpx.Response) -> ResponseHead:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return ResponseHead(response.status_code, headers)
