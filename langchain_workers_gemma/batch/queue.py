"""Workers AI's asynchronous batch: submit inputs, poll, and read each reply. Pure.

`docs/wire.md` section 8 has the requests. Each item of a finished batch goes through the exchange that reads an HTTP
response, so its text, reasoning, tool calls, usage and cost equal those of `invoke`.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, cast

from langchain_core.messages import BaseMessage

from langchain_workers_gemma.batch.answers import Outcome, read_answers
from langchain_workers_gemma.batch.job import BatchJob, BatchPart
from langchain_workers_gemma.batch.progress import Progress
from langchain_workers_gemma.batch.requests import MAX_ITEM_BYTES, BatchPlan, Item, prepare_items
from langchain_workers_gemma.errors import APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Action, ReadClock, Sleep
from langchain_workers_gemma.exchange.call import JsonResponse, call
from langchain_workers_gemma.exchange.error_mapping import get_retry_after
from langchain_workers_gemma.exchange.payload_chunks import split

logger = logging.getLogger(__name__)

DEFAULT_POLL_INTERVAL = 2.0
"""Seconds to wait after the first poll that finds a batch unfinished."""

MAX_BATCH_REPLY_BYTES = 512 * 1024 * 1024  # one response holds the replies to thousands of inputs
_GROWTH_FACTOR = 1.5
MAX_POLL_INTERVAL = 30.0  # seconds
MAX_RETRY_AFTER = 60.0  # seconds
_UNFINISHED = ("queued", "running")  # `responses` may accompany them, null or empty
_FAILURES = ("fail", "error", "cancel", "expire")  # words in the status of a failed job; none is documented


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """When a batch is polled, and for how long.

    Attributes:
        poll_interval: Seconds after the first poll. Each later interval is 1.5 times as long, at most 30 seconds.
        max_wait: Seconds to wait before `APITimeoutError` is raised. `None` waits indefinitely.
    """

    poll_interval: float = DEFAULT_POLL_INTERVAL
    max_wait: float | None = None

    def __post_init__(self) -> None:
        for name in ("poll_interval", "max_wait"):
            seconds = getattr(self, name)
            if seconds is None and name == "max_wait":
                continue
            if (
                isinstance(seconds, bool)
                or not isinstance(seconds, Real)
                or not 0 <= cast("float", seconds) < float("inf")
            ):
                raise ValueError(f"{name}={seconds!r} must be a number of seconds of at least 0.")

    def get_delay(self, polls: int, retry_after: float) -> float:
        """Return the seconds to wait before the next poll.

        Args:
            polls: The number of polls so far.
            retry_after: The seconds that the last poll's `Retry-After` header requests, or 0.
        """
        interval = self.poll_interval * _GROWTH_FACTOR ** min(polls, 100)
        return max(min(interval, max(self.poll_interval, MAX_POLL_INTERVAL)), min(retry_after, MAX_RETRY_AFTER))


# --- Submitting -------------------------------------------------------------------------------------------------------


def submit(batch_plan: BatchPlan, items: Sequence[Item]) -> Generator[Action, Any, BatchJob]:
    """Submit inputs, in as many payloads as needed.

    Raises:
        WorkersGemmaError: If a payload is refused. A note on it shows how to fetch the replies to earlier payloads.
    """
    job = BatchJob(batch_plan.settings.spec.id)
    for part in split([item.size for item in items], max_bytes=MAX_ITEM_BYTES):
        data = {"requests": [item.data for item in items[part]]}
        with _resume_note(job):
            answer = yield from call(batch_plan.request(data), batch_plan.settings.retry, batch_plan.settings.context)
            request_id = answer.result.get("request_id") if isinstance(answer.result, dict) else None
            if not isinstance(request_id, str) or not request_id:
                raise answer.make_unreadable_error("a batch was submitted, and the response has no request_id")
        job = replace(job, parts=(*job.parts, BatchPart(request_id, len(items[part]))))
        logger.info("submitted %d inputs of a batch as %s", len(items[part]), request_id)
    return job


# --- Fetching ---------------------------------------------------------------------------------------------------------


def fetch(
    batch_plan: BatchPlan, job: BatchJob, poll_policy: PollPolicy, progress: Progress
) -> Generator[Action, Any, list[Outcome]]:
    """Wait for a batch, and return the outcomes in the order of the inputs. The outcome of a failed input is its error.

    Raises:
        WorkersGemmaError: If the batch as a whole fails. A note on it shows how to fetch the replies later.
    """
    with _resume_note(job):
        return (yield from _fetch(batch_plan, job, poll_policy, progress))


def _fetch(
    batch_plan: BatchPlan, job: BatchJob, poll_policy: PollPolicy, progress: Progress
) -> Generator[Action, Any, list[Outcome]]:
    outcomes: dict[BatchPart, list[Outcome]] = {}
    polls = 0
    started: float = yield ReadClock()
    while True:
        retry_after = 0.0
        for part in job.parts:
            if part not in outcomes:
                answer = yield from _poll(batch_plan, part)
                if _is_finished(answer, progress):
                    outcomes[part] = read_answers(batch_plan, part, answer)
                    progress.advance(part.count)
                retry_after = max(retry_after, get_retry_after(answer.head.headers) or 0.0)
        if len(outcomes) == len(set(job.parts)):
            return [outcome for part in job.parts for outcome in outcomes[part]]
        delay = poll_policy.get_delay(polls, retry_after)
        now: float = yield ReadClock()
        if poll_policy.max_wait is not None and now - started + delay > poll_policy.max_wait:
            raise APITimeoutError(f"The batch was not finished within max_wait={poll_policy.max_wait:g} seconds.")
        yield Sleep(delay)
        polls += 1


def _poll(batch_plan: BatchPlan, part: BatchPart) -> Generator[Action, Any, JsonResponse]:
    request = batch_plan.request({"request_id": part.request_id})
    settings = batch_plan.settings
    return (yield from call(request, settings.retry, settings.context, max_bytes=MAX_BATCH_REPLY_BYTES))


def _is_finished(answer: JsonResponse, progress: Progress) -> bool:
    result = answer.result
    status = result.get("status") if isinstance(result, dict) else None
    if isinstance(result, dict) and "responses" in result and status not in _UNFINISHED:
        return True
    if not isinstance(status, str) or any(word in status.lower() for word in _FAILURES):
        raise answer.make_unreadable_error(f"a batch was polled, and its status is {status!r}")
    progress.show_status(status)
    return False


# --- Both -------------------------------------------------------------------------------------------------------------


def submit_inputs(
    batch_plan: BatchPlan, conversations: Sequence[Sequence[BaseMessage]]
) -> Generator[Action, Any, BatchJob]:
    """Prepare and submit inputs.

    Raises:
        ValueError: If an input is not valid for the model. Nothing is sent then.
        WorkersGemmaError: If a payload is refused. A note on it shows how to fetch the replies to earlier payloads.
    """
    prepared = yield from prepare_items(batch_plan, conversations, return_exceptions=False)
    return (yield from submit(batch_plan, [item for item in prepared if isinstance(item, Item)]))


def queue(
    batch_plan: BatchPlan,
    conversations: Sequence[Sequence[BaseMessage]],
    poll_policy: PollPolicy,
    progress: Progress,
    *,
    return_exceptions: bool,
) -> Generator[Action, Any, list[Outcome | ValueError]]:
    """Submit inputs, wait, and return the outcomes. The outcome of an input that is not valid is its `ValueError`."""
    prepared = yield from prepare_items(batch_plan, conversations, return_exceptions=return_exceptions)
    job = yield from submit(batch_plan, [item for item in prepared if isinstance(item, Item)])
    progress.advance(len(prepared) - len(job))
    outcomes = yield from fetch(batch_plan, job, poll_policy, progress)
    if not return_exceptions:
        raise_first(outcomes, job)
    remaining = iter(outcomes)
    return [next(remaining) if isinstance(item, Item) else item for item in prepared]


def raise_first(outcomes: Sequence[Outcome], job: BatchJob) -> None:
    """Raise the error of the first failed input. Return if no input failed.

    Raises:
        WorkersGemmaError: The error of the first failed input. A note on it shows how to fetch the other replies.
    """
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, WorkersGemmaError):
            outcome.add_note(
                f"This is the error of input {index}. return_exceptions=True returns the replies to the others too."
            )
            _add_resume_note(outcome, job)
            raise outcome


def _add_resume_note(error: BaseException, job: BatchJob) -> None:
    if not job.parts:
        return
    note = f"The service keeps the batch. Fetch it later: fetch_batch(BatchJob.from_json({job.to_json()!r}), ...)"
    error.add_note(note)
    if not isinstance(error, Exception):  # an interrupt or a cancellation, whose notes are rarely printed
        logger.warning("%s. %s", type(error).__name__, note)


@contextmanager
def _resume_note(job: BatchJob) -> Iterator[None]:
    """Add a note to any error within the block that shows how to fetch the replies of a batch later."""
    try:
        yield
    except (Exception, KeyboardInterrupt, CancelledError) as error:
        _add_resume_note(error, job)
        raise
