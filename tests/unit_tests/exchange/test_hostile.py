"""Whatever a server sends, a call returns a message or raises a `WorkersGemmaError`, within bounded time and memory."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_workers_gemma import AIGateway, InternalServerError, WorkersGemmaError
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.response.tool_calls import MAX_CALLS
from tests.helpers.cost_growth import count_lines_run
from tests.helpers.mock_service import MockService, PiecewiseBody, encode_sse
from tests.helpers.model_calls import (
    CALL_METHODS,
    EVENT_METHODS,
    GEMMA_3,
    INVOKE_METHODS,
    STREAM_METHODS,
    WEATHER_TOOL,
    call_model,
    make_model,
    summarize_message,
)

FEW_EXAMPLES = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
ALL_CALL_METHODS = (*CALL_METHODS, *EVENT_METHODS)
TOOL_CALLING_METHODS = ("native", "guided_json", "prompt")


class NextResponse:
    """The response to the next request."""

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    pieces: Sequence[bytes] = ()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, stream=PiecewiseBody(self.pieces))


NEXT_RESPONSE = NextResponse()


@cache
def get_model(method: str | None = None) -> Any:
    """Return a model, with a bound tool if a tool calling method is given."""
    clients: dict[str, Any] = {
        "http_client": httpx.Client(transport=httpx.MockTransport(NEXT_RESPONSE)),
        "http_async_client": httpx.AsyncClient(transport=httpx.MockTransport(NEXT_RESPONSE)),
    }
    if method is None:
        return make_model(**clients)
    return make_model(model=GEMMA_3, tool_calling=method, stop=["STOP"], **clients).bind_tools([WEATHER_TOOL])


def get_outcome(llm: Any, call_method: str, *pieces: bytes, status: int = 200) -> AIMessage | WorkersGemmaError:
    """Return the message of a call or its `WorkersGemmaError`. Any other error fails the test."""
    NEXT_RESPONSE.status, NEXT_RESPONSE.pieces = status, pieces
    try:
        message = call_model(llm, call_method)
    except WorkersGemmaError as error:
        return error
    assert isinstance(message.usage_metadata, dict | None)
    for call in message.tool_calls:
        assert isinstance(call["args"], dict)
        assert call["name"]
        assert call["id"]
    return message


def check_every_outcome(*pieces: bytes, status: int = 200, call_methods: Sequence[str] = ALL_CALL_METHODS) -> None:
    """Check that calls with every method and every kind of model end in an allowed outcome."""
    for llm in (get_model(), get_model("native"), get_model("guided_json"), get_model("prompt")):
        for call_method in call_methods:
            get_outcome(llm, call_method, *pieces, status=status)


def split_at(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Split bytes at these places, modulo their length."""
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(borders)]


# --- Random bytes, random events, random JSON -------------------------------------------------------------------------


@given(st.binary(max_size=80), st.sampled_from([200, 200, 201, 204, 301, 400, 429, 500, 999]))
@FEW_EXAMPLES
def test_random_bytes_as_a_body_return_or_raise(data: bytes, status: int) -> None:
    check_every_outcome(data, status=status)


@given(
    st.lists(st.binary(max_size=30).map(lambda data: b"data: " + data + b"\n\n") | st.binary(max_size=30), max_size=6)
)
@FEW_EXAMPLES
def test_random_bytes_as_a_stream_return_or_raise(pieces: list[bytes]) -> None:
    check_every_outcome(b'data: {"response": "Hel"}\n\n', *pieces, call_methods=(*STREAM_METHODS, "stream_events"))


TEXT = st.text(max_size=8) | st.sampled_from(
    [
        "<|channel>thought\n",
        "<channel|>",
        "STOP",
        "```tool_code\n",
        "get_weather(city='Paris')",
        '{"name": "get_weather"',
        "\u2028",
    ]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUE, "index": VALUE, "type": VALUE, "name": VALUE, "arguments": VALUE, "parameters": VALUE,
        "function": VALUE | st.fixed_dictionaries({}, optional={"name": TEXT | VALUE, "arguments": TEXT | VALUE}),
    },
)  # fmt: skip
CALLS = VALUE | st.lists(CALL | VALUE, max_size=3)
USAGE = VALUE | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": VALUE, "completion_tokens": VALUE, "total_tokens": VALUE, "neurons": VALUE,
        "prompt_tokens_details": VALUE | st.fixed_dictionaries({"cached_tokens": VALUE}),
        "completion_tokens_details": VALUE | st.fixed_dictionaries({"reasoning_tokens": VALUE}),
    },
)  # fmt: skip
MESSAGE = VALUE | st.fixed_dictionaries(
    {},
    optional={"content": VALUE, "reasoning": VALUE, "reasoning_content": VALUE, "tool_calls": CALLS, "refusal": VALUE,
              "role": VALUE},
)  # fmt: skip
CHOICE = VALUE | st.fixed_dictionaries(
    {}, optional={"delta": MESSAGE, "message": MESSAGE, "text": VALUE, "finish_reason": VALUE, "index": VALUE}
)
RESULT = st.fixed_dictionaries(
    {},
    optional={"response": VALUE, "tool_calls": CALLS, "usage": USAGE, "choices": VALUE | st.lists(CHOICE, max_size=2),
              "finish_reason": VALUE, "id": VALUE},
)  # fmt: skip
REPLY = (
    RESULT
    | VALUE
    | st.fixed_dictionaries(
        {}, optional={"result": RESULT | VALUE, "success": VALUE, "errors": VALUE, "error": VALUE, "messages": VALUE}
    )
)


