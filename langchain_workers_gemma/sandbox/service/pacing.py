"""Stream a reply at a given number of tokens per second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.chat import CallDelta, End
from langchain_workers_gemma.sandbox.tokens import count_tokens
from langchain_workers_gemma.sandbox.wire.frames import close_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_workers_gemma.sandbox.chat import Delta


async def pace_deltas(deltas: AsyncIterator[Delta], tokens_per_second: float) -> AsyncIterator[Delta]:
    """Yield each delta at the time at which a model of this speed would have generated it, and the first one at once.

    The time of a delta depends on the number of tokens before it, not on the time of the last delta, so that delays do
    not accumulate.
    """
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    tokens = 0
    async with close_stream(deltas):
        async for delta in deltas:
            if not isinstance(delta, End):
                delay = started_at + tokens / tokens_per_second - loop.time()
                if delay > 0:
                    await asyncio.sleep(delay)
                tokens += _count_tokens(delta)
            yield delta


def _count_tokens(delta: Delta) -> int:
    if isinstance(delta, End):
        return 0
    text = delta.arguments + (delta.name or "") if isinstance(delta, CallDelta) else delta.text
    return count_tokens(text)
