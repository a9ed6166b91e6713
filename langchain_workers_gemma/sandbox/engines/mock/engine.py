"""The mock model as an engine: it returns a whole reply, or the same reply as deltas of a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.chat import CallDelta, Completion, End, ReasoningDelta, TextDelta
from langchain_workers_gemma.sandbox.tokens import tokenize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_workers_gemma.sandbox.chat import ChatRequest, Delta


class MockModel:
    """An engine that always returns the same reply to the same request."""

    description = "mock-model"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        if request.schema is None and not request.tools:
            return self.write_reply(request)
        return await asyncio.to_thread(self.write_reply, request)  # the grammar engine would block other requests

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the deltas of the reply."""
        completion = await self.complete(request)
        for delta in split_completion(completion):
            yield delta

    async def close(self) -> None:
        """No-op."""

    def write_reply(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        from .completion import write_completion  # compiling its patterns takes as long as starting the sandbox
        from .work_limit import limit_work

        with limit_work():
            return write_completion(request, self.seed)


def split_completion(completion: Completion) -> Iterator[Delta]:
    """Split a whole reply into deltas of one token."""
    for token in tokenize(completion.reasoning):
        yield ReasoningDelta(token)
    for token in tokenize(completion.text):
        yield TextDelta(token)
    for index, call in enumerate(completion.calls):
        yield CallDelta(index, "", id=call.id, name=call.name)
        for token in tokenize(call.arguments):
            yield CallDelta(index, token)
    for token in tokenize(completion.after_calls):
        yield TextDelta(token)
    yield End(completion)
