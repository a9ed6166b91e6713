"""Server-sent events as bytes, and the packets they travel in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_workers_gemma.sandbox.dialects import Dialect

_JOINED = 8
_SPLIT = 7
"""Bytes of a packet when events are split; odd, so that the cuts move through every character."""


async def frames_of(events: AsyncIterator[dict[str, Any]], dialect: Dialect) -> AsyncIterator[bytes]:
    """Each event of a stream as bytes, the end included."""
    async for event in events:
        yield frame(json.dumps(event, ensure_ascii=False, separators=(",", ":")), dialect)
    for _ in range(dialect.dones):
        yield frame("[DONE]", dialect)


def frame(data: str, dialect: Dialect) -> bytes:
    """One event."""
    lines = [": keep-alive", ""] if dialect.comments else []
    if dialect.event_lines:
        lines.append("event: message")
    lines += [f"data: {data}", "", ""]
    return dialect.newline.join(lines).encode()


async def packets_of(frames: AsyncIterator[bytes], dialect: Dialect) -> AsyncIterator[bytes]:
    """The packets that a stream travels in."""
    if dialect.packets == "event":
        async for one in frames:
            yield one
        return
    held = bytearray()
    waiting = 0
    async for one in frames:
        held += one
        waiting += 1
        if dialect.packets == "split":
            while len(held) >= _SPLIT:
                yield bytes(held[:_SPLIT])
                del held[:_SPLIT]
        elif waiting >= _JOINED:
            yield bytes(held)
            held.clear()
            waiting = 0
    if held:
        yield bytes(held)
