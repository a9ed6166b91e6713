"""Decide which failures are retried, and compute the delay. The driver waits."""

from __future__ import annotations

import random
from dataclasses import dataclass

from langchain_workers_gemma.errors import (
    APIStatusError,
    ContextOverflowError,
    QuotaExceededError,
    WorkersGemmaError,
)

_INITIAL_DELAY = 0.5  # seconds
MAX_DELAY = 8.0  # seconds, if the server names no delay
MAX_RETRY_AFTER = 60.0  # seconds; beyond it the error is raised at once
_FINAL_CODES = frozenset({2016, 2017})  # blocked by a guardrail, with any status (`docs/wire.md` section 5)
_RETRIED_STATUS = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Decides which failures before the first event are retried.

    Attributes:
        max_retries: Number of retries after the first attempt.
    """

    max_retries: int = 2

    def get_delay(self, error: WorkersGemmaError, retries_so_far: int) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to raise the error.

        Args:
            error: The error of the last attempt.
            retries_so_far: The number of retries so far.
        """
        if retries_so_far >= self.max_retries or not error.is_retryable:
            return None
        requested = error.retry_after if isinstance(error, APIStatusError) else None
        if requested is not None:
            return requested if requested <= MAX_RETRY_AFTER else None
        longest: float = min(_INITIAL_DELAY * 2 ** min(retries_so_far, 10), MAX_DELAY)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret


def is_retryable(error: APIStatusError) -> bool:
    """Return whether the same request may succeed later.

    These are 408, 409, 429 except code 3036, 5xx, and the codes that mean one of these. The service reports one failure
    with several statuses: a lack of capacity (3040) arrives as a 429, in an envelope with a success status, or as one
    event of a stream.
    """
    if isinstance(error, QuotaExceededError | ContextOverflowError):  # some servers answer an overflow with a 500
        return False
    if error.code in _FINAL_CODES:
        return False
    if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
        return True
    return type(error).is_retryable and error.status_code // 100 not in (1, 3)
