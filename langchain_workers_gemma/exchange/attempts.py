"""Repeat a failed attempt, as long as a retry may help."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

from langchain_workers_gemma.errors import WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Action, Sleep, T
from langchain_workers_gemma.exchange.retries import RetryPolicy

logger = logging.getLogger(__name__)


def _allow_always(_error: WorkersGemmaError) -> bool:
    return True


def run_with_retries(
    attempt: Callable[[], Generator[Action, Any, T]],
    policy: RetryPolicy,
    *,
    may_retry: Callable[[WorkersGemmaError], bool] = _allow_always,
) -> Generator[Action, Any, T]:
    """Run an attempt, and run it again after a failure for which a retry may help.

    Args:
        attempt: Starts one attempt.
        policy: Which failures are retried, and after which delay.
        may_retry: Returns whether a retry is possible after an error. It is not if part of a response was delivered.

    Returns:
        The result of the successful attempt.

    Raises:
        WorkersGemmaError: If the last attempt failed.
    """
    retries = 0
    while True:
        try:
            return (yield from attempt())
        except WorkersGemmaError as error:
            delay = policy.get_delay(error, retries) if may_retry(error) else None
            if delay is None:
                raise
            retries += 1
            logger.info("retry %d of %d in %.2f s: %s", retries, policy.max_retries, delay, type(error).__name__)
        yield Sleep(delay)
