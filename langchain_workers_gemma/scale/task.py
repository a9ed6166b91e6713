"""Attempt a row: call the runnable, count its requests, wait for their permits, and classify the result or error.

A task is pickled and sent to the workers of a cluster, so it holds only data and the runnable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from pydantic import BaseModel

from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.scale.outcome import NoPermitError, Outcome, make_failure
from langchain_workers_gemma.scale.prompt import RowPrompt
from langchain_workers_gemma.scale.rows import dump_line
from langchain_workers_gemma.transport.driver import REQUEST_GATE

AnyRunnable: TypeAlias = Runnable[Any, Any]
Gate: TypeAlias = Callable[[], int | None]
"""Waits until one more request may be sent and returns the number of its permit, or `None` if the run is stopping."""

AsyncGate: TypeAlias = Callable[[], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class RowTask:
    """The task for each row.

    Attributes:
        runnable: The runnable that maps a row.
        prompt: Builds the runnable's input from a row; `None` passes the row itself.
    """

    runnable: AnyRunnable
    prompt: RowPrompt | None = None

    def run(self, row: Mapping[str, Any], permit: int, gate: Gate) -> Outcome:
        """Attempt a row.

        Args:
            row: The fields of the row.
            permit: The number of the permit for the first request.
            gate: Called before each further request, such as the repair of a structured output.
        """
        meter = _Meter(permit, gate)
        with _use_gate(meter):
            try:
                answer = self.runnable.invoke(self._build_input(row), {"callbacks": [_Handler(meter)]})
                outcome = _make_outcome(answer, meter)
            except Exception as error:  # noqa: BLE001 - any error that a row raises is the outcome of that row
                outcome = make_failure(error)
        return meter.complete_outcome(outcome)

    async def arun(self, row: Mapping[str, Any], permit: int, gate: AsyncGate) -> Outcome:
        """Attempt a row. See `run`."""
        meter = _Meter(permit, async_gate=gate)
        with _use_gate(meter):
            try:
                answer = await self.runnable.ainvoke(self._build_input(row), {"callbacks": [_AsyncHandler(meter)]})
                outcome = _make_outcome(answer, meter)
            except Exception as error:  # noqa: BLE001 - as above
                outcome = make_failure(error)
        return meter.complete_outcome(outcome)

    def _build_input(self, row: Mapping[str, Any]) -> Any:
        return dict(row) if self.prompt is None else self.prompt.build_messages(row)


def make_task(
    runnable: AnyRunnable, *, prompt: str | None = None, system: str | None = None, schema: Any = None
) -> RowTask:
    """Make the task of a run.

    Args:
        runnable: A chat model, which needs a prompt, or any runnable whose input is a row.
        prompt: The prompt, with `{field}` for the fields of a row.
        system: A system message before it.
        schema: Schema of the output, as for `with_structured_output`; needs a chat model.

    Raises:
        ValueError: If the arguments do not match.
    """
    if prompt is None:
        if system is not None:
            raise ValueError("system needs a prompt: add prompt='... {field} ...'.")
        if isinstance(runnable, BaseChatModel):
            raise ValueError("prompt is missing: a chat model needs prompt='... {field} ...' to read a row.")
    runnable = disable_retries(runnable)
    if schema is not None:
        if not isinstance(runnable, BaseChatModel):
            raise ValueError(f"schema needs a chat model as runnable, not {type(runnable).__name__}.")
        runnable = runnable.with_structured_output(schema)
    return RowTask(runnable, None if prompt is None else RowPrompt(prompt, system))


def disable_retries(runnable: AnyRunnable) -> AnyRunnable:
    """Return the runnable with `max_retries=0` on each `ChatWorkersGemma` in it.

    A run retries rows itself, and its rate and cost limits must count each retry.
    """
    if isinstance(runnable, ChatWorkersGemma):
        return runnable.model_copy(update={"max_retries": 0})
    if isinstance(runnable, RunnableBinding):
        return runnable.model_copy(update={"bound": disable_retries(runnable.bound)})
    if isinstance(runnable, RunnableSequence):
        return RunnableSequence(*map(disable_retries, runnable.steps), name=runnable.name)
    return runnable


class _Meter:
    """Counts the requests of one attempt, their tokens and their cost. Each request but the first waits for a permit.

    The models of this package use it as their `RequestGate`: they call it before each request, repairs included. For
    any other chat model, LangChain's callbacks call it before each call.
    """

    def __init__(self, permit: int, gate: Gate | None = None, async_gate: AsyncGate | None = None) -> None:
        self.permits = [permit]
        self._gate = gate
        self._async_gate = async_gate
        self._loop = None if async_gate is None else asyncio.get_running_loop()
        self._calls = 0
        self._requests = 0
        self._answered = 0
        self._usage: UsageMetadata | None = None
        self._cost: float | None = None

    def wait(self) -> None:
        """Wait until the next request may be sent."""
        self._requests += 1
        self._acquire()

    async def await_turn(self) -> None:
        """Wait until the next request may be sent."""
        self._requests += 1
        await self._aacquire()

    def begin_call(self) -> None:
        """Wait until the next call may begin. The first request of a call uses the permit of the call."""
        self._calls += 1
        self._acquire()

    async def abegin_call(self) -> None:
        """Wait until the next call may begin. See `begin_call`."""
        self._calls += 1
        await self._aacquire()

    def _acquire(self) -> None:
        if not self._lacks_permit:
            return
        if self._gate is not None:
            self._add_permit(self._gate())
        elif self._loop is not None and not _is_running(self._loop):
            # An asynchronous attempt calls a model synchronously, in another thread.
            self._add_permit(asyncio.run_coroutine_threadsafe(self._acquire_turn(), self._loop).result())
        # Otherwise the call blocks the event loop that it would wait for, so it is sent without a permit.

    async def _aacquire(self) -> None:
        if self._lacks_permit:
            self._add_permit(await self._acquire_turn())

    async def _acquire_turn(self) -> int | None:
        if self._async_gate is not None:
            return await self._async_gate()
        # A synchronous attempt runs its own event loop.
        return None if self._gate is None else await asyncio.to_thread(self._gate)

    @property
    def _lacks_permit(self) -> bool:
        return max(self._calls, self._requests) > len(self.permits)

    def _add_permit(self, permit: int | None) -> None:
        if permit is None:
            raise NoPermitError("The run is stopping.")
        self.permits.append(permit)

    def add(self, message: BaseMessage) -> None:
        """Count a reply, its tokens and its cost."""
        self._answered += 1
        if not isinstance(message, AIMessage):
            return
        if message.usage_metadata is not None:
            self._usage = add_usage(self._usage, message.usage_metadata)
        cost = message.response_metadata.get("cost_usd")
        if isinstance(cost, int | float):
            self._cost = (self._cost or 0.0) + cost

    @property
    def is_unused(self) -> bool:
        return self._answered == 0

    def complete_outcome(self, outcome: Outcome) -> Outcome:
        return replace(
            outcome,
            usage=None if self._usage is None else dict(self._usage),
            cost_usd=self._cost,
            answered=self._answered,
            permits=tuple(self.permits),
        )


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


@contextmanager
def _use_gate(meter: _Meter) -> Iterator[None]:
    """Make the requests within the block wait for their permits."""
    token = REQUEST_GATE.set(meter)
    try:
        yield
    finally:
        REQUEST_GATE.reset(token)


def _count(meter: _Meter, response: LLMResult) -> None:
    for generations in response.generations:
        for generation in generations[:1]:
            if isinstance(generation, ChatGeneration):
                meter.add(generation.message)


class _Handler(BaseCallbackHandler):
    """A callback handler that LangChain calls inline and whose errors it raises."""

    raise_error = True
    run_inline = True

    def __init__(self, meter: _Meter) -> None:
        self._meter = meter

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.begin_call()

    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        _count(self._meter, response)


class _AsyncHandler(AsyncCallbackHandler):
    """The callback handler of an asynchronous attempt."""

    raise_error = True
    run_inline = True

    def __init__(self, meter: _Meter) -> None:
        self._meter = meter

    async def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        await self._meter.abegin_call()

    async def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        _count(self._meter, response)


def _make_outcome(answer: Any, meter: _Meter) -> Outcome:
    """Return the outcome for what the runnable returned.

    Raises:
        ValueError, TypeError: If it has no JSON form.
    """
    if isinstance(answer, BaseMessage):
        if meter.is_unused:  # a runnable that returns messages without LangChain's callbacks
            meter.add(answer)
        text = str(answer.text)
        if not text and answer.response_metadata.get("finish_reason") == "length":
            return Outcome("failed", error="The reply is empty: raise max_tokens, or turn thinking off.")
        return Outcome("done", output=text)
    output = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    dump_line({"output": output})
    return Outcome("done", output=output)
