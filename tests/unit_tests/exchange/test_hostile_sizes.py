"""Replies that are too long, too deep or too many return a message or raise, in bounded time and memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage

from langchain_workers_gemma import InternalServerError, WorkersGemmaError
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.response.tool_calls import MAX_CALLS
from tests.helpers.call_outcomes import ALL_CALL_METHODS, DIGITS, get_model, get_outcome
from tests.helpers.cost_growth import count_lines_run
from tests.helpers.mock_service import MockService, encode_sse
from tests.helpers.model_calls import CALL_METHODS, INVOKE_METHODS, STREAM_METHODS, call_model, make_model

TOOL_CALLING_METHODS = ("native", "guided_json", "prompt")


# --- Oversized replies ------------------------------------------------------------------------------------------------


@pytest.fixture
def size_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit for the size of a reply."""
    monkeypatch.setattr(response_body, "MAX_BODY_BYTES", 200_000)
    return 200_000


def generate_pieces(start: bytes, piece: bytes, count: list[int]) -> Any:
    """Yield `start`, then `piece` until far more has been read than a client may read."""
    yield start
    while count[0] < 10_000_000:
        count[0] += len(piece)
        yield piece
    raise AssertionError("the client read everything")


class EndlessBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, start: bytes, piece: bytes) -> None:
        self.count = [0]
        self._pieces = generate_pieces(start, piece, self.count)

    def __iter__(self) -> Any:
        return self._pieces

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("start", [b'{"response": "', b"data: ", b"data: x\ndata: ", b": ", b"<html>"])
def test_an_endless_line_raises(
    service: MockService, size_limit: int, call_method: str, status: int, start: bytes
) -> None:
    stream = EndlessBody(start, b"x" * 5_000)
    service.respond_with(lambda: httpx.Response(status, stream=stream))
    with pytest.raises(InternalServerError, match="larger than") as raised:
        call_model(make_model(), call_method)
    assert raised.value.status_code == status
    assert stream.count[0] < size_limit + 50_000


def test_the_size_limit_is_64_mib_and_memory_is_bounded(service: MockService) -> None:
    stream = EndlessBody(b"data: ", b"x" * 100_000)
    stream.count[0] = -(response_body.MAX_BODY_BYTES + 10_000_000)
    service.respond_with(lambda: httpx.Response(200, stream=stream))
    tracemalloc.start()
    try:
        with pytest.raises(InternalServerError, match="67,108,864 bytes"):
            call_model(make_model(), "stream")
        assert tracemalloc.get_traced_memory()[1] < 3 * response_body.MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


def nest(opening: str, closing: str, depth: int, inner: str = "1") -> str:
    return opening * depth + inner + closing * depth


DEEP_JSON = [nest("[", "]", 100_000), nest('{"a":', "}", 100_000), "[" * 100_000, '{"a":' * 100_000]


@pytest.mark.parametrize("deep_json", DEEP_JSON, ids=["lists", "objects", "open lists", "open objects"])
@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_deep_json_raises(deep_json: str, call_method: str) -> None:
    for body in (
        deep_json,
        f'{{"response": {deep_json}}}',
        f'{{"result": {{"tool_calls": {deep_json}}}}}',
        f"data: {deep_json}\n\n",
    ):
        assert isinstance(get_outcome(get_model(), call_method, body.encode()), WorkersGemmaError)
    for body in (deep_json, f'{{"errors": {deep_json}}}'):
        assert isinstance(get_outcome(get_model(), call_method, body.encode(), status=400), WorkersGemmaError)


def make_call_bodies(arguments: str, size: int = 30_000) -> list[bytes]:
    """Return a whole reply with a call, and the same reply as a stream in pieces."""
    function = {"name": "get_weather", "arguments": arguments}
    whole = {"choices": [{"message": {"tool_calls": [{"id": "c1", "function": function}]}}]}
    pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    events = [{"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": piece}} for piece in pieces]
    return [
        json.dumps(whole).encode(),
        encode_sse(*({"choices": [{"delta": {"tool_calls": [frame]}}]} for frame in events), "[DONE]"),
    ]


OVERSIZED_ARGUMENTS = {
    "lists": DEEP_JSON[0],
    "objects": DEEP_JSON[1],
    "open lists": DEEP_JSON[2],
    "open objects": DEEP_JSON[3],
    "number": f'{{"n": {DIGITS}}}',
    "open number": f'{{"n": -{DIGITS}',
    "digits": DIGITS,
}


