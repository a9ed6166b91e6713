"""`model_name` is the model that a reply names. Prices are those of the requested model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage

from langchain_workers_gemma import StreamInterruptedError
from tests.helpers.mock_service import MockService, PiecewiseBody, encode_sse, make_completion, make_delta, make_usage
from tests.helpers.model_calls import (
    CALL_METHODS,
    EVENT_METHODS,
    GEMMA_3,
    GEMMA_4,
    INVOKE_METHODS,
    STREAM_METHODS,
    WEATHER_TOOL,
    call_model,
    collect_chunks,
    make_model,
    merge_chunks,
)

pytestmark = pytest.mark.lowest

SERVED_NAME = "google/gemma-4-26B-A4B-it"
FINAL_EVENTS: tuple[Any, ...] = (
    make_delta(finish_reason="stop"),
    {"choices": [], "usage": make_usage(1_000, 100)},
    "[DONE]",
)
MODEL_ARGUMENTS: dict[str, dict[str, Any]] = {
    "native": {},
    "openai": {"api": "openai"},
    "aimlapi": {"host": "aimlapi"},
    "any server": {"host": "openai_compatible", "base_url": "http://localhost/v1", "model": "gemma-4-26b-a4b-it"},
}


def add_model_name(events: Sequence[Any], name: object = SERVED_NAME) -> list[Any]:
    """Add the name of a model to each event."""
    return [{**frame, "model": name} if isinstance(frame, dict) else frame for frame in events]


def respond_with_name(service: MockService, host: str, name: object = SERVED_NAME, *, streamed: bool) -> None:
    """Make the service send a reply that names a model."""
    if streamed:
        service.respond_with_events(*add_model_name([make_delta("Hi"), *FINAL_EVENTS], name))
    else:
        reply = {**make_completion("Hi", usage=make_usage(1_000, 100)), "model": name}
        (service.respond_with_results if host == "native" else service.respond_with_bodies)(reply)


def call_and_check_text(llm: Any, call_method: str) -> AIMessage:
    """Call a model, check the text, and return the message."""
    message = call_model(llm, call_method)
    assert message.text == "Hi"
    return message


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
@pytest.mark.parametrize("host", MODEL_ARGUMENTS)
def test_model_name_is_the_name_in_the_reply(service: MockService, host: str, call_method: str) -> None:
    respond_with_name(service, host, streamed=call_method not in INVOKE_METHODS)
    message = call_and_check_text(make_model(**MODEL_ARGUMENTS[host]), call_method)
    assert message.response_metadata["model_name"] == SERVED_NAME


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
def test_the_cost_uses_the_prices_of_the_requested_model(service: MockService, call_method: str) -> None:
    respond_with_name(service, "native", streamed=call_method not in INVOKE_METHODS)
    message = call_and_check_text(make_model(), call_method)
    assert message.response_metadata["cost_usd"] == pytest.approx((1_000 * 0.10 + 100 * 0.30) / 1e6)


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
@pytest.mark.parametrize("name", [None, "", "  ", 7, ["x"], {"id": "x"}, "a\nb", "x\u202e", "x" * 257])
def test_an_invalid_name_is_ignored(service: MockService, name: object, call_method: str) -> None:
    respond_with_name(service, "native", name, streamed=call_method not in INVOKE_METHODS)
    assert call_and_check_text(make_model(), call_method).response_metadata["model_name"] == GEMMA_4


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
def test_a_native_reply_without_a_name_gets_the_requested_name(service: MockService, call_method: str) -> None:
    if call_method in INVOKE_METHODS:
        service.respond_with_results({"response": "Hi"})
    else:
        service.respond_with_events({"response": "Hi"}, "[DONE]")
    assert call_and_check_text(make_model(model=GEMMA_3), call_method).response_metadata["model_name"] == GEMMA_3


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
def test_a_native_reply_with_a_name_keeps_it(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "Hi", "model": SERVED_NAME})
    assert call_and_check_text(make_model(model=GEMMA_3), call_method).response_metadata["model_name"] == SERVED_NAME


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_the_name_is_on_the_first_chunk_only(service: MockService, call_method: str) -> None:
    respond_with_name(service, "native", streamed=True)
    first, *rest = collect_chunks(make_model(), call_method)
    assert first.response_metadata["model_name"] == SERVED_NAME
    assert all("model_name" not in chunk.response_metadata for chunk in rest)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_the_first_name_in_a_stream_is_used(service: MockService, call_method: str) -> None:
    service.respond_with_events(
        *add_model_name([make_delta("H")]), *add_model_name([make_delta("i"), *FINAL_EVENTS], "another")
    )
    assert call_and_check_text(make_model(), call_method).response_metadata["model_name"] == SERVED_NAME


@pytest.mark.parametrize("names", [(None, SERVED_NAME), (SERVED_NAME, None)])
def test_the_name_does_not_depend_on_how_a_stream_is_split(names: tuple[str | None, ...]) -> None:
    events = [{**make_delta(text), "model": name} for text, name in zip("Hi", names, strict=True)]
    data = encode_sse(*events, *FINAL_EVENTS)
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        names_seen = set()
        for cut in range(1, len(data)):
            pieces[:] = [data[:cut], data[cut:]]
            names_seen.add(call_and_check_text(llm, "stream").response_metadata["model_name"])
    assert names_seen == {names[0] or GEMMA_4}


def test_the_partial_message_of_an_interrupted_stream_has_the_name(service: MockService) -> None:
    service.respond_with_pieces(encode_sse(*add_model_name([make_delta("Hi")])), httpx.ReadError("gone"))
    with pytest.raises(StreamInterruptedError) as caught:
        collect_chunks(make_model(), "stream")
    assert caught.value.partial is not None
    assert caught.value.partial.response_metadata["model_name"] == SERVED_NAME


@pytest.mark.parametrize("tool_calling", ["native", "guided_json", "prompt"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_message_with_a_tool_call_has_the_name(service: MockService, tool_calling: str, call_method: str) -> None:
    call = '{"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Bonn"}}]}'
    text = "```tool_code\nget_weather(city='Bonn')\n```" if tool_calling == "prompt" else call
    message_fields = (
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]}
        if tool_calling == "native"
        else {"content": text}
    )
    if call_method in INVOKE_METHODS:
        service.respond_with_results({**make_completion(**message_fields), "model": SERVED_NAME})
    else:
        service.respond_with_events(
            *add_model_name([make_delta(**message_fields), make_delta(finish_reason="stop"), "[DONE]"])
        )
    message = call_model(make_model(tool_calling=tool_calling).bind_tools([WEATHER_TOOL]), call_method)
    assert message.response_metadata["model_name"] == SERVED_NAME


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_usage_callback_counts_under_the_name(service: MockService, call_method: str) -> None:
    respond_with_name(service, "native", streamed=call_method not in INVOKE_METHODS)
    usage_handler = UsageMetadataCallbackHandler()
    call_model(make_model(), call_method, config={"callbacks": [usage_handler]})
    assert {name: usage["total_tokens"] for name, usage in usage_handler.usage_metadata.items()} == {SERVED_NAME: 1_100}


def test_merging_chunks_does_not_repeat_the_name(service: MockService) -> None:
    respond_with_name(service, "native", streamed=True)
    assert merge_chunks(collect_chunks(make_model(), "stream")).response_metadata["model_name"] == SERVED_NAME