@given(REPLY)
@example({"response": "x", "usage": {"prompt_tokens": 10**400, "completion_tokens": 1}})
@example(
    {"response": "x", "usage": {"prompt_tokens": float("nan"), "completion_tokens": float("inf"), "neurons": 1e308}}
)
@example({"response": "x", "usage": {"prompt_tokens": -1, "completion_tokens": True, "neurons": 10**400}})
@FEW_EXAMPLES
def test_random_json_in_every_field_of_a_reply_returns_or_raises(reply: Any) -> None:
    check_every_outcome(json.dumps(reply).encode())


@given(st.lists(REPLY, max_size=4), st.booleans(), st.lists(st.integers(0, 10_000), max_size=6))
@FEW_EXAMPLES
def test_random_events_in_random_pieces_return_or_raise(events: list[Any], done: bool, places: list[int]) -> None:
    data = encode_sse(*(json.dumps(frame) for frame in events), *(["[DONE]"] if done else []))
    check_every_outcome(*split_at(data, places), call_methods=(*STREAM_METHODS, "stream_events"))


PIECES = st.lists(
    TEXT.map(lambda text: {"response": text})
    | TEXT.map(lambda text: {"choices": [{"delta": {"content": text}}]})
    | TEXT.map(lambda text: {"choices": [{"delta": {"reasoning_content": text}}]})
    | st.tuples(st.integers(0, 2), TEXT).map(
        lambda call: {
            "choices": [
                {"delta": {"tool_calls": [{"index": call[0], "function": {"name": "f", "arguments": call[1]}}]}}
            ]
        }
    ),
    min_size=1,
    max_size=6,
)


@given(
    PIECES, st.booleans(), st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"])
)
@FEW_EXAMPLES
def test_the_outcome_does_not_depend_on_how_a_stream_is_split(
    events: list[Any], bad: bool, places: list[int], end: str
) -> None:
    data = encode_sse(*events, *(["{nope"] if bad else []), "[DONE]", end=end)
    for llm in (get_model(), get_model("prompt")):
        whole = get_outcome(llm, "stream", data)
        for call_method in STREAM_METHODS:
            pieces = get_outcome(llm, call_method, *split_at(data, places))
            assert type(pieces) is type(whole)
            if isinstance(whole, AIMessage) and isinstance(pieces, AIMessage):
                assert summarize_message(pieces) == summarize_message(whole)
            else:
                assert str(pieces) == str(whole)


# --- Oversized replies ------------------------------------------------------------------------------------------------


