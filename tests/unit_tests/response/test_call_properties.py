"""Any calls, in any pieces, with any ending: only finished calls are valid, with the arguments that were sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.utils.json import parse_partial_json

from tests.helpers.model_calls import get_tool_calls, summarize_message
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    encode_packet,
    make_replay_model,
)

pytestmark = pytest.mark.lowest

NAMES = ("alpha", "beta")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "n": {"type": "integer"}, "list": {"type": "array"}},
            },
        },
    }
    for name in NAMES
]
LIMIT = 50

ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.characters(exclude_characters="<'\"", codec="utf-8"), max_size=12),
        "n": st.integers(-999, 999),
        "list": st.lists(st.one_of(st.integers(), st.booleans(), st.none()), max_size=3),
    },
)
CALLS = st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS), max_size=3)


class Ending(NamedTuple):
    """The end of a reply, and whether its last call is truncated."""

    choice: dict[str, Any]
    tokens: int
    is_truncated: bool


ENDINGS = st.sampled_from(
    [
        Ending({"finish_reason": "tool_calls", "stop_reason": 50}, 10, is_truncated=False),
        Ending({"finish_reason": "stop", "stop_reason": 106}, LIMIT, is_truncated=False),
        Ending({"finish_reason": "tool_calls", "stop_reason": None}, 10, is_truncated=False),
        Ending({"finish_reason": "tool_calls", "stop_reason": None}, LIMIT, is_truncated=True),
        Ending({"finish_reason": "tool_calls", "stop_reason": "END"}, 10, is_truncated=True),
        Ending({"finish_reason": "length"}, 10, is_truncated=True),
    ]
)
LLM = make_replay_model(SERVICE := ReplayService({}, [])).bind_tools(TOOLS).bind(max_tokens=LIMIT)


class Pieces(NamedTuple):
    """How a server sends tool calls in a stream.

    Attributes:
        sizes: The lengths of the pieces of arguments.
        indexed: Whether the calls have indexes.
        ids: Whether calls have no id, one id, the same id on each piece, or a new id on each piece.
        names_repeat: Whether each piece repeats the name.
    """

    sizes: list[int]
    indexed: bool
    ids: str
    names_repeat: bool


PIECES = st.builds(
    Pieces,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(["none", "once", "each", "changing", "null"]),
    st.booleans(),
)


def set_reply(calls: Sequence[tuple[str, dict[str, Any]]], ending: Ending, pieces: Pieces) -> None:
    """Make the service answer with these calls."""
    usage = {"prompt_tokens": 5, "completion_tokens": ending.tokens, "total_tokens": 5 + ending.tokens}
    whole = [
        {"id": f"c{index}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (name, arguments) in enumerate(calls)
    ]
    message = {"content": "" if calls else "Hi", "tool_calls": whole}
    SERVICE.whole = {"choices": [{"message": message, **ending.choice}], "usage": usage}
    deltas = [delta for index, call in enumerate(calls) for delta in _make_deltas(index, *call, pieces)] or [
        {"content": "Hi"}
    ]
    SERVICE.events = [
        *({"choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, **ending.choice}]},
        {"choices": [], "usage": usage},
    ]


def _make_deltas(index: int, name: str, arguments: dict[str, Any], pieces: Pieces) -> list[dict[str, Any]]:
    text = json.dumps(arguments)
    parts = [""]
    while text:
        size = pieces.sizes[len(parts) % len(pieces.sizes)]
        parts.append(text[:size])
        text = text[size:]
    deltas = []
    for number, part in enumerate(parts):
        ids = {
            "once": f"c{index}" if number == 0 else None,
            "each": f"c{index}",
            "changing": f"c{index}-{number}",
            "null": "null",
        }
        piece: dict[str, Any] = {"function": {"name": name, "arguments": part}}
        if number and not pieces.names_repeat:
            piece["function"]["name"] = None
        if pieces.indexed:
            piece["index"] = index
        if pieces.ids in ids:
            piece["id"] = ids[pieces.ids]
        deltas.append({"tool_calls": [piece]})
    return deltas


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS, ENDINGS, PIECES)
def test_exactly_the_finished_calls_are_valid(
    calls: list[tuple[str, dict[str, Any]]], ending: Ending, pieces: Pieces
) -> None:
    if not calls:  # a reply with finish_reason="tool_calls" and no calls would be requested again
        ending = ending._replace(choice={**ending.choice, "finish_reason": "stop"})
    set_reply(calls, ending, pieces)
    whole, streamed = collect_message(LLM, streamed=False), collect_message(LLM, streamed=True)
    assert get_tool_calls(whole) == (calls[:-1] if ending.is_truncated else calls)
    assert len(whole.invalid_tool_calls) == (ending.is_truncated and bool(calls))
    assert summarize_message(streamed) == summarize_message(whole)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS, PIECES, st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 100))
def test_a_stream_that_ends_anywhere_has_only_finished_calls(
    calls: list[tuple[str, dict[str, Any]]], pieces: Pieces, cuts: list[int], kept_percent: int
) -> None:
    set_reply(calls, Ending({"finish_reason": "length"}, LIMIT, is_truncated=True), pieces)
    sent = SERVICE.events[:-2][: kept_percent * len(SERVICE.events) // 100]
    events = [*sent, *SERVICE.events[-2:]]
    SERVICE.split = lambda _events: _split_at(b"".join([*map(encode_packet, events), encode_packet("[DONE]")]), cuts)
    try:
        message = collect_message(LLM, streamed=True)
    finally:
        SERVICE.split = ReplayService({}, []).split
    started_calls = len(
        {delta["tool_calls"][0]["index"] for delta in _select_call_deltas(sent)} if pieces.indexed else ()
    )
    valid_calls = get_tool_calls(message)
    assert valid_calls == calls[: len(valid_calls)]
    assert not pieces.indexed or len(valid_calls) == max(0, started_calls - 1)


TRUNCATED_ENDINGS = st.sampled_from(
    [
        Ending({"finish_reason": "tool_calls", "stop_reason": None}, LIMIT, is_truncated=True),
        Ending({"finish_reason": "tool_calls", "stop_reason": "END"}, 10, is_truncated=True),
        Ending({"finish_reason": "length", "stop_reason": None}, 10, is_truncated=True),
        Ending({"finish_reason": "stop", "stop_reason": None}, LIMIT + 1, is_truncated=True),
    ]
)


def _truncate_call(name: str, arguments: dict[str, Any], length: int) -> tuple[str, dict[str, Any]] | None:
    """Return the call that an engine returns for a call that was truncated to a length (docs/wire.md section 10)."""
    text = name + json.dumps(arguments)
    if length <= len(name):
        return (text[:length], {}) if length else None
    return name, parse_partial_json(text[len(name) : length])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS.filter(bool), TRUNCATED_ENDINGS, PIECES, st.integers(0, 200), st.booleans())
def test_a_call_closed_by_an_engine_is_not_valid_and_earlier_calls_are(
    calls: list[tuple[str, dict[str, Any]]], ending: Ending, pieces: Pieces, length: int, text_before: bool
) -> None:
    name, arguments = calls[-1]
    closed = _truncate_call(name, arguments, length % (len(name) + len(json.dumps(arguments)) + 1))
    sent = calls[:-1] if closed is None else [*calls[:-1], closed]
    if closed is None and sent:  # nothing of the call has arrived, and the one before it may be the one that was cut
        calls = sent
    set_reply(sent, ending, pieces if closed is None or closed[0] in NAMES else pieces._replace(names_repeat=False))
    if text_before:
        SERVICE.events.insert(0, {"choices": [{"index": 0, "delta": {"content": "Sure."}}]})
        SERVICE.whole["choices"][0]["message"]["content"] = "Sure."
    if not sent:
        return
    for streamed in (False, True):
        assert get_tool_calls(collect_message(LLM, streamed=streamed)) == calls[:-1]


def _select_call_deltas(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    deltas = [event["choices"][0]["delta"] for event in events]
    return [delta for delta in deltas if "tool_calls" in delta]


def _split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({*(cut % len(data) for cut in cuts), len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
