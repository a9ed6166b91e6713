"""Streams in every form and with every quirk of docs/wire.md section 4 produce the message of a whole reply."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.mock_service import (
    MockService,
    PiecewiseBody,
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

pytestmark = pytest.mark.lowest

ALL_STREAM_METHODS = (*STREAM_METHODS, *EVENT_METHODS)


WEATHER_CALL = [("get_weather", {"city": "Zürich"})]
FINAL_EMPTY_CALL = {"tool_calls": [{"id": None, "type": None, "function": {"name": None, "arguments": ""}}]}

# name: (stream, text, reasoning, tool calls, input and output tokens)
STREAMS: dict[str, tuple[bytes, str, str, list[tuple[str, dict[str, Any]]], tuple[int, int] | None]] = {
    "native with padding": (
        encode_sse(
            {"response": "Hel", "p": "abc"},
            {"response": "lo", "p": "a"},
            {"response": "", "usage": make_usage(21, 2)},
            "[DONE]",
        ),
        "Hello",
        "",
        [],
        (21, 2),
    ),
    "native calls in pieces, with a finaliser": (
        encode_sse(
            {"tool_calls": [make_tool_call("get_weather", '{"city":', id="c1", type="function", index=0)]},
            {"tool_calls": [make_tool_call(None, ' "Zürich"}', index=0)]},
            FINAL_EMPTY_CALL,
            {"response": "", "usage": make_usage(9, 5)},
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        (9, 5),
    ),
    "openai": (
        encode_sse(
            make_delta("", role="assistant"),
            make_delta("Hel"),
            make_delta("lo"),
            make_delta(finish_reason="stop"),
            {"choices": [], "usage": make_usage(21, 2)},
            "[DONE]",
        ),
        "Hello",
        "",
        [],
        (21, 2),
    ),
    "openai calls, numbered": (
        encode_sse(
            make_delta(tool_calls=[make_tool_call("get_weather", "", id="c1", index=0)]),
            make_delta(tool_calls=[make_tool_call(None, '{"city": "Z', index=0)]),
            make_delta(tool_calls=[make_tool_call("f", "{}", id="c2", index=1)]),
            make_delta(tool_calls=[make_tool_call(None, 'ürich"}', index=0)]),
            make_delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        [*WEATHER_CALL, ("f", {})],
        None,
    ),
    "a tool call complete in one event": (
        encode_sse(
            make_delta(
                tool_calls=[make_tool_call("get_weather", '{"city": "Zürich"}', id="c1")], finish_reason="tool_calls"
            ),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "tool calls with arguments as objects": (
        encode_sse(
            {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}, {"name": "f", "arguments": {}}]},
            "[DONE]",
        ),
        "",
        "",
        [*WEATHER_CALL, ("f", {})],
        None,
    ),
    "continuation deltas without id, name or index": (
        encode_sse(
            make_delta(tool_calls=[make_tool_call("get_weather", '{"city"', id="c1", index=0)]),
            make_delta(tool_calls=[{"function": {"arguments": ': "Zür'}}]),
            make_delta(tool_calls=[{"id": None, "index": None, "function": {"name": None, "arguments": 'ich"}'}}]),
            make_delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "id and name on every piece": (
        encode_sse(
            make_delta(tool_calls=[make_tool_call("get_weather", '{"city": ', id="c1", index=0)]),
            make_delta(tool_calls=[make_tool_call("get_weather", '"Zürich"}', id="c1", index=0)]),
            make_delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "tool_calls [] beside text": (
        encode_sse({"response": "Hel", "tool_calls": []}, {"response": "lo", "tool_calls": []}, "[DONE]"),
        "Hello",
        "",
        [],
        None,
    ),
    "numbers instead of strings": (
        encode_sse(
            {"response": 4},
            {"response": 2},
            make_delta(6),
            make_delta(0),
            make_delta(1.5),
            make_delta(finish_reason="stop"),
            "[DONE]",
        ),
        "42601.5",
        "",
        [],
        None,
    ),
    "null responses": (
        encode_sse({"response": None}, {"response": "Hi"}, {"response": None}, make_delta(None), "[DONE]"),
        "Hi",
        "",
        [],
        None,
    ),
    "usage cumulative on every event": (
        encode_sse(
            {**make_delta("a"), "usage": make_usage(10, 1)},
            {**make_delta("b"), "usage": make_usage(10, 2)},
            {**make_delta("c", finish_reason="stop"), "usage": make_usage(10, 3)},
            "[DONE]",
        ),
        "abc",
        "",
        [],
        (10, 3),
    ),
    "usage as differences on every event": (
        encode_sse(
            {"response": "a", "usage": make_usage(10, 1)},
            {"response": "b", "usage": make_usage(0, 1)},
            {"response": "c", "usage": make_usage(0, 1)},
            "[DONE]",
        ),
        "abc",
        "",
        [],
        (10, 3),
    ),
    "several finish reasons and two [DONE]": (
        encode_sse(
            make_delta("Hi"),
            make_delta(finish_reason="stop"),
            make_delta(finish_reason="stop"),
            "[DONE]",
            {"choices": [], "usage": make_usage(3, 1)},
            "[DONE]",
        ),
        "Hi",
        "",
        [],
        (3, 1),
    ),
    "no [DONE], but a finish reason": (
        encode_sse(make_delta("Hi"), make_delta(finish_reason="stop")),
        "Hi",
        "",
        [],
        None,
    ),
    "no [DONE], but a final usage": (
        encode_sse({"response": "Hi"}, {"response": "", "usage": make_usage(3, 1)}),
        "Hi",
        "",
        [],
        (3, 1),
    ),
    "[DONE] alone": (encode_sse({"response": "Hi"}, "[DONE]"), "Hi", "", [], None),
    "the last blank line is missing": (encode_sse({"response": "Hi"}) + b"data: [DONE]", "Hi", "", [], None),
    "reasoning": (
        encode_sse(
            make_delta(reasoning="Let "),
            make_delta(reasoning="me."),
            make_delta("42"),
            make_delta(finish_reason="stop"),
            "[DONE]",
        ),
        "42",
        "Let me.",
        [],
        None,
    ),
    "reasoning_content": (
        encode_sse(
            make_delta(reasoning_content="hm", reasoning="hm"),
            make_delta("42"),
            make_delta(finish_reason="stop"),
            "[DONE]",
        ),
        "42",
        "hm",
        [],
        None,
    ),
    "text instead of a delta": (
        encode_sse({"choices": [{"text": "Hel"}]}, {"choices": [{"text": "lo", "finish_reason": "stop"}]}, "[DONE]"),
        "Hello",
        "",
        [],
        None,
    ),
    "comments, other fields and empty events": (
        (
            b': a comment\n\nevent: message\nid: 1\nretry: 10\ndata: {"response":"Hi"}\n\n:\n\ndata:\n\n'
            b"data: \n\ndata\n\nevent: ping\n\ndata:[DONE]\n\n"
        ),
        "Hi",
        "",
        [],
        None,
    ),
    "CRLF": (encode_sse({"response": "Grüß"}, {"response": "e"}, "[DONE]", end="\r\n\r\n"), "Grüße", "", [], None),
    "CR": (encode_sse({"response": "Grüß"}, {"response": "e"}, "[DONE]", end="\r\r"), "Grüße", "", [], None),
    "a byte order mark": (b"\xef\xbb\xbf" + encode_sse({"response": "Hi"}, "[DONE]"), "Hi", "", [], None),
    "an event on several lines": (b'data: {"response":\ndata: "Hi"}\n\ndata: [DONE]\n\n', "Hi", "", [], None),
    "[DONE] with spaces around it": (encode_sse({"response": "Hi"}) + b"data:  [DONE] \n\n", "Hi", "", [], None),
    "characters of every UTF-8 length": (
        encode_sse({"response": "é€👋"}, {"response": "\ufeff\u2028"}, "[DONE]"),
        "é€👋\ufeff\u2028",
        "",
        [],
        None,
    ),
    "events in Cloudflare's envelope": (
        encode_sse(
            {"result": {"response": "Hi"}, "success": True},
            {"result": {"response": "", "usage": make_usage(1, 1)}},
            "[DONE]",
        ),
        "Hi",
        "",
        [],
        (1, 1),
    ),
    "the thinking channel": (
        encode_sse(
            make_delta("<|chan"),
            make_delta("nel>thou"),
            make_delta("ght\nhm<cha"),
            make_delta("nnel|>42"),
            make_delta(finish_reason="stop"),
            "[DONE]",
        ),
        "42",
        "hm",
        [],
        None,
    ),
}


def expected_summary(case: str) -> dict[str, Any]:
    """Return the expected summary of the message of a stream."""
    _, text, reasoning, calls, tokens = STREAMS[case]
    metadata: dict[str, Any] = {
        "model_name": GEMMA_4,
        "model_provider": "workers_gemma",
        "finish_reason": "tool_calls" if calls else "stop",
    }
    counts = None
    if tokens:
        counts = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
        metadata["cost_usd"] = pytest.approx((tokens[0] * 0.10 + tokens[1] * 0.30) / 1e6)
    return {
        "text": text,
        "reasoning": reasoning,
        "tool_calls": calls,
        "invalid": [],
        "usage": counts,
        "metadata": metadata,
    }


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("case", STREAMS)
def test_every_form_of_stream_is_read(service: MockService, case: str, call_method: str) -> None:
    service.respond_with_pieces(STREAMS[case][0])
    assert summarize_message(call_model(make_model(), call_method)) == expected_summary(case)
    assert len(service.requests) == 1


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_arrives_byte_by_byte_is_read(service: MockService, case: str, call_method: str) -> None:
    service.respond_with_pieces(*(bytes([byte]) for byte in STREAMS[case][0]))
    assert summarize_message(call_model(make_model(), call_method)) == expected_summary(case)


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_in_two_pieces_returns_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        expected = expected_summary(case)
        for cut in range(1, len(data), 1 if len(data) < 130 else 4):
            pieces[:] = [data[:cut], data[cut:]]
            assert summarize_message(call_model(llm, "stream")) == expected, pieces


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_in_random_pieces_returns_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        expected = expected_summary(case)

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sets(st.integers(1, len(data) - 1)))
        def check_cuts(cuts: set[int]) -> None:
            ends = sorted(cuts)
            pieces[:] = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
            assert summarize_message(call_model(llm, "stream")) == expected

        check_cuts()


def test_stream_sends_stream_true(service: MockService) -> None:
    service.respond_with_pieces(STREAMS["openai"][0])
    call_model(make_model(), "stream")
    assert service.request_body["stream"] is True


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
    "cut": (
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


# --- A JSON body, or nothing, instead of a stream ---------------------------------------------------------------------


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_json_body_instead_of_a_stream_is_read(service: MockService, content_type: str, call_method: str) -> None:
    service.respond_with_bodies(
        {"result": {"response": "Hi", "usage": make_usage(2, 1)}}, headers={"content-type": content_type}
    )
    message = call_model(make_model(), call_method)
    assert (message.text, message.usage_metadata is not None) == ("Hi", True)
    assert len(service.requests) == 1


EMPTY_BODIES: dict[str, bytes] = {
    "empty body": b"",
    "white space": b" \r\n\n",
    "null result": b'{"result": null, "success": true, "errors": [], "messages": []}',
    "empty result": b'{"result": {}, "success": true}',
    "empty text as result": b'{"result": "", "success": true}',
    "empty response": b'{"result": {"response": ""}, "success": true}',
    "null response": b'{"result": {"response": null, "tool_calls": []}, "success": true}',
    "only [DONE]": b"data: [DONE]\n\n",
    "only comments": b": nothing\n\n",
    "empty events": encode_sse({"response": ""}, {"response": None}, "[DONE]"),
    "null": b"null",
}


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("nothing", EMPTY_BODIES)
def test_an_empty_stream_is_requested_again_without_stream(
    service: MockService, nothing: str, call_method: str
) -> None:
    service.respond_with(
        make_stream_response(EMPTY_BODIES[nothing]),
        make_response({"result": {"response": "Hi", "usage": make_usage(2, 1)}}),
    )
    message = call_model(make_model(), call_method)
    assert message.text == "Hi"
    first, second = service.request_bodies
    assert first.pop("stream") is True
    assert first.pop("stream_options") == {"include_usage": True}
    assert first == second
