"""One request's connection: read its body, notice when the client is gone, send the reply with the faults injected."""

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

_MAX_DISCARDED = 64_000_000
"""Bytes of too large a body that are read and discarded, so that the client can read the refusal."""
_LINGER_AND_RESET = struct.pack("ii", 1, 0)


class DisconnectedError(Exception):
    """The client has disconnected, or the sandbox closes."""


class Connection:
    """The connection of one request.

    A wait ends at once when the client disconnects or the sandbox closes.
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
        """End every wait, because the sandbox closes."""
        self._disconnected.set()

    async def read_body(self, limit: int) -> tuple[bytes, bool]:
        """Read the request's body.

        Args:
            limit: The largest body in bytes. What a larger one has beyond is discarded.

        Returns:
            The body, or its start, and whether it was larger.

        Raises:
            DisconnectedError: When the client is gone before its end.
        """
        kept = bytearray()
        size = 0
        while size <= limit + _MAX_DISCARDED:
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
        """Run what answers the request, and cancel it when the client is gone. The body must have been read."""
        self._watch()
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._disconnected.wait())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            task.cancel()
        try:
            await task
        except (DisconnectedError, asyncio.CancelledError):
            if not self._ended:
                await self.drop(reset=True)

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            DisconnectedError: When the client or the sandbox is gone.
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

    async def send_piece(self, data: bytes) -> None:
        """Send a piece of the body.

        Raises:
            DisconnectedError: When the client or the sandbox is gone.
        """
        # A failed write closes the transport at once; the event follows only when this task waits. Writing on would
        # have asyncio log a warning for each piece.
        if self._disconnected.is_set() or (self._transport is not None and self._transport.is_closing()):
            raise DisconnectedError
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""
        self._ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def drop(self, *, reset: bool) -> None:
        """Close the connection in the middle of the reply.

        Args:
            reset: With a TCP reset, which discards what is not delivered yet, instead of an orderly close.
        """
        if self._transport is None:  # pragma: no cover - every connection of the sandbox's own server has one
            return
        if reset:
            raw: socket.socket | None = self._transport.get_extra_info("socket")
            if raw is not None:
                await asyncio.sleep(0.01)  # data that was sent should arrive before the reset
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
        connection: Where to send it.
        reply: The reply.
        fault: The fault to apply while it is sent.
        stream_error: The event that a `stream_error` fault sends.

    Raises:
        DisconnectedError: When the client or the sandbox is gone.
    """
    if isinstance(reply.body, bytes):
        await _send_whole(connection, reply, reply.body, fault)
    else:
        await _send_stream(connection, reply, reply.body, fault, stream_error)


async def send_pieces(connection: Connection, reply: Reply, pieces: Iterable[bytes]) -> None:
    """Send exact packets."""
    pieces = tuple(pieces)
    if len(pieces) <= 1:
        reply.body = b"".join(pieces)
        await connection.start(reply)
        await connection.end(reply.body)
        return
    reply.body = _iterate_nothing()
    await connection.start(reply)
    for piece in pieces:
        await connection.send_piece(piece)
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
            reply.body = _iterate_nothing()  # a body without a length ends where it ends
        await connection.start(reply)
        await connection.send_piece(body[: len(body) // 2])
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
            await connection.send_piece(frame)
            sent += 1
    if fault is not None and sent <= fault.after_events and await _apply(connection, fault, stream_error):
        return
    await connection.end()


async def _apply(connection: Connection, fault: Fault, stream_error: bytes) -> bool:
    """Apply a fault to a stream; return whether it ended the reply."""
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
