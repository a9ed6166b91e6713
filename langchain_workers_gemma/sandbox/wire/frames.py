"""Server-sent events as bytes, and the packets they travel in."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from langchain_workers_gemma.sandbox.dialects import Dialect

_JOINED = 8
_SPLIT = 7
"""Bytes of a packet when events are split; odd, so that the cuts move through every character."""


@contextlib.asynccontextmanager
async def close_stream(stream: AsyncIterator[Any]) -> AsyncGenerator[None]:
    """Close a stream at the end of a `with` block, so that what it reads from is closed at once, too."""
    try:
        yield
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def write_frames(events: AsyncIterator[dict[str, Any]], dialect: Dialect) -> AsyncIterator[bytes]:
    """Write each event of a stream as bytes, and the end of the stream."""
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
    """Put the events of a stream into packets."""
    async with close_stream(frames):
        packets = frames if dialect.packets == "event" else _repack(frames, split=dialect.packets == "split")
        async for one in packets:
            yield one


async def _repack(frames: AsyncIterator[bytes], *, split: bool) -> AsyncIterator[bytes]:
    held = bytearray()
    waiting = 0
    async for one in frames:
        held += one
        waiting += 1
        if split:
            while len(held) >= _SPLIT:
                yield bytes(held[:_SPLIT])
                del held[:_SPLIT]
        elif waiting >= _JOINED:
            yield bytes(held)
            held.clear()
            waiting = 0
    if held:
        yield bytes(held)
