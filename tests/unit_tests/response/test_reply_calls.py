"""Tool calls of whole replies, in each form in which services send them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.mock_service import MockService, make_completion
from tests.helpers.model_calls import call_model, get_tool_calls, make_model
from tests.helpers.reply_calls import ALL_CALL_METHODS, get_reply_message

pytestmark = pytest.mark.lowest

CALL_FORMS: dict[str, dict[str, Any]] = {
    "native, object": {"name": "get_weather", "arguments": {"city": "Bonn"}},
    "native, string": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    "native, parameters": {"name": "get_weather", "parameters": {"city": "Bonn"}},
    "openai, string": {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    },
    "openai, object": {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Bonn"}},
    },
    "openai, null id": {
        "id": None,
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
    },
}


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("where", ["native", "message", "message and result"])
@pytest.mark.parametrize("form", CALL_FORMS)
def test_every_form_of_tool_call_is_read(service: MockService, form: str, where: str, call_method: str) -> None:
    call = CALL_FORMS[form]
    if where == "native":
        result: dict[str, Any] = {"response": None, "tool_calls": [call]}
    else:
        result = make_completion(None, tool_calls=[call], finish_reason="tool_calls")
    if where == "message and result":
        result |= {"response": None, "tool_calls": [call]}
    message = get_reply_message(service, result, call_method)
    assert get_tool_calls(message) == [("get_weather", {"city": "Bonn"})]
    assert message.tool_calls[0]["id"]
    assert message.text == ""
    assert message.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_null_and_empty_tool_calls_are_ignored(service: MockService, empty: Any, call_method: str) -> None:
    for result in ({"response": "Hi", "tool_calls": empty}, make_completion("Hi", tool_calls=empty)):
        message = get_reply_message(service, result, call_method)
        assert (message.text, message.tool_calls, message.invalid_tool_calls) == ("Hi", [], [])
        assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("ids", [("c1", "c2"), ("same", "same"), (None, None), ("", ""), ("c1", None)])
@pytest.mark.parametrize("names", [("f", "g"), ("f", "f")])
@pytest.mark.parametrize("to_text", [True, False])
def test_parallel_calls_have_unique_ids(
    service: MockService, ids: tuple[Any, Any], names: tuple[str, str], to_text: bool, call_method: str
) -> None:
    arguments: list[Any] = ['{"a": 1}', '{"a": 2}'] if to_text else [{"a": 1}, {"a": 2}]
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": call_arguments}}
        for call_id, name, call_arguments in zip(ids, names, arguments, strict=True)
    ]
    message = get_reply_message(service, make_completion(None, tool_calls=calls), call_method)
    assert get_tool_calls(message) == [(names[0], {"a": 1}), (names[1], {"a": 2})]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert all(call["id"] for call in message.tool_calls)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_a_call_id_of_an_earlier_turn_is_replaced(service: MockService, call_method: str) -> None:
    service.respond_with_results({"tool_calls": [{"id": "call_0", "name": "f", "arguments": {}}]})
    first = {"name": "f", "args": {}, "id": "call_0", "type": "tool_call"}
    history = [
        ("human", "x"),
        AIMessage("", tool_calls=[first]),
        {"role": "tool", "content": "y", "tool_call_id": "call_0"},
    ]
    (call,) = call_model(make_model(), call_method, history).tool_calls
    assert call["id"] not in ("call_0", "", None)


INVALID_ARGUMENTS = [
    '{"path": "/home/me',
    '["a"]',
    "42",
    "null",
    '"text"',
    "{'a': 1}",
    '{"a": 1} {"b": 2}',
    "plain",
    '{"a": NaN}',
]


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS)
def test_arguments_that_are_not_a_json_object_make_an_invalid_call(
    service: MockService, arguments: str, call_method: str
) -> None:
    message = get_reply_message(
        service, {"tool_calls": [{"id": "c1", "name": "f", "arguments": arguments}]}, call_method
    )
    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert invalid["name"] == "f"
    assert str(invalid["args"]).startswith(arguments)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_a_call_without_arguments_is_valid(service: MockService, arguments: Any, call_method: str) -> None:
    message = get_reply_message(
        service, {"tool_calls": [{"id": "c1", "name": "f", "arguments": arguments}]}, call_method
    )
    assert get_tool_calls(message) == [("f", {})]


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_valid_and_invalid_calls_of_one_reply(service: MockService, call_method: str) -> None:
    calls = [
        {"id": "c1", "name": "f", "arguments": '{"a":'},
        {"id": "c2", "name": "g", "arguments": '{"b": 1}'},
        {"id": "c3", "arguments": "{}"},
    ]
    message = get_reply_message(service, {"response": "Well:", "tool_calls": calls}, call_method)
    assert message.text == "Well:"
    assert get_tool_calls(message) == [("g", {"b": 1})]
    assert [call["name"] or "" for call in message.invalid_tool_calls] == ["f", ""]
