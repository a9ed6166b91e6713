"""The runnable of `with_structured_output`: it checks each answer, and requests a wrong one again with the error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import AddableDict, Runnable, RunnableConfig, RunnableSerializable, patch_config
from pydantic import ConfigDict

from langchain_workers_gemma.client.call_settings import get_server_memory
from langchain_workers_gemma.request.constraint_forms import FormName, make_form_key
from langchain_workers_gemma.request.response_format import MAX_QUOTED, write_correction_request
from langchain_workers_gemma.structured_output.parser import AnswerReader, PartialValues, Reading

_SUMMED_KEYS = ("neurons", "cost_usd")  # keys of `response_metadata` whose values are added for all attempts


class StructuredOutput(RunnableSerializable[LanguageModelInput, Any]):
    """Returns answers in the form of a schema.

    Attributes:
        first: The model, bound to the method that was requested.
        again: The model, bound to a form of JSON, for another attempt.
        reader: Reads the object from the first reply.
        forms: The forms of JSON that the model has.
        include_raw: Whether the reply and the error accompany the object.
        max_repairs: How often an answer in the wrong form is requested again.
    """

    first: Runnable[LanguageModelInput, AIMessage]
    again: Runnable[LanguageModelInput, AIMessage]
    reader: AnswerReader
    forms: ModelForms
    include_raw: bool = False
    max_repairs: int = 1

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the object, or with `include_raw` a dict that holds it."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `invoke`."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield growing dicts for a dict schema, and the object at the end."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """See `stream`."""

        async def only() -> AsyncIterator[LanguageModelInput]:
            yield input

        async for value in self.atransform(only(), config, **kwargs):
            yield value

    def transform(
        self,
        input: Iterator[LanguageModelInput],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """See `stream`."""
        yield from self._transform_stream_with_config(input, self._stream, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[LanguageModelInput],  # noqa: A002 - core's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """See `stream`."""
        async for value in self._atransform_stream_with_config(input, self._astream, config, **kwargs):
            yield value

    # --- Sync and async; every decision is in `_Attempts` ---

    def _invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        attempts = _Attempts(self, input)
        while attempts.is_open:
            child = patch_config(config, callbacks=run_manager.get_child())
            attempts.take(attempts.runnable.invoke(attempts.messages, child, **kwargs))
        return attempts.get_result()

    async def _ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - core's name
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        attempts = _Attempts(self, input)
        while attempts.is_open:
            child = patch_config(config, callbacks=run_manager.get_child())
            attempts.take(await attempts.runnable.ainvoke(attempts.messages, child, **kwargs))
        return attempts.get_result()

    def _stream(
        self,
        input: Iterator[LanguageModelInput],  # noqa: A002 - core's name
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        attempts = _Attempts(self, _merge_input(list(input)))
        output = _StreamOutput(self)
        child = patch_config(config, callbacks=run_manager.get_child())
        for chunk in attempts.runnable.stream(attempts.messages, child, **kwargs):
            yield from output.add(chunk)
        attempts.take(output.message)
        while attempts.is_open:  # not streamed, since partial values of a second object could contradict the first
            child = patch_config(config, callbacks=run_manager.get_child())
            attempts.take(attempts.runnable.invoke(attempts.messages, child, **kwargs))
        yield from output.finish(attempts)

    async def _astream(
        self,
        input: AsyncIterator[LanguageModelInput],  # noqa: A002 - core's name
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        attempts = _Attempts(self, _merge_input([one async for one in input]))
        output = _StreamOutput(self)
        child = patch_config(config, callbacks=run_manager.get_child())
        async for chunk in attempts.runnable.astream(attempts.messages, child, **kwargs):
            for value in output.add(chunk):
                yield value
        attempts.take(output.message)
        while attempts.is_open:
            child = patch_config(config, callbacks=run_manager.get_child())
            attempts.take(await attempts.runnable.ainvoke(attempts.messages, child, **kwargs))
        for value in output.finish(attempts):
            yield value


@dataclass(frozen=True, slots=True)
class ModelForms:
    """The forms of JSON that a model has, and the memory of which ones work.

    Attributes:
        host: The hosting provider.
        model: Its id.
        names: The forms, the best first.
        owner: The model object, which holds the memory.
    """

    host: str
    model: str
    names: tuple[FormName, ...]
    owner: Any = field(repr=False)

    def mark_working(self, name: str) -> None:
        """Record for later calls that a form works, and that those before it do not."""
        if name in self.names:
            key = make_form_key(self.host, self.model, self.names)
            get_server_memory(self.owner).keep_form(key, list(self.names).index(name))


class _Attempts:
    """The attempts of one call: the next request, and the result of all of them."""

    def __init__(self, spec: StructuredOutput, input: LanguageModelInput) -> None:  # noqa: A002 - core's name
        self.runnable: Runnable[LanguageModelInput, AIMessage] = spec.first
        self.messages: LanguageModelInput = input
        self.is_open = True
        self.replies: list[AIMessage] = []
        self._spec = spec
        self._input = input
        self._readings: list[Reading] = []

    def take(self, reply: AIMessage) -> None:
        """Read a reply, and decide whether to request it again."""
        count = len(self.replies)
        reader = self._spec.reader
        reading = AnswerReader(reader.schema, reader.answer, from_call=reader.from_call and not count).read(reply)
        self.replies.append(reply)
        self._readings.append(reading)
        self.is_open = reading.problem is not None and not reading.is_truncated and count < self._spec.max_repairs
        if self.is_open:
            skipped = count if reader.from_call else count + 1
            self.runnable = self._spec.again.bind(skip_forms=skipped)
            self.messages = [*_to_messages(self._input), *_write_correction(reply, reading.problem or "")]
        elif reading.error is None and count and self._readings[-2].is_ignored_constraint and not reader.from_call:
            self._spec.forms.mark_working(str(reply.response_metadata.get("json_form")))

    @property
    def reading(self) -> Reading:
        """The result of reading the last reply."""
        return self._readings[-1]

    @property
    def raw(self) -> AIMessage:
        """The last reply, with the usage and the problem of each attempt."""
        last = self.replies[-1]
        if len(self.replies) == 1:
            return last
        metadata = {**last.response_metadata, "attempts": self.history}
        for key in _SUMMED_KEYS:
            values = [reply.response_metadata[key] for reply in self.replies if key in reply.response_metadata]
            metadata |= {key: sum(values)} if values else {}
        return last.model_copy(update={"usage_metadata": self._sum_usage(), "response_metadata": metadata})

    @property
    def history(self) -> list[dict[str, Any]]:
        """The requested form of JSON and the problem of the reply, for each attempt."""
        return [
            {"form": reply.response_metadata.get("json_form"), "problem": reading.problem}
            for reply, reading in zip(self.replies, self._readings, strict=True)
        ]

    def _sum_usage(self) -> UsageMetadata | None:
        total: UsageMetadata | None = None
        for reply in self.replies:
            total = total if reply.usage_metadata is None else add_usage(total, reply.usage_metadata)
        return total

    def get_result(self) -> Any:
        """Return the object, or with `include_raw` a dict that holds it.

        Raises:
            OutputParserException: If there is no object, and `include_raw` is off.
        """
        reading = self.reading
        if self._spec.include_raw:
            return {"raw": self.raw, "parsed": reading.value, "parsing_error": reading.error}
        if reading.error is not None:
            raise reading.error
        return reading.value


class _StreamOutput:
    """The output of a stream: partial values, and with `include_raw` chunks that add up to the result of `invoke`."""

    def __init__(self, spec: StructuredOutput) -> None:
        self._include_raw = spec.include_raw
        self._chunks: list[Any] = []
        self._values = PartialValues(spec.reader)

    @property
    def message(self) -> AIMessage:
        """The reply that was streamed."""
        return self._values.message

    def add(self, chunk: Any) -> Iterator[Any]:
        """Add a chunk of the first reply, and yield the value if it has grown."""
        self._chunks.append(chunk)
        for value in self._values.add(chunk):
            yield AddableDict(parsed=_ReplaceOnAdd(value)) if self._include_raw else value

    def finish(self, attempts: _Attempts) -> Iterator[Any]:
        """Yield the result of all attempts."""
        if not self._include_raw:
            value = attempts.get_result()
            if self._values.last is None or value != self._values.last:
                yield value
            return
        # It is known only now whether these chunks belong to the final message.
        is_first = len(attempts.replies) == 1
        for chunk in self._chunks if is_first else [AIMessageChunk(**_get_chunk_fields(attempts.raw))]:
            yield AddableDict(raw=chunk)
        yield AddableDict(parsed=attempts.reading.value, parsing_error=attempts.reading.error)


class _ReplaceOnAdd(dict[str, Any]):
    """A partial value that a later one replaces, so that chunks of a stream can be added."""

    def __add__(self, later: Any) -> Any:
        return later


def _get_chunk_fields(message: AIMessage) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in AIMessage.model_fields if name != "type"}
    return {**fields, "chunk_position": "last"}


def _merge_input(inputs: list[Any]) -> Any:
    """Return the input, whose pieces are added if a chain streams it."""
    total = inputs[0]
    for more in inputs[1:]:
        total = total + more
    return total


def _to_messages(value: Any) -> list[BaseMessage]:
    if isinstance(value, PromptValue):
        return value.to_messages()
    return [HumanMessage(value)] if isinstance(value, str) else convert_to_messages(value)


def _write_correction(reply: AIMessage, problem: str) -> list[BaseMessage]:
    """Return the reply and a description of its problem, as the end of a conversation."""
    text = str(reply.text)
    for call in (*reply.tool_calls, *reply.invalid_tool_calls):
        text += str(call["args"])
    quoted: list[BaseMessage] = [AIMessage(text[:MAX_QUOTED])] if text.strip() else []
    return [*quoted, HumanMessage(write_correction_request(problem))]


StructuredOutput.model_rebuild()
