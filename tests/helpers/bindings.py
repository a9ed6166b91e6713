"""Workers AI bindings in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

from langchain_workers_gemma import (
    ChatWorkersGemma,
)
from tests.helpers.asking import (
    delta,
    sse,
    usage,
)

HELLO = {"response": "Hello", "usage": usage(3, 2)}
PIECES = [
    sse(delta("Hel")),
    sse(delta("lo ")) + sse(delta("Zü", finish_reason="stop"))[:-30],
    sse(delta("Zü", finish_reason="stop"))[-30:] + sse({"choices": [], "usage": usage(3, 2)}, "[DONE]"),
]


class Ai:
    """A binding in plain Python: keeps what it is given, and answers with values, exceptions, or what is called."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [HELLO]
        self.calls: list[tuple[Any, Any, Any]] = []

    async def run(self, model: str, input: Any, options: Any) -> Any:  # noqa: A002 - the interface's name
        self.calls.append((model, input, options))
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


class JsProxy:
    """What Pyodide returns for an object of JavaScript's."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_py(self) -> Any:
        return self._value


class Reader:
    """A `ReadableStream` and its reader."""

    def __init__(self, *chunks: Any, wrap: Callable[[bytes], Any] = JsProxy, endless: bool = False) -> None:
        self.chunks = list(chunks)
        self.wrap = wrap
        self.endless = endless
        self.cancelled = 0

    def getReader(self) -> Reader:  # noqa: N802 - JavaScript's name
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


class Chunks:
    """An async iterator that knows when it was closed."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks = list(chunks)
        self.closed = False

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Any:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)

    async def aclose(self) -> None:
        self.closed = True


def bound(*answers: Any, **arguments: Any) -> tuple[ChatWorkersGemma, Ai]:
    ai = Ai(*answers)
    return ChatWorkersGemma(binding=ai, **{"max_retries": 0, **arguments}), ai


async def generated(pieces: list[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece
