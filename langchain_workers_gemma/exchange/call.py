"""One request, one whole JSON reply: what embeddings, batches and the command line ask. Retried like a chat.

The flows here are generators of actions that return a value; `run` and `arun` of `transport/driver.py` drive them.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_core import from_json

from langchain_workers_gemma.errors import InternalServerError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Action, Read, ResponseHead, Send, Sleep
from langchain_workers_gemma.exchange.body import MAX_REPLY_BYTES, closing_on_error
from langchain_workers_gemma.exchange.error_mapping import (
    ErrorContext,
    is_error_payload,
    payload_error,
    status_error,
    unreadable_reply,
)
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.response.decoder import unwrap

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A success reply.

    Attributes:
        reply: Its head.
        body: Its bytes.
        payload: The bytes parsed.
        context: What makes an error's advice exact.
    """

    reply: ResponseHead
    body: bytes
    payload: Any
    context: ErrorContext

    @property
    def result(self) -> Any:
        """The payload out of Cloudflare's envelope."""
        return unwrap(self.payload)

    def unreadable(self, why: str) -> InternalServerError:
        """The error for a reply that says success and makes no sense."""
        return unreadable_reply(self.reply.status, self.reply.headers, self.body, why, self.context)


def call(
    request: Request, retry: RetryPolicy, context: ErrorContext, *, most_bytes: int = MAX_REPLY_BYTES
) -> Generator[Action, Any, Answer]:
    """Send a request and read its reply, trying again where that may help.

    Args:
        request: What to send.
        retry: Which failures are tried again.
        context: What makes an error's advice exact.
        most_bytes: A larger reply is refused.

    Raises:
        WorkersGemmaError: Whatever went wrong and could not be mended by trying again.
    """
    retries = 0
    while True:
        try:
            return (yield from _attempt(request, context, most_bytes))
        except WorkersGemmaError as error:
            delay = retry.delay(error, retries)
            if delay is None:
                raise
            retries += 1
            logger.info("retry %d of %d in %.2f s: %s", retries, retry.max_retries, delay, type(error).__name__)
        yield Sleep(delay)


def _attempt(request: Request, context: ErrorContext, most_bytes: int) -> Generator[Action, Any, Answer]:
    reply: ResponseHead = yield Send(request)
    return (yield from closing_on_error(_read_answer(reply, context, most_bytes)))


def _read_answer(reply: ResponseHead, context: ErrorContext, most_bytes: int) -> Generator[Action, Any, Answer]:
    pieces: list[bytes] = []
    size = 0
    while (data := (yield Read())) is not None:
        pieces.append(data)
        size += len(data)
        if size > most_bytes:
            why = f"it is larger than {most_bytes:,} bytes"
            raise unreadable_reply(reply.status, reply.headers, pieces[0], why, context)
    body = b"".join(pieces)
    if not 200 <= reply.status < 300:
        raise status_error(reply.status, reply.headers, body, context)
    try:
        payload = from_json(body)
    except ValueError as error:
        raise unreadable_reply(reply.status, reply.headers, body, f"it is not JSON ({error})", context) from None
    if isinstance(payload, dict) and is_error_payload(payload):
        raise payload_error(reply.status, reply.headers, payload, context)
    return Answer(reply, body, payload, context)
