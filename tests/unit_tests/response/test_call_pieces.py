"""Pieces of streamed tool calls: which call each belongs to, whatever a server's indexes, ids and names do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    get_tool_calls,
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


def piece(name: str | None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    return {**more, "function": {"name": name, "arguments": arguments}}


def events(*deltas: list[dict[str, Any]], finish_reason: str = "tool_calls") -> list[Any]:
    """A stream with these lists of pieces."""
    return [
        *({"choices": [{"index": 0, "delta": {"tool_calls": pieces}}]} for pieces in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}},
    ]


ONE = [("weather", {"city": "Rome"})]
TWO = [*ONE, ("weather", {"city": "Oslo"})]
BOTH = [*ONE, ("now", {})]

STREAMS: dict[str, tuple[list[list[dict[str, Any]]], list[Any]]] = {
    "the word null for an id (langchainjs#11373)": (
        [
            [piece("weather", index=0, id="a")],
            [piece(None, '{"city":', index=0, id="null")],
            [piece(None, '"Rome"}', index=0, id="null")],
        ],
        ONE,
    ),
    "a new id on every piece": (
        [
            [piece("weather", index=0, id="a")],
            [piece(None, '{"city":', index=0, id="b")],
            [piece(None, '"Rome"}', index=0, id="c")],
        ],
        ONE,
    ),
    "a new id on every piece, without an index": (
        [[piece("weather", id="a")], [piece(None, '{"city":', id="b")], [piece(None, '"Rome"}', id="c")]],
        ONE,
    ),
    "a new id and the name on every piece": (
        [
            [piece("weather", index=0, id="a")],
            [piece("weather", '{"city":', index=0, id="b")],
            [piece("weather", '"Rome"}', index=0, id="c")],
        ],
        ONE,
    ),
    "the name on every piece, without ids": (
        [[piece("weather")], [piece("weather", '{"city":')], [piece("weather", '"Rome"}')]],
        ONE,
    ),
    "the name once more behind the arguments": (
        [[piece("weather", ROME, index=0, id="a")], [piece("weather", index=0, id="a")], [piece("weather", index=0)]],
        ONE,
    ),
    "the name once more, then another call": (
        [
            [piece("weather", ROME, index=0, id="a")],
            [piece("weather", "", index=0)],
            [piece("weather", index=1, id="b")],
            [piece(None, OSLO, index=1)],
            [piece("weather", "", index=1)],
        ],
        TWO,
    ),
    "one index for two calls of one name, in pieces": (
        [[piece("weather", index=0)], [piece(None, ROME, index=0)]] * 2,
        [*ONE, *ONE],
    ),
    "a new id for a call without arguments": (
        [[piece("now", "{}", index=0, id="a")], [piece("now", index=0, id="b")]],
        [("now", {}), ("now", {})],
    ),
    "one index, no ids, two whole calls (smolagents#1569)": (
        [[piece("weather", ROME, index=0)], [piece("weather", OSLO, index=0)]],
        TWO,
    ),
    "one index, one id, two whole calls": (
        [[piece("weather", ROME, index=0, id="a")], [piece("weather", OSLO, index=0, id="a")]],
        TWO,
    ),
    "one index for two calls in pieces": (
        [
            [piece("weather", '{"city":', index=0, id="a")],
            [piece(None, '"Rome"}', index=0)],
            [piece("weather", '{"city":', index=0, id="b")],
            [piece(None, '"Oslo"}', index=0)],
        ],
        TWO,
    ),
    "one index for two tools": ([[piece("weather", ROME, index=0)], [piece("now", "{}", index=0)]], BOTH),
    "one id for two tools": (
        [[piece("weather", ROME, index=0, id="a")], [piece("now", "{}", index=1, id="a")]],
        BOTH,
    ),
    "one id for two tools, without an index": ([[piece("weather", ROME, id="a")], [piece("now", "{}", id="a")]], BOTH),
    "two calls in one event, without anything": ([[piece("weather", ROME), piece("weather", OSLO)]], TWO),
    "two calls in turns": (
        [
            [piece("weather", '{"city":', index=0, id="a")],
            [piece("weather", '{"city":', index=1, id="b")],
            [piece(None, '"Rome"}', index=0)],
            [piece(None, '"Oslo"}', index=1)],
        ],
        TWO,
    ),
    "the arguments under an index that no call has": (
        [[piece("weather", index=0, id="a")], [piece(None, ROME, index=1)]],
        ONE,
    ),
    "the arguments under an index that no call has, but the call's id": (
        [
            [piece("weather", index=0, id="a")],
            [piece("now", "{}", index=1, id="b")],
            [piece(None, ROME, index=7, id="a")],
        ],
        BOTH,
    ),
    "the name after the id": ([[piece(None, index=0, id="a")], [piece("weather", ROME, index=0)]], ONE),
    "an object behind an empty text": (
        [[piece("weather", index=0)], [piece("weather", {"city": "Rome"}, index=0)]],
        ONE,
    ),
    "objects": ([[piece("weather", {"city": "Rome"})], [piece("weather", {"city": "Oslo"})]], TWO),
    "a finaliser": ([[piece("weather", ROME, index=0, id="a")], [piece(None, id=None, type=None)]], ONE),
    "a namespace (wire.md section 10)": ([[piece("default_api.weather", ROME, index=0)]], ONE),
    "a namespace of colons (mlx-vlm#1379)": ([[piece("google:mcp:weather", ROME, index=0)]], ONE),
}


@pytest.mark.parametrize("case", STREAMS)
def test_pieces_are_merged(case: str) -> None:
    deltas, expected = STREAMS[case]
    message = collect_message(make_replay_model(ReplayService({}, events(*deltas))).bind_tools(TOOLS), streamed=True)
    assert get_tool_calls(message) == expected
    assert message.invalid_tool_calls == []
    assert len({call["id"] for call in message.tool_calls}) == len(expected)


ORPHANS: dict[str, list[list[dict[str, Any]]]] = {
    "arguments in a reply without a name": [[piece(None, ROME, index=0, id="a")]],
    "more behind complete arguments": [[piece("weather", ROME, index=0, id="a")], [piece(None, OSLO, index=0)]],
    "a second name within arguments": [[piece("weather", '{"city":', index=0)], [piece("now", ROME, index=0)]],
}


@pytest.mark.parametrize("case", ORPHANS)
def test_no_call_runs_with_arguments_that_are_not_its_own(case: str) -> None:
    message = collect_message(
        make_replay_model(ReplayService({}, events(*ORPHANS[case]))).bind_tools(TOOLS), streamed=True
    )
    assert [call for call in get_tool_calls(message) if call[0] == "weather"] == []
    assert message.invalid_tool_calls


def test_each_call_of_a_whole_reply_is_separate() -> None:
    calls = [piece("now"), piece("now"), piece("weather", ROME, index=0), piece("weather", OSLO, index=0)]
    whole = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    message = collect_message(make_replay_model(ReplayService(whole, [])).bind_tools(TOOLS), streamed=False)
    assert get_tool_calls(message) == [("now", {}), ("now", {}), *TWO]


def test_pieces_are_read_in_linear_time() -> None:
    """A name on each of 2,000 pieces: whether the call is complete is checked at each of them."""
    city = "x" * 2_000
    deltas = [[piece("weather", '{"city":"', index=0)], *([piece("weather", "x", index=0)] for _ in city)]
    message = collect_message(
        make_replay_model(ReplayService({}, events(*deltas, [piece("weather", '"}', index=0)]))).bind_tools(TOOLS),
        streamed=True,
    )
    assert get_tool_calls(message) == [("weather", {"city": city})]
