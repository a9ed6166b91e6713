"""`ChatWorkersGemma`, the chat model: its fields, their checks, and four short shells around the exchange."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, Self, TypeVar, cast, get_type_hints

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import TypeAdapter, ValidationError, model_validator

from langchain_workers_gemma import connection
from langchain_workers_gemma.chunks import ChunkBuilder, MessageBuilder
from langchain_workers_gemma.client_fields import ClientFields
from langchain_workers_gemma.exchange import converse
from langchain_workers_gemma.inlining import afetch_images, fetch_images
from langchain_workers_gemma.messages import remote_image_urls
from langchain_workers_gemma.models import DEFAULT_MODEL, GemmaModel, get_model, resolve_model
from langchain_workers_gemma.planning import CallSettings, Preparation, prepare
from langchain_workers_gemma.queued_batches import QueuedChatModel
from langchain_workers_gemma.remembering import Remembered
from langchain_workers_gemma.response_format import Answer, parse_response_format
from langchain_workers_gemma.retries import RetryPolicy
from langchain_workers_gemma.settings import (
    SAMPLING,
    check_sampling,
    merge_stops,
    nearest,
)
from langchain_workers_gemma.structured_output import structure
from langchain_workers_gemma.tools.choice import ToolLike, openai_tool, parse_choice, tool_name

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _with_signature_at_hand(method: _Method) -> _Method:
    """The same method. Core asks `inspect` for its signature on every call, which takes 46 us, or 14 us like this."""
    vars(method)["__signature__"] = inspect.signature(method)
    return method


# What a caller's profile may overrule among the facts that decide a request.
_PROFILE_FACTS = {
    "image_inputs": "images",
    "tool_calling": "tools",
    "tool_choice": "tool_choice",
    "max_input_tokens": "enforced_context",
}
# Fields that a call may override, and what a call may say beside them.
_PER_CALL = frozenset({
    "model", "tool_calling", "thinking", "reasoning_effort", "lora", "raw", "ai_gateway", "session_affinity",
    "reject_if_busy", "model_kwargs", *SAMPLING,
})  # fmt: skip
_CALL_ONLY = frozenset({
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "guided_json", "stream", "keep_broken_calls",
})  # fmt: skip
_ARGUMENTS = _PER_CALL | _CALL_ONLY
_CHANGED_IN_PLACE = ("default_headers", "model_kwargs", "profile", "stop")  # the fields whose values can be
_CHECKED_ELSEWHERE = frozenset({"model", "ai_gateway", *SAMPLING})  # with better words than pydantic's


class ChatWorkersGemma(QueuedChatModel):
    """Google's Gemma models on Cloudflare Workers AI, and on other hosts that serve the same models.

    Setup:
        Install `langchain-workers-gemma` and set two environment variables.

        ```bash
        pip install langchain-workers-gemma
        export CLOUDFLARE_ACCOUNT_ID="your-account-id"
        export CLOUDFLARE_API_TOKEN="your-api-token"
        ```

    Key init args, completion:
        model: The model's id; the newest Gemma of the host if left out.
        temperature, max_tokens, top_p, top_k, seed, repetition_penalty, frequency_penalty, presence_penalty: Sent only
            when set, and checked against the published ranges of the model. `max_tokens` left out means the service's
            default, which is 256.
        stop: Stop sequences. Applied on our side where the model has no such parameter.
        thinking: Switches Gemma 4's thinking.
        tool_calling: How bound tools reach the model: `"auto"`, `"native"`, `"guided_json"` or `"prompt"`.

    Key init args, client:
        account_id, api_token: Credentials; from the environment if left out.
        host: `"cloudflare"`, `"dataoorts"` or `"aimlapi"`.
        timeout: Seconds, or an `httpx.Timeout`.
        max_retries: Tries after the first one.
        ai_gateway: An AI Gateway's id, or an `AIGateway` with options.

    Instantiate:
        ```python
        from langchain_workers_gemma import ChatWorkersGemma

        llm = ChatWorkersGemma(temperature=0, max_tokens=512)
        ```

    Invoke:
        ```python
        message = llm.invoke([("system", "Translate to French."), ("human", "I love programming.")])
        message.content  # "J'adore la programmation."
        message.usage_metadata  # {"input_tokens": 21, "output_tokens": 7, "total_tokens": 28}
        message.response_metadata["cost_usd"]  # from the published prices
        ```

    Stream:
        ```python
        for chunk in llm.stream("Tell me about Rayleigh scattering."):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        await llm.ainvoke("Hello")
        async for chunk in llm.astream("Hello"):
            print(chunk.text, end="")
        ```

    Tool calling:
        ```python
        def get_weather(city: str) -> str:
            \"\"\"Tell the weather in a city.\"\"\"
            return "sunny"

        llm.bind_tools([get_weather]).invoke("What is the weather in Paris?").tool_calls
        ```

    Structured output:
        ```python
        from pydantic import BaseModel

        class Person(BaseModel):
            name: str
            age: int

        llm.with_structured_output(Person).invoke("Ada Lovelace was 36.")
        ```

    Response metadata:
        `model_name`, `model_provider` (`"workers_gemma"`), `finish_reason`, and when known `request_id`, `neurons` and
        `cost_usd`.

    Raises:
        ValueError: When an argument is wrong, and when the model object is made without credentials.
        WorkersGemmaError: When a call fails; see `langchain_workers_gemma.errors`.
    """

    aliases: ClassVar[Mapping[str, str]] = {**ClientFields.aliases, "stop_sequences": "stop"}
    """Other names of the fields."""

    temperature: int | float | None = None
    """How much chance there is in the answer."""

    max_tokens: int | None = None
    """The most tokens to write, at least 1. The service's default is 256."""

    top_p: int | float | None = None
    """Nucleus sampling."""

    top_k: int | None = None
    """Sampling from the most probable words; Gemma 4 has no such parameter."""

    seed: int | None = None
    """For repeatable answers."""

    repetition_penalty: int | float | None = None
    """A penalty for repeated tokens; Gemma 4 has no such parameter."""

    frequency_penalty: int | float | None = None
    """A penalty that grows with a token's count."""

    presence_penalty: int | float | None = None
    """A penalty for tokens that stood before."""

    stop: list[str] | str | None = None
    """Where the answer ends; alias `stop_sequences`. Merged with `stop=` of a call."""

    lora: str | None = None
    """A LoRA adapter, on the native API of a model that takes one."""

    raw: bool | None = None
    """Send one prompt without a chat template: the input must be one string or one human message."""

    thinking: bool | None = None
    """Whether Gemma 4 thinks before it answers (`chat_template_kwargs.enable_thinking`)."""

    reasoning_effort: str | None = None
    """Passed where the model has it."""

    tool_calling: Literal["auto", "native", "guided_json", "prompt"] = "auto"
    """How bound tools reach the model."""

    streaming: bool = False
    """Have `invoke` use a stream."""

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        self.model = self.model or DEFAULT_MODEL[self.host]
        connection.resolve(self)
        facts = self._facts()
        if facts.embeds:
            raise ValueError(f"model: {facts.id} makes embeddings; use WorkersGemmaEmbeddings.")
        check_sampling({name: getattr(self, name) for name in SAMPLING}, facts)
        merge_stops(self.stop, None)
        self.profile = {**(self._resolve_model_profile() or {}), **(self.profile or {})} or None
        self._settings(None, {})  # whatever else a call would refuse
        return self

    # --- What LangChain asks a model about itself ---

    @property
    def _llm_type(self) -> str:
        return "workers-gemma-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in (*SAMPLING, "stop", "tool_calling")}
        return {"model": self.model, "host": self.host, **{k: v for k, v in values.items() if v is not None}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider="workers_gemma", ls_model_name=kwargs.get("model") or self.model, ls_model_type="chat"
        )
        temperature = kwargs.get("temperature", self.temperature)
        if temperature is not None:
            params["ls_temperature"] = temperature
        max_tokens = kwargs.get("max_tokens", self.max_tokens)
        if max_tokens is not None:
            params["ls_max_tokens"] = max_tokens
        stops = merge_stops(self.stop, stop)
        if stops:
            params["ls_stop"] = list(stops)
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        published = get_model(self.model, self.host)
        return None if published is None else _profile(published)

    def _facts(self, of_call: object = None) -> GemmaModel:
        """What is known of the model: family <- host <- the caller's profile, which is not that of a call's model."""
        model = connection.checked_model(of_call) if of_call else self.model
        facts = resolve_model(model, self.host)
        if self.profile is None or model != self.model:
            return facts
        said = {
            fact: self.profile[key]  # type: ignore[literal-required]
            for key, fact in _PROFILE_FACTS.items()
            if self.profile.get(key) is not None
        }
        usable = said.pop("enforced_context", facts.usable_context)
        if usable != facts.usable_context:
            said["enforced_context"] = usable
        changed = {fact: value for fact, value in said.items() if value != getattr(facts, fact)}
        return replace(facts, **changed) if changed else facts

    # --- From arguments to a plan ---

    def _settings(self, stop: list[str] | None, kwargs: dict[str, Any]) -> CallSettings:
        """The settings of one call: the fields, with the call's own arguments laid over them."""
        unknown = kwargs.keys() - _ARGUMENTS
        if unknown:
            name = min(unknown)
            raise ValueError(
                f"{name} is not an argument of a call.{nearest(name, _ARGUMENTS)} "
                "Use model_kwargs for keys that are to be sent as they are."
            )
        of_call = {name: _of_call(name, value) for name, value in kwargs.items() if name in _PER_CALL}
        fields = vars(self) | of_call
        facts = self._facts(kwargs.get("model"))
        sampling = {name: number for name in SAMPLING if (number := fields[name]) is not None}
        if of_call:
            check_sampling(sampling, facts)
        response_format = kwargs.get("response_format")
        answer = None if response_format is None else parse_response_format(response_format)
        guided = kwargs.get("guided_json")
        if guided is not None:
            answer = Answer.of_guided_json(guided, facts)
        gateway = connection.gateway(fields["ai_gateway"])
        return CallSettings(
            facts=facts,
            api=self.api or "native",
            address=connection.address(self),
            parameters=sampling,
            stops=merge_stops(self.stop, stop),
            tools=[openai_tool(tool) for tool in kwargs.get("tools") or ()],
            tool_choice=kwargs.get("tool_choice"),
            parallel_tool_calls=kwargs.get("parallel_tool_calls"),
            tool_calling=fields["tool_calling"],
            answer=answer,
            keep_broken_calls=bool(kwargs.get("keep_broken_calls")),
            thinking=fields["thinking"],
            reasoning_effort=fields["reasoning_effort"],
            lora=fields["lora"],
            raw=fields["raw"],
            gateway=gateway,
            reject_if_busy=fields["reject_if_busy"],
            headers=connection.call_headers(self, fields["session_affinity"], gateway),
            extra=fields["model_kwargs"],
            retry=RetryPolicy(self.max_retries),
            context=self._error_context(facts, gateway),
        )

    def _preparation(self, stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool) -> Preparation:
        if stop or kwargs:
            return prepare(self._settings(stop, kwargs), stream=stream)
        return self._usual.get(stream, vars(self), lambda: prepare(self._settings(None, {}), stream=stream))

    @cached_property
    def _usual(self) -> Remembered[Preparation]:
        """What calls without arguments of their own have in common, a stream or not."""
        return Remembered(_CHANGED_IN_PLACE)

    # --- The four shells ---

    @_with_signature_at_hand
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - core fires the callbacks
        **kwargs: Any,
    ) -> ChatResult:
        images = fetch_images(self._images_to_fetch(messages, kwargs)) if self.inline_image_urls else None
        plan = self._preparation(stop, kwargs, stream=False).plan(messages, inlined_images=images)
        builder = MessageBuilder()
        with closing(connection.transport(self).run(converse(plan))) as exchange:
            for pieces in exchange:
                builder.add(pieces)
        return ChatResult(generations=[ChatGeneration(message=builder.message())])

    @_with_signature_at_hand
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        images = await afetch_images(self._images_to_fetch(messages, kwargs)) if self.inline_image_urls else None
        plan = self._preparation(stop, kwargs, stream=False).plan(messages, inlined_images=images)
        builder = MessageBuilder()
        async with aclosing(connection.transport(self).arun(converse(plan))) as exchange:
            async for pieces in exchange:
                builder.add(pieces)
        return ChatResult(generations=[ChatGeneration(message=builder.message())])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        images = fetch_images(self._images_to_fetch(messages, kwargs)) if self.inline_image_urls else None
        plan = self._preparation(stop, kwargs, stream=True).plan(messages, inlined_images=images)
        builder = ChunkBuilder(as_blocks=self.output_version == "v1")
        with closing(connection.transport(self).run(converse(plan))) as exchange:
            for pieces in exchange:
                yield from builder.chunks(pieces)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        images = await afetch_images(self._images_to_fetch(messages, kwargs)) if self.inline_image_urls else None
        plan = self._preparation(stop, kwargs, stream=True).plan(messages, inlined_images=images)
        builder = ChunkBuilder(as_blocks=self.output_version == "v1")
        async with aclosing(connection.transport(self).arun(converse(plan))) as exchange:
            async for pieces in exchange:
                for chunk in builder.chunks(pieces):
                    yield chunk

    def _images_to_fetch(self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> list[str]:
        return remote_image_urls(messages) if self._facts(kwargs.get("model")).images else []

    # --- Tools and structured output ---

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools that the model may call.

        Args:
            tools: Pydantic classes, functions, `BaseTool`s, JSON Schemas, or dicts in OpenAI's form.
            tool_choice: `None` or `"auto"`: the model chooses. `"any"`, `"required"` or `True`: it must call one.
                `"none"`: it must not. A tool's name, or OpenAI's dict: it must call that one. A forced choice always
                ends in a call, or in a `ToolChoiceError`.
            strict: OpenAI's flag, on models that take it.
            parallel_tool_calls: Whether several calls may come in one reply.
            **kwargs: Further arguments of the call.

        Raises:
            ValueError: If a tool cannot be bound, or `tool_choice` names none of them.

        Example:
            ```python
            llm.bind_tools([get_weather], tool_choice="get_weather").invoke("Paris?").tool_calls
            ```
        """
        bindable: Sequence[ToolLike] = tools
        formatted = [openai_tool(tool, strict=strict) for tool in bindable]
        if formatted:
            kwargs["tools"] = formatted
        if tool_choice is not None:
            kwargs["tool_choice"] = parse_choice(tool_choice, [tool_name(tool) for tool in formatted]).wire()
        if parallel_tool_calls is not None and formatted:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return super().bind(**kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None,
        *,
        method: Literal["guided_json", "json_schema", "json_mode", "function_calling"] | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the model answer in the form of a schema.

        Args:
            schema: A Pydantic class, a TypedDict, a JSON Schema, or OpenAI's tool form.
            method: `None` picks the model's best constrained one. `"guided_json"` is Workers AI's parameter, on Gemma
                3. `"json_schema"` is `response_format`, or `guided_json` on a model whose parameter that is.
                `"json_mode"` asks for any JSON object. `"function_calling"` forces a call to one tool.
            include_raw: Give `{"raw": message, "parsed": object, "parsing_error": error}` and raise no parsing error.
            strict: OpenAI's flag, on models that take it.
            **kwargs: Further arguments of the call, such as `max_tokens`.

        Returns:
            A runnable that gives an instance of a Pydantic class, else a dict. Its `.stream()` gives growing dicts
            where the schema is not a class.

        Raises:
            ValueError: If the model lacks the method, or the schema is none of these.
        """
        return structure(
            self, schema, self._facts(), method=method, include_raw=include_raw, strict=strict, options=kwargs
        )


@cache
def _type_of(name: str) -> TypeAdapter[Any]:
    annotation: Any = ChatWorkersGemma.model_fields[name].annotation
    return TypeAdapter(annotation)


def _of_call(name: str, value: object) -> Any:
    """A field's value that a call gives.

    Raises:
        ValueError: If the field could not hold it.
    """
    if name in _CHECKED_ELSEWHERE:
        return value
    try:
        return _type_of(name).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}={value!r:.80} is not valid: {error.errors()[0]['msg']}.") from None


def _profile(facts: GemmaModel) -> ModelProfile:
    """LangChain's profile of a model; keys that this version of core does not know are left out."""
    values: dict[str, Any] = {
        "name": facts.name or None,
        "status": "deprecated" if facts.retired else "active",
        "open_weights": True,
        "max_input_tokens": facts.usable_context,
        "text_inputs": True,
        "image_inputs": facts.images,
        "image_url_inputs": False,
        "pdf_inputs": False,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": facts.images,
        "text_outputs": True,
        "image_outputs": False,
        "audio_outputs": False,
        "video_outputs": False,
        "reasoning_output": facts.thinking,
        "tool_calling": facts.tools,
        "tool_choice": facts.tool_choice,
        "tool_call_streaming": facts.tools,
        "structured_output": facts.constraint is not None,
        "attachment": facts.images,
        "temperature": True,
    }
    known = get_type_hints(ModelProfile)
    return cast("ModelProfile", {key: value for key, value in values.items() if key in known and value is not None})
