"""Any calls, in any pieces, with any ending: no call that was not made, no argument that was not sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.model_calls import summarize_message
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    encode_packet,
    get_tool_calls,
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
    """How a reply ends, and whether that cuts its last call."""

    choice: dict[str, Any]
    tokens: int
    is_cut: bool


ENDINGS = st.sampled_from(
    [
        Ending({"finish_reason": "tool_calls", "stop_reason": 50}, 10, is_cut=False),
        Ending({"finish_reason": "stop", "stop_reason": 106}, LIMIT, is_cut=False),
        Ending({"finish_reason": "tool_calls", "stop_reason": None}, 10, is_cut=False),
        Ending({"finish_reason": "tool_calls", "stop_reason": None}, LIMIT, is_cut=True),
        Ending({"finish_reason": "tool_calls", "stop_reason": "END"}, 10, is_cut=True),
        Ending({"finish_reason": "length"}, 10, is_cut=True),
    ]
)
LLM = make_replay_model(PLAYER := ReplayService({}, [])).bind_tools(TOOLS).bind(max_tokens=LIMIT)


class Pieces(NamedTuple):
    """How a server sends calls in a stream.

    Attributes:
        sizes: How long the pieces of arguments are.
        indexed: Whether it numbers them.
        ids: Whether it sends no id, one id, one on each piece, or a new one on each piece.
        names_repeat: Whether it repeats the name on each piece.
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


def reply(calls: Sequence[tuple[str, dict[str, Any]]], ending: Ending, pieces: Pieces) -> None:
    """Have the player answer with these calls."""
    usage = {"prompt_tokens": 5, "completion_tokens": ending.tokens, "total_tokens": 5 + ending.tokens}
    whole = [
        {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for at, (name, arguments) in enumerate(calls)
    ]
    message = {"content": "" if calls else "Hi", "tool_calls": whole}
    PLAYER.whole = {"choices": [{"message": message, **ending.choice}], "usage": usage}
    deltas = [delta for at, call in enumerate(calls) for delta in _deltas(at, *call, pieces)] or [{"content": "Hi"}]
    PLAYER.events = [
        *({"choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, **ending.choice}]},
        {"choices": [], "usage": usage},
    ]


def _deltas(at: int, name: str, arguments: dict[str, Any], pieces: Pieces) -> list[dict[str, Any]]:
    text = json.dumps(arguments)
    parts = [""]
    while text:
        size = pieces.sizes[len(parts) % len(pieces.sizes)]
        parts.append(text[:size])
        text = text[size:]
    deltas = []
    for number, part in enumerate(parts):
        ids = {
            "once": f"c{at}" if number == 0 else None,
            "each": f"c{at}",
            "changing": f"c{at}-{number}",
            "null": "null",
        }
        piece: dict[str, Any] = {"function": {"name": name, "arguments": part}}
        if number and not pieces.names_repeat:
            piece["function"]["name"] = None
        if pieces.indexed:
            piece["index"] = at
        if pieces.ids in ids:
            piece["id"] = ids[pieces.ids]
        deltas.append({"tool_calls": [piece]})
    return deltas


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS, ENDINGS, PIECES)
def test_exactly_the_calls_that_were_made_are_valid(
    calls: list[tuple[str, dict[str, Any]]], ending: Ending, pieces: Pieces
) -> None:
    if not calls:  # a reply that announces calls and has none would be requested again
        ending = ending._replace(choice={**ending.choice, "finish_reason": "stop"})
    reply(calls, ending, pieces)
    whole, streamed = collect_message(LLM, streamed=False), collect_message(LLM, streamed=True)
    assert get_tool_calls(whole) == (calls[:-1] if ending.is_cut else calls)
    assert len(whole.invalid_tool_calls) == (ending.is_cut and bool(calls))
    assert summarize_message(streamed) == summarize_message(whole)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS, PIECES, st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 100))
def test_a_stream_that_ends_anywhere_runs_no_call_that_was_not_whole(
    calls: list[tuple[str, dict[str, Any]]], pieces: Pieces, cuts: list[int], kept: int
) -> None:
    reply(calls, Ending({"finish_reason": "length"}, LIMIT, is_cut=True), pieces)
    sent = PLAYER.events[:-2][: kept * len(PLAYER.events) // 100]
    events = [*sent, *PLAYER.events[-2:]]
    PLAYER.cut = lambda _events: _cut(b"".join([*map(encode_packet, events), encode_packet("[DONE]")]), cuts)
    try:
        message = collect_message(LLM, streamed=True)
    finally:
        PLAYER.cut = ReplayService({}, []).cut
    begun = len({delta["tool_calls"][0]["index"] for delta in _sent(sent)} if pieces.indexed else ())
    made = get_tool_calls(message)
    assert made == calls[: len(made)]
    assert not pieces.indexed or len(made) == max(0, begun - 1)


def _sent(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    deltas = [event["choices"][0]["delta"] for event in events]
    return [delta for delta in deltas if "tool_calls" in delta]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({*(cut % len(data) for cut in cuts), len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
