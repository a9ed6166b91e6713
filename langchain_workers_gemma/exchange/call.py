"""Send one request and read one whole JSON response, for embeddings, batches and the command line.

The flows here are generators of actions that return a value; `run` and `arun` in `transport/driver.py` run them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from langchain_workers_gemma.errors import InternalServerError
from langchain_workers_gemma.exchange.actions import Action, ResponseHead, Send
from langchain_workers_gemma.exchange.attempts import run_with_retries
from langchain_workers_gemma.exchange.body import closing_on_error, parse_body, read_body
from langchain_workers_gemma.exchange.error_mapping import (
    ErrorContext,
    make_unreadable_error,
)
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.response.decoder import unwrap


@dataclass(frozen=True, slots=True)
class JsonResponse:
    """A successful response.

    Attributes:
        head: The head of the response.
        body: The bytes of the body.
        payload: The parsed body.
        context: Facts about the call for the advice in an error.
    """

    head: ResponseHead
    body: bytes
    payload: Any
    context: ErrorContext

    @property
    def result(self) -> Any:
        """The payload without Cloudflare's envelope."""
        return unwrap(self.payload)

    def make_unreadable_error(self, why: str) -> InternalServerError:
        """Return the error for a successful response that cannot be read."""
        return make_unreadable_error(self.head.status, self.head.headers, self.body, why, self.context)


def call(
    request: Request, retry: RetryPolicy, context: ErrorContext, *, max_bytes: int | None = None
) -> Generator[Action, Any, JsonResponse]:
    """Send a request and read its response, with retries.

    Args:
        request: The request.
        retry: Which failures are retried.
        context: Facts about the call for the advice in an error.
        max_bytes: The maximum size of the body; 64 MiB by default.

    Raises:
        WorkersGemmaError: If the call failed and could not be recovered by retrying.
    """

    def attempt() -> Generator[Action, Any, JsonResponse]:
        head: ResponseHead = yield Send(request)
        return (yield from closing_on_error(_read_response(head, context, max_bytes)))

    return (yield from run_with_retries(attempt, retry))


def _read_response(
    head: ResponseHead, context: ErrorContext, max_bytes: int | None
) -> Generator[Action, Any, JsonResponse]:
    body = yield from read_body(head, context, max_bytes=max_bytes)
    return JsonResponse(head, body, parse_body(head, body, context), context)