@pytest.fixture
def size_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit for the size of a reply."""
    monkeypatch.setattr(response_body, "MAX_REPLY_BYTES", 200_000)
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
    stream.count[0] = -(response_body.MAX_REPLY_BYTES + 10_000_000)
    service.respond_with(lambda: httpx.Response(200, stream=stream))
    tracemalloc.start()
    try:
        with pytest.raises(InternalServerError, match="67,108,864 bytes"):
            call_model(make_model(), "stream")
        assert tracemalloc.get_traced_memory()[1] < 3 * response_body.MAX_REPLY_BYTES
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
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    events = [{"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": piece}} for piece in pieces]
    return [
        json.dumps(whole).encode(),
        encode_sse(*({"choices": [{"delta": {"tool_calls": [frame]}}]} for frame in events), "[DONE]"),
    ]


DIGITS = "9" * (sys.get_int_max_str_digits() + 100)


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
            events = [{"response": text[at : at + 20_000]} for at in range(0, len(text), 20_000)]
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


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_extreme_numbers_return_or_raise(call_method: str) -> None:
    for number in (DIGITS, f"-{DIGITS}", "1" + "0" * 400, "1e400", "-1e400", "NaN", "Infinity", "-Infinity"):
        usage = f'{{"prompt_tokens": {number}, "completion_tokens": {number}, "neurons": {number}}}'
        call = f'[{{"name": "get_weather", "arguments": {{"n": {number}}}}}]'
        text = json.dumps(f'{{"n": {number}}}')
        for body in (
            f'{{"response": "x", "usage": {usage}}}',
            f'{{"response": {number}}}',
            f'{{"tool_calls": {call}}}',
            f'{{"tool_calls": [{{"name": "get_weather", "arguments": {text}}}]}}',
            f'{{"success": false, "errors": [{{"code": {number}, "message": "x"}}]}}',
        ):
            get_outcome(get_model("native"), call_method, body.encode())
            get_outcome(get_model("native"), call_method, f"data: {body}\n\ndata: [DONE]\n\n".encode())


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("usage", ["NaN", "Infinity", "1e999", "-5", '"7"', "true", "null", "[]", "1" + "0" * 400])
def test_invalid_usage_is_ignored(call_method: str, usage: str) -> None:
    body = f'{{"response": "x", "usage": {{"prompt_tokens": {usage}, "completion_tokens": 2, "neurons": {usage}}}}}'
    message = get_outcome(get_model(), call_method, body.encode())
    assert isinstance(message, AIMessage)
    assert message.usage_metadata == {"input_tokens": 0, "output_tokens": 2, "total_tokens": 2}
    assert "neurons" not in message.response_metadata
    json.dumps(message.response_metadata, allow_nan=False)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_invalid_utf8_raises(call_method: str) -> None:
    for data in (
        b'{"response": "\xff\xfe"}',
        b'data: {"response": "\xff"}\n\ndata: [DONE]\n\n',
    ):
        assert isinstance(get_outcome(get_model(), call_method, data), WorkersGemmaError)
    assert isinstance(get_outcome(get_model(), call_method, b"\xff\xfe", status=500), InternalServerError)


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


# --- Headers and paths ------------------------------------------------------------------------------------------------

INVALID_HEADER_VALUES = ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\rX", "x\x00", "x\x7f", "ü", " x", "x ", "x\t"]


@pytest.mark.parametrize("value", INVALID_HEADER_VALUES)
@pytest.mark.parametrize(
    "arguments",
    [
        lambda value: {"session_affinity": value},
        lambda value: {"default_headers": {"x-mine": value}},
        lambda value: {"ai_gateway": value},
        lambda value: {"ai_gateway": AIGateway("gw", cache_key=value)},
        lambda value: {"ai_gateway": AIGateway("gw", token=value)},
        lambda value: {"account_id": value},
        lambda value: {"model": value},
        lambda value: {"base_url": f"https://example.com/{value}/x"},
    ],
)
def test_control_characters_never_reach_a_header_or_a_path(service: MockService, value: str, arguments: Any) -> None:
    try:
        make_model(**arguments(value)).invoke("Hi")
    except ValueError:
        assert not service.requests
    else:  # white space around an id is removed, and other characters in a URL are escaped
        path = service.only_request.url.raw_path
        assert path.startswith((b"/client/v4/accounts/x/ai/", b"/%C3%BC/x/accounts/"))
        assert not set(path) & set(b"\r\n\t \x00\x7f")


@pytest.mark.parametrize("name", ["x y", "x:", "", "x\r\ny", "ü", "x\x00"])
def test_invalid_header_names_raise(name: str) -> None:
    with pytest.raises(ValueError, match="default_headers"):
        make_model(default_headers={name: "value"})


@pytest.mark.parametrize(
    "model_id", ["../../secrets", "@cf/../x", "a//b", "/a", "a/", "a?b=c", "a#b", "a%2e", "a\\b", "", "."]
)
def test_model_ids_that_change_the_path_raise(service: MockService, model_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: make_model(model=model_id).invoke("Hi"),
        lambda: make_model().invoke("Hi", model=model_id),
    ]
    for call in calls:
        try:
            call()
        except ValueError:
            assert not service.requests
        else:
            assert not model_id  # an empty id selects the default
            service.requests.clear()


def test_invalid_neurons_headers_are_ignored() -> None:
    for headers in (
        {"cf-ai-neurons": "nan"},
        {"cf-ai-neurons": "1e999"},
        {"cf-ai-neurons": "-1"},
        {"cf-ai-neurons": "x" * 99_999},
    ):
        NEXT_RESPONSE.headers = headers
        message = get_outcome(get_model(), "invoke", b'{"response": "x"}')
        assert isinstance(message, AIMessage)
        assert "neurons" not in message.response_metadata
    NEXT_RESPONSE.headers = {}
