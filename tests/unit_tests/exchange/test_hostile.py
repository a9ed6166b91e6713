"""For any response of a server, a call returns a message or raises `WorkersGemmaError`, in bounded time and memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_workers_gemma import InternalServerError, WorkersGemmaError
from tests.helpers.call_outcomes import ALL_CALL_METHODS, DIGITS, NEXT_RESPONSE, get_model, get_outcome
from tests.helpers.mock_service import encode_sse
from tests.helpers.model_calls import CALL_METHODS, STREAM_METHODS, summarize_message

FEW_EXAMPLES = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def check_every_outcome(*pieces: bytes, status: int = 200, call_methods: Sequence[str] = ALL_CALL_METHODS) -> None:
    """Check that calls with every method and every kind of model end in an allowed outcome."""
    for llm in (get_model(), get_model("native"), get_model("guided_json"), get_model("prompt")):
        for call_method in call_methods:
            get_outcome(llm, call_method, *pieces, status=status)


def split_at(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Split bytes at these places, modulo their length."""
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


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
