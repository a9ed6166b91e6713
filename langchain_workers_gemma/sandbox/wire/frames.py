"""Write server-sent events as bytes, and put them into packets."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from langchain_workers_gemma.sandbox.dialects import Dialect

_EVENTS_PER_PACKET = 8
_SPLIT_BYTES = 7
"""Size of a packet if events are split. It is odd, so that packets end at every position of a character."""


@contextlib.asynccontextmanager
async def close_stream(stream: AsyncIterator[Any]) -> AsyncGenerator[None]:
    """Close a stream at the end of a `with` block, so that the streams that it reads are closed at once too."""
    try:
        yield
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def write_frames(events: AsyncIterator[dict[str, Any]], dialect: Dialect) -> AsyncIterator[bytes]:
    """Yield each event of a stream as bytes, and then the `[DONE]` events."""
    async with close_stream(events):
        async for event in events:
            yield write_frame(json.dumps(event, ensure_ascii=False, separators=(",", ":")), dialect)
    for _ in range(dialect.dones):
        yield write_frame("[DONE]", dialect)


def write_frame(data: str, dialect: Dialect) -> bytes:
    """Return one event as bytes."""
    lines = [": keep-alive", ""] if dialect.comments else []
    if dialect.event_lines:
        lines.append("event: message")
    lines += [f"data: {data}", "", ""]
    return dialect.newline.join(lines).encode()


async def write_packets(frames: AsyncIterator[bytes], dialect: Dialect) -> AsyncIterator[bytes]:
    """Yield the events of a stream in packets, as the dialect has them."""
    async with close_stream(frames):
        packets = frames if dialect.packets == "event" else _repack(frames, split=dialect.packets == "split")
        async for packet in packets:
            yield packet


async def _repack(frames: AsyncIterator[bytes], *, split: bool) -> AsyncIterator[bytes]:
    buffer = bytearray()
    buffered_events = 0
    async for frame in frames:
        buffer += frame
        buffered_events += 1
        if split:
            while len(buffer) >= _SPLIT_BYTES:
                yield bytes(buffer[:_SPLIT_BYTES])
                del buffer[:_SPLIT_BYTES]
        elif buffered_events >= _EVENTS_PER_PACKET:
            yield bytes(buffer)
            buffer.clear()
            buffered_events = 0
    if buffer:
        yield bytes(buffer)
