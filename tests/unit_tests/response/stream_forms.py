"""Streams in every form and with every quirk of docs/wire.md section 4."""

from __future__ import annotations

from typing import Any

from tests.helpers.mock_service import encode_sse, make_delta, make_tool_call, make_usage
from tests.helpers.model_calls import EVENT_METHODS, STREAM_METHODS

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
