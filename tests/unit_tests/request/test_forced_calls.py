"""Forced choices of a tool: they end in a call, or in a `ToolChoiceError`."""

from __future__ import annotations

import httpx
import pytest
import respx

from langchain_workers_gemma import ToolChoiceError
from tests.helpers.model_calls import GEMMA_3, GEMMA_7B, call_model, get_tool_calls, make_model
from tests.helpers.tool_replies import get_schema, get_sent_input, get_weather, make_call, make_reply, plain

pytestmark = pytest.mark.lowest


@pytest.mark.parametrize("choice", ["any", "plain"])
def test_a_missing_forced_call_of_gemma_4_is_requested_again_with_a_constraint(
    route: respx.Route, call_method: str, choice: str
) -> None:
    """cloudflare/ai#561."""
    route.side_effect = [
        make_reply(call_method, "I would rather talk."),
        make_reply(call_method, '{"name": "plain", "arguments": {"x": 5}}'),
    ]
    message = call_model(make_model().bind_tools([plain], tool_choice=choice), call_method, "hi")
    assert get_tool_calls(message) == [("plain", {"x": 5})]
    assert message.content == ""
    assert route.call_count == 2
    second_request = get_sent_input(route)
    assert "tools" not in second_request
    assert get_schema(second_request)["properties"]["name"]["enum"] == ["plain"]


def test_a_forced_call_that_is_missing_twice_raises(route: respx.Route, call_method: str) -> None:
    route.side_effect = [make_reply(call_method, "No."), make_reply(call_method, "Still no.")]
    with pytest.raises(ToolChoiceError, match=r"requires a call to plain.*Still no"):
        call_model(make_model().bind_tools([plain], tool_choice="any"), call_method, "hi")
    assert route.call_count == 2


def test_an_empty_reply_to_a_forced_choice_is_requested_again(route: respx.Route, call_method: str) -> None:
    route.side_effect = [
        make_reply(call_method, ""),
        make_reply(call_method, '{"name": "plain", "arguments": {"x": 5}}'),
    ]
    assert get_tool_calls(call_model(make_model().bind_tools([plain], tool_choice="any"), call_method, "hi")) == [
        ("plain", {"x": 5})
    ]


def test_a_call_of_another_tool_does_not_satisfy_a_named_choice(route: respx.Route, call_method: str) -> None:
    other = make_reply(call_method, calls=[make_call("get_weather", {"city": "Rome"})])
    route.side_effect = [other, make_reply(call_method, '{"name": "plain", "arguments": {"x": 5}}')]
    llm = make_model().bind_tools([plain, get_weather], tool_choice="plain")
    assert get_tool_calls(call_model(llm, call_method, "hi")) == [("plain", {"x": 5})]


def test_a_truncated_forced_call_raises_an_error_that_names_max_tokens(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, calls=[make_call("plain", '{"x": 1')], finish="length")
    with pytest.raises(ToolChoiceError, match="max_tokens"):
        call_model(make_model().bind_tools([plain], tool_choice="any"), call_method, "hi")


def test_text_before_a_forced_call_is_kept(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, "Well. ", [make_call("plain", {"x": 1})])
    message = call_model(make_model().bind_tools([plain], tool_choice="any"), call_method, "hi")
    assert message.content == "Well. "
    assert get_tool_calls(message) == [("plain", {"x": 1})]


@pytest.mark.parametrize("name", [GEMMA_3, GEMMA_7B])
@pytest.mark.parametrize("choice", ["any", "plain"])
def test_a_forced_choice_is_a_constraint_for_models_without_tool_choice(
    route: respx.Route, call_method: str, name: str, choice: str
) -> None:
    route.return_value = make_reply(call_method, '{"name": "plain", "arguments": {"x": 5}}')
    message = call_model(make_model(model=name).bind_tools([plain, get_weather], tool_choice=choice), call_method, "hi")
    assert get_tool_calls(message) == [("plain", {"x": 5})]
    body = get_sent_input(route)
    assert "tools" not in body
    assert ("anyOf" in get_schema(body)) == (choice == "any")


def test_a_missing_forced_call_raises_where_no_constraint_is_available(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, "Prose.")
    llm = make_model(model="google/gemma-3-27b-it", host="aimlapi").bind_tools([plain], tool_choice="any")
    with pytest.raises(ToolChoiceError):
        call_model(llm, call_method, "hi")
    assert "You MUST invoke a function now." in get_sent_input(route)["messages"][0]["content"]


def test_usage_of_both_requests_is_added(route: respx.Route) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    first = {"choices": [{"message": {"content": "No."}, "finish_reason": "stop"}], "usage": usage}
    call_text = '{"name": "plain", "arguments": {"x": 5}}'
    second = {"choices": [{"message": {"content": call_text}, "finish_reason": "stop"}], "usage": usage}
    route.side_effect = [httpx.Response(200, json=first), httpx.Response(200, json=second)]
    message = make_model().bind_tools([plain], tool_choice="any").invoke("hi")
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 30


def test_a_forced_choice_sends_enough_max_tokens_for_the_call(route: respx.Route) -> None:
    """docs/wire.md section 6: forcing with too small a max_tokens is an 8006 error."""
    route.return_value = make_reply("invoke", calls=[make_call("plain", {"x": 1})])
    make_model().bind_tools([plain], tool_choice="any").invoke("hi")
    assert get_sent_input(route)["max_tokens"] > 256
    make_model(max_tokens=300).bind_tools([plain], tool_choice="any").invoke("hi")
    assert get_sent_input(route)["max_tokens"] == 300
