"""The outcome of an attempt at a row, and the meaning of errors for the run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from langchain_core.exceptions import ModelError

from langchain_workers_gemma import errors

Status: TypeAlias = Literal["done", "failed", "retry", "refused", "unsent", "stop"]
"""What an attempt means.

`done`: there is an answer. `failed`: there will be no answer for this row. `retry`: another attempt may succeed.
`refused`: the service answered 429, so all requests have to slow down. `unsent`: no request was sent. `stop`: no row
can have an answer.
"""

_MAX_ERROR_CHARACTERS = 2_000
_FOR_EVERY_ROW = (
    errors.QuotaExceededError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.ModelNotFoundError,
    errors.ModelDeprecatedError,
)
_REFUSALS = (errors.RateLimitError, errors.CapacityError)
# A reply that cannot be read (InternalServerError under a success status) is attempted again: over a large data set
# proxies fail now and then.
_RETRIED = (errors.InternalServerError, errors.APIConnectionError, errors.APITimeoutError)
_PERHAPS_BILLED = (errors.APITimeoutError, errors.RequestTimeoutError, errors.StreamInterruptedError)
_GUARDRAIL_CODES = frozenset({2016, 2017})  # AI Gateway blocked this prompt or response: docs/wire.md section 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended. A worker returns it pickled.

    Attributes:
        status: What it means.
        output: The answer.
        usage: Tokens of the calls made.
        cost_usd: What the calls cost, as far as known.
        answered: How many calls the service answered.
        error: The error's type and text, for every status but `done`.
        retry_after: Seconds that the service asked to wait.
        rate_limit: Whether a refusal was for too many requests, rather than for lack of capacity.
        quota: Whether the run stops because the day's free allocation is used up.
        perhaps_billed: Whether the service may have done the work of a call whose answer was lost.
        permits: The numbers of the requests that were made.
    """

    status: Status
    output: Any = None
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    answered: int = 0
    error: str | None = None
    retry_after: float | None = None
    rate_limit: bool = False
    quota: bool = False
    perhaps_billed: bool = False
    permits: tuple[int, ...] = ()


UNSENT = Outcome("unsent", error="The run stopped before this row was sent.")


class NoPermitError(Exception):
    """A call inside a row's runnable may not be made, because the run is stopping."""


def classify(error: Exception) -> Status:
    """Return what an error means for the row and the run."""
    if isinstance(error, NoPermitError):
        return "unsent"
    if isinstance(error, _REFUSALS):
        return "refused"
    if isinstance(error, _FOR_EVERY_ROW):
        blocked = isinstance(error, errors.APIStatusError) and error.code in _GUARDRAIL_CODES
        return "failed" if blocked else "stop"
    if isinstance(error, _RETRIED) or (isinstance(error, ModelError) and error.is_retryable):
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
        quota=isinstance(error, errors.QuotaExceededError),
        perhaps_billed=isinstance(error, _PERHAPS_BILLED),
    )
