"""I/O inside a Worker: drive an exchange over `await env.AI.run(model, input, options)` instead of a connection.

The binding is Cloudflare's JavaScript client (`cloudflare-internal:ai-api` in workerd), which a Python Worker sees
through Pyodide: as a bare `JsProxy`, or in the wrapper of Cloudflare's Python SDK, which takes and returns Python data.
A plain Python object with an `async def run(self, model, input, options)` works as well, for tests.

What it resolves to: the bare result; a `ReadableStream` of bytes for a stream, and also for any reply whose content
type is not exactly `application/json`; a `Response` where `returnRawResponse` is set. What it throws: an `Error` whose
text is `CODE: description`, or the body of the reply as it arrived.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

from pydantic_core import from_json, to_json

from langchain_workers_gemma.errors import APIConnectionError, APIStatusError, APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Flow, ResponseHead
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, make_unreadable_error, map_payload_error
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.transport.driver import GRACE_TIMEOUT, AsyncExchange

if sys.platform == "emscripten":
    from js import JSON
    from pyodide.ffi import JsException as _JsError
    from pyodide.ffi import JsProxy

    def _is_js(value: object) -> bool:
        return isinstance(value, JsProxy | _JsError)

    def _to_js_object(text: str) -> Any:
        # Not `to_js`, which makes `undefined` of None and a BigInt of a large number: the input is to be that of HTTP.
        return JSON.parse(text)

    def _to_js_json(value: Any) -> str | None:
        text = JSON.stringify(value)
        return text if isinstance(text, str) else None

else:

    class _JsError(Exception):
        pass

    def _is_js(_value: object) -> bool:
        return False

    def _to_js_object(text: str) -> Any:
        return from_json(text)

    def _to_js_json(_value: Any) -> str | None:
        return None


_THROWN = 0  # the status of an error that was thrown, which has none
_CODE = re.compile(r"(?:^|\b[A-Za-z]*Error:\s*)\d{4,5}\s*:")
_LOST = re.compile(r"network connection (was )?lost|fetch failed|failed to fetch", re.IGNORECASE)
# Mistakes in the caller's own Python are raised as they are, not as errors of the service.
_MISTAKES = (AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError)
_EVENTS = ("data:", "event:", ":")
_CLOSE_TIMEOUT = 5.0

_closing: set[asyncio.Future[None]] = set()


@dataclass(slots=True)
class BindingTransport:
    """Calls a Workers AI binding and reads what it resolves to.

    Attributes:
        binding: `env.AI`, or anything with its `run`.
        headers: The caller's own headers of every request.
        timeout: The most seconds to wait for the binding, or for the next bytes of a stream.
    """

    binding: Any
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None

    def run(self, flow: Flow) -> Generator[list[Piece]]:
        """Drive an exchange on an event loop of its own, yielding the pieces that it delivers.

        Raises:
            RuntimeError: If an event loop is running, as always inside a Worker: waiting would block it indefinitely.
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
        """Drive an exchange, yielding the pieces that it delivers."""
        return AsyncExchange(flow, _Connection(self.binding, self.headers, self.timeout))


@dataclass(slots=True)
class _Connection:
    """A connection to the service through the binding."""

    binding: Any
    headers: Mapping[str, str]
    timeout: float | None
    body: _Body | None = None
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
            self.body = _Whole(_read_thrown(error).encode())
            return ResponseHead(_THROWN, {})
        reply, self.body = _open_result(result, request)
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
            raise _make_broken_error(error) from error

    async def abort(self) -> None:
        await self.close()  # connections are the runtime's

    async def close(self) -> None:
        if self.body is not None:
            await self.body.close()

    def _build_arguments(self, request: Request) -> list[Any]:
        """Input and options: plain JavaScript objects for a JavaScript binding, else plain Python ones."""
        if request.method != "POST":
            raise ValueError(f"A binding cannot {request.method} {request.route.path}: it only runs models.")
        data, options = build_call_arguments(request, self.headers)
        texts = [encode_json(data).decode(), encode_json(options).decode()]
        return [_to_js_object(text) if _is_js(self.binding) else from_json(text) for text in texts]

    async def _await_result(self, model: str, given: list[Any]) -> Any:
        answer = self.binding.run(model, *given)
        if not _is_js(self.binding):
            return await answer if inspect.isawaitable(answer) else answer
        promise = asyncio.ensure_future(answer)
        try:
            return await asyncio.shield(promise)
        except asyncio.CancelledError:
            _run_in_background(_discard(promise))  # JavaScript continues: a stream that arrives later is discarded
            raise


