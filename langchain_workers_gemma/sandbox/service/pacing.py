"""Send the pieces of a reply at the pace of a model."""

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
    """Pass on each piece when a model of this speed would have generated it, the first one at once.

    The times follow from the tokens so far, not from the last piece, so that late timers do not add up.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    tokens = 0
    async with close_stream(deltas):
        async for delta in deltas:
            if not isinstance(delta, End):
                wait = started + tokens / tokens_per_second - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                tokens += _count_tokens(delta)
            yield delta


def _count_tokens(delta: Delta) -> int:
    if isinstance(delta, End):
        return 0
    text = delta.arguments + (delta.name or "") if isinstance(delta, CallDelta) else delta.text
    return count_tokens(text)
