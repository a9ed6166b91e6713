"""A reply with finish reason `tool_calls` but no call is requested again without `stream` (docs/wire.md section 10)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.helpers.model_calls import get_tool_calls
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    make_replay_model,
)

pytestmark = pytest.mark.lowest

NOW = {
    "type": "function",
    "function": {"name": "now", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def make_whole_reply(message: dict[str, Any], finish_reason: str = "tool_calls") -> dict[str, Any]:
    """Return a whole reply with a message."""
    return {"choices": [{"message": {"content": None, **message}, "finish_reason": finish_reason}], "usage": USAGE}


def make_stream(*deltas: dict[str, Any], finish_reason: str = "tool_calls", **ending: Any) -> list[Any]:
    """Return the events of a stream with these deltas."""
    return [
        *({"choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason, **ending}]},
        {"choices": [], "usage": USAGE},
    ]


def test_a_stream_without_its_calls_is_requested_without_stream() -> None:
    service = ReplayService(make_whole_reply({"tool_calls": [CALL]}), make_stream())
    message = collect_message(make_replay_model(service).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert [request.get("stream") for request in service.requests] == [True, None]
    assert message.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


@pytest.mark.parametrize("text", ["Sure.", "Sure. ", "Sure.\n"])
def test_streamed_text_is_not_repeated(text: str) -> None:
    service = ReplayService(
        make_whole_reply({"content": "Sure.", "reasoning": "hm", "tool_calls": [CALL]}),
        make_stream({"reasoning": "hm"}, {"content": text}),
    )
    message = collect_message(make_replay_model(service).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == text
    assert message.additional_kwargs["reasoning_content"] == "hm"


def test_calls_in_the_text_of_the_whole_reply_are_parsed() -> None:
    text = "Sure.<|tool_call>call:now{}<tool_call|>"
    service = ReplayService(make_whole_reply({"content": text}, "stop"), make_stream({"content": "Sure."}))
    message = collect_message(make_replay_model(service).bind_tools([NOW]), streamed=True)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == "Sure."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_missing_calls_are_requested_again_only_once(*, streamed: bool) -> None:
    service = ReplayService(make_whole_reply({"content": "Well.", "tool_calls": []}), make_stream({"content": "Well."}))
    message = collect_message(make_replay_model(service).bind_tools([NOW]), streamed=streamed)
    assert message.content == "Well."
    assert not message.tool_calls
    assert not message.invalid_tool_calls
    assert len(service.requests) == 2
    assert message.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


def test_a_whole_reply_without_its_calls_is_requested_again() -> None:
    replies = [
        make_whole_reply({"content": "Sure.", "tool_calls": []}),
        make_whole_reply({"content": "Sure.", "tool_calls": [CALL]}),
    ]
    service = ReplayService({}, [])

    def respond(request: httpx.Request) -> httpx.Response:
        service.whole = replies[len(service.requests)]
        return service(request)

    llm = make_replay_model(service, http_client=httpx.Client(transport=httpx.MockTransport(respond)))
    message = collect_message(llm.bind_tools([NOW]), streamed=False)
    assert get_tool_calls(message) == [("now", {})]
    assert message.content == "Sure."


@pytest.mark.parametrize(
    "events",
    [
        make_stream({"tool_calls": [{"index": 0, **CALL}]}),
        make_stream({"content": "Hi"}, finish_reason="stop"),
        make_stream(stop_reason="END"),
        make_stream(finish_reason="length"),
    ],
    ids=["has calls", "has another finish reason", "truncated by a stop sequence", "truncated by the limit"],
)
def test_other_replies_are_not_requested_again(events: list[Any]) -> None:
    service = ReplayService(make_whole_reply({"tool_calls": [CALL]}), events)
    collect_message(make_replay_model(service).bind_tools([NOW]), streamed=True)
    assert len(service.requests) == 1


def test_a_reply_with_tool_choice_none_is_not_requested_again() -> None:
    service = ReplayService(make_whole_reply({"tool_calls": [CALL]}), make_stream({"content": "Hi"}))
    assert (
        collect_message(make_replay_model(service).bind_tools([NOW], tool_choice="none"), streamed=True).content == "Hi"
    )
    assert len(service.requests) == 1


def test_a_reply_without_bound_tools_is_not_requested_again() -> None:
    service = ReplayService(make_whole_reply({}), make_stream({"content": "Hi"}))
    assert collect_message(make_replay_model(service), streamed=True).content == "Hi"
    assert len(service.requests) == 1
