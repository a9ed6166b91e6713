"""A reply with the finish reason `tool_calls` and no call is requested once more, whole (docs/wire.md section 10)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    get_tool_calls,
    make_replay_model,
)

pytestmark = pytest.mark.lowest

NOW = {
    "type": "function",
    "function": {"name": "now", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def whole(message: dict[str, Any], finish_reason: str = "tool_calls") -> dict[str, Any]:
    return {"choices": [{"message": {"content": None, **message}, "finish_reason": finish_reason}], "usage": USAGE}


def stream(*deltas: dict[str, Any], finish_reason: str = "tool_calls", **ending: Any) -> list[Any]:
    return [
        *({"choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason, **ending}]},
        {"choices": [], "usage": USAGE},
    ]


def test_a_stream_without_its_calls_is_requested_without_stream() -> None:
    player = ReplayService(whole({"tool_calls": [CALL]}), stream())
    message = collect_message(make_replay_model(player).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert [request.get("stream") for request in player.requests] == [True, None]
    assert message.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


@pytest.mark.parametrize("said", ["Sure.", "Sure. ", "Sure.\n"])
def test_what_was_streamed_is_not_repeated(said: str) -> None:
    player = ReplayService(
        whole({"content": "Sure.", "reasoning": "hm", "tool_calls": [CALL]}),
        stream({"reasoning": "hm"}, {"content": said}),
    )
    message = collect_message(make_replay_model(player).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == said
    assert message.additional_kwargs["reasoning_content"] == "hm"


def test_calls_that_the_whole_reply_has_as_text_are_read() -> None:
    text = "Sure.<|tool_call>call:now{}<tool_call|>"
    player = ReplayService(whole({"content": text}, "stop"), stream({"content": "Sure."}))
    message = collect_message(make_replay_model(player).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == "Sure."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_it_is_requested_once(*, streamed: bool) -> None:
    player = ReplayService(whole({"content": "Well.", "tool_calls": []}), stream({"content": "Well."}))
    message = collect_message(make_replay_model(player).bind_tools([NOW]), streamed=streamed)
    assert message.content == "Well."
    assert not message.tool_calls
    assert not message.invalid_tool_calls
    assert len(player.requests) == 2
    assert message.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


def test_a_whole_reply_without_its_calls_is_requested_again() -> None:
    replies = [whole({"content": "Sure.", "tool_calls": []}), whole({"content": "Sure.", "tool_calls": [CALL]})]
    player = ReplayService({}, [])

    def answer(request: httpx.Request) -> httpx.Response:
        player.whole = replies[len(player.requests)]
        return player(request)

    llm = make_replay_model(player, http_client=httpx.Client(transport=httpx.MockTransport(answer)))
    message = collect_message(llm.bind_tools([NOW]), streamed=False)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == "Sure."


@pytest.mark.parametrize(
    "events",
    [
        stream({"tool_calls": [{"index": 0, **CALL}]}),
        stream({"content": "Hi"}, finish_reason="stop"),
        stream(stop_reason="END"),
        stream(finish_reason="length"),
    ],
    ids=["it has calls", "it claims none", "a stop sequence cut it", "the limit cut it"],
)
def test_nothing_else_is_requested_again(events: list[Any]) -> None:
    player = ReplayService(whole({"tool_calls": [CALL]}), events)
    collect_message(make_replay_model(player).bind_tools([NOW]), streamed=True)
    assert len(player.requests) == 1


def test_a_reply_to_a_request_that_forbids_calls_is_taken_as_it_is() -> None:
    player = ReplayService(whole({"tool_calls": [CALL]}), stream({"content": "Hi"}))
    assert (
        collect_message(make_replay_model(player).bind_tools([NOW], tool_choice="none"), streamed=True).content == "Hi"
    )
    assert len(player.requests) == 1


def test_a_reply_without_bound_tools_is_taken_as_it_is() -> None:
    player = ReplayService(whole({}), stream({"content": "Hi"}))
    assert collect_message(make_replay_model(player), streamed=True).content == "Hi"
    assert len(player.requests) == 1
