"""Streams in every form and with every quirk of docs/wire.md section 4; each equals the message of a whole reply."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.asking import (
    EVENTS,
    GEMMA_4,
    STREAMED,
    WAYS,
    Pieces,
    Service,
    ask,
    body,
    chunks,
    delta,
    function,
    gemma,
    merged,
    message_reply,
    sse,
    stream,
    told,
    usage,
)

pytestmark = pytest.mark.lowest

STREAM_WAYS = (*STREAMED, *EVENTS)


WEATHER_CALL = [("get_weather", {"city": "Zürich"})]
FINALISER = {"tool_calls": [{"id": None, "type": None, "function": {"name": None, "arguments": ""}}]}

# name: (the stream, its text, reasoning, tool calls, tokens in and out)
STREAMS: dict[str, tuple[bytes, str, str, list[tuple[str, dict[str, Any]]], tuple[int, int] | None]] = {
    "native with padding": (
        sse(
            {"response": "Hel", "p": "abc"},
            {"response": "lo", "p": "a"},
            {"response": "", "usage": usage(21, 2)},
            "[DONE]",
        ),
        "Hello",
        "",
        [],
        (21, 2),
    ),
    "native calls in pieces, with a finaliser": (
        sse(
            {"tool_calls": [function("get_weather", '{"city":', id="c1", type="function", index=0)]},
            {"tool_calls": [function(None, ' "Zürich"}', index=0)]},
            FINALISER,
            {"response": "", "usage": usage(9, 5)},
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        (9, 5),
    ),
    "openai": (
        sse(
            delta("", role="assistant"),
            delta("Hel"),
            delta("lo"),
            delta(finish_reason="stop"),
            {"choices": [], "usage": usage(21, 2)},
            "[DONE]",
        ),
        "Hello",
        "",
        [],
        (21, 2),
    ),
    "openai calls, numbered": (
        sse(
            delta(tool_calls=[function("get_weather", "", id="c1", index=0)]),
            delta(tool_calls=[function(None, '{"city": "Z', index=0)]),
            delta(tool_calls=[function("f", "{}", id="c2", index=1)]),
            delta(tool_calls=[function(None, 'ürich"}', index=0)]),
            delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        [*WEATHER_CALL, ("f", {})],
        None,
    ),
    "a tool call complete in one event": (
        sse(
            delta(tool_calls=[function("get_weather", '{"city": "Zürich"}', id="c1")], finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "tool calls with arguments as objects": (
        sse(
            {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}, {"name": "f", "arguments": {}}]},
            "[DONE]",
        ),
        "",
        "",
        [*WEATHER_CALL, ("f", {})],
        None,
    ),
    "continuation deltas without id, name or index": (
        sse(
            delta(tool_calls=[function("get_weather", '{"city"', id="c1", index=0)]),
            delta(tool_calls=[{"function": {"arguments": ': "Zür'}}]),
            delta(tool_calls=[{"id": None, "index": None, "function": {"name": None, "arguments": 'ich"}'}}]),
            delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "id and name on every piece": (
        sse(
            delta(tool_calls=[function("get_weather", '{"city": ', id="c1", index=0)]),
            delta(tool_calls=[function("get_weather", '"Zürich"}', id="c1", index=0)]),
            delta(finish_reason="tool_calls"),
            "[DONE]",
        ),
        "",
        "",
        WEATHER_CALL,
        None,
    ),
    "tool_calls [] beside text": (
        sse({"response": "Hel", "tool_calls": []}, {"response": "lo", "tool_calls": []}, "[DONE]"),
        "Hello",
        "",
        [],
        None,
    ),
    "numbers instead of strings": (
        sse({"response": 4}, {"response": 2}, delta(6), delta(0), delta(1.5), delta(finish_reason="stop"), "[DONE]"),
        "42601.5",
        "",
        [],
        None,
    ),
    "null responses": (
        sse({"response": None}, {"response": "Hi"}, {"response": None}, delta(None), "[DONE]"),
        "Hi",
        "",
        [],
        None,
    ),
    "usage cumulative on every event": (
        sse(
            {**delta("a"), "usage": usage(10, 1)},
            {**delta("b"), "usage": usage(10, 2)},
            {**delta("c", finish_reason="stop"), "usage": usage(10, 3)},
            "[DONE]",
        ),
        "abc",
        "",
        [],
        (10, 3),
    ),
    "usage as differences on every event": (
        sse(
            {"response": "a", "usage": usage(10, 1)},
            {"response": "b", "usage": usage(0, 1)},
            {"response": "c", "usage": usage(0, 1)},
            "[DONE]",
        ),
        "abc",
        "",
        [],
        (10, 3),
    ),
    "several finish reasons and two [DONE]": (
        sse(
            delta("Hi"),
            delta(finish_reason="stop"),
            delta(finish_reason="stop"),
            "[DONE]",
            {"choices": [], "usage": usage(3, 1)},
            "[DONE]",
        ),
        "Hi",
        "",
        [],
        (3, 1),
    ),
    "no [DONE], but a finish reason": (sse(delta("Hi"), delta(finish_reason="stop")), "Hi", "", [], None),
    "no [DONE], but a final usage": (
        sse({"response": "Hi"}, {"response": "", "usage": usage(3, 1)}),
        "Hi",
        "",
        [],
        (3, 1),
    ),
    "[DONE] alone": (sse({"response": "Hi"}, "[DONE]"), "Hi", "", [], None),
    "the last blank line is missing": (sse({"response": "Hi"}) + b"data: [DONE]", "Hi", "", [], None),
    "reasoning": (
        sse(delta(reasoning="Let "), delta(reasoning="me."), delta("42"), delta(finish_reason="stop"), "[DONE]"),
        "42",
        "Let me.",
        [],
        None,
    ),
    "reasoning_content": (
        sse(delta(reasoning_content="hm", reasoning="hm"), delta("42"), delta(finish_reason="stop"), "[DONE]"),
        "42",
        "hm",
        [],
        None,
    ),
    "text in place of a delta": (
        sse({"choices": [{"text": "Hel"}]}, {"choices": [{"text": "lo", "finish_reason": "stop"}]}, "[DONE]"),
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
    "CRLF": (sse({"response": "Grüß"}, {"response": "e"}, "[DONE]", end="\r\n\r\n"), "Grüße", "", [], None),
    "CR": (sse({"response": "Grüß"}, {"response": "e"}, "[DONE]", end="\r\r"), "Grüße", "", [], None),
    "a byte order mark": (b"\xef\xbb\xbf" + sse({"response": "Hi"}, "[DONE]"), "Hi", "", [], None),
    "an event on several lines": (b'data: {"response":\ndata: "Hi"}\n\ndata: [DONE]\n\n', "Hi", "", [], None),
    "[DONE] with blanks around it": (sse({"response": "Hi"}) + b"data:  [DONE] \n\n", "Hi", "", [], None),
    "every length of character": (
        sse({"response": "é€👋"}, {"response": "\ufeff\u2028"}, "[DONE]"),
        "é€👋\ufeff\u2028",
        "",
        [],
        None,
    ),
    "events in Cloudflare's envelope": (
        sse(
            {"result": {"response": "Hi"}, "success": True},
            {"result": {"response": "", "usage": usage(1, 1)}},
            "[DONE]",
        ),
        "Hi",
        "",
        [],
        (1, 1),
    ),
    "the thinking channel": (
        sse(
            delta("<|chan"),
            delta("nel>thou"),
            delta("ght\nhm<cha"),
            delta("nnel|>42"),
            delta(finish_reason="stop"),
            "[DONE]",
        ),
        "42",
        "hm",
        [],
        None,
    ),
}


def expected(case: str) -> dict[str, Any]:
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


@pytest.mark.parametrize("way", STREAM_WAYS)
@pytest.mark.parametrize("case", STREAMS)
def test_every_form_of_a_stream(service: Service, case: str, way: str) -> None:
    service.pieces(STREAMS[case][0])
    assert told(ask(gemma(), way)) == expected(case)
    assert len(service.requests) == 1


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("case", STREAMS)
def test_byte_by_byte(service: Service, case: str, way: str) -> None:
    service.pieces(*(bytes([one]) for one in STREAMS[case][0]))
    assert told(ask(gemma(), way)) == expected(case)


@pytest.mark.parametrize("case", STREAMS)
def test_any_cut_in_two_returns_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(pieces)))) as client:
        llm = gemma(http_client=client)
        wanted = expected(case)
        for cut in range(1, len(data), 1 if len(data) < 130 else 4):
            pieces[:] = [data[:cut], data[cut:]]
            assert told(ask(llm, "stream")) == wanted, pieces


@pytest.mark.parametrize("case", STREAMS)
def test_random_cuts_return_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(pieces)))) as client:
        llm = gemma(http_client=client)
        wanted = expected(case)

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sets(st.integers(1, len(data) - 1)))
        def cut(cuts: set[int]) -> None:
            ends = sorted(cuts)
            pieces[:] = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
            assert told(ask(llm, "stream")) == wanted

        cut()


def test_what_was_sent_was_a_stream(service: Service) -> None:
    service.pieces(STREAMS["openai"][0])
    ask(gemma(), "stream")
    assert service.sent["stream"] is True


# --- Chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("case", STREAMS)
def test_usage_and_each_metadata_key_are_on_exactly_one_chunk(service: Service, case: str, way: str) -> None:
    service.answers(stream(STREAMS[case][0], headers={"cf-ray": "ray-1", "cf-ai-neurons": "1.5"}))
    pieces = chunks(gemma(), way)
    with_usage = [piece for piece in pieces if piece.usage_metadata]
    assert len(with_usage) == (1 if STREAMS[case][4] else 0)
    keys = [key for piece in pieces for key in piece.response_metadata if key != "model_provider"]
    assert sorted(keys) == sorted(set(keys))
    metadata = merged(pieces).response_metadata
    assert (metadata["request_id"], metadata["neurons"], metadata["model_name"]) == ("ray-1", 1.5, GEMMA_4)


@pytest.mark.parametrize("way", STREAMED)
def test_text_is_emitted_as_it_arrives(service: Service, way: str) -> None:
    service.streams({"response": "one "}, {"response": "two "}, {"response": "three"}, "[DONE]")
    texts = [piece.text for piece in chunks(gemma(), way) if piece.text]
    assert texts == ["one ", "two ", "three"]


@pytest.mark.parametrize("way", STREAMED)
def test_calls_are_emitted_as_they_arrive(service: Service, way: str) -> None:
    service.pieces(STREAMS["openai calls, numbered"][0])
    told_chunks = [chunk for piece in chunks(gemma(), way) for chunk in piece.tool_call_chunks]
    assert [(chunk["index"], chunk["name"], chunk["args"]) for chunk in told_chunks] == [
        (0, "get_weather", ""),
        (0, None, '{"city": "Z'),
        (1, "f", "{}"),
        (0, None, 'ürich"}'),
    ]


# --- invoke and the merged stream agree -------------------------------------------------------------------------------

REPLIES: dict[str, tuple[Any, bytes]] = {
    "text": (
        message_reply("Hello", usage=usage(21, 2, neurons=0.5)),
        sse(
            delta("Hel"),
            delta("lo"),
            delta(finish_reason="stop"),
            {"choices": [], "usage": usage(21, 2, neurons=0.5)},
            "[DONE]",
        ),
    ),
    "everything": (
        message_reply(
            "Let me see.",
            reasoning="hm",
            tool_calls=[
                function("f", '{"a": 1}', id="c1"),
                function("g", '{"b":', id="c2"),
                function("h", "[]", id="c3"),
            ],
            finish_reason="tool_calls",
            usage=usage(5, 4, prompt_tokens_details={"cached_tokens": 3}),
        ),
        sse(
            delta(reasoning="h"),
            delta(reasoning="m"),
            delta("Let me"),
            delta(" see."),
            delta(tool_calls=[function("f", '{"a"', id="c1", index=0)]),
            delta(tool_calls=[function(None, ": 1}", index=0)]),
            delta(tool_calls=[function("g", '{"b":', id="c2", index=1)]),
            delta(tool_calls=[function("h", "[]", id="c3", index=2)]),
            delta(finish_reason="tool_calls"),
            {"choices": [], "usage": usage(5, 4, prompt_tokens_details={"cached_tokens": 3})},
            "[DONE]",
        ),
    ),
    "cut": (
        message_reply("", tool_calls=[function("f", '{"path": "/home/me', id="c1")], finish_reason="length"),
        sse(
            delta(tool_calls=[function("f", '{"path": "/ho', id="c1", index=0)]),
            delta(tool_calls=[function(None, "me/me", index=0)]),
            delta(finish_reason="length"),
            "[DONE]",
        ),
    ),
    "nothing but usage": (
        {"response": "", "usage": usage(5, 0)},
        sse({"response": "", "usage": usage(5, 0)}, "[DONE]"),
    ),
}


@pytest.mark.parametrize("case", REPLIES)
def test_every_method_returns_the_same_message(service: Service, case: str) -> None:
    whole, streamed = REPLIES[case]
    llm = gemma()
    messages = {}
    for way in (*WAYS, *EVENTS):
        service.answers(body(whole) if way in ("invoke", "ainvoke") else stream(streamed))
        messages[way] = told(ask(llm, way))
        service.answers(body(whole))
        messages[f"{way}, whole"] = told(ask(llm, way))
    assert all(message == messages["invoke"] for message in messages.values()), messages


@pytest.mark.parametrize("way", STREAM_WAYS)
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
def test_truncated_arguments_never_become_a_call(service: Service, arguments: str, end: str, way: str) -> None:
    for cut in range(1, len(arguments) + 1, 3):
        service.streams(
            delta(tool_calls=[function("f", arguments[:cut], id="c1", index=0)]),
            delta(tool_calls=[function(None, arguments[cut:], index=0)]),
            delta(finish_reason=end),
            "[DONE]",
        )
        message = ask(gemma(), way)
        assert message.tool_calls == []
        assert [call["name"] for call in message.invalid_tool_calls] == ["f"]


@pytest.mark.parametrize("way", STREAM_WAYS)
def test_a_call_cut_before_its_arguments_is_no_call(service: Service, way: str) -> None:
    service.streams(delta(tool_calls=[function("f", "", id="c1", index=0)]), delta(finish_reason="length"), "[DONE]")
    message = ask(gemma(), way)
    assert (message.tool_calls, len(message.invalid_tool_calls)) == ([], 1)


# --- One JSON body, or nothing, in place of a stream ------------------------------------------------------------------


@pytest.mark.parametrize("way", STREAM_WAYS)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_json_body_in_place_of_a_stream(service: Service, content_type: str, way: str) -> None:
    service.says({"result": {"response": "Hi", "usage": usage(2, 1)}}, headers={"content-type": content_type})
    message = ask(gemma(), way)
    assert (message.text, message.usage_metadata is not None) == ("Hi", True)
    assert len(service.requests) == 1


NOTHINGS: dict[str, bytes] = {
    "empty body": b"",
    "white space": b" \r\n\n",
    "null result": b'{"result": null, "success": true, "errors": [], "messages": []}',
    "empty result": b'{"result": {}, "success": true}',
    "empty text as result": b'{"result": "", "success": true}',
    "empty response": b'{"result": {"response": ""}, "success": true}',
    "null response": b'{"result": {"response": null, "tool_calls": []}, "success": true}',
    "[DONE] alone": b"data: [DONE]\n\n",
    "comments alone": b": nothing\n\n",
    "empty events": sse({"response": ""}, {"response": None}, "[DONE]"),
    "null": b"null",
}


@pytest.mark.parametrize("way", STREAM_WAYS)
@pytest.mark.parametrize("nothing", NOTHINGS)
def test_an_empty_stream_is_requested_again_without_stream(service: Service, nothing: str, way: str) -> None:
    service.answers(stream(NOTHINGS[nothing]), body({"result": {"response": "Hi", "usage": usage(2, 1)}}))
    message = ask(gemma(), way)
    assert message.text == "Hi"
    first, second = service.bodies
    assert first.pop("stream") is True
    assert first.pop("stream_options") == {"include_usage": True}
    assert first == second
