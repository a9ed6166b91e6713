"""Read the result of a Workers AI binding as the head and the bytes of a response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from langchain_workers_gemma.exchange.actions import ResponseHead
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, make_unreadable_error
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.transport.javascript import (
    JsError,
    cancel,
    get_member,
    is_js,
    is_null,
    to_js_json,
    to_python,
)

_EVENTS = ("data:", "event:", ":")


class Body(Protocol):
    """The bytes of a response, as they arrive."""

    async def read(self) -> bytes | None:
        """Return the next bytes, or `None` at the end."""

    async def close(self) -> None:
        """Discard the bytes that have not been read."""


@dataclass(slots=True)
class Whole:
    """A complete body."""

    data: bytes | None

    async def read(self) -> bytes | None:
        """Return the body, then `None`."""
        data, self.data = self.data, None
        return data

    async def close(self) -> None:
        """Discard the body."""
        self.data = None


@dataclass(slots=True)
class _Reader:
    """A body from a `ReadableStream`."""

    reader: Any
    ended: bool = False

    async def read(self) -> bytes | None:
        try:
            step = await self.reader.read()
        except Exception:
            self.ended = True  # a stream has ended when it has failed
            raise
        if get_member(step, "done"):
            self.ended = True
            return None
        return _to_bytes(get_member(step, "value"))

    async def close(self) -> None:
        if not self.ended:
            self.ended = True
            await cancel(getattr(self.reader, "cancel", None), wait=not is_js(self.reader))


@dataclass(slots=True)
class _Iterated:
    """A body from a Python iterator."""

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
            await cancel(getattr(self.chunks, "aclose", None) or getattr(self.chunks, "close", None))


def open_result(result: Any, request: Request) -> tuple[ResponseHead, Body]:
    """Return the head and body for the result of the binding."""
    response = getattr(result, "js_object", result)  # the Python SDK's own Response
    status = getattr(response, "status", None)
    if isinstance(status, int) and not isinstance(response, Mapping) and hasattr(response, "headers"):
        reply = ResponseHead(status, _read_headers(response.headers))
        content = getattr(response, "body", None)
        return reply, Whole(b"") if is_null(content) else _open_body(content, request)
    return ResponseHead(200, {}), _open_body(result, request)


def _open_body(result: Any, request: Request) -> Body:
    if isinstance(result, bytes | bytearray | memoryview):
        return Whole(bytes(result))
    if isinstance(result, str):
        return Whole(result.encode() if request.stream and result.startswith(_EVENTS) else encode_json(result))
    if not isinstance(result, Mapping | list | tuple):
        if hasattr(result, "getReader"):
            return _Reader(result.getReader())
        if hasattr(result, "__aiter__"):
            return _Iterated(aiter(result))
        if isinstance(result, Iterator):
            return _Iterated(result)
    return Whole(_to_json(result))


def _to_json(result: Any) -> bytes:
    try:
        text = to_js_json(result) if is_js(result) else None
        return to_json(to_python(result), fallback=to_python) if text is None else text.encode()
    except (ValueError, TypeError, JsError) as error:
        why = f"the binding resolved to something that is not JSON ({error})"
        raise make_unreadable_error(200, {}, repr(result).encode(), why, ErrorContext()) from error


def _to_bytes(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if hasattr(chunk, "to_py"):
        chunk = chunk.to_py()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    why = f"the binding's stream holds {type(chunk).__name__} instead of bytes"
    raise make_unreadable_error(200, {}, b"", why, ErrorContext())


def _read_headers(headers: Any) -> dict[str, str]:
    pairs = headers.items() if hasattr(headers, "items") else headers.entries()
    return {str(name).lower(): str(value) for name, value in pairs}
