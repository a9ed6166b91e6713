"""The mock model as an engine: a whole reply, or the same reply piece by piece."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.chat import CallDelta, Completion, End, ReasoningDelta, TextDelta
from langchain_workers_gemma.sandbox.tokens import tokenize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_workers_gemma.sandbox.chat import ChatRequest, Delta


class MockModel:
    """Answers requests, the same request always in the same way."""

    description = "mock-model"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        if request.schema is None and not request.tools:
            return self.answer(request)
        return await asyncio.to_thread(self.answer, request)  # the grammar engine would block other requests

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply piece by piece."""
        completion = await self.complete(request)
        for piece in split_completion(completion):
            yield piece

    async def close(self) -> None:
        """No-op."""

    def answer(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        from .completion import write_completion  # its patterns take as long as starting the sandbox
        from .work_limit import limit_work

        with limit_work():
            return write_completion(request, self.seed)


def split_completion(completion: Completion) -> Iterator[Delta]:
    """Yield a whole reply, token by token."""
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
