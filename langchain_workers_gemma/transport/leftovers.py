"""Find out whether a response left bytes on its connection, which the next call would read as its own response.

httpcore keeps the bytes after the end of a response in the same packet, and reads them as the response to the next
request. It does not report them. So the reads of a connection are watched: httpx provides the stream of a connection in
two documented ways, as the `network_stream` of a response and, when the connection is opened, to the `trace` of the
request. See https://www.python-httpx.org/advanced/extensions/.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from langchain_workers_gemma.transport.joined_writes import join_writes

_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_OVERLAP = len(_LAST_CHUNK) - 1
_CONNECTED = ("connect_tcp.complete", "start_tls.complete")


class Reads:
    """The bytes that were read from a connection since its last response ended.

    Attributes:
        is_whole: Whether every read was seen. Reads before the connection was watched were not.
        sees_connections: Whether httpcore has reported any new connection. The names of its trace events may change.
            Then no connection is watched from its start, and closing all those would close every connection.
    """

    sees_connections: ClassVar[bool] = False

    __slots__ = ("_before_last", "_first", "_last", "_size", "is_whole")

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self._first = self._last = self._before_last = b""
        self._size = 0

    def add(self, data: bytes) -> None:
        """Add the bytes that a read returned."""
        if not self._size:
            self._first = data
        self._before_last = (self._last if len(self._last) >= _OVERLAP else self._before_last + self._last)[-_OVERLAP:]
        self._last = data
        self._size += len(data)

    def is_empty(self) -> bool:
        """Return whether nothing was read. A response that exists then was left by the one before it."""
        return self.is_whole and not self._size

    def end_response(self, headers: Mapping[str, str]) -> bool:
        """Return whether more than one response was read, and reset the counts for the next one.

        Return true in doubt, for example for a response without its end.

        Args:
            headers: The headers of the response, with names in lower case.
        """
        leaves_bytes = self._leave_bytes(headers)
        self.is_whole = True
        self._first = self._last = self._before_last = b""
        self._size = 0
        return leaves_bytes

    def _leave_bytes(self, headers: Mapping[str, str]) -> bool:
        is_chunked = "chunked" in headers.get("transfer-encoding", "")
        if not self.is_whole and not (is_chunked and self._last):
            return self.sees_connections
        if is_chunked:
            tail = self._before_last + self._last  # the last chunk may begin in an earlier read
            end = tail.find(_LAST_CHUNK)
            if end < 0:
                return not _LAST_CHUNK.endswith(tail)
            return end + len(_LAST_CHUNK) != len(tail)
        length, head_end = headers.get("content-length", "0"), self._first.find(_HEAD_END)
        return head_end < 0 or not length.isdecimal() or self._size != head_end + len(_HEAD_END) + int(length)


def get_reads(network_stream: Any) -> Reads | None:
    """Return the reads of a response, `None` if they cannot be watched.

    A connection that is not watched yet is watched from now on.

    Args:
        network_stream: The network stream of the response, `None` if it is not known.

    Raises:
        httpx.RemoteProtocolError: If the response existed before anything was read.
    """
    if network_stream is None:
        return None
    reads = _watch(network_stream, is_whole=False, is_async=hasattr(network_stream, "aclose"))
    if reads is not None and reads.is_empty():
        raise httpx.RemoteProtocolError("An earlier response left bytes on the connection.")
    return reads


def trace_connection(event: str, info: Mapping[str, Any]) -> None:
    """Watch a sync connection from its first read on. This is the `trace` of its first request."""
    if event.endswith(_CONNECTED):
        _watch(info["return_value"], is_whole=True, is_async=False)
        Reads.sees_connections = True


async def atrace_connection(event: str, info: Mapping[str, Any]) -> None:
    """Watch an async connection from its first read on. This is the `trace` of its first request."""
    if event.endswith(_CONNECTED):
        _watch(info["return_value"], is_whole=True, is_async=True)
        Reads.sees_connections = True


def _trace_own_connection(event: str, info: Mapping[str, Any]) -> None:
    trace_connection(event, info)
    if event.endswith(_CONNECTED):
        join_writes(info["return_value"], is_async=False)


async def _atrace_own_connection(event: str, info: Mapping[str, Any]) -> None:
    await atrace_connection(event, info)
    if event.endswith(_CONNECTED):
        join_writes(info["return_value"], is_async=True)


class WatchedTransport(httpx.HTTPTransport):
    """httpx's transport, with connections that are watched from their start and write a request in one piece.

    Attributes:
        connects: Whether the next request opens a connection, as far as it is known.
        stream: The network stream of its last response, `None` if it is not known.
    """

    connects = True
    stream: Any = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        if self.connects:
            self.connects = False
            request.extensions["trace"] = _trace_own_connection
        return super().handle_request(request)


class AsyncWatchedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, with connections that are watched from their start and write a request in one piece.

    Attributes:
        connects: Whether the next request opens a connection, as far as it is known.
    """

    connects = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        if self.connects:
            self.connects = False
            request.extensions["trace"] = _atrace_own_connection
        return await super().handle_async_request(request)


def _watch(stream: Any, *, is_whole: bool, is_async: bool) -> Reads | None:
    """Have the `read` of a stream, an `httpcore.NetworkStream`, report what it returns."""
    attributes: dict[str, Any] | None = getattr(stream, "__dict__", None)
    if attributes is None:
        return None
    watched = attributes.get("read")
    if watched is None:
        watched = attributes["read"] = (_AsyncRead if is_async else _Read)(stream, Reads(is_whole=is_whole))
    return watched.reads if isinstance(watched, _Read) else None


class _Read:
    """The `read` of a stream. It holds the stream weakly, so that an abandoned connection is freed at once."""

    __slots__ = ("_read", "_stream", "reads")

    def __init__(self, stream: Any, reads: Reads) -> None:
        self._stream = weakref.ref(stream)
        self._read = type(stream).read
        self.reads = reads

    def __call__(self, max_bytes: int, timeout: float | None = None) -> Any:
        data = self._read(self._stream(), max_bytes, timeout)
        self.reads.add(data)
        return data


class _AsyncRead(_Read):
    __slots__ = ()

    async def __call__(self, max_bytes: int, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as httpcore has it
        data = await self._read(self._stream(), max_bytes, timeout)
        self.reads.add(data)
        return data
