"""Sends a reply over the wire, with what was ordered to go wrong.

A wait ends at once when the client hangs up or the sandbox closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from langchain_workers_gemma.sandbox.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.types import Receive, Scope, Send

    from langchain_workers_gemma.sandbox.faults import Fault


JSON = "application/json"  # without a charset: Cloudflare's own env.AI client compares the whole header
EVENT_STREAM = "text/event-stream"
_LINGER_AND_RESET = struct.pack("ii", 1, 0)


class DisconnectedError(Exception):
    """The client is gone, or the sandbox closes: there is nobody to send to."""


@dataclass(slots=True)
class Reply:
    """A reply before it is sent.

    Attributes:
        status: The HTTP status.
        body: A whole body, or the events of a stream as bytes.
        content_type: Its content type; none for `None`.
        headers: Further headers.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A reply with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Reply(status, body, headers=headers or {})


class Connection:
    """The connection of one request, as the one that answers sees it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, open_connections: set[Connection]) -> None:
        self._receive = receive
        self._send = send
        self._open = open_connections
        self._transport: asyncio.Transport | None = scope.get("state", {}).get("transport")
        self._gone = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._open.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    def hang_up(self) -> None:
        """The sandbox closes: end every wait."""
        self._gone.set()

    def watch(self) -> None:
        """From now on notice when the client hangs up; the request's body must have been read."""
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    async def pause(self, seconds: float) -> None:
        """Wait, unless there is nobody left to wait for.

        Raises:
            DisconnectedError: When the client or the sandbox is gone.
        """
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
        if self._gone.is_set():
            raise DisconnectedError

    async def start(self, reply: Reply) -> None:
        """Send the status and the headers."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        if isinstance(reply.body, bytes):
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body.

        Raises:
            DisconnectedError: When the client or the sandbox is gone.
        """
        if self._gone.is_set():
            raise DisconnectedError
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def drop(self, *, reset: bool) -> None:
        """Close the connection in the middle of the reply.

        Args:
            reset: With a TCP reset, which throws away what is under way, instead of an orderly close.
        """
        if self._transport is None:  # pragma: no cover - every connection of the sandbox's own server has one
            return
        if reset:
            raw: socket.socket | None = self._transport.get_extra_info("socket")
            if raw is not None:
                await asyncio.sleep(0.01)  # what was sent should arrive before the reset overtakes it
                with contextlib.suppress(OSError):  # the client may have closed it first
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AND_RESET)
            self._transport.abort()
        else:
            self._transport.close()
        self.watch()
        if self._watcher is not None:
            await self._watcher


async def send_reply(connection: Connection, reply: Reply, fault: Fault | None, stream_error: bytes = b"") -> None:
    """Send a reply, with a fault on the way if one was ordered.

    Raises:
        DisconnectedError: When there is nobody left to send to.
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
    reply.body = _none()
    await connection.start(reply)
    for piece in pieces:
        await connection.piece(piece)
        await asyncio.sleep(0)
    await connection.end()


async def _none() -> AsyncIterator[bytes]:
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
            reply.body = _none()  # a body without a length ends where it ends
        await connection.start(reply)
        await connection.piece(body[: len(body) // 2])
        if fault.clean:
            await connection.end()
            return
    await connection.drop(reset=fault.kind == "reset")


async def _send_stream(
    connection: Connection, reply: Reply, frames: AsyncIterator[bytes], fault: Fault | None, stream_error: bytes
) -> None:
    sent = 0
    await connection.start(reply)
    async for frame in frames:
        if fault is not None and sent == fault.after_events and await _go_wrong(connection, fault, stream_error):
            return
        await connection.piece(frame)
        sent += 1
    if fault is not None and sent <= fault.after_events and await _go_wrong(connection, fault, stream_error):
        return
    await connection.end()


async def _go_wrong(connection: Connection, fault: Fault, stream_error: bytes) -> bool:
    """Do what was ordered; whether the reply is over with it."""
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


def service_error(fault: Fault) -> ServiceError:
    """The refusal that an ordered error stands for."""
    return ServiceError(fault.code, fault.message, status=fault.status, retry_after=fault.retry_after)
