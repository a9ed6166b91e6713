"""`ChatWorkersGemma`, the chat model: LangChain's interface on top of the exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import model_validator

from langchain_workers_gemma.batch.methods import BatchMethods
from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import SAMPLING, check_sampling, merge_stops, to_list
from langchain_workers_gemma.client.call_settings import build_call_settings, build_trace_params, get_model_spec
from langchain_workers_gemma.client.fields import ClientFields
from langchain_workers_gemma.client.method_signature import cache_signature
from langchain_workers_gemma.client.preparation import get_driver, prepare_call
from langchain_workers_gemma.client.profile import (
    ProfileMethods,
    ResolvedProfile,
    get_callers_profile,
    warn_of_unknown_keys,
)
from langchain_workers_gemma.client.token_count import count_messages, count_text, get_ids
from langchain_workers_gemma.models import DEFAULT_MODEL
from langchain_workers_gemma.request.planner import prepare
from langchain_workers_gemma.request.tools import build_tool_arguments
from langchain_workers_gemma.response.builders import ChunkBuilder, MessageBuilder
from langchain_workers_gemma.version import __version__

if TYPE_CHECKING:
    from langchain_workers_gemma.client.preview import Preview


class ChatWorkersGemma(BatchMethods, ProfileMethods, ClientFields, BaseChatModel):
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
        stop: Stop sequences. The package applies them itself if the model has no such parameter.
        thinking: Turns Gemma 4's thinking on or off.
        tool_calling: How tools are sent to the model: `"auto"`, `"native"`, `"guided_json"` or `"prompt"`.
        repair_tool_calls: Request a tool call again, with a constraint, if it does not match its tool's schema.

    Key init args, client:
        account_id, api_token: Credentials; read from environment variables if left out.
        host: `"cloudflare"`, `"dataoorts"`, `"aimlapi"` or `"openai_compatible"`.
        timeout: Seconds, or an `httpx.Timeout`.
        max_retries: Number of retries after the first attempt.
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
            \"\"\"Get the weather in a city.\"\"\"
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
        ValueError: If an argument is wrong or credentials are missing.
        WorkersGemmaError: If a call fails; see `langchain_workers_gemma.errors`.
    """

    aliases: ClassVar[Mapping[str, str]] = {
        **ClientFields.aliases,
        "stop_sequences": "stop",
        "max_completion_tokens": "max_tokens",
    }
    """Other names of the fields."""

    inline_image_urls: bool = False
    """Fetch images with http(s) URLs, from public addresses only, and send them as base64."""

    temperature: int | float | None = None
    """Sampling temperature. 0 makes the output most repeatable."""

    max_tokens: int | None = None
    """Maximum number of tokens to generate, at least 1. The service's default is 256."""

    top_p: int | float | None = None
    """Nucleus sampling: sample from the most probable tokens whose probabilities add up to `top_p`."""

    top_k: int | None = None
    """Sample from the `top_k` most probable tokens. Gemma 4 has no such parameter."""

    seed: int | None = None
    """Random seed, for repeatable output."""

    repetition_penalty: int | float | None = None
    """Penalises repeated tokens. Gemma 4 has no such parameter."""

    frequency_penalty: int | float | None = None
    """Penalises tokens in proportion to how often they were used."""

    presence_penalty: int | float | None = None
    """Penalises tokens already used."""

    stop: list[str] | str | None = None
    """Stop sequences; alias `stop_sequences`. A call's `stop=` is added to them."""

    lora: str | None = None
    """Name or id of a LoRA adapter. Needs `api="native"` and a model that accepts one."""

    raw: bool | None = None
    """Send the prompt without a chat template. The input must be one string or one human message."""

    thinking: bool | None = None
    """Whether Gemma 4 thinks before it answers (`chat_template_kwargs.enable_thinking`); the service's default if left
    out."""

    reasoning_effort: str | None = None
    """On Gemma 4, `"none"` means `thinking=False` and any other level `thinking=True`. Sent unchanged to other models
    that have this parameter."""

    replay_reasoning: Literal["tool_loop", "never"] = "tool_loop"
    """Which of Gemma 4's thoughts are sent back: those since the last human message, which it needs between tool calls,
    or none. Older thoughts are never sent."""

    unsupported_content: Literal["error", "note"] = "error"
    """How to treat content in human and tool messages that the model cannot read, such as a PDF: raise `ValueError`
    before the request, or replace it with a note in the text."""

    tool_calling: Literal["auto", "native", "guided_json", "prompt"] = "auto"
    """How tools are sent to the model; `"auto"` uses the best method that the model and the host have."""

    logprobs: bool | None = None
    """Return the log probabilities of the tokens, in `response_metadata["logprobs"]`."""

    top_logprobs: int | None = None
    """Number of most probable tokens to return at each position. Needs `logprobs=True`."""

    repair_tool_calls: bool = False
    """Request a tool call again, constrained to the tool's schema, if it is invalid or does not match the schema."""

    streaming: bool = False
    """Whether `invoke` uses a stream."""

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        if not self.model:
            self.model = DEFAULT_MODEL.get(self.host, "")
        connection.resolve(self)
        spec = get_model_spec(self)
        if spec.embeds:
            raise ValueError(f"model: {spec.id} returns embeddings; use WorkersGemmaEmbeddings.")
        check_sampling({name: getattr(self, name) for name in SAMPLING}, spec)
        merge_stops(self.stop, None)
        if not isinstance(self.profile, ResolvedProfile):
            self._resolve_profile()
        prepare(build_call_settings(self, None, {}), stream=False)  # fail now if each call would fail
        self._add_version("langchain-workers-gemma", __version__)  # shown in traces
        return self

    @model_validator(mode="after")
    def _check_profile_keys(self) -> Self:
        """Warn of unknown keys. It replaces core's check, which takes a third of the time of `__init__`."""
        warn_of_unknown_keys(self.profile)
        return self

    @model_validator(mode="before")
    @classmethod
    def _keep_callers_profile(cls, values: Any) -> Any:
        """Reduce a profile from another model object to the values that its caller has set."""
        if isinstance(values, dict) and isinstance(values.get("profile"), ResolvedProfile):
            return {**values, "profile": get_callers_profile(values["profile"]) or None}
        return values

    # --- Identity ---

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters of a call for traces. Core's own version calls a deprecated method on every call."""
        return {**self.asdict(), "stop": stop, **connection.mask_credentials(kwargs)}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the key of a call in LangChain's caches, from the current fields."""
        self._forget_serialized()
        return super()._get_llm_string(stop, **connection.mask_credentials(kwargs))

    @property
    def _llm_type(self) -> str:
        return "workers-gemma-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        fields = vars(self)
        names = ("model", "host", *SAMPLING, "stop", "tool_calling")
        return {name: fields[name] for name in names if fields[name] is not None}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return build_trace_params(self, stop, kwargs)

    # --- Counting tokens ---

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text: estimated, or exactly with `custom_get_token_ids`.

        The estimate needs no network and no other library. It is within 20 % of Gemma's own tokenizer on prose in
        large languages and on code.
        """
        return count_text(text, self.custom_get_token_ids)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text from `custom_get_token_ids`.

        Raises:
            ValueError: If `custom_get_token_ids` is not set.
        """
        return get_ids(text, self.custom_get_token_ids)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Count the tokens of messages, with their tool calls and images, and of tools.

        Args:
            messages: The messages.
            tools: Tools to count as well, in any form that `bind_tools` accepts.
        """
        return count_messages(messages, tools, self.custom_get_token_ids)

    def preview(self, messages: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any) -> Preview:
        """Return the request of a call, the cost of its input, and how its messages are changed. Sends nothing.

        Args:
            messages: The input of the call.
            stop: Stop sequences of the call.
            **kwargs: Further arguments of the call, such as `tools`.

        Raises:
            ValueError: If the call would fail before its request.

        Example:
            ```python
            preview = llm.preview([("system", "Be brief."), ("human", "Hi.")])
            preview.request.body["messages"]
            preview.input_tokens, preview.cost_usd
            preview.changes  # such as "2 consecutive user messages are merged: ..."
            ```
        """
        from langchain_workers_gemma.client.preview import build_preview

        converted = self._convert_input(messages).to_messages()
        preparation = prepare_call(self, stop, kwargs, stream=self.streaming)
        return build_preview(self, preparation, converted, kwargs.get("ai_gateway", self.ai_gateway))

    # --- LangChain's interface ---

    @cache_signature
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - core fires the callbacks
        **kwargs: Any,
    ) -> ChatResult:
        flow = prepare_call(self, stop, kwargs, stream=False).flow(messages)
        builder = MessageBuilder()
        with closing(get_driver(self, kwargs.get("timeout")).run(flow)) as exchange:
            for pieces in exchange:
                builder.add(pieces)
        return builder.build_result()

    @cache_signature
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        flow = prepare_call(self, stop, kwargs, stream=False).flow(messages)
        builder = MessageBuilder()
        async with aclosing(get_driver(self, kwargs.get("timeout")).arun(flow)) as exchange:
            async for pieces in exchange:
                builder.add(pieces)
        return builder.build_result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        flow = prepare_call(self, stop, kwargs, stream=True).flow(messages)
        builder = ChunkBuilder(as_blocks=self.output_version == "v1")
        with closing(get_driver(self, kwargs.get("timeout")).run(flow)) as exchange:
            for pieces in exchange:
                yield from builder.build_chunks(pieces)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        flow = prepare_call(self, stop, kwargs, stream=True).flow(messages)
        builder = ChunkBuilder(as_blocks=self.output_version == "v1")
        async with aclosing(get_driver(self, kwargs.get("timeout")).arun(flow)) as exchange:
            async for pieces in exchange:
                for chunk in builder.build_chunks(pieces):
                    yield chunk

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
            tool_choice: `None` or `"auto"`: the model may call a tool. `"any"`, `"required"` or `True`: it must call
                one. `"none"`: it must not call any. A tool's name, or OpenAI's dict: it must call that tool. A forced
                choice results in a call or in a `ToolChoiceError`.
            strict: OpenAI's `strict` flag, for models that accept it.
            parallel_tool_calls: Whether one reply may hold several calls.
            **kwargs: Further arguments of the call.

        Raises:
            ValueError: If a tool cannot be bound, or `tool_choice` names a tool that is not bound.

        Example:
            ```python
            llm.bind_tools([get_weather], tool_choice="get_weather").invoke("Paris?").tool_calls
            ```
        """
        bindable = to_list("tools", tools)
        arguments = build_tool_arguments(bindable, tool_choice, strict=strict, parallel_tool_calls=parallel_tool_calls)
        return super().bind(**{**kwargs, **arguments})

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None,
        *,
        method: Literal["guided_json", "json_schema", "json_mode", "function_calling"] | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        max_repairs: int = 1,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose answers have the form of a schema.

        The request holds the schema in the form that the model accepts. The prompt holds it too, since a service may
        ignore the form. If the service refuses the form, the request is sent in the next form. If a reply is not JSON,
        or does not match the schema, it is requested again with the error, up to `max_repairs` times. The model object
        remembers the form that works.

        Args:
            schema: A Pydantic class, a TypedDict, a JSON Schema, or OpenAI's tool form.
            method: `None` uses the model's best constrained method. `"guided_json"` is Workers AI's parameter, on Gemma
                3. `"json_schema"` is `response_format`, or `guided_json` on a model that has that parameter instead.
                `"json_mode"` requests any JSON object. `"function_calling"` forces a call to one tool.
            include_raw: Return `{"raw": message, "parsed": object, "parsing_error": error}` and raise no parsing error.
                `raw` is the last reply; its usage is that of all attempts. If there were several attempts,
                `raw.response_metadata["attempts"]` lists the problem of each.
            strict: OpenAI's `strict` flag, for models that accept it.
            max_repairs: The number of times that an unusable reply is requested again. 0 also turns off other forms. A
                truncated reply is not requested again: raise `max_tokens`.
            **kwargs: Further arguments of the call, such as `max_tokens`.

        Returns:
            A runnable that returns an instance of the Pydantic class, or a dict for any other schema. For a dict, its
            `.stream()` yields growing dicts.

        Raises:
            ValueError: If the model does not support the method, or the schema has another type.
            OutputParserException: If no reply to a call matches the schema.
        """
        from langchain_workers_gemma.structured_output.methods import build_structured_runnable

        return build_structured_runnable(
            self,
            schema,
            get_model_spec(self),
            method=method,
            include_raw=include_raw,
            strict=strict,
            max_repairs=max_repairs,
            options=kwargs,
        )
