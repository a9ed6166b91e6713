"""The replies of a batch: each becomes the message that `invoke` would return, at the place of its input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_workers_gemma import InternalServerError
from tests.helpers.mock_service import MockService, make_completion, make_usage
from tests.helpers.model_calls import SEA_LION, WEATHER_TOOL, make_model, summarize_message
from tests.helpers.queue_calls import (
    JOB,
    fetch_batch,
    make_finished_result,
    make_item,
    make_queued_result,
    make_reply,
    queue_batch,
)

pytestmark = pytest.mark.usefixtures("sleeps")

# --- Replies ----------------------------------------------------------------------------------------------------------

RESULTS: list[Any] = [
    {"response": "text", "usage": make_usage(7, 3)},
    {"response": {"a": 1}},
    make_completion("text", reasoning_content="thought", usage=make_usage(7, 3, neurons=1.5)),
    make_completion("cut", finish_reason="length", usage=make_usage(7, 3)),
    {
        "response": None,
        "tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}],
        "usage": make_usage(7, 3),
    },
    make_completion(
        "",
        finish_reason="tool_calls",
        tool_calls=[
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome'}},
        ],
    ),
    make_completion('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'),
    make_completion("one STOP two", usage=make_usage(7, 3)),
    {"choices": [{"text": "completion", "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: json.dumps(result)[:60])
def test_messages_equal_those_of_invoke(service: MockService, call_method: str, result: Any) -> None:
    bound = make_model(model=SEA_LION).bind_tools([WEATHER_TOOL]).bind(stop=["STOP"])
    service.respond_with_results(result, make_queued_result(), make_finished_result(make_item(0, result)))
    single = bound.invoke("Hello")
    (message,) = queue_batch(bound, call_method, ["Hello"])
    assert summarize_message(message) == summarize_message(single)
    assert message.content == single.content
    assert [call["name"] for call in message.tool_calls] == [call["name"] for call in single.tool_calls]
    assert message.response_metadata["request_id"] == "batch-1"


def test_output_version_v1_is_applied(service: MockService) -> None:
    service.respond_with_results(
        make_reply("text"), make_queued_result(), make_finished_result(make_item(0, make_reply("text")))
    )
    llm = make_model(output_version="v1")
    single = llm.invoke("Hello")
    (message,) = llm.queue_batch(["Hello"])
    assert message.content == single.content == [{"type": "text", "text": "text"}]
    assert message.response_metadata["output_version"] == "v1"


def test_message_and_call_ids_are_unique(service: MockService) -> None:
    call = {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    native = {"tool_calls": [{"id": "call_0", "name": "get_weather", "arguments": {}}]}
    service.respond_with_results(
        make_queued_result(),
        make_finished_result(make_item(0, make_completion("", tool_calls=[call, call])), make_item(1, native)),
    )
    history = [
        HumanMessage("Weather?"),
        AIMessage("", tool_calls=[{"name": "get_weather", "args": {}, "id": "call_0"}]),
        ToolMessage("sunny", tool_call_id="call_0"),
    ]
    messages = make_model().bind_tools([WEATHER_TOOL]).queue_batch([history, history])  # type: ignore[attr-defined]
    ids = [call["id"] for message in messages for call in message.tool_calls]
    assert len(ids) >= 2
    assert len({"call_0", *ids}) == len(ids) + 1
    assert [message.id for message in messages] == ["batch-1-0", "batch-1-1"]


@pytest.mark.parametrize("ids", [[1, 0], ["1", "0"]])
def test_replies_are_matched_to_inputs_by_id(service: MockService, call_method: str, ids: list[Any]) -> None:
    service.respond_with_results(
        make_queued_result(),
        make_finished_result(make_item(ids[0], make_reply("second")), make_item(ids[1], make_reply("first"))),
    )
    assert [message.text for message in queue_batch(make_model(), call_method, ["1", "2"])] == ["first", "second"]


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([], "the reply to input 0 is missing"),
        (None, "the reply to input 0 is missing"),
        ([make_item(0, make_reply("a")), make_item(0, make_reply("b"))], "two replies of the batch have the id 0"),
        ([make_item(0, make_reply("a")), make_item(2, make_reply("b"))], "has no id, or an id that no input has"),
        ([make_item(0, make_reply("a")), make_item(-1, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), make_item(None, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), make_item(True, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), "b"], "has no id"),
    ],
)
def test_missing_and_duplicate_replies_raise(
    service: MockService, call_method: str, responses: Any, message: str
) -> None:
    service.respond_with_results({"responses": responses})
    with pytest.raises(InternalServerError, match=message) as caught:
        fetch_batch(make_model(), call_method, JOB, return_exceptions=True)
    assert JOB.to_json() in caught.value.__notes__[0]


# --- Partial results --------------------------------------------------------------------------------------------------


def test_a_missing_reply_fails_only_its_input(service: MockService, call_method: str) -> None:
    service.respond_with_results(
        make_queued_result(), make_finished_result(make_item(0, make_reply("one")), make_item(2, make_reply("three")))
    )
    first, second, third = queue_batch(make_model(), call_method, ["a", "b", "c"], return_exceptions=True)
    assert (first.text, third.text) == ("one", "three")
    assert isinstance(second, InternalServerError)
    assert "the reply to input 1 is missing" in str(second)
