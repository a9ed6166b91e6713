"""Merge the fields of a chat model and the arguments of a call into the settings of that call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

from langchain_core.language_models import ModelProfile
from langchain_core.language_models.base import LangSmithParams
from pydantic import BaseModel

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.arguments import (
    SAMPLING,
    check_sampling,
    did_you_mean,
    merge_stops,
    normalise_arguments,
    to_list,
    to_python,
    validate_field,
)
from langchain_workers_gemma.client.connection import Connected
from langchain_workers_gemma.client.profile import apply_profile, get_callers_profile
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.json_text.encoding import encode_json
from langchain_workers_gemma.models import GemmaModel, resolve_model
from langchain_workers_gemma.request.response_format import Answer, parse_response_format
from langchain_workers_gemma.request.server_memory import ServerMemory
from langchain_workers_gemma.request.settings import CallSettings
from langchain_workers_gemma.request.tools import to_openai_tool

# Fields that a call may override, and further arguments of a call.
_PER_CALL = frozenset({
    "model", "tool_calling", "repair_tool_calls", "thinking", "reasoning_effort", "lora", "raw", "ai_gateway",
    "session_affinity", "reject_if_busy", "model_kwargs", "logprobs", "top_logprobs", "timeout", "replay_reasoning",
    "unsupported_content", *SAMPLING,
})  # fmt: skip
_CALL_ONLY = frozenset({
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "guided_json", "stream", "keep_invalid_calls",
    "keep_invalid_answer", "max_repairs", "skip_forms",
    "extra_headers", "n",
})  # fmt: skip
_ARGUMENTS = _PER_CALL | _CALL_ONLY
_CHECKED_ELSEWHERE = frozenset({"model", "ai_gateway", "timeout", *SAMPLING})  # with clearer messages than pydantic's


class ChatModel(Connected, Protocol):
    """The fields of `ChatWorkersGemma` that determine the settings of a call."""

    temperature: int | float | None
    max_tokens: int | None
    stop: list[str] | str | None
    max_retries: int

    profile: ModelProfile | None
    inline_image_urls: bool
    aliases: ClassVar[Mapping[str, str]]


def get_model_spec(chat: ChatModel, of_call: object = None) -> GemmaModel:
    """Return the facts about the model, with the caller's profile unless the call names another model."""
    model = connection.check_model(of_call or chat.model, chat.host)
    spec = resolve_model(model, chat.host)
    return apply_profile(spec, get_callers_profile(chat.profile)) if model == chat.model else spec


def build_call_settings(chat: ChatModel, stop: list[str] | None, kwargs: dict[str, Any]) -> CallSettings:
    """Merge the fields of a chat model with the arguments of one call.

    Args:
        chat: The chat model.
        stop: The stop sequences of the call.
        kwargs: The other arguments of the call.

    Raises:
        ValueError: If an argument is unknown or not valid.
    """
    kwargs, stop = _resolve_aliases(chat, kwargs, stop)
    of_call = _validate_overrides(chat, kwargs)
    fields = vars(chat) | of_call
    spec = get_model_spec(chat, kwargs.get("model"))
    check_one_answer(kwargs.get("n"), fields["model_kwargs"])
    connection.check_timeout(fields["timeout"])
    check_json("model_kwargs", fields["model_kwargs"])
    sampling = {name: to_python(number) for name in SAMPLING if (number := fields[name]) is not None}
    if of_call:
        check_sampling(sampling, spec)
    gateway = connection.parse_gateway(fields["ai_gateway"])
    return CallSettings(
        spec=spec,
        api=chat.api or "native",
        address=connection.build_address(chat),
        parameters=sampling,
        stops=merge_stops(chat.stop, stop),
        tools=[to_openai_tool(tool) for tool in to_list("tools", kwargs.get("tools") or ())],
        tool_choice=kwargs.get("tool_choice"),
        parallel_tool_calls=kwargs.get("parallel_tool_calls"),
        tool_calling=fields["tool_calling"],
        answer=_parse_answer(kwargs, spec),
        repair_tool_calls=fields["repair_tool_calls"],
        keep_invalid_answer=bool(kwargs.get("keep_invalid_answer")),
        max_repairs=check_max_repairs(kwargs.get("max_repairs", 1)),
        tries_forms=kwargs.get("max_repairs", 1) > 0,
        skip_forms=kwargs.get("skip_forms", 0),
        server_memory=get_server_memory(chat),
        keep_invalid_calls=bool(kwargs.get("keep_invalid_calls")),
        thinking=fields["thinking"],
        reasoning_effort=fields["reasoning_effort"],
        replay_reasoning=fields["replay_reasoning"],
        unsupported_content=fields["unsupported_content"],
        lora=fields["lora"],
        raw=fields["raw"],
        gateway=gateway,
        reject_if_busy=fields["reject_if_busy"],
        logprobs=fields["logprobs"],
        top_logprobs=fields["top_logprobs"],
        headers=connection.build_call_headers(chat, fields["session_affinity"], gateway, kwargs.get("extra_headers")),
        inline_images=chat.inline_image_urls,
        extra=fields["model_kwargs"],
        retry=RetryPolicy(chat.max_retries),
        context=connection.build_error_context(chat, spec, gateway),
    )


