"""`model_name` is the model that answered, where a reply names it; prices are those of the requested model."""

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

SERVED = "google/gemma-4-26B-A4B-it"
END: tuple[Any, ...] = (make_delta(finish_reason="stop"), {"choices": [], "usage": make_usage(1_000, 100)}, "[DONE]")
CONNECTIONS: dict[str, dict[str, Any]] = {
    "native": {},
    "openai": {"api": "openai"},
    "aimlapi": {"host": "aimlapi"},
    "any server": {"host": "openai_compatible", "base_url": "http://localhost/v1", "model": "gemma-4-26b-a4b-it"},
}


def named(frames: Sequence[Any], name: object = SERVED) -> list[Any]:
    return [{**frame, "model": name} if isinstance(frame, dict) else frame for frame in frames]


def answer(service: MockService, connection: str, name: object = SERVED, *, streamed: bool) -> None:
    if streamed:
        service.respond_with_events(*named([make_delta("Hi"), *END], name))
    else:
        reply = {**make_completion("Hi", usage=make_usage(1_000, 100)), "model": name}
        (service.respond_with_results if connection == "native" else service.respond_with_bodies)(reply)


def asked(llm: Any, call_method: str) -> AIMessage:
    message = call_model(llm, call_method)
    assert message.text == "Hi"
    return message


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_reply_names_the_model(service: MockService, connection: str, call_method: str) -> None:
    answer(service, connection, streamed=call_method not in INVOKE_METHODS)
    message = asked(make_model(**CONNECTIONS[connection]), call_method)
    assert message.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
def test_the_price_is_that_of_the_requested_model(service: MockService, call_method: str) -> None:
    answer(service, "native", streamed=call_method not in INVOKE_METHODS)
    message = asked(make_model(), call_method)
    assert message.response_metadata["cost_usd"] == pytest.approx((1_000 * 0.10 + 100 * 0.30) / 1e6)


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
@pytest.mark.parametrize("name", [None, "", "  ", 7, ["x"], {"id": "x"}, "a\nb", "x\u202e", "x" * 257])
def test_what_is_no_name_is_not_taken(service: MockService, name: object, call_method: str) -> None:
    answer(service, "native", name, streamed=call_method not in INVOKE_METHODS)
    assert asked(make_model(), call_method).response_metadata["model_name"] == GEMMA_4


@pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
def test_a_native_reply_without_a_name(service: MockService, call_method: str) -> None:
    if call_method in INVOKE_METHODS:
        service.respond_with_results({"response": "Hi"})
    else:
        service.respond_with_events({"response": "Hi"}, "[DONE]")
    assert asked(make_model(model=GEMMA_3), call_method).response_metadata["model_name"] == GEMMA_3


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
def test_a_native_reply_with_a_name(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "Hi", "model": SERVED})
    assert asked(make_model(model=GEMMA_3), call_method).response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_the_name_is_on_the_first_chunk_alone(service: MockService, call_method: str) -> None:
    answer(service, "native", streamed=True)
    first, *rest = collect_chunks(make_model(), call_method)
    assert first.response_metadata["model_name"] == SERVED
    assert all("model_name" not in chunk.response_metadata for chunk in rest)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stream_whose_events_name_several_models(service: MockService, call_method: str) -> None:
    service.respond_with_events(*named([make_delta("H")]), *named([make_delta("i"), *END], "another"))
    assert asked(make_model(), call_method).response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("names", [(None, SERVED), (SERVED, None)])
def test_packets_make_no_difference(names: tuple[str | None, ...]) -> None:
    frames = [{**make_delta(text), "model": name} for text, name in zip("Hi", names, strict=True)]
    data = encode_sse(*frames, *END)
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        seen = set()
        for cut in range(1, len(data)):
            pieces[:] = [data[:cut], data[cut:]]
            seen.add(asked(llm, "stream").response_metadata["model_name"])
    assert seen == {names[0] or GEMMA_4}


def test_an_interrupted_stream_names_it(service: MockService) -> None:
    service.respond_with_pieces(encode_sse(*named([make_delta("Hi")])), httpx.ReadError("gone"))
    with pytest.raises(StreamInterruptedError) as caught:
        collect_chunks(make_model(), "stream")
    assert caught.value.partial is not None
    assert caught.value.partial.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("tool_calling", ["native", "guided_json", "prompt"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_forced_call_names_it(service: MockService, tool_calling: str, call_method: str) -> None:
    call = '{"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Bonn"}}]}'
    text = "```tool_code\nget_weather(city='Bonn')\n```" if tool_calling == "prompt" else call
    said = (
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]}
        if tool_calling == "native"
        else {"content": text}
    )
    if call_method in INVOKE_METHODS:
        service.respond_with_results({**make_completion(**said), "model": SERVED})
    else:
        service.respond_with_events(*named([make_delta(**said), make_delta(finish_reason="stop"), "[DONE]"]))
    message = call_model(make_model(tool_calling=tool_calling).bind_tools([WEATHER_TOOL]), call_method)
    assert message.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_usage_callback_counts_under_it(service: MockService, call_method: str) -> None:
    answer(service, "native", streamed=call_method not in INVOKE_METHODS)
    counted = UsageMetadataCallbackHandler()
    call_model(make_model(), call_method, config={"callbacks": [counted]})
    assert {name: one["total_tokens"] for name, one in counted.usage_metadata.items()} == {SERVED: 1_100}


def test_merged_names_are_not_doubled(service: MockService) -> None:
    answer(service, "native", streamed=True)
    assert merge_chunks(collect_chunks(make_model(), "stream")).response_metadata["model_name"] == SERVED
