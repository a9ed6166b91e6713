"""Which failures are retried, and after how long. Pure: it does not wait."""

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
MAX_DELAY = 8.0  # seconds, of our own making
MAX_RETRY_AFTER = 60.0  # seconds; beyond it the error is raised at once
_FINAL_CODES = frozenset({2016, 2017})  # blocked by a guardrail, whatever the status (docs/wire.md section 5)
_RETRIED_STATUS = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Decides which failures before the first event are retried.

    Attributes:
        max_retries: Number of retries after the first attempt.
    """

    max_retries: int = 2

    def get_delay(self, error: WorkersGemmaError, retries_so_far: int) -> float | None:
        """Return seconds to wait before the next try, or `None` to raise the error.

        Args:
            error: What went wrong.
            retries_so_far: How often the request has been retried already.
        """
        if retries_so_far >= self.max_retries or not error.is_retryable:
            return None
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        if asked is not None:
            return asked if asked <= MAX_RETRY_AFTER else None
        longest: float = min(_INITIAL_DELAY * 2 ** min(retries_so_far, 10), MAX_DELAY)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter, not a secret


def is_retryable(error: APIStatusError) -> bool:
    """Return whether the same request may succeed later: 408, 409, 429 but 3036, 5xx, and codes that mean one of these.

    The service reports one failure under several statuses: a lack of capacity (3040) as a 429, or under a success
    status as an envelope, or as one event of a stream.
    """
    if isinstance(error, QuotaExceededError | ContextOverflowError):  # some servers answer an overflow with a 500
        return False
    if error.code in _FINAL_CODES:
        return False
    if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
        return True
    return type(error).is_retryable and error.status_code // 100 not in (1, 3)
