"""The chunks of a stream, and their sum: the message that `invoke` returns."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.mock_service import (
    MockService,
    encode_sse,
    make_completion,
    make_delta,
    make_response,
    make_stream_response,
    make_tool_call,
    make_usage,
)
from tests.helpers.model_calls import (
    CALL_METHODS,
    EVENT_METHODS,
    GEMMA_4,
    STREAM_METHODS,
    call_model,
    collect_chunks,
    make_model,
    merge_chunks,
    summarize_message,
)
from tests.unit_tests.response.stream_forms import ALL_STREAM_METHODS, STREAMS

pytestmark = pytest.mark.lowest


# --- Chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("case", STREAMS)
def test_usage_and_each_metadata_key_are_on_exactly_one_chunk(
    service: MockService, case: str, call_method: str
) -> None:
    service.respond_with(make_stream_response(STREAMS[case][0], headers={"cf-ray": "ray-1", "cf-ai-neurons": "1.5"}))
    pieces = collect_chunks(make_model(), call_method)
    with_usage = [piece for piece in pieces if piece.usage_metadata]
    assert len(with_usage) == (1 if STREAMS[case][4] else 0)
    keys = [key for piece in pieces for key in piece.response_metadata if key != "model_provider"]
    assert sorted(keys) == sorted(set(keys))
    metadata = merge_chunks(pieces).response_metadata
    assert (metadata["request_id"], metadata["neurons"], metadata["model_name"]) == ("ray-1", 1.5, GEMMA_4)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_text_is_emitted_as_it_arrives(service: MockService, call_method: str) -> None:
    service.respond_with_events({"response": "one "}, {"response": "two "}, {"response": "three"}, "[DONE]")
    texts = [piece.text for piece in collect_chunks(make_model(), call_method) if piece.text]
    assert texts == ["one ", "two ", "three"]


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_calls_are_emitted_as_they_arrive(service: MockService, call_method: str) -> None:
    service.respond_with_pieces(STREAMS["openai calls, numbered"][0])
    call_chunks = [chunk for piece in collect_chunks(make_model(), call_method) for chunk in piece.tool_call_chunks]
    assert [(chunk["index"], chunk["name"], chunk["args"]) for chunk in call_chunks] == [
        (0, "get_weather", ""),
        (0, None, '{"city": "Z'),
        (1, "f", "{}"),
        (0, None, 'ürich"}'),
    ]


# --- invoke and the merged stream agree -------------------------------------------------------------------------------

REPLIES: dict[str, tuple[Any, bytes]] = {
    "text": (
        make_completion("Hello", usage=make_usage(21, 2, neurons=0.5)),
        encode_sse(
            make_delta("Hel"),
            make_delta("lo"),
            make_delta(finish_reason="stop"),
            {"choices": [], "usage": make_usage(21, 2, neurons=0.5)},
            "[DONE]",
        ),
    ),
    "everything": (
        make_completion(
            "Let me see.",
            reasoning="hm",
            tool_calls=[
                make_tool_call("f", '{"a": 1}', id="c1"),
                make_tool_call("g", '{"b":', id="c2"),
                make_tool_call("h", "[]", id="c3"),
            ],
            finish_reason="tool_calls",
            usage=make_usage(5, 4, prompt_tokens_details={"cached_tokens": 3}),
        ),
        encode_sse(
            make_delta(reasoning="h"),
            make_delta(reasoning="m"),
            make_delta("Let me"),
            make_delta(" see."),
            make_delta(tool_calls=[make_tool_call("f", '{"a"', id="c1", index=0)]),
            make_delta(tool_calls=[make_tool_call(None, ": 1}", index=0)]),
            make_delta(tool_calls=[make_tool_call("g", '{"b":', id="c2", index=1)]),
            make_delta(tool_calls=[make_tool_call("h", "[]", id="c3", index=2)]),
            make_delta(finish_reason="tool_calls"),
            {"choices": [], "usage": make_usage(5, 4, prompt_tokens_details={"cached_tokens": 3})},
            "[DONE]",
        ),
    ),
    "truncated": (
        make_completion("", tool_calls=[make_tool_call("f", '{"path": "/home/me', id="c1")], finish_reason="length"),
        encode_sse(
            make_delta(tool_calls=[make_tool_call("f", '{"path": "/ho', id="c1", index=0)]),
            make_delta(tool_calls=[make_tool_call(None, "me/me", index=0)]),
            make_delta(finish_reason="length"),
            "[DONE]",
        ),
    ),
    "only usage": (
        {"response": "", "usage": make_usage(5, 0)},
        encode_sse({"response": "", "usage": make_usage(5, 0)}, "[DONE]"),
    ),
}


@pytest.mark.parametrize("case", REPLIES)
def test_every_method_returns_the_same_message(service: MockService, case: str) -> None:
    whole, streamed = REPLIES[case]
    llm = make_model()
    messages = {}
    for call_method in (*CALL_METHODS, *EVENT_METHODS):
        service.respond_with(
            make_response(whole) if call_method in ("invoke", "ainvoke") else make_stream_response(streamed)
        )
        messages[call_method] = summarize_message(call_model(llm, call_method))
        service.respond_with(make_response(whole))
        messages[f"{call_method}, whole"] = summarize_message(call_model(llm, call_method))
    assert all(message == messages["invoke"] for message in messages.values()), messages


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize(
    "arguments",
    [
        '{"path": "/home/me',
        '{"path": "/home/me"',
        '{"a": [1, {"b": ',
        '{"a": "\\',
        '{"a": tru',
        "{",
        '{"a":',
        "[1]",
        '"x"',
        "7",
    ],
)
@pytest.mark.parametrize("end", ["length", "stop", "tool_calls"])
def test_truncated_arguments_make_an_invalid_call(
    service: MockService, arguments: str, end: str, call_method: str
) -> None:
    for cut in range(1, len(arguments) + 1, 3):
        service.respond_with_events(
            make_delta(tool_calls=[make_tool_call("f", arguments[:cut], id="c1", index=0)]),
            make_delta(tool_calls=[make_tool_call(None, arguments[cut:], index=0)]),
            make_delta(finish_reason=end),
            "[DONE]",
        )
        message = call_model(make_model(), call_method)
        assert message.tool_calls == []
        assert [call["name"] for call in message.invalid_tool_calls] == ["f"]


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
def test_a_call_truncated_before_its_arguments_is_invalid(service: MockService, call_method: str) -> None:
    service.respond_with_events(
        make_delta(tool_calls=[make_tool_call("f", "", id="c1", index=0)]), make_delta(finish_reason="length"), "[DONE]"
    )
    message = call_model(make_model(), call_method)
    assert (message.tool_calls, len(message.invalid_tool_calls)) == ([], 1)
