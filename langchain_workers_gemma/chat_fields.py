"""The fields of the chat model, their checks, and what a call makes of them and of its own arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, Self

from langchain_core.language_models import ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import TypeAdapter, ValidationError, model_validator

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import SAMPLING, check_sampling, merge_stops, nearest
from langchain_workers_gemma.client.cache import Remembered
from langchain_workers_gemma.client.fields import ClientFields
from langchain_workers_gemma.client.profile import overruled, published_profile
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.models import DEFAULT_MODEL, GemmaModel, get_model, resolve_model
from langchain_workers_gemma.request.planner import CallSettings, Preparation, prepare
from langchain_workers_gemma.request.response_format import Answer, parse_response_format
from langchain_workers_gemma.request.tools import openai_tool
from langchain_workers_gemma.request.turns import remote_image_urls

# Fields that a call may override, and what a call may say beside them.
_PER_CALL = frozenset({
    "model", "tool_calling", "thinking", "reasoning_effort", "lora", "raw", "ai_gateway", "session_affinity",
    "reject_if_busy", "model_kwargs", *SAMPLING,
})  # fmt: skip
_CALL_ONLY = frozenset({
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "guided_json", "stream", "keep_broken_calls",
})  # fmt: skip
_ARGUMENTS = _PER_CALL | _CALL_ONLY
_NOT_FOR_REQUESTS = frozenset({"binding", "http_async_client", "http_client", "timeout"})  # who sends them needs them
_CHECKED_ELSEWHERE = frozenset({"model", "ai_gateway", *SAMPLING})  # with better words than pydantic's


class ChatFields(ClientFields, BaseChatModel):
    """What can be set about a chat model. `ChatWorkersGemma` says what each is for."""

    aliases: ClassVar[Mapping[str, str]] = {**ClientFields.aliases, "stop_sequences": "stop"}
    """Other names of the fields."""

    inline_image_urls: bool = False
    """Fetch http(s) images, from public addresses only, and send them inline."""

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

    def _facts(self, of_call: object = None) -> GemmaModel:
        """What is known of the model: family <- host <- the caller's profile, which is not that of a call's model."""
        model = connection.checked_model(of_call) if of_call else self.model
        facts = resolve_model(model, self.host)
        return overruled(facts, self.profile) if model == self.model else facts

    def _resolve_model_profile(self) -> ModelProfile | None:
        published = get_model(self.model, self.host)
        return None if published is None else published_profile(published)

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
        if stop or kwargs or isinstance(self.ai_gateway, AIGateway):  # a gateway's metadata may change in place
            return prepare(self._settings(stop, kwargs), stream=stream)
        return self._usual.get(stream, vars(self), lambda: prepare(self._settings(None, {}), stream=stream))

    @cached_property
    def _usual(self) -> Remembered[Preparation]:
        """What calls without arguments of their own have in common, a stream or not.

        Of the fields that may change in place, `model_kwargs` is not copied: a preparation refers to it.
        """
        ours = ChatFields.model_fields.keys() - BaseChatModel.model_fields.keys() - _NOT_FOR_REQUESTS
        return Remembered([*ours, "profile"], ["default_headers", "profile", "stop"])

    def _images_to_fetch(self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> list[str]:
        return remote_image_urls(messages) if self._facts(kwargs.get("model")).images else []


@cache
def _type_of(name: str) -> TypeAdapter[Any]:
    annotation: Any = ChatFields.model_fields[name].annotation
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
