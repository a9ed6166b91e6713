"""The outcome of an attempt at a row, and how the run handles each error. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from langchain_core.exceptions import ModelError

from langchain_workers_gemma import errors

Status: TypeAlias = Literal["done", "failed", "retry", "refused", "unsent", "stop"]
"""How an attempt ended.

`done`: the row has its output. `failed`: no attempt at this row can succeed. `retry`: another attempt may succeed.
`refused`: the service returned HTTP 429, so all requests must slow down. `unsent`: no request was sent. `stop`: no
attempt at any row can succeed.
"""

_MAX_ERROR_CHARACTERS = 2_000
_FATAL_ERRORS = (
    errors.QuotaExceededError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.ModelNotFoundError,
    errors.ModelDeprecatedError,
)
_REFUSAL_ERRORS = (errors.RateLimitError, errors.CapacityError)
# Includes replies that cannot be read (InternalServerError with a success status): on a large data set, proxies fail
# now and then.
_RETRYABLE_ERRORS = (errors.InternalServerError, errors.APIConnectionError, errors.APITimeoutError)
_POSSIBLY_BILLED_ERRORS = (errors.APITimeoutError, errors.RequestTimeoutError, errors.StreamInterruptedError)
_GUARDRAIL_CODES = frozenset({2016, 2017})  # AI Gateway blocked this prompt or response: docs/wire.md section 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one attempt. A worker returns it pickled.

    Attributes:
        status: How the attempt ended.
        output: The output of the row.
        usage: Token usage of all calls.
        cost_usd: The cost of all calls, as far as known.
        answered: The number of calls that got a reply.
        error: The type and text of the error, for every status except `done`.
        retry_after: The seconds of the service's `Retry-After` header.
        rate_limit: Whether the service refused because of too many requests, not because of lacking capacity.
        quota_exhausted: Whether the free allocation of the day is used up.
        may_be_billed: Whether the service may have billed a call whose reply was lost.
        permits: The numbers of the requests that were sent.
    """

    status: Status
    output: Any = None
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    answered: int = 0
    error: str | None = None
    retry_after: float | None = None
    rate_limit: bool = False
    quota_exhausted: bool = False
    may_be_billed: bool = False
    permits: tuple[int, ...] = ()


UNSENT = Outcome("unsent", error="The run stopped before this row was sent.")


class NoPermitError(Exception):
    """A runnable wants to send another request, but the run is stopping."""


def classify(error: Exception) -> Status:
    """Return the status of an attempt that raised an error."""
    if isinstance(error, NoPermitError):
        return "unsent"
    if isinstance(error, _REFUSAL_ERRORS):
        return "refused"
    if isinstance(error, _FATAL_ERRORS):
        is_blocked = isinstance(error, errors.APIStatusError) and error.code in _GUARDRAIL_CODES
        return "failed" if is_blocked else "stop"
    if isinstance(error, _RETRYABLE_ERRORS) or (isinstance(error, ModelError) and error.is_retryable):
        return "retry"
    return "failed"


def make_failure(error: Exception) -> Outcome:
    """Return the outcome of an attempt that raised an error."""
    text = str(error) or "no message"
    if len(text) > _MAX_ERROR_CHARACTERS:
        text = f"{text[:_MAX_ERROR_CHARACTERS]}..."
    return Outcome(
        classify(error),
        error=f"{type(error).__name__}: {text}",
        retry_after=error.retry_after if isinstance(error, errors.APIStatusError) else None,
        rate_limit=isinstance(error, errors.RateLimitError),
        quota_exhausted=isinstance(error, errors.QuotaExceededError),
        may_be_billed=isinstance(error, _POSSIBLY_BILLED_ERRORS),
    )
