"""Perform I/O inside a Worker: run an exchange with `await env.AI.run(model, input, options)` instead of a connection.

The binding is Cloudflare's JavaScript client (`cloudflare-internal:ai-api` in workerd). A Python Worker accesses it
through Pyodide: as a `JsProxy`, or in the wrapper of Cloudflare's Python SDK, which accepts and returns Python data. A
Python object with an `async def run(self, model, input, options)` works as well, for tests.

It resolves to the bare result; to a `ReadableStream` of bytes for a stream, and for any response whose content type is
not exactly `application/json`; or to a `Response` if `returnRawResponse` is set. It throws an `Error` whose text is
`CODE: description`, or the body of the response.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json

from langchain_workers_gemma.errors import APIConnectionError, APIStatusError, APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Flow, ResponseHead
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, map_payload_error
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.transport.binding_result import Body, Whole, open_result
from langchain_workers_gemma.transport.driver import GRACE_TIMEOUT, AsyncExchange
from langchain_workers_gemma.transport.javascript import discard, is_js, run_in_background, to_js_object

_THROWN = 0  # the status of an error that was thrown, which has none
_CODE = re.compile(r"(?:^|\b[A-Za-z]*Error:\s*)\d{4,5}\s*:")
_LOST = re.compile(r"network connection (was )?lost|fetch failed|failed to fetch", re.IGNORECASE)
# Bugs in the caller's own Python code are raised unchanged, not as errors of the service.
_MISTAKES = (AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError)


@dataclass(slots=True)
class BindingTransport:
    """Calls a Workers AI binding and reads its result.

    Attributes:
        binding: `env.AI`, or another object with its `run`.
        headers: The caller's headers for every request.
        timeout: The maximum time in seconds to wait for the binding, or for the next bytes of a stream.
    """

    binding: Any
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Run an exchange on a new event loop, and yield the pieces that it delivers.

        Raises:
            RuntimeError: If an event loop is running, which is always so inside a Worker: waiting would block it.
        """
        _check_may_block()
        with asyncio.Runner() as runner:
            exchange = self.arun(flow)
            try:
                while (pieces := runner.run(_next(exchange))) is not None:
                    yield pieces
            finally:
                runner.run(exchange.aclose())

    def arun(self, flow: Flow) -> AsyncExchange:
        """Run an exchange, and yield the pieces that it delivers."""
        return AsyncExchange(flow, _Connection(self.binding, self.headers, self.timeout))


@dataclass(slots=True)
class _Connection:
    """A connection to the service through the binding."""

    binding: Any
    headers: Mapping[str, str]
    timeout: float | None
    body: Body | None = None
    deadline: float | None = None

    async def send(self, request: Request) -> ResponseHead:
        await self.close()
        self.deadline = None
        given = self._build_arguments(request)
        try:
            async with asyncio.timeout(self.timeout) as limit:
                result = await self._await_result(request.model, given)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise _make_timeout_error(self.timeout) from error
            self.body = Whole(_read_thrown(error).encode())
            return ResponseHead(_THROWN, {})
        reply, self.body = open_result(result, request)
        return reply

    async def read(self, *, is_complete: bool = False) -> bytes | None:
        if self.body is None:
            return None
        if is_complete and self.deadline is None:
            self.deadline = asyncio.get_running_loop().time() + GRACE_TIMEOUT
        try:
            async with asyncio.timeout(self.timeout) as limit:
                if self.deadline is not None:
                    limit.reschedule(self.deadline)
                return await self.body.read()
        except WorkersGemmaError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise _make_timeout_error(self.timeout) from error
            raise _make_stream_error(error) from error

    async def abort(self) -> None:
        await self.close()  # the runtime manages the connections

    async def close(self) -> None:
        if self.body is not None:
            await self.body.close()

    def _build_arguments(self, request: Request) -> list[Any]:
        """Return input and options: JavaScript objects for a JavaScript binding, else Python objects."""
        if request.method != "POST":
            raise ValueError(f"A binding cannot {request.method} {request.route.path}: it only runs models.")
        data, options = build_call_arguments(request, self.headers)
        texts = [encode_json(data).decode(), encode_json(options).decode()]
        return [to_js_object(text) if is_js(self.binding) else from_json(text) for text in texts]

    async def _await_result(self, model: str, given: list[Any]) -> Any:
        answer = self.binding.run(model, *given)
        if not is_js(self.binding):
            return await answer if inspect.isawaitable(answer) else answer
        promise = asyncio.ensure_future(answer)
        try:
            return await asyncio.shield(promise)
        except asyncio.CancelledError:
            run_in_background(discard(promise))  # JavaScript continues, and may return a stream later
            raise


def build_call_arguments(request: Request, headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert a request to the second and third argument of `run`.

    The third argument holds the values that HTTP has in the body's `options`, in the query and in headers.

    Args:
        request: The request.
        headers: The caller's headers for every request.
    """
    data = dict(request.data)
    within = data.pop("options", None)
    options: dict[str, Any] = {**within} if isinstance(within, Mapping) else {}
    options |= request.options
    if dict(parse_qsl(request.query.lstrip("?"))).get("queueRequest") == "true":
        options["queueRequest"] = True
    ours = {name.lower() for name in headers}
    further = {
        name: value
        for name, value in request.headers.items()
        if name.lower() in ours or not name.lower().startswith("cf-aig-")  # `gateway` holds these options
    }
    if further:
        options["extraHeaders"] = further
    return data, options


# --- The binding's errors ---------------------------------------------------------------------------------------------


def _read_thrown(error: Exception) -> str:
    """Return the text of an error of the binding, which the exchange reads like the body of an error response.

    Raises:
        APIConnectionError: If the service could not be reached.
    """
    text = _get_text(error)
    if _CODE.search(text) is None:
        if not is_js(error) and isinstance(error, _MISTAKES):
            raise error
        if isinstance(error, OSError) or _LOST.search(text):
            raise APIConnectionError(f"The binding could not reach the service: {text}") from error
    return text


def _make_stream_error(error: Exception) -> WorkersGemmaError:
    """Return the typed error for a stream that failed."""
    text = _get_text(error)
    if _CODE.search(text) is None:
        return APIConnectionError(f"The binding's stream failed: {text}")
    typed: APIStatusError = map_payload_error(_THROWN, {}, text, ErrorContext())
    return typed


def _get_text(error: Exception) -> str:
    message = getattr(error, "message", None)
    text = message if isinstance(message, str) and message.strip() else str(error)
    return text if text.strip() else f"{type(error).__name__} without a text"


def _make_timeout_error(seconds: float | None) -> APITimeoutError:
    limit = GRACE_TIMEOUT if seconds is None else seconds
    return APITimeoutError(f"The binding did not answer within {limit:g} s. See `timeout`.")


# --- Sync calls -------------------------------------------------------------------------------------------------------


def _check_may_block() -> None:
    """Check that this thread may block.

    Raises:
        RuntimeError: If an event loop is running in it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if sys.platform != "emscripten":
            return
    raise RuntimeError(
        "A sync call cannot wait for a Workers AI binding while an event loop is running. Use `await "
        "llm.ainvoke(...)`, `async for chunk in llm.astream(...)` or `await llm.abatch(...)`; for embeddings `await "
        "embeddings.aembed_documents(...)` or `aembed_query(...)`."
    )


async def _next(exchange: AsyncExchange) -> list[Piece] | None:
    return await anext(exchange, None)


__all__ = ["BindingTransport", "build_call_arguments"]
