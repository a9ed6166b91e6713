"""Which failures are tried again, and after how long. Pure: the waiting is done elsewhere."""

from __future__ import annotations

import random
from dataclasses import dataclass

from langchain_workers_gemma.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    QuotaExceededError,
    StreamInterruptedError,
    WorkersGemmaError,
)

_FIRST_DELAY = 0.5  # seconds
_LONGEST_DELAY = 8.0  # seconds, of our own making
_LONGEST_RETRY_AFTER = 60.0  # seconds; beyond it the error is raised at once
_RETRIED_STATUS = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures before the first event are met.

    Attributes:
        max_retries: Tries after the first one.
    """

    max_retries: int = 2

    def delay(self, error: WorkersGemmaError, retries_so_far: int) -> float | None:
        """Seconds to wait before the next try, or `None` to raise the error.

        Args:
            error: What went wrong.
            retries_so_far: How often the request has been tried again already.
        """
        if retries_so_far >= self.max_retries or not is_worth_retrying(error):
            return None
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        if asked is not None:
            return asked if asked <= _LONGEST_RETRY_AFTER else None
        longest: float = min(_FIRST_DELAY * 2**retries_so_far, _LONGEST_DELAY)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret


def is_worth_retrying(error: WorkersGemmaError) -> bool:
    """Whether the same request may succeed: 408, 409, 429 but 3036, 5xx, a lost connection, a timeout."""
    if isinstance(error, APIConnectionError | APITimeoutError | StreamInterruptedError):
        return True
    if not isinstance(error, APIStatusError) or isinstance(error, QuotaExceededError):
        return False
    if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
        return True
    # An error that came under a success status, or from a binding, has only its kind to tell by. One without a code is
    # a reply that cannot be read, and asking again would only read it again.
    unreadable = isinstance(error, InternalServerError) and error.code is None
    return error.status_code < 400 and error.is_retryable and not unreadable