def _validate_overrides(chat: ChatModel, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that replace fields, each validated like the field.

    Raises:
        ValueError: If an argument is unknown or not valid.
    """
    unknown = kwargs.keys() - _ARGUMENTS
    if unknown:
        name = min(unknown)
        raise ValueError(
            f"{name} is not an argument of a call.{did_you_mean(name, _ARGUMENTS)} "
            "Use model_kwargs for keys that are sent unchanged."
        )
    chat_class = cast("type[BaseModel]", type(chat))
    return {
        name: value if name in _CHECKED_ELSEWHERE else validate_field(chat_class, name, value)
        for name, value in kwargs.items()
        if name in _PER_CALL
    }


def _parse_answer(kwargs: Mapping[str, Any], spec: GemmaModel) -> Answer | None:
    """Return the form of the answer that `guided_json` or `response_format` demands, `None` without either."""
    response_format, guided = kwargs.get("response_format"), kwargs.get("guided_json")
    answer = None if response_format is None else parse_response_format(response_format)
    return answer if guided is None else Answer.from_guided_json(guided, spec)


def build_trace_params(chat: ChatModel, stop: list[str] | None, kwargs: Mapping[str, Any]) -> LangSmithParams:
    """Return the parameters of a call for traces: its model and its most common settings."""
    given = {chat.aliases.get(name, name): value for name, value in kwargs.items()}
    params = LangSmithParams(
        ls_provider="workers_gemma", ls_model_name=given.get("model") or chat.model, ls_model_type="chat"
    )
    temperature = given.get("temperature", chat.temperature)
    if temperature is not None:
        params["ls_temperature"] = temperature
    max_tokens = given.get("max_tokens", chat.max_tokens)
    if max_tokens is not None:
        params["ls_max_tokens"] = max_tokens
    stops = merge_stops(chat.stop, stop or given.get("stop"))
    if stops:
        params["ls_stop"] = list(stops)
    return params


def get_server_memory(chat: ChatModel) -> ServerMemory:
    """Return a model object's memory of its servers, which its copies and pickles do not include."""
    kept: ServerMemory | None = vars(chat).get("_server_memory")
    return vars(chat).setdefault("_server_memory", ServerMemory()) if kept is None else kept


def check_max_repairs(value: object) -> int:
    """Check `max_repairs` and return it.

    Raises:
        ValueError: If it is not an integer of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"max_repairs must be an integer of at least 0, not {value!r}.")
    return value


def _resolve_aliases(
    chat: ChatModel, kwargs: dict[str, Any], stop: list[str] | None
) -> tuple[dict[str, Any], list[str] | None]:
    """Replace aliases in the arguments of a call, which accepts the same aliases as the constructor."""
    aliases = {alias: name for alias, name in chat.aliases.items() if name in _PER_CALL or name == "stop"}
    if kwargs.keys().isdisjoint(aliases):
        return kwargs, stop
    named = normalise_arguments(kwargs, aliases, {*kwargs, *aliases.values()})
    more = named.pop("stop", None)
    return named, [*merge_stops(stop, more)] if more is not None else stop


def check_json(argument: str, value: object) -> None:
    """Check that an argument can be sent as JSON.

    Raises:
        ValueError: If JSON cannot hold it.
    """
    if value:
        try:
            encode_json(value)
        except ValueError as error:
            raise ValueError(f"{argument} cannot be sent as JSON: {error}.") from None


def check_one_answer(n: object, extra: Mapping[str, Any]) -> None:
    """Check that a call requests one answer.

    Raises:
        ValueError: If `n` is not 1: the chunks of several answers would be mixed into one message.
    """
    for argument, value in (("n", n), ("model_kwargs['n']", extra.get("n"))):
        if value not in (None, 1):
            raise ValueError(f"{argument}={value!r}: a call returns one answer. Use batch, or call again.")
