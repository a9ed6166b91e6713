"""Workers AI's asynchronous batch: submit, poll, and read each answer as if it had come alone. No I/O happens here.

The wire is that of `shared/wire.md` section 8. Each item of a finished batch goes through the very exchange that reads
an HTTP reply, so text, reasoning, tool calls, usage and cost are what `invoke` gives.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from pydantic_core import from_json

from langchain_workers_gemma.errors import APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.call import Answer, call
from langchain_workers_gemma.exchange.chat import Action, Deliver, Read, Reply, Send, Sleep, converse
from langchain_workers_gemma.exchange.error_mapping import retry_after
from langchain_workers_gemma.exchange.payload_chunks import MAX_PAYLOAD_BYTES, split
from langchain_workers_gemma.exchange.request import Plan, Request, encode_json
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.models import MODELS, get_model
from langchain_workers_gemma.request.planner import CallSettings, Preparation, prepare
from langchain_workers_gemma.response.builders import MessageBuilder

logger = logging.getLogger(__name__)

DEFAULT_POLL_INTERVAL = 2.0
"""Seconds to wait after the first poll that finds a batch unfinished."""

_ROOM = MAX_PAYLOAD_BYTES - 1 - len(b'{"requests":[]}')
_MOST_REPLY_BYTES = 512 * 1024 * 1024  # thousands of answers come in one reply
_GROWTH = 1.5
_LONGEST_WAIT = 30.0  # seconds
_LONGEST_RETRY_AFTER = 60.0  # seconds
_FAILURES = ("fail", "error", "cancel", "expire")  # of a job as a whole; none is documented
_REPLACEMENT = "\ufffd".encode()


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One payload of a batch.

    Attributes:
        request_id: The service's id of it.
        count: How many inputs it holds.
    """

    request_id: str
    count: int


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A submitted batch: all that another process needs to fetch its results.

    Attributes:
        model: The model that was asked.
        parts: Its payloads, in the order of the inputs.

    Example:
        >>> job = BatchJob("@cf/google/gemma-4-26b-a4b-it", (BatchPart("3c5d...", 1000),))
        >>> BatchJob.from_json(job.to_json()) == job
        True
        >>> len(job)
        1000
    """

    model: str
    parts: tuple[BatchPart, ...] = ()

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def __bool__(self) -> bool:
        return True

    def to_json(self) -> str:
        """The job as a text that can be kept."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BatchJob:
        """The job that `to_json` wrote."""
        kept = json.loads(text)
        return cls(kept["model"], tuple(BatchPart(part["request_id"], part["count"]) for part in kept["parts"]))