def build_call_arguments(request: Request, headers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert a request to the second and third argument of `run`.

    What is in the body's `options` over HTTP, in the query or in a header belongs into the third argument.

    Args:
        request: The request.
        headers: The caller's own headers of every request.
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


# --- The binding's result ---------------------------------------------------------------------------------------------


class _Body(Protocol):
    """A reply's bytes as they arrive."""

    async def read(self) -> bytes | None:
        """Return the next bytes, or `None` at the end."""

    async def close(self) -> None:
        """Discard what has not been read."""


@dataclass(slots=True)
class _Whole:
    """A complete reply."""

    data: bytes | None

    async def read(self) -> bytes | None:
        data, self.data = self.data, None
        return data

    async def close(self) -> None:
        self.data = None


@dataclass(slots=True)
class _Reader:
    """A `ReadableStream`."""

    reader: Any
    ended: bool = False

    async def read(self) -> bytes | None:
        try:
            step = await self.reader.read()
        except Exception:
            self.ended = True  # a stream that failed is over
            raise
        if _get_member(step, "done"):
            self.ended = True
            return None
        return _to_bytes(_get_member(step, "value"))

    async def close(self) -> None:
        if not self.ended:
            self.ended = True
            await _cancel(getattr(self.reader, "cancel", None), wait=not _is_js(self.reader))


@dataclass(slots=True)
class _Iterated:
    """An iterator of Python's."""

    chunks: AsyncIterator[Any] | Iterator[Any]
    ended: bool = False

    async def read(self) -> bytes | None:
        end = object()
        chunks = self.chunks
        chunk = next(chunks, end) if isinstance(chunks, Iterator) else await anext(chunks, end)
        if chunk is end:
            self.ended = True
            return None
        return _to_bytes(chunk)

    async def close(self) -> None:
        if not self.ended:
            self.ended = True
            await _cancel(getattr(self.chunks, "aclose", None) or getattr(self.chunks, "close", None))


def _open_result(result: Any, request: Request) -> tuple[ResponseHead, _Body]:
    """Return the head and body of what the binding resolved to."""
    response = getattr(result, "js_object", result)  # the Python SDK's own Response
    status = getattr(response, "status", None)
    if isinstance(status, int) and not isinstance(response, Mapping) and hasattr(response, "headers"):
        reply = ResponseHead(status, _read_headers(response.headers))
        content = getattr(response, "body", None)
        return reply, _Whole(b"") if _is_null(content) else _open_body(content, request)
    return ResponseHead(200, {}), _open_body(result, request)


def _open_body(result: Any, request: Request) -> _Body:
    if isinstance(result, bytes | bytearray | memoryview):
        return _Whole(bytes(result))
    if isinstance(result, str):
        return _Whole(result.encode() if request.stream and result.startswith(_EVENTS) else encode_json(result))
    if not isinstance(result, Mapping | list | tuple):
        if hasattr(result, "getReader"):
            return _Reader(result.getReader())
        if hasattr(result, "__aiter__"):
            return _Iterated(aiter(result))
        if isinstance(result, Iterator):
            return _Iterated(result)
    return _Whole(_to_json(result))


def _to_json(result: Any) -> bytes:
    try:
        text = _to_js_json(result) if _is_js(result) else None
        return to_json(_to_python(result), fallback=_to_python) if text is None else text.encode()
    except (ValueError, TypeError, _JsError) as error:
        why = f"the binding resolved to something that is not JSON ({error})"
        raise make_unreadable_error(200, {}, repr(result).encode(), why, ErrorContext()) from error


def _to_python(value: Any) -> Any:
    """Return Python's form of a value of Pyodide's.

    Raises:
        TypeError: If it has none.
    """
    if hasattr(value, "to_py"):
        return value.to_py()
    if _is_null(value):
        return None
    if type(value).__module__ == "builtins":
        return value
    return dict(value) if isinstance(value, Mapping) else _refuse(value)


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} cannot be read")


def _is_null(value: object) -> bool:
    """Return whether a value is JavaScript's `undefined` or `null`, which Pyodide distinguishes."""
    return value is None or type(value).__name__ == "JsNull"


def _get_member(step: Any, name: str) -> Any:
    return step.get(name) if isinstance(step, Mapping) else getattr(step, name, None)


def _to_bytes(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if hasattr(chunk, "to_py"):
        chunk = chunk.to_py()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    why = f"the binding's stream holds {type(chunk).__name__} where bytes should be"
    raise make_unreadable_error(200, {}, b"", why, ErrorContext())


def _read_headers(headers: Any) -> dict[str, str]:
    pairs = headers.items() if hasattr(headers, "items") else headers.entries()
    return {str(name).lower(): str(value) for name, value in pairs}


# --- The binding's errors ---------------------------------------------------------------------------------------------


def _read_thrown(error: Exception) -> str:
    """Return the text of what the binding threw, which the exchange reads like the body of an error reply.

    Raises:
        APIConnectionError: If no service has answered.
    """
    text = _get_text(error)
    if _CODE.search(text) is None:
        if not _is_js(error) and isinstance(error, _MISTAKES):
            raise error
        if isinstance(error, OSError) or _LOST.search(text):
            raise APIConnectionError(f"The binding could not reach the service: {text}") from error
    return text


def _make_broken_error(error: Exception) -> WorkersGemmaError:
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


# --- Cancelling -------------------------------------------------------------------------------------------------------


async def _cancel(close: Any, *, wait: bool = True) -> None:
    """Call what cancels a stream, and wait for it unless it is JavaScript, which continues alone.

    Waiting is not possible any more where a stream is collected as garbage, and Pyodide's loop has no other end for it.
    """
    if close is None:
        return
    with suppress(Exception):
        closed = close()
        if not wait:
            _run_in_background(_ignore_failure(closed))
        elif inspect.isawaitable(closed):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await closed


async def _discard(promise: Awaitable[Any]) -> None:
    with suppress(Exception):
        result = await promise
        if hasattr(result, "cancel"):
            await result.cancel()


async def _ignore_failure(promise: Awaitable[Any]) -> None:
    with suppress(Exception):
        await promise


def _run_in_background(awaited: Any) -> None:
    future = asyncio.ensure_future(awaited)
    _closing.add(future)
    future.add_done_callback(_closing.discard)


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
