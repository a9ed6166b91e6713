"""Workers AI bindings in plain Python, in place of those of a Worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from langchain_workers_gemma import (
    ChatWorkersGemma,
)
from tests.helpers.mock_service import encode_sse, make_delta, make_usage

HELLO_RESULT = {"response": "Hello", "usage": make_usage(3, 2)}
STREAM_PIECES = [
    encode_sse(make_delta("Hel")),
    encode_sse(make_delta("lo ")) + encode_sse(make_delta("Zü", finish_reason="stop"))[:-30],
    encode_sse(make_delta("Zü", finish_reason="stop"))[-30:]
    + encode_sse({"choices": [], "usage": make_usage(3, 2)}, "[DONE]"),
]


class FakeBinding:
    """A binding that keeps its calls. Results are values, exceptions to raise, or functions to call."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results) or [HELLO_RESULT]
        self.calls: list[tuple[Any, Any, Any]] = []

    async def run(self, model: str, input: Any, options: Any) -> Any:  # noqa: A002 - the interface's name
        self.calls.append((model, input, options))
        await asyncio.sleep(0)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result() if callable(result) else result


class FakeJsProxy:
    """A JavaScript object as Pyodide passes it to Python."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_py(self) -> Any:
        return self._value


class FakeReader:
    """A `ReadableStream` that is its own reader."""

    def __init__(self, *chunks: Any, wrap: Callable[[bytes], Any] = FakeJsProxy, endless: bool = False) -> None:
        self.chunks = list(chunks)
        self.wrap = wrap
        self.endless = endless
        self.cancelled = 0

    def getReader(self) -> FakeReader:  # noqa: N802 - JavaScript's name
        return self

    async def read(self) -> Any:
        await asyncio.sleep(0)
        if not self.chunks:
            if self.endless:
                await asyncio.sleep(3600)
            return SimpleNamespace(done=True, value=None)
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return SimpleNamespace(done=False, value=self.wrap(chunk))

    async def cancel(self) -> None:
        await asyncio.sleep(0)
        self.cancelled += 1


class ClosableIterator:
    """An async iterator that records whether it was closed."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks = list(chunks)
        self.closed = False

    def __aiter__(self) -> ClosableIterator:
        return self

    async def __anext__(self) -> Any:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)

    async def aclose(self) -> None:
        self.closed = True


def make_bound_model(*results: Any, **arguments: Any) -> tuple[ChatWorkersGemma, FakeBinding]:
    """Return a model with a binding that returns these results, and the binding."""
    ai = FakeBinding(*results)
    return ChatWorkersGemma(binding=ai, **{"max_retries": 0, **arguments}), ai


async def iterate_async(pieces: list[Any]) -> AsyncIterator[Any]:
    """Yield the pieces from an async generator."""
    for piece in pieces:
        yield piece
