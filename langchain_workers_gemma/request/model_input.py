"""Build the input of a request except its messages: parameters, switches, limits and the caller's own keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_workers_gemma.request.server_limits import NO_SERVER_LIMITS
from langchain_workers_gemma.request.settings import CallSettings
from langchain_workers_gemma.request.tool_methods import Strategy
from langchain_workers_gemma.response.truncation import TokenLimits
from langchain_workers_gemma.tool_text.tokens import CALL_TOKENS

_TOKEN_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_JSON_TOKEN_BUDGET = 4096  # `max_tokens` for a reply in JSON
_THINKING_TOKEN_BUDGET = 8192  # added for a thinking model, since its thoughts count too
_DEEP_MERGED_KEYS = ("chat_template_kwargs", "options", "stream_options")  # their values are merged key by key


def describe_unset_limit(settings: CallSettings, data: Mapping[str, Any]) -> str | None:
    """Return a description of the token limit if the caller did not set it, else `None`."""
    if sets_token_limit(settings):
        return None
    if "max_tokens" in data:
        return f"the max_tokens={data['max_tokens']} that is sent with tools and structured output"
    default = settings.spec.default_max_tokens
    return "the service's default" if default is None else f"the service's default of {default} tokens"


def find_token_limits(data: Mapping[str, Any], context_window: int | None) -> TokenLimits:
    """Return the token limits of the reply to a request with this input."""
    sent = [data[key] for key in ("max_tokens", "max_completion_tokens") if isinstance(data.get(key), int)]
    stops = data.get("stop")
    sent_stops = (stops,) if isinstance(stops, str) else tuple(stops) if isinstance(stops, list) else ()
    return TokenLimits(min(sent, default=None), context_window, tuple(CALL_TOKENS.values()), sent_stops)


def sets_token_limit(settings: CallSettings) -> bool:
    """Return whether the caller set a token limit."""
    return not _TOKEN_LIMITS.isdisjoint((*settings.parameters, *settings.extra))


def _build_parameters(settings: CallSettings, *, needs_token_budget: bool) -> dict[str, Any]:
    spec = settings.spec
    data = dict(settings.parameters)
    is_thinking_off = settings.thinking is False or settings.reasoning_effort == "none"
    if needs_token_budget and not sets_token_limit(settings):
        wanted = _JSON_TOKEN_BUDGET + (_THINKING_TOKEN_BUDGET if spec.thinking and not is_thinking_off else 0)
        budget = (settings.limits or NO_SERVER_LIMITS).choose_max_tokens(wanted, spec.usable_context)
        data |= {} if budget is None else {"max_tokens": budget}
    data |= _build_thinking(settings)
    data |= _build_logprobs(settings)
    if settings.lora is not None:
        if not spec.lora or settings.api != "native":
            raise ValueError(f"lora: {spec.id} takes no LoRA on the {settings.api} API of {spec.host}.")
        data["lora"] = settings.lora
    return data


def _build_thinking(settings: CallSettings) -> dict[str, Any]:
    """Return the parameters of thinking: the level of effort if the model has levels, else on or off."""
    spec, effort, thinking = settings.spec, settings.reasoning_effort, settings.thinking
    if thinking is not None and not spec.thinking:
        raise ValueError(f"thinking: {spec.id} has no thinking to switch. Leave it out, or use a Gemma 4.")
    if effort is not None and spec.reasoning_effort is False and not spec.thinking:
        raise ValueError(f"reasoning_effort: {spec.id} has no levels of effort. Leave it out.")
    if effort is not None and (spec.reasoning_effort or not spec.thinking):
        effort_data: dict[str, Any] = {"reasoning_effort": effort}
        return effort_data | _build_switch(thinking=thinking)
    wanted = None if effort is None else effort != "none"
    if thinking is not None and wanted is not None and thinking is not wanted:
        raise ValueError(
            f"reasoning_effort={effort!r} and thinking={thinking!r} disagree: {spec.id} can only switch thinking on or "
            "off. Pass one of them."
        )
    return _build_switch(thinking=wanted if thinking is None else thinking)


def _build_switch(*, thinking: bool | None) -> dict[str, Any]:
    return {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}


def is_thinking_on(data: Mapping[str, Any]) -> bool:
    """Return whether a request switches thinking on."""
    switches = data.get("chat_template_kwargs")
    return isinstance(switches, Mapping) and switches.get("enable_thinking") is True


def _build_logprobs(settings: CallSettings) -> dict[str, Any]:
    requested = {"logprobs": settings.logprobs, "top_logprobs": settings.top_logprobs}
    data = {name: value for name, value in requested.items() if value is not None}
    if data and settings.spec.logprobs is False:
        raise ValueError(f"{min(data)}: {settings.spec.id} has no log probabilities. Leave it out.")
    if data.get("top_logprobs") is not None and not settings.logprobs:
        raise ValueError("top_logprobs needs logprobs=True.")
    return data


def get_only_prompt(messages: Sequence[BaseMessage]) -> str:
    """Return the prompt of a raw request.

    Raises:
        ValueError: If the input is not one human message that holds one string.
    """
    only = messages[0] if len(messages) == 1 else None
    if not isinstance(only, HumanMessage) or not isinstance(only.content, str) or not only.content:
        raise ValueError("raw=True sends one prompt: the input must be one string, or one HumanMessage that holds one.")
    return only.content


def build_input(settings: CallSettings, strategy: Strategy, *, native_stop: bool, stream: bool) -> dict[str, Any]:
    """Return the input without the messages and the caller's own keys.

    Args:
        settings: The call's settings.
        strategy: How tools and a required answer reach the model.
        native_stop: Whether the service applies the stop sequences.
        stream: Whether a stream is requested.

    Raises:
        ValueError: If the model does not support a setting.
    """
    data = {**_build_parameters(settings, needs_token_budget=strategy.needs_token_budget), **strategy.data}
    if native_stop:
        data["stop"] = list(settings.stops)
    if stream:
        data["stream"] = True
        has_usage = settings.api == "openai" or settings.spec.stream_options
        if has_usage and (settings.limits is None or settings.limits.stream_options):
            data["stream_options"] = {"include_usage": True}
    if settings.reject_if_busy:
        data["options"] = {"rejectIfBusy": True}
    return data


def merge_callers_keys(data: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keys of `model_kwargs` to the input. They replace its keys; some values are merged key by key."""
    for key, value in extra.items():
        ours = data.get(key)
        is_merged = key in _DEEP_MERGED_KEYS and isinstance(ours, Mapping) and isinstance(value, Mapping)
        data[key] = {**ours, **value} if is_merged and ours else value
    return data


def build_binding_options(settings: CallSettings) -> dict[str, Any]:
    """Return the options of a call of a binding, its third argument."""
    options: dict[str, Any] = {}
    if settings.reject_if_busy:
        options["rejectIfBusy"] = True
    if settings.gateway is not None:
        options["gateway"] = settings.gateway.binding_options()
    return options