class Progress(Protocol):
    """What is told while a batch is worked on."""

    def advance(self, count: int) -> None:
        """So many more inputs have been answered."""

    def say(self, status: str) -> None:
        """The service says `queued` or `running`."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a batch is waited for.

    Attributes:
        poll_interval: Seconds after the first poll; each wait is half as long again, up to half a minute.
        max_wait: Seconds after which waiting ends in an `APITimeoutError`; `None` waits for ever.
    """

    poll_interval: float = DEFAULT_POLL_INTERVAL
    max_wait: float | None = None

    def __post_init__(self) -> None:
        for name in ("poll_interval", "max_wait"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds < float("inf"):
                raise ValueError(f"{name}={seconds!r} must be a number of seconds of at least 0.")

    def delay(self, polls: int, asked: float) -> float:
        """Seconds to wait after so many polls, of which the last asked for some."""
        own = min(self.poll_interval * _GROWTH ** min(polls, 100), max(self.poll_interval, _LONGEST_WAIT))
        return max(own, min(asked, _LONGEST_RETRY_AFTER))


@dataclass(frozen=True, slots=True)
class Item:
    """One input, ready to be submitted.

    Attributes:
        data: The model's input.
        size: Its bytes in JSON.
    """

    data: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Batching:
    """A batch's settings, and how each of its answers is read.

    Attributes:
        preparation: What is the same for every input.
        plan: How an answer is read. Its request is a placeholder's.
    """

    preparation: Preparation
    plan: Plan

    @classmethod
    def of(cls, settings: CallSettings) -> Batching:
        """A batch with the settings of a call.

        Raises:
            ValueError: If the host or the model has no queue.
        """
        facts = settings.facts
        if facts.host != "cloudflare":
            raise ValueError(
                f"The asynchronous batch is Cloudflare's, and host={facts.host!r} has none: use batch or abatch."
            )
        if not facts.async_queue and get_model(facts.id) is not None:
            queued = " or ".join(repr(model.id) for model in MODELS.values() if model.async_queue)
            raise ValueError(f"{facts.id} has no asynchronous queue. Use model={queued}, or batch and abatch.")
        # The queue is a route of the native dialect, and what is queued waits: refusing a busy service is no option.
        preparation = prepare(replace(settings, api="native", reject_if_busy=False), stream=False)
        plan = preparation.plan([HumanMessage("-")])
        return cls(preparation, replace(plan, retry=RetryPolicy(0), constrained=None))

    @property
    def settings(self) -> CallSettings:
        """The settings of every input."""
        return self.preparation.settings

    def item(self, messages: Sequence[BaseMessage], images: Mapping[str, str] | None = None) -> Item:
        """An input, ready to be submitted.

        Raises:
            ValueError: If the model cannot take it, or it is too large.
        """
        data = self.preparation.plan(messages, inlined_images=images).request.data
        encoded = encode_json(data)
        if len(encoded) > _ROOM:
            raise ValueError(
                f"The input takes {len(encoded):,} bytes, and a batch's payload must stay under {MAX_PAYLOAD_BYTES:,}: "
                "use invoke."
            )
        # Half a surrogate pair is replaced when it is encoded: what is measured and what is sent are to be the same.
        return Item(from_json(encoded) if _REPLACEMENT in encoded else data, len(encoded))

    def request(self, data: Mapping[str, Any]) -> Request:
        """A request to the queue."""
        settings = self.settings
        return replace(
            self.plan.request,
            route=settings.address.chat("native"),
            data=data,
            options={**self.plan.request.options, "queueRequest": True},
            query="?queueRequest=true",
        )


# --- Submitting -------------------------------------------------------------------------------------------------------


def submit(batching: Batching, items: Sequence[Item]) -> Generator[Action, Any, BatchJob]:
    """Submit inputs, in as many payloads as needed.

    Raises:
        WorkersGemmaError: If a payload is refused. A note on it tells how to fetch what was submitted before.
    """
    job = BatchJob(batching.settings.facts.id)
    for part in split([item.size for item in items], room=_ROOM):
        data = {"requests": [item.data for item in items[part]]}
        try:
            answer = yield from call(batching.request(data), batching.settings.retry, batching.settings.context)
            identity = answer.result.get("request_id") if isinstance(answer.result, dict) else None
            if not isinstance(identity, str) or not identity:
                raise answer.unreadable("a batch was submitted and got no request_id")
        except WorkersGemmaError as error:
            _note(error, job)
            raise
        job = replace(job, parts=(*job.parts, BatchPart(identity, len(items[part]))))
        logger.info("submitted %d inputs of a batch as %s", len(items[part]), identity)
    return job


# --- Fetching ---------------------------------------------------------------------------------------------------------

Outcome: TypeAlias = AIMessage | WorkersGemmaError
"""What became of one input."""


def fetch(
    batching: Batching, job: BatchJob, waiting: Waiting, progress: Progress
) -> Generator[Action, Any, list[Outcome]]:
    """Wait for a batch and read its answers, in the inputs' order; a failed input's error stands at its place.

    Raises:
        WorkersGemmaError: If the batch as a whole fails. A note on it tells how to fetch it later.
    """
    outcomes: dict[BatchPart, list[Outcome]] = {}
    polls, waited = 0, 0.0
    try:
        while True:
            asked = 0.0
            for part in job.parts:
                if part not in outcomes:
                    answer = yield from _poll(batching, part)
                    if _is_finished(answer, progress):
                        outcomes[part] = _read(batching, part, answer)
                        progress.advance(part.count)
                    asked = max(asked, retry_after(answer.reply.headers) or 0.0)
            if len(outcomes) == len(set(job.parts)):
                return [outcome for part in job.parts for outcome in outcomes[part]]
            delay = waiting.delay(polls, asked)
            if waiting.max_wait is not None and waited + delay > waiting.max_wait:
                raise APITimeoutError(f"The batch was not finished within max_wait={waiting.max_wait:g} seconds.")
            yield Sleep(delay)
            polls, waited = polls + 1, waited + delay
    except WorkersGemmaError as error:
        _note(error, job)
        raise


def _poll(batching: Batching, part: BatchPart) -> Generator[Action, Any, Answer]:
    request = batching.request({"request_id": part.request_id})
    settings = batching.settings
    return (yield from call(request, settings.retry, settings.context, most_bytes=_MOST_REPLY_BYTES))


def _is_finished(answer: Answer, progress: Progress) -> bool:
    result = answer.result
    if isinstance(result, dict) and "responses" in result:
        return True
    status = result.get("status") if isinstance(result, dict) else None
    if not isinstance(status, str) or any(word in status.lower() for word in _FAILURES):
        raise answer.unreadable(f"a batch was polled and its status is {status!r}")
    progress.say(status)
    return False


def _read(batching: Batching, part: BatchPart, answer: Answer) -> list[Outcome]:
    """The outcomes of one payload, matched by `id`, which is an input's index."""
    responses = answer.result["responses"]
    by_id: dict[int, Mapping[str, Any]] = {}
    for response in responses if isinstance(responses, list) else ():
        at = _index(response.get("id")) if isinstance(response, dict) else None
        if at is None or not 0 <= at < part.count:
            raise answer.unreadable("an answer of the batch has no id, or one that no input has")
        if at in by_id:
            raise answer.unreadable(f"two answers of the batch have the id {at}")
        by_id[at] = response
    missing = next((at for at in range(part.count) if at not in by_id), None)
    if missing is not None:
        raise answer.unreadable(
            f"the batch has {len(by_id)} answers for {part.count} inputs: that of {missing} is missing"
        )
    return [_outcome(batching.plan, part, at, by_id[at]) for at in range(part.count)]


def _index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _outcome(plan: Plan, part: BatchPart, at: int, response: Mapping[str, Any]) -> Outcome:
    result = response.get("result")
    if response.get("success") is False or ("result" not in response and response.get("error")):
        told = result if isinstance(result, dict) else {"message": result}
        payload = {**{key: value for key, value in response.items() if key != "result"}, **told, "success": False}
    else:
        payload = {"result": _without_call_ids(result), "success": True}
    try:
        message = _exchanged(plan, part.request_id, encode_json(payload))
    except WorkersGemmaError as error:
        return error
    message.id = f"{part.request_id}-{at}"
    return message


def _exchanged(plan: Plan, request_id: str, body: bytes) -> AIMessage:
    """Have the exchange read a body as if it had come by HTTP."""
    builder = MessageBuilder()
    packets = [body]
    flow = converse(plan)
    try:
        action = next(flow)
        while True:
            outcome: object = None
            if isinstance(action, Deliver):
                builder.add(action.pieces)
            elif isinstance(action, Send):
                outcome = Reply(200, {"x-request-id": request_id})
            elif isinstance(action, Read):
                outcome = packets.pop() if packets else None
            action = flow.send(outcome)
    except StopIteration:
        return builder.message()


def _without_call_ids(result: object) -> object:
    """The result without the ids of tool calls, so that each call gets one that no conversation holds already."""
    if not isinstance(result, dict):
        return result
    changed = dict(result)
    if isinstance(result.get("tool_calls"), list):
        changed["tool_calls"] = [_without_id(tool_call) for tool_call in result["tool_calls"]]
    choices = result.get("choices")
    if isinstance(choices, list):
        changed["choices"] = [
            {**choice, "message": _without_call_ids(choice["message"])} if _has_message(choice) else choice
            for choice in choices
        ]
    return changed


def _has_message(choice: object) -> bool:
    return isinstance(choice, dict) and "message" in choice


def _without_id(tool_call: object) -> object:
    return {**tool_call, "id": None} if isinstance(tool_call, dict) else tool_call


# --- Both -------------------------------------------------------------------------------------------------------------


def queue(
    batching: Batching,
    prepared: Sequence[Item | ValueError],
    waiting: Waiting,
    progress: Progress,
    *,
    return_exceptions: bool,
) -> Generator[Action, Any, list[Outcome | ValueError]]:
    """Submit inputs, wait, and read the answers; an input that could not be submitted keeps its error at its place."""
    job = yield from submit(batching, [item for item in prepared if isinstance(item, Item)])
    progress.advance(len(prepared) - len(job))
    outcomes = yield from fetch(batching, job, waiting, progress)
    if not return_exceptions:
        raise_first(outcomes, job)
    answered = iter(outcomes)
    return [next(answered) if isinstance(item, Item) else item for item in prepared]


def raise_first(outcomes: Sequence[Outcome], job: BatchJob) -> None:
    """Raise the error of the first input that failed, if any did; a note on it tells how to fetch the others."""
    for at, outcome in enumerate(outcomes):
        if isinstance(outcome, WorkersGemmaError):
            outcome.add_note(f"It is of input {at}. return_exceptions=True gives the answers of the others too.")
            _note(outcome, job)
            raise outcome


def _note(error: WorkersGemmaError, job: BatchJob) -> None:
    if job.parts:
        error.add_note(f"The batch is kept by the service: fetch_batch(BatchJob.from_json({job.to_json()!r}), ...)")
