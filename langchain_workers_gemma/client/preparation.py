"""Prepare a call without its messages. Calls that differ only in their messages share one preparation and driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import httpx
from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from langchain_workers_gemma.client.cache import FieldCache, get_cache
from langchain_workers_gemma.client.call_settings import ChatModel, build_call_settings, get_server_memory
from langchain_workers_gemma.client.connection import build_transport
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.request.planner import Preparation, prepare
from langchain_workers_gemma.transport.driver import Driver, strip_frames

_FOR_TRANSPORT = frozenset({"binding", "http_async_client", "http_client", "timeout"})  # they change no request
_CACHED_ARGUMENTS = frozenset({
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "guided_json", "keep_invalid_calls",
    "keep_invalid_answer", "max_repairs", "skip_forms", "max_tokens", "temperature", "seed",
})  # fmt: skip
_PLAIN = frozenset({dict, str, bool, int, float, type(None)})


def prepare_call(chat: ChatModel, stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool) -> Preparation:
    """Prepare a call, or return the preparation of an earlier call with the same fields and arguments.

    Args:
        chat: The chat model.
        stop: The stop sequences of the call.
        kwargs: The other arguments of the call.
        stream: Whether to request a stream.

    Raises:
        ValueError: If an argument is unknown or not valid.
    """
    try:
        return _prepare_call(chat, stop, kwargs, stream=stream)
    except ValueError as error:
        raise strip_frames(error)  # noqa: B904 - the same error, whose frames hold `default_headers`


def _prepare_call(chat: ChatModel, stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool) -> Preparation:
    # The metadata of a gateway can change in place.
    is_fixed = stop is None and not isinstance(chat.ai_gateway, AIGateway)
    arguments = _make_key(kwargs) if is_fixed else None
    if arguments is None:
        return prepare(build_call_settings(chat, stop, kwargs), stream=stream)
    return get_cache(chat, "_preparations", lambda: _make_preparation_cache(chat)).get(
        (stream, arguments, get_server_memory(chat).version),
        vars(chat),
        # A copy of the arguments, which the caller cannot change later.
        lambda: prepare(build_call_settings(chat, None, from_json(arguments)), stream=stream),
    )


def get_driver(chat: ChatModel, timeout: float | httpx.Timeout | None) -> Driver:
    """Return the driver that sends the requests of a call.

    Args:
        chat: The chat model.
        timeout: The `timeout` of the call, `None` to use that of the model object.

    Raises:
        ValueError: If the binding is missing.
    """
    try:
        if timeout is not None:
            return build_transport(chat, timeout)
        return get_cache(chat, "_drivers", _make_driver_cache).get(None, vars(chat), lambda: build_transport(chat))
    except ValueError as error:
        raise strip_frames(error)  # noqa: B904 - the same error, whose frames hold `default_headers`


def _make_driver_cache() -> FieldCache[Driver]:
    return FieldCache([*_FOR_TRANSPORT, "api_token", "default_headers", "host"], ["default_headers"])


def _make_preparation_cache(chat: ChatModel) -> FieldCache[Preparation]:
    ours = cast("type[BaseModel]", type(chat)).model_fields.keys() - BaseChatModel.model_fields.keys()
    return FieldCache([*(ours - _FOR_TRANSPORT), "profile"], ["default_headers", "model_kwargs", "profile", "stop"])


def _make_key(kwargs: Mapping[str, Any]) -> bytes | None:
    """Return the arguments of a call as JSON, the key of its preparation; `None` if JSON cannot represent them.

    Tools are part of the key: an agent sends the same tools in each turn, and they take longer to prepare than the
    messages.
    """
    if not kwargs:
        return b"{}"
    tools = kwargs.get("tools") or []
    others = {name: value for name, value in kwargs.items() if name != "tools"}
    is_list = isinstance(tools, list)  # an iterator can be read only once
    is_plain = is_list and {dict}.issuperset(map(type, tools)) and _PLAIN.issuperset(map(type, others.values()))
    if not (is_plain and kwargs.keys() <= _CACHED_ARGUMENTS):
        return None
    try:
        return to_json(kwargs)
    except (ValueError, RecursionError):
        return None
