"""Read the body of a response within limits."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from langchain_workers_gemma.errors import APIStatusError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import _READ, Action, CloseConnection, ResponseHead, T
from langchain_workers_gemma.exchange.error_mapping import unreadable_reply
from langchain_workers_gemma.exchange.request import Plan

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A whole reply, or one event of a stream, larger than this is refused, so that memory stays bounded."""


def closing_on_error(reading: Generator[Action, Any, T]) -> Generator[Action, Any, T]:
    """Read a reply, and hang up after one that is not understood.

    Its length may be wrong as well, and what is left of it would be taken for the next reply on the connection: an
    answer to somebody else, at worst. An error in the service's own JSON is understood.
    """
    try:
        return (yield from reading)
    except WorkersGemmaError as error:
        if not (isinstance(error, APIStatusError) and isinstance(error.body, Mapping)):
            yield CloseConnection()
        raise


def _rest(plan: Plan, reply: ResponseHead, first: bytes | None) -> Generator[Action, Any, bytes]:
    """The whole body, of which the first bytes are known."""
    pieces: list[bytes] = []
    size = 0
    data = first
    while data is not None:
        pieces.append(data)
        size += len(data)
        if size > MAX_REPLY_BYTES:
            why = f"it is larger than {MAX_REPLY_BYTES:,} bytes"
            raise unreadable_reply(reply.status, reply.headers, pieces[0], why, plan.context)
        data = yield _READ
    return b"".join(pieces)
