"""The connection of one request: read its body, detect a disconnected client, and send the reply with its fault."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

from langchain_workers_gemma.sandbox.wire.frames import close_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from starlette.types import Receive, Scope, Send

    from langchain_workers_gemma.sandbox.faults import Fault
    from langchain_workers_gemma.sandbox.wire.reply import Reply

_MAX_DISCARDED_BYTES = 64_000_000
"""Bytes beyond the size limit that are read and discarded, so that the client can read the error."""
_LINGER_AND_RESET = struct.pack("ii", 1, 0)


class DisconnectedError(Exception):
    """The client has disconnected, or the sandbox is closing."""


class Connection:
    """The connection of one request.

    All waits end at once when the client disconnects or the sandbox closes.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, open_connections: set[Connection]) -> None:
        self._receive = receive
        self._send = send
        self._open = open_connections
        self._transport: asyncio.Transport | None = scope.get("state", {}).get("transport")
        self._disconnected = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        self._open.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    def abort(self) -> None:
        """End all waits, because the sandbox is closing."""
        self._disconnected.set()

    async def read_body(self, limit: int) -> tuple[bytes, bool]:
        """Read the body of the request.

        Args:
            limit: Maximum size in bytes. The bytes beyond it are discarded.

        Returns:
            The body or its start, and whether the body was larger than the limit.

        Raises:
            DisconnectedError: If the client disconnects before the end of the body.
        """
        kept = bytearray()
        size = 0
        while size <= limit + _MAX_DISCARDED_BYTES:
            message = await self._receive()
            if message["type"] != "http.request":
                raise DisconnectedError
            data = message.get("body", b"")
            size += len(data)
            kept += data[: limit - len(kept)]
            if not message.get("more_body", False):
                break
        return bytes(kept), size > limit

    async def run(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine that replies to the request, and cancel it when the client disconnects.

        The body must have been read before.
        """
        self._watch()
        task = asyncio.ensure_future(work)
        disconnected = asyncio.ensure_future(self._disconnected.wait())
        try:
            await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnected.cancel()
            task.cancel()
        try:
            await task
        except (DisconnectedError, asyncio.CancelledError):
            if not self._ended:
                await self.drop(reset=True)

    async def pause(self, seconds: float) -> None:
        """Wait for a number of seconds.

        Raises:
            DisconnectedError: If the client disconnects or the sandbox closes.
        """
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._disconnected.wait()
        if self._disconnected.is_set():
            raise DisconnectedError

    async def start(self, reply: Reply) -> None:
        """Send the status and the headers."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        if isinstance(reply.body, bytes):
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def send_chunk(self, data: bytes) -> None:
        """Send a chunk of the body.

        Raises:
            DisconnectedError: If the client has disconnected or the sandbox is closing.
        """
        # A failed write closes the transport at once, but the event is set only when this task waits. If it continued
        # to write, asyncio would log a warning for each chunk.
        if self._disconnected.is_set() or (self._transport is not None and self._transport.is_closing()):
            raise DisconnectedError
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last chunk of the body."""
        self._ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def drop(self, *, reset: bool) -> None:
        """Close the connection in the middle of the reply.

        Args:
            reset: Whether to send a TCP reset, which discards undelivered data, instead of an orderly close.
        """
        if self._transport is None:  # pragma: no cover - every connection of the sandbox's own server has one
            return
        if reset:
            raw: socket.socket | None = self._transport.get_extra_info("socket")
            if raw is not None:
                await asyncio.sleep(0.01)  # so that data that was already sent arrives before the reset
                with contextlib.suppress(OSError):  # the client may have closed it first
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AND_RESET)
            self._transport.abort()
        else:
            self._transport.close()
        self._watch()
        if self._watcher is not None:
            await self._watcher

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._disconnected.set()


async def send_reply(connection: Connection, reply: Reply, fault: Fault | None, stream_error: bytes = b"") -> None:
    """Send a reply, and apply a fault to it.

    Args:
        connection: The connection.
        reply: The reply.
        fault: The fault to apply while the reply is sent, or `None`.
        stream_error: The event for a `stream_error` fault.

    Raises:
        DisconnectedError: If the client disconnects or the sandbox closes.
    """
    if isinstance(reply.body, bytes):
        await _send_whole(connection, reply, reply.body, fault)
    else:
        await _send_stream(connection, reply, reply.body, fault, stream_error)


async def send_packets(connection: Connection, reply: Reply, packets: Iterable[bytes]) -> None:
    """Send a body in exact packets."""
    packets = tuple(packets)
    if len(packets) <= 1:
        reply.body = b"".join(packets)
        await connection.start(reply)
        await connection.end(reply.body)
        return
    reply.body = _iterate_nothing()
    await connection.start(reply)
    for packet in packets:
        await connection.send_chunk(packet)
        await asyncio.sleep(0)
    await connection.end()


async def _iterate_nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _send_whole(connection: Connection, reply: Reply, body: bytes, fault: Fault | None) -> None:
    if fault is None or fault.kind == "stream_error":
        await connection.start(reply)
        await connection.end(body)
        return
    if fault.kind == "stall":
        await connection.pause(fault.seconds)
        await connection.start(reply)
        await connection.end(body)
        return
    if fault.after_events or fault.clean:
        if fault.clean:
            reply.headers["connection"] = "close"
            reply.body = _iterate_nothing()  # a stream has no content-length, so that the truncated body looks complete
        await connection.start(reply)
        await connection.send_chunk(body[: len(body) // 2])
        if fault.clean:
            await connection.end()
            return
    await connection.drop(reset=fault.kind == "reset")


async def _send_stream(
    connection: Connection, reply: Reply, frames: AsyncIterator[bytes], fault: Fault | None, stream_error: bytes
) -> None:
    sent = 0
    await connection.start(reply)
    async with close_stream(frames):
        async for frame in frames:
            if fault is not None and sent == fault.after_events and await _apply(connection, fault, stream_error):
                return
            await connection.send_chunk(frame)
            sent += 1
    if fault is not None and sent <= fault.after_events and await _apply(connection, fault, stream_error):
        return
    await connection.end()


async def _apply(connection: Connection, fault: Fault, stream_error: bytes) -> bool:
    """Apply a fault to a stream. Return whether it ended the reply."""
    if fault.kind == "stall":
        await connection.pause(fault.seconds)
        return False
    if fault.kind == "stream_error":
        await connection.end(stream_error)
    elif fault.kind == "cut" and fault.clean:
        await connection.end()
    else:
        await connection.drop(reset=fault.kind == "reset")
    return True
