"""The inspector reads requests and responses of all forms."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_workers_gemma.sandbox.inspector.exchanges import Exchange, Packet
from langchain_workers_gemma.sandbox.inspector.redaction import HIDDEN, Redactor, find_secrets
from langchain_workers_gemma.sandbox.inspector.replies import read_reply
from langchain_workers_gemma.sandbox.inspector.requests import build_input_view, build_preview, find_inputs, format_body
from langchain_workers_gemma.sandbox.inspector.stream_events import split_events
from tests.sandbox_tests.api_client import GEMMA_4

SQUARE = Path(__file__).parents[2] / "data" / "square.png"
EVENT_STREAM = (("content-type", "text/event-stream"),)


def make_exchange(*packets: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Exchange:
    made = Exchange(1, 0.0, "POST", "/", "", ())
    made.start(200, headers)
    for packet in packets:
        made.send(packet)
    made.end("complete")
    return made


def make_stream(*events: Any, done: bool = True) -> Exchange:
    frames = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    return make_exchange(*frames, *([b"data: [DONE]\n\n"] if done else []), headers=EVENT_STREAM)


def test_a_native_reply() -> None:
    body = {
        "result": {
            "response": "Hi",
            "tool_calls": [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        },
        "success": True,
        "errors": [],
    }
    reply = read_reply(make_exchange(json.dumps(body).encode()))
    assert reply.text == "Hi"
    assert [(call.name, call.arguments) for call in reply.calls] == [("f", '{"a": 1}'), ("g", "{}")]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 2)
    assert not reply.errors


def test_a_choices_stream_with_interleaved_calls() -> None:
    def make_delta(**fields: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}

    def make_chunk(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
        return {"index": index, "function": {"name": name, "arguments": arguments}}

    reply = read_reply(
        make_stream(
            make_delta(reasoning="Hm"),
            make_delta(content="He", tool_calls=[]),
            make_delta(content=7),
            make_delta(tool_calls=[make_chunk(0, '{"a":', "f"), make_chunk(1, "{", "g")]),
            make_delta(tool_calls=[make_chunk(0, "1}"), make_chunk(1, "}")]),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}},
        )
    )
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("He7", "Hm", "tool_calls")
    assert [(call.name, call.arguments) for call in reply.calls] == [("f", '{"a":1}'), ("g", "{}")]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 6)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([(9, 1), (9, 2), (9, 3)], (9, 3)),
        ([(9, 1), (0, 1), (0, 4)], (9, 6)),
        ([(0, 0), (9, 3)], (9, 3)),
    ],
)
def test_usage_cumulative_or_in_deltas(reports: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    events = [{"response": "a", "usage": {"prompt_tokens": p, "completion_tokens": c}} for p, c in reports]
    usage = read_reply(make_stream(*events)).usage
    assert (usage.input_tokens, usage.output_tokens) == expected


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"success": False, "errors": [{"code": 3040, "message": "busy"}]}, "3040: busy"),
        ({"errors": {"code": 3040, "message": "busy"}}, "3040: busy"),
        ({"error": {"message": "busy"}}, "busy"),
        ({"error": "busy"}, "busy"),
        ({"internalCode": 3040, "description": "busy"}, "3040: busy"),
    ],
)
def test_errors_in_every_form(body: dict[str, Any], error: str) -> None:
    assert read_reply(make_exchange(json.dumps(body).encode())).errors == [error]


def test_the_usage_at_the_end_of_a_stream_too_long_to_store() -> None:
    made = Exchange(1, 0.0, "POST", "/", "", ())
    made.start(200, EVENT_STREAM)
    for _ in range(300):
        made.send(b'data: {"response": "' + b"x" * 10_000 + b'"}\n\n')
    made.send(b'data: {"response": "", "usage": {"prompt_tokens": 4, "completion_tokens": 8}}\n\n')
    assert made.size < 3_000_000
    assert made.packet_count == 301
    usage = read_reply(made).usage
    assert (usage.input_tokens, usage.output_tokens) == (4, 8)


@given(
    st.lists(st.sampled_from(["a", "é", "{}", "[DONE]", "  b"]), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_events_do_not_depend_on_packets(texts: list[str], newline: str, cuts: list[int]) -> None:
    body = "".join(f"data: {text}{newline}{newline}" for text in texts).encode()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    packets = [Packet(float(at), body[start:end]) for at, (start, end) in enumerate(pairwise(places))]
    events = split_events(packets)
    assert [event.data for event in events] == texts
    assert all(event.complete for event in events)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].at == packets[-1].at


def test_a_truncated_event_is_shown_as_incomplete() -> None:
    events = split_events([Packet(0.0, b": hello\n\ndata: 1\n\ndata: 2")])
    assert [(event.data, event.complete) for event in events] == [(None, True), ("1", True), ("2", False)]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        {"model": "m", "input": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}},
        {"model": "m", "data": {"prompt": "Hi"}},
        {"inputs": {"prompt": "Hi"}},
        {"requests": [{"prompt": "Hi"}, {"prompt": "Ho"}]},
        {"text": ["Hi"]},
        {"model": "m", "input": "Hi"},
    ],
)
def test_the_input_is_found_in_every_envelope(body: dict[str, Any]) -> None:
    assert build_preview(find_inputs(body)) == "Hi"


def test_image_bytes_are_omitted_from_the_body() -> None:
    url = "data:image/png;base64," + "A" * 1000
    shown = format_body(json.dumps({"url": url}).encode())
    assert "more characters" in shown
    assert len(shown) < 300


def test_a_body_that_is_not_json_is_shown_as_text() -> None:
    assert format_body(b"\xff<html>") == "�<html>"


def test_secrets_are_hidden_everywhere() -> None:
    headers = (("authorization", 'Bearer tok"en-123'), ("x-api-key", "another-key"), ("accept", "tok"))
    redactor = Redactor([*find_secrets(headers, "token=third%2Bsecret"), "own-token"])
    shown = redactor.redact_value(
        {"a": ['tok"en-123', r"tok\"en-123 own-token", "third+secret third%2Bsecret"], "another-key": 1}
    )
    assert shown == {"a": [HIDDEN, f"{HIDDEN} {HIDDEN}", f"{HIDDEN} {HIDDEN}"], HIDDEN: 1}
    assert redactor.redact_headers(headers) == [["authorization", HIDDEN], ["x-api-key", HIDDEN], ["accept", "tok"]]


def test_images_are_named_without_their_bytes() -> None:
    square = "data:image/png;base64," + base64.b64encode(SQUARE.read_bytes()).decode()
    urls = [square, "https://example.com/cat.png", "data:image/png;base64,???", None]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = {"messages": [{"role": "user", "content": [*parts, {"type": "file"}]}]}
    (message,) = build_input_view(make_exchange(), GEMMA_4, body)["messages"]
    labels = [image["label"] for image in message["images"]]
    assert re.fullmatch(r"PNG, \d+x\d+ px, [\d,]+ characters", labels[0])
    assert labels[1] == "https://example.com/cat.png"
    assert "base64" in labels[2]
    assert labels[3] == "an image without a URL"
    assert message["other_parts"] == ["file"]


def test_a_model_of_any_server_is_known_by_its_family() -> None:
    made = make_exchange()
    made.style = "compatible"
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    segments = build_input_view(made, "gemma3:12b", body)["prompt"]["segments"]
    assert ["token", "<start_of_turn>"] in segments
    assert "There is no model" in build_input_view(made, "llama3", body)["prompt"]["refusal"]
