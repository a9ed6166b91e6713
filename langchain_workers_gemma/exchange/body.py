"""Read the body of a response within limits, and parse it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from langchain_workers_gemma.errors import APIStatusError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import READ, Action, CloseConnection, ResponseHead, T
from langchain_workers_gemma.exchange.error_mapping import (
    ErrorContext,
    is_error_payload,
    make_unreadable_error,
    map_payload_error,
    map_status_error,
)
from langchain_workers_gemma.json_text.parsing import parse_json

_DONE = b"[DONE]"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")  # the fields of an event stream
_MAX_FIELD_LENGTH = max(map(len, _FIELDS))

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The maximum size of a body, or of one event of a stream, so that memory use is limited."""


def closing_on_error(steps: Generator[Action, Any, T]) -> Generator[Action, Any, T]:
    """Read a response, and close its connection if the response cannot be read.

    The length of such a response may be wrong as well. Then the next call on the connection, which may be another
    user's, would read the rest of it as its own response. An error in the service's own JSON does not close the
    connection.
    """
    try:
        return (yield from steps)
    except WorkersGemmaError as error:
        if not (isinstance(error, APIStatusError) and isinstance(error.body, Mapping)):
            yield CloseConnection()
        raise


def is_event_stream(data: bytes, *, requested: bool) -> bool:
    """Return whether a body is a stream of events. Some servers send one when no stream was requested.

    Args:
        data: The beginning of the body.
        requested: Whether a stream was requested.
    """
    start = data.lstrip()
    return start[:1] not in b'{[<"' if requested else start.startswith(_FIELDS)


def may_become_field(data: bytes) -> bool:
    """Return whether more bytes are needed to decide whether a body is a stream of events."""
    start = data.lstrip()
    if len(start) >= _MAX_FIELD_LENGTH:
        return False
    return any(len(start) < len(field) and field.startswith(start) for field in _FIELDS)


def read_body(
    head: ResponseHead, context: ErrorContext, *, first: bytes | None = b"", max_bytes: int | None = None
) -> Generator[Action, Any, bytes]:
    """Read a body to its end.

    Args:
        head: The head of the response.
        context: Facts about the call for the advice in an error.
        first: The bytes of the body that were read already, `None` if the body has ended.
        max_bytes: The maximum size of the body; `MAX_BODY_BYTES` by default.

    Returns:
        The whole body, including `first`.

    Raises:
        InternalServerError: If the body is too large.
    """
    limit = MAX_BODY_BYTES if max_bytes is None else max_bytes
    pieces: list[bytes] = []
    size = 0
    data = first
    while data is not None:
        pieces.append(data)
        size += len(data)
        if size > limit:
            why = f"it is larger than {limit:,} bytes"
            raise make_unreadable_error(head.status, head.headers, b"".join(pieces[:2]), why, context)
        data = yield READ
    return b"".join(pieces)


def parse_body(head: ResponseHead, body: bytes, context: ErrorContext) -> Any:
    """Parse the JSON of a whole response.

    Returns:
        The parsed payload, in its envelope.

    Raises:
        APIStatusError: If the status or the payload states that it is an error, or the body is not JSON.
    """
    if not 200 <= head.status < 300:
        raise map_status_error(head.status, head.headers, body, context)
    try:
        payload = parse_json(_strip_done(body))
    except ValueError as error:
        raise make_unreadable_error(head.status, head.headers, body, f"it is not JSON ({error})", context) from None
    if isinstance(payload, dict) and is_error_payload(payload):
        raise map_payload_error(head.status, head.headers, payload, context)
    return payload


def _strip_done(body: bytes) -> bytes:
    """Return a body without the end mark of a stream, which some servers send after a whole response too."""
    text = body.rstrip()
    return text.removesuffix(_DONE).rstrip().removesuffix(b"data:") if text.endswith(_DONE) else body