@pytest.mark.parametrize("arguments", OVERSIZED_ARGUMENTS.values(), ids=OVERSIZED_ARGUMENTS)
@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_oversized_arguments_raise(arguments: str, call_method: str) -> None:
    """LangChain's parsers would raise other errors than a parse error for these arguments."""
    for size in (30_000, 1_000):
        whole, streamed = make_call_bodies(arguments, size)
        for body in [whole] if call_method in INVOKE_METHODS else [whole, streamed]:
            error = get_outcome(get_model("native"), call_method, body)
            assert isinstance(error, InternalServerError)
            assert "the arguments of a call" in str(error)
            assert error.status_code == 200


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_large_arguments_with_brackets_in_strings_are_accepted(call_method: str) -> None:
    """Any number of brackets and digits is allowed inside strings, and of nested values that are closed."""
    arguments = {"city": "{[" * 5_000 + DIGITS + '\\"' * 500, "flat": [[n] for n in range(2_000)]}
    text = json.dumps(arguments)
    for size in (len(text), 977):
        body = make_call_bodies(text, size)[0 if call_method in INVOKE_METHODS else 1]
        message = get_outcome(get_model("native"), call_method, body)
        assert isinstance(message, AIMessage)
        assert [call["args"] for call in message.tool_calls] == [arguments]


@pytest.mark.parametrize("deep_json", DEEP_JSON, ids=["lists", "objects", "open lists", "open objects"])
@pytest.mark.parametrize("call_method", ["invoke", "stream", "stream_events"])
def test_deep_json_in_text_returns_or_raises(deep_json: str, call_method: str) -> None:
    for method in TOOL_CALLING_METHODS:
        for text in (
            deep_json,
            f"```tool_code\nget_weather({deep_json})\n```",
            f'{{"name": "get_weather", "arguments": {deep_json}}}',
        ):
            events = [{"response": text[start : start + 20_000]} for start in range(0, len(text), 20_000)]
            body = json.dumps({"response": text}).encode() if call_method == "invoke" else encode_sse(*events, "[DONE]")
            get_outcome(get_model(method), call_method, body)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("in_one_event", [True, False])
def test_a_hundred_thousand_calls_raise(call_method: str, in_one_event: bool) -> None:
    count = 100_000 if (call_method == "stream") is not in_one_event else 5_000  # large bodies take seconds to encode
    calls = [{"id": f"c{n}", "index": n, "function": {"name": "f", "arguments": "{}"}} for n in range(count)]
    if in_one_event:
        body = json.dumps({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}).encode()
    else:
        body = encode_sse(*({"choices": [{"delta": {"tool_calls": [call]}}]} for call in calls), "[DONE]")
    error = get_outcome(get_model(), call_method, body)
    assert isinstance(error, InternalServerError)
    assert error.status_code == 200
    if in_one_event or call_method in STREAM_METHODS:
        assert f"more than {MAX_CALLS:,} tool calls" in str(error)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_two_hundred_calls_are_accepted(call_method: str) -> None:
    calls = [{"id": f"c{n}", "index": n, "function": {"name": "f", "arguments": "{}"}} for n in range(200)]
    message = get_outcome(
        get_model(), call_method, json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
    )
    assert isinstance(message, AIMessage)
    assert len(message.tool_calls) == 200


# --- Cost -------------------------------------------------------------------------------------------------------------

HELD_BACK_TEXTS = [
    "<",
    "<|channel>",
    "[",
    "{",
    '{"a": ',
    "STO",
    "```",
    "```tool_code\n",
    "get_weather(",
    "\\",
    '"',
    "call:get_weather{",
]


@pytest.mark.parametrize("text", HELD_BACK_TEXTS)
@pytest.mark.parametrize("method", TOOL_CALLING_METHODS)
def test_cost_is_linear_in_the_length_of_the_reply(text: str, method: str) -> None:
    """Ten times as much text that parsers hold back takes about ten times the work."""

    def cost(count: int) -> int:
        reply = encode_sse(*({"response": text * 10} for _ in range(count)), "[DONE]")
        return count_lines_run(lambda: get_outcome(get_model(method), "stream", reply))

    cost(1)  # fills the caches
    fixed = cost(1)  # the part that does not depend on the reply
    assert cost(400) - fixed < 11 * (cost(40) - fixed)
