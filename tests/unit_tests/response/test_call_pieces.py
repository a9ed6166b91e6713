"""Pieces of streamed tool calls are assigned to the right call, for all uses of indexes, ids and names by servers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.mock_service import make_tool_call
from tests.helpers.model_calls import get_tool_calls
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    make_replay_model,
)

pytestmark = pytest.mark.lowest

TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}
    for name, parameters in {
        "weather": {"type": "object", "properties": {"city": {"type": "string"}}},
        "now": {"type": "object", "properties": {}},
    }.items()
]

ROME, OSLO = '{"city":"Rome"}', '{"city":"Oslo"}'


def make_events(*deltas: list[dict[str, Any]], finish_reason: str = "tool_calls") -> list[Any]:
    """Return the events of a stream with these lists of pieces."""
    return [
        *({"choices": [{"index": 0, "delta": {"tool_calls": pieces}}]} for pieces in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}},
    ]


ROME_CALL = [("weather", {"city": "Rome"})]
ROME_AND_OSLO = [*ROME_CALL, ("weather", {"city": "Oslo"})]
ROME_AND_NOW = [*ROME_CALL, ("now", {})]

STREAMS: dict[str, tuple[list[list[dict[str, Any]]], list[Any]]] = {
    "the word null for an id (langchainjs#11373)": (
        [
            [make_tool_call("weather", index=0, id="a")],
            [make_tool_call(None, '{"city":', index=0, id="null")],
            [make_tool_call(None, '"Rome"}', index=0, id="null")],
        ],
        ROME_CALL,
    ),
    "a new id on every piece": (
        [
            [make_tool_call("weather", index=0, id="a")],
            [make_tool_call(None, '{"city":', index=0, id="b")],
            [make_tool_call(None, '"Rome"}', index=0, id="c")],
        ],
        ROME_CALL,
    ),
    "a new id on every piece, without an index": (
        [
            [make_tool_call("weather", id="a")],
            [make_tool_call(None, '{"city":', id="b")],
            [make_tool_call(None, '"Rome"}', id="c")],
        ],
        ROME_CALL,
    ),
    "a new id and the name on every piece": (
        [
            [make_tool_call("weather", index=0, id="a")],
            [make_tool_call("weather", '{"city":', index=0, id="b")],
            [make_tool_call("weather", '"Rome"}', index=0, id="c")],
        ],
        ROME_CALL,
    ),
    "the name on every piece, without ids": (
        [[make_tool_call("weather")], [make_tool_call("weather", '{"city":')], [make_tool_call("weather", '"Rome"}')]],
        ROME_CALL,
    ),
    "the name once more after the arguments": (
        [
            [make_tool_call("weather", ROME, index=0, id="a")],
            [make_tool_call("weather", index=0, id="a")],
            [make_tool_call("weather", index=0)],
        ],
        ROME_CALL,
    ),
    "the name once more, then another call": (
        [
            [make_tool_call("weather", ROME, index=0, id="a")],
            [make_tool_call("weather", "", index=0)],
            [make_tool_call("weather", index=1, id="b")],
            [make_tool_call(None, OSLO, index=1)],
            [make_tool_call("weather", "", index=1)],
        ],
        ROME_AND_OSLO,
    ),
    "one index for two calls of one name, in pieces": (
        [[make_tool_call("weather", index=0)], [make_tool_call(None, ROME, index=0)]] * 2,
        [*ROME_CALL, *ROME_CALL],
    ),
    "a new id for a call without arguments": (
        [[make_tool_call("now", "{}", index=0, id="a")], [make_tool_call("now", index=0, id="b")]],
        [("now", {}), ("now", {})],
    ),
    "one index, no ids, two whole calls (smolagents#1569)": (
        [[make_tool_call("weather", ROME, index=0)], [make_tool_call("weather", OSLO, index=0)]],
        ROME_AND_OSLO,
    ),
    "one index, one id, two whole calls": (
        [[make_tool_call("weather", ROME, index=0, id="a")], [make_tool_call("weather", OSLO, index=0, id="a")]],
        ROME_AND_OSLO,
    ),
    "one index for two calls in pieces": (
        [
            [make_tool_call("weather", '{"city":', index=0, id="a")],
            [make_tool_call(None, '"Rome"}', index=0)],
            [make_tool_call("weather", '{"city":', index=0, id="b")],
            [make_tool_call(None, '"Oslo"}', index=0)],
        ],
        ROME_AND_OSLO,
    ),
    "one index for two tools": (
        [[make_tool_call("weather", ROME, index=0)], [make_tool_call("now", "{}", index=0)]],
        ROME_AND_NOW,
    ),
    "one id for two tools": (
        [[make_tool_call("weather", ROME, index=0, id="a")], [make_tool_call("now", "{}", index=1, id="a")]],
        ROME_AND_NOW,
    ),
    "one id for two tools, without an index": (
        [[make_tool_call("weather", ROME, id="a")], [make_tool_call("now", "{}", id="a")]],
        ROME_AND_NOW,
    ),
    "two calls in one event, without indexes and ids": (
        [[make_tool_call("weather", ROME), make_tool_call("weather", OSLO)]],
        ROME_AND_OSLO,
    ),
    "two interleaved calls": (
        [
            [make_tool_call("weather", '{"city":', index=0, id="a")],
            [make_tool_call("weather", '{"city":', index=1, id="b")],
            [make_tool_call(None, '"Rome"}', index=0)],
            [make_tool_call(None, '"Oslo"}', index=1)],
        ],
        ROME_AND_OSLO,
    ),
    "the arguments under an index that no call has": (
        [[make_tool_call("weather", index=0, id="a")], [make_tool_call(None, ROME, index=1)]],
        ROME_CALL,
    ),
    "the arguments under an index that no call has, but the call's id": (
        [
            [make_tool_call("weather", index=0, id="a")],
            [make_tool_call("now", "{}", index=1, id="b")],
            [make_tool_call(None, ROME, index=7, id="a")],
        ],
        ROME_AND_NOW,
    ),
    "the name after the id": (
        [[make_tool_call(None, index=0, id="a")], [make_tool_call("weather", ROME, index=0)]],
        ROME_CALL,
    ),
    "an object after an empty text": (
        [[make_tool_call("weather", index=0)], [make_tool_call("weather", {"city": "Rome"}, index=0)]],
        ROME_CALL,
    ),
    "objects": (
        [[make_tool_call("weather", {"city": "Rome"})], [make_tool_call("weather", {"city": "Oslo"})]],
        ROME_AND_OSLO,
    ),
    "a final empty piece": (
        [[make_tool_call("weather", ROME, index=0, id="a")], [make_tool_call(None, id=None, type=None)]],
        ROME_CALL,
    ),
    "a namespace (docs/wire.md section 10)": ([[make_tool_call("default_api.weather", ROME, index=0)]], ROME_CALL),
    "a namespace of colons (mlx-vlm#1379)": ([[make_tool_call("google:mcp:weather", ROME, index=0)]], ROME_CALL),
}


@pytest.mark.parametrize("case", STREAMS)
def test_pieces_are_assigned_to_their_calls(case: str) -> None:
    deltas, expected = STREAMS[case]
    message = collect_message(
        make_replay_model(ReplayService({}, make_events(*deltas))).bind_tools(TOOLS), streamed=True
    )
    assert get_tool_calls(message) == expected
    assert message.invalid_tool_calls == []
    assert len({call["id"] for call in message.tool_calls}) == len(expected)


CONFLICTING_PIECES: dict[str, list[list[dict[str, Any]]]] = {
    "arguments in a reply without a name": [[make_tool_call(None, ROME, index=0, id="a")]],
    "more text after complete arguments": [
        [make_tool_call("weather", ROME, index=0, id="a")],
        [make_tool_call(None, OSLO, index=0)],
    ],
    "a second name within arguments": [
        [make_tool_call("weather", '{"city":', index=0)],
        [make_tool_call("now", ROME, index=0)],
    ],
}


@pytest.mark.parametrize("case", CONFLICTING_PIECES)
def test_a_call_with_conflicting_pieces_is_invalid(case: str) -> None:
    message = collect_message(
        make_replay_model(ReplayService({}, make_events(*CONFLICTING_PIECES[case]))).bind_tools(TOOLS), streamed=True
    )
    assert [call for call in get_tool_calls(message) if call[0] == "weather"] == []
    assert message.invalid_tool_calls


def test_each_call_of_a_whole_reply_is_separate() -> None:
    calls = [
        make_tool_call("now"),
        make_tool_call("now"),
        make_tool_call("weather", ROME, index=0),
        make_tool_call("weather", OSLO, index=0),
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    message = collect_message(make_replay_model(ReplayService(whole, [])).bind_tools(TOOLS), streamed=False)
    assert get_tool_calls(message) == [("now", {}), ("now", {}), *ROME_AND_OSLO]


def test_a_name_on_every_piece_is_accepted() -> None:
    """Each of 2,000 pieces has a name, so that each of them makes the reader check whether the call is complete."""
    city = "x" * 2_000
    deltas = [
        [make_tool_call("weather", '{"city":"', index=0)],
        *([make_tool_call("weather", "x", index=0)] for _ in city),
    ]
    message = collect_message(
        make_replay_model(
            ReplayService({}, make_events(*deltas, [make_tool_call("weather", '"}', index=0)]))
        ).bind_tools(TOOLS),
        streamed=True,
    )
    assert get_tool_calls(message) == [("weather", {"city": city})]
