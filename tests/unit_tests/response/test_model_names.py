"""`model_name` is the model that answered, where a reply names it; prices are those of the requested model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage

from langchain_workers_gemma import StreamInterruptedError
from tests.helpers.asking import (
    EVENTS,
    GEMMA_3,
    GEMMA_4,
    STREAMED,
    WAYS,
    WEATHER,
    WHOLE,
    Pieces,
    Service,
    ask,
    chunks,
    delta,
    gemma,
    merged,
    message_reply,
    sse,
    usage,
)

pytestmark = pytest.mark.lowest

SERVED = "google/gemma-4-26B-A4B-it"
END: tuple[Any, ...] = (delta(finish_reason="stop"), {"choices": [], "usage": usage(1_000, 100)}, "[DONE]")
CONNECTIONS: dict[str, dict[str, Any]] = {
    "native": {},
    "openai": {"api": "openai"},
    "aimlapi": {"host": "aimlapi"},
    "any server": {"host": "openai_compatible", "base_url": "http://localhost/v1", "model": "gemma-4-26b-a4b-it"},
}


def named(frames: Sequence[Any], name: object = SERVED) -> list[Any]:
    return [{**frame, "model": name} if isinstance(frame, dict) else frame for frame in frames]


def answer(service: Service, connection: str, name: object = SERVED, *, streamed: bool) -> None:
    if streamed:
        service.streams(*named([delta("Hi"), *END], name))
    else:
        reply = {**message_reply("Hi", usage=usage(1_000, 100)), "model": name}
        (service.replies if connection == "native" else service.says)(reply)


def asked(llm: Any, way: str) -> AIMessage:
    message = ask(llm, way)
    assert message.text == "Hi"
    return message


@pytest.mark.parametrize("way", [*WAYS, *EVENTS])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_reply_names_the_model(service: Service, connection: str, way: str) -> None:
    answer(service, connection, streamed=way not in WHOLE)
    message = asked(gemma(**CONNECTIONS[connection]), way)
    assert message.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("way", [*WAYS, *EVENTS])
def test_the_price_is_that_of_the_requested_model(service: Service, way: str) -> None:
    answer(service, "native", streamed=way not in WHOLE)
    message = asked(gemma(), way)
    assert message.response_metadata["cost_usd"] == pytest.approx((1_000 * 0.10 + 100 * 0.30) / 1e6)


@pytest.mark.parametrize("way", [*WAYS, *EVENTS])
@pytest.mark.parametrize("name", [None, "", "  ", 7, ["x"], {"id": "x"}, "a\nb", "x\u202e", "x" * 257])
def test_what_is_no_name_is_not_taken(service: Service, name: object, way: str) -> None:
    answer(service, "native", name, streamed=way not in WHOLE)
    assert asked(gemma(), way).response_metadata["model_name"] == GEMMA_4


@pytest.mark.parametrize("way", [*WAYS, *EVENTS])
def test_a_native_reply_without_a_name(service: Service, way: str) -> None:
    if way in WHOLE:
        service.replies({"response": "Hi"})
    else:
        service.streams({"response": "Hi"}, "[DONE]")
    assert asked(gemma(model=GEMMA_3), way).response_metadata["model_name"] == GEMMA_3


@pytest.mark.parametrize("way", WHOLE)
def test_a_native_reply_with_a_name(service: Service, way: str) -> None:
    service.replies({"response": "Hi", "model": SERVED})
    assert asked(gemma(model=GEMMA_3), way).response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("way", STREAMED)
def test_the_name_is_on_the_first_chunk_alone(service: Service, way: str) -> None:
    answer(service, "native", streamed=True)
    first, *rest = chunks(gemma(), way)
    assert first.response_metadata["model_name"] == SERVED
    assert all("model_name" not in chunk.response_metadata for chunk in rest)


@pytest.mark.parametrize("way", STREAMED)
def test_a_stream_whose_events_name_several_models(service: Service, way: str) -> None:
    service.streams(*named([delta("H")]), *named([delta("i"), *END], "another"))
    assert asked(gemma(), way).response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("names", [(None, SERVED), (SERVED, None)])
def test_packets_make_no_difference(names: tuple[str | None, ...]) -> None:
    frames = [{**delta(text), "model": name} for text, name in zip("Hi", names, strict=True)]
    data = sse(*frames, *END)
    pieces: list[bytes] = []
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(pieces)))) as client:
        llm = gemma(http_client=client)
        seen = set()
        for cut in range(1, len(data)):
            pieces[:] = [data[:cut], data[cut:]]
            seen.add(asked(llm, "stream").response_metadata["model_name"])
    assert seen == {names[0] or GEMMA_4}


def test_an_interrupted_stream_names_it(service: Service) -> None:
    service.pieces(sse(*named([delta("Hi")])), httpx.ReadError("gone"))
    with pytest.raises(StreamInterruptedError) as caught:
        chunks(gemma(), "stream")
    assert caught.value.partial is not None
    assert caught.value.partial.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("tool_calling", ["native", "guided_json", "prompt"])
@pytest.mark.parametrize("way", WAYS)
def test_a_forced_call_names_it(service: Service, tool_calling: str, way: str) -> None:
    call = '{"tool_calls": [{"name": "get_weather", "get_weather": {"city": "Bonn"}}]}'
    text = "```tool_code\nget_weather(city='Bonn')\n```" if tool_calling == "prompt" else call
    said = (
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]}
        if tool_calling == "native"
        else {"content": text}
    )
    if way in WHOLE:
        service.replies({**message_reply(**said), "model": SERVED})
    else:
        service.streams(*named([delta(**said), delta(finish_reason="stop"), "[DONE]"]))
    message = ask(gemma(tool_calling=tool_calling).bind_tools([WEATHER]), way)
    assert message.response_metadata["model_name"] == SERVED


@pytest.mark.parametrize("way", WAYS)
def test_the_usage_callback_counts_under_it(service: Service, way: str) -> None:
    answer(service, "native", streamed=way not in WHOLE)
    counted = UsageMetadataCallbackHandler()
    ask(gemma(), way, config={"callbacks": [counted]})
    assert {name: one["total_tokens"] for name, one in counted.usage_metadata.items()} == {SERVED: 1_100}


def test_merged_names_are_not_doubled(service: Service) -> None:
    answer(service, "native", streamed=True)
    assert merged(chunks(gemma(), "stream")).response_metadata["model_name"] == SERVED
