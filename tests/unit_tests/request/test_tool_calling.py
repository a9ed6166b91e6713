"""Tools: binding, the three tool calling methods and forced choices, with each call method of a model."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_workers_gemma import BadRequestError
from tests.helpers.model_calls import (
    GEMMA_3,
    GEMMA_7B,
    INVOKE_METHODS,
    call_model,
    collect_chunks,
    get_tool_calls,
    make_model,
)
from tests.helpers.tool_replies import Search, get_sent_input, get_weather, make_call, make_reply, plain

pytestmark = pytest.mark.lowest

OPENAI_FORM = {
    "type": "function",
    "function": {"name": "ping", "description": "Ping.", "parameters": {"type": "object", "properties": {}}},
}
JSON_SCHEMA = {
    "title": "locate",
    "description": "Locate a place.",
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
}


# --- Binding ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_tool_is_sent_in_the_documented_form(route: respx.Route) -> None:
    """docs/wire.md section 2: type, properties, required; every property with a type and a description."""
    route.return_value = make_reply("invoke", "ok")
    make_model().bind_tools([get_weather, Search, plain, OPENAI_FORM, JSON_SCHEMA]).invoke("hi")
    tools = get_sent_input(route)["tools"]
    assert [found["type"] for found in tools] == ["function"] * 5
    functions = {found["function"]["name"]: found["function"] for found in tools}
    assert list(functions) == ["get_weather", "Search", "plain", "ping", "locate"]
    for function in functions.values():
        assert function["description"]
        parameters = function["parameters"]
        assert parameters["type"] == "object"
        for schema in parameters["properties"].values():
            assert isinstance(schema["type"], str)
            assert isinstance(schema["description"], str)
    assert functions["get_weather"]["parameters"]["required"] == ["city"]
    assert functions["Search"]["parameters"]["properties"]["query"]["description"] == "What to search for"
    assert functions["plain"]["parameters"]["properties"]["x"] == {"type": "integer", "description": "The number."}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("plain", {"type": "function", "function": {"name": "plain"}}),
        ({"type": "function", "function": {"name": "plain"}}, {"type": "function", "function": {"name": "plain"}}),
    ],
)
def test_gemma_4_accepts_every_form_of_tool_choice(route: respx.Route, choice: Any, expected: Any) -> None:
    route.return_value = make_reply("invoke", "", [make_call("plain", {"x": 1})])
    make_model().bind_tools([plain, get_weather], tool_choice=choice).invoke("hi")
    assert get_sent_input(route).get("tool_choice") == expected
    assert len(get_sent_input(route)["tools"]) == 2


@pytest.mark.parametrize("choice", ["nothing", {"type": "function", "function": {"name": "nothing"}}, 7])
def test_an_unknown_tool_choice_raises(choice: Any) -> None:
    with pytest.raises(ValueError, match="tool_choice must be"):
        make_model().bind_tools([plain], tool_choice=choice)


def test_strict_and_parallel_tool_calls_are_sent_to_gemma_4(route: respx.Route) -> None:
    route.return_value = make_reply("invoke", "ok")
    make_model().bind_tools([plain], strict=True, parallel_tool_calls=False).invoke("hi")
    assert get_sent_input(route)["parallel_tool_calls"] is False
    assert get_sent_input(route)["tools"][0]["function"]["strict"] is True


def test_parallel_tool_calls_false_raises_for_a_model_without_the_parameter(route: respx.Route) -> None:
    with pytest.raises(ValueError, match="parallel_tool_calls=False: @cf/google/gemma-3-12b-it has no such parameter"):
        make_model(model=GEMMA_3, tool_calling="native").bind_tools([plain], parallel_tool_calls=False).invoke("hi")
    assert not route.called


@pytest.mark.parametrize(
    "bad", ["a string", 7, {"type": "web_search_preview"}, {"name": "bad name!", "parameters": {}}]
)
def test_invalid_tools_raise(bad: Any) -> None:
    with pytest.raises(ValueError, match="tools:"):
        make_model().bind_tools([bad])


def test_an_empty_list_of_tools_sends_a_plain_request(route: respx.Route) -> None:
    route.return_value = make_reply("invoke", "ok")
    make_model().bind_tools([]).invoke("hi")
    assert get_sent_input(route) == {"messages": [{"role": "user", "content": "hi"}]}


# --- native -----------------------------------------------------------------------------------------------------------


def test_native_calls_in_openai_form_are_read(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(
        call_method, "Let me see.", [make_call("plain", {"x": 1}), make_call("get_weather", {"city": "Köln"}, "c2")]
    )
    message = call_model(make_model().bind_tools([plain, get_weather]), call_method, "hi")
    assert message.content == "Let me see."
    assert get_tool_calls(message) == [("plain", {"x": 1}), ("get_weather", {"city": "Köln"})]
    assert [found["id"] for found in message.tool_calls] == ["c1", "c2"]


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
def test_native_calls_in_workers_ai_form_are_read(route: respx.Route, call_method: str, arguments: Any) -> None:
    """docs/wire.md section 3: `{"name", "arguments"}`, an object or a string, ids missing."""
    found = {"name": "plain", "arguments": arguments}
    if call_method in INVOKE_METHODS:
        route.return_value = httpx.Response(200, json={"result": {"response": None, "tool_calls": [found, found]}})
    else:
        events = f"data: {json.dumps({'response': '', 'tool_calls': [found, found]})}\n\ndata: [DONE]\n\n"
        route.return_value = httpx.Response(200, content=events, headers={"content-type": "text/event-stream"})
    message = call_model(make_model(model=GEMMA_3).bind_tools([plain]), call_method, "hi")
    assert get_tool_calls(message) == [("plain", {"x": 1})] * 2
    assert len({found["id"] for found in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


def test_pieces_of_a_call_are_streamed_as_they_arrive(route: respx.Route) -> None:
    route.return_value = make_reply("stream", calls=[make_call("plain", {"x": 1234567890})], step=3)
    chunks = collect_chunks(make_model().bind_tools([plain]), "stream")
    pieces = [chunk.tool_call_chunks for chunk in chunks if chunk.tool_call_chunks]
    assert len(pieces) > 4
    assert pieces[0][0]["name"] == "plain"
    assert "".join(piece["args"] or "" for (piece,) in pieces) == '{"x": 1234567890}'


def test_call_ids_are_unique_in_the_conversation(route: respx.Route, call_method: str) -> None:
    history = [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "plain", "args": {"x": 1}, "id": "c1"}]),
        ToolMessage("2", tool_call_id="c1"),
        HumanMessage("b"),
    ]
    route.return_value = make_reply(call_method, calls=[make_call("plain", {"x": 2}), make_call("plain", {"x": 3})])
    message = call_model(make_model().bind_tools([plain]), call_method, history)
    ids = [found["id"] for found in message.tool_calls]
    assert len({*ids, "c1"}) == 3


@pytest.mark.parametrize(
    ("arguments", "finish"),
    [
        ('{"path": "/home/me', "length"),
        ('{"path": "/home/me\\', "length"),
        ('{"path": ["a", {"b": 1', "length"),
        ("", "length"),
        ("[1, 2]", "stop"),
        ('"text"', "stop"),
        ("null", "stop"),
        ('{"x": NaN}', "stop"),
        ('{"x": 1} trailing', "stop"),
        ('{"x": 1}{"x": 2}', "stop"),
        ("{'x': 1}", "stop"),
        ('{"x": "raw \n line"}', "stop"),
    ],
)
def test_a_call_whose_arguments_are_not_one_json_object_is_invalid(
    route: respx.Route, call_method: str, arguments: str, finish: str
) -> None:
    route.return_value = make_reply(
        call_method, calls=[make_call("plain", {"x": 1}), make_call("get_weather", arguments, "c2")], finish=finish
    )
    message = call_model(make_model().bind_tools([plain, get_weather]), call_method, "hi")
    assert get_tool_calls(message) == [("plain", {"x": 1})]
    assert [found["name"] for found in message.invalid_tool_calls] == ["get_weather"]
    assert (message.invalid_tool_calls[0]["args"] or "").startswith(arguments)


def test_a_call_without_arguments_is_valid(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, calls=[make_call("ping", "")])
    assert get_tool_calls(call_model(make_model().bind_tools([OPENAI_FORM]), call_method, "hi")) == [("ping", {})]


def test_a_call_written_as_text_is_parsed(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, "I will. <|tool_call>call:plain{x:4}<tool_call|><|tool_response>")
    message = call_model(make_model().bind_tools([plain]), call_method, "hi")
    assert message.text.strip() == "I will."
    assert get_tool_calls(message) == [("plain", {"x": 4})]


def test_tool_choice_none_does_not_parse_calls_in_text(route: respx.Route, call_method: str) -> None:
    text = "<|tool_call>call:plain{x:4}<tool_call|>"
    route.return_value = make_reply(call_method, text)
    message = call_model(make_model().bind_tools([plain], tool_choice="none"), call_method, "hi")
    assert message.content == text
    assert not message.tool_calls


def test_tool_choice_none_sends_no_tools_to_a_model_without_tool_choice(route: respx.Route) -> None:
    route.return_value = make_reply("invoke", "ok")
    make_model(model=GEMMA_3).bind_tools([plain], tool_choice="none").invoke("hi")
    assert get_sent_input(route) == {"messages": [{"role": "user", "content": "hi"}]}


def test_an_empty_reply_of_a_model_without_function_calling_logs_a_warning(
    route: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    route.return_value = httpx.Response(200, json={"result": {"response": "", "tool_calls": []}, "success": True})
    make_model(model=GEMMA_3, tool_calling="native").bind_tools([plain]).invoke("hi")
    assert 'use tool_calling="guided_json"' in caplog.text


def test_the_error_for_refused_tools_names_the_cure(route: respx.Route) -> None:
    route.return_value = httpx.Response(400, json={"errors": [{"code": 5006, "message": "tools not supported"}]})
    with pytest.raises(BadRequestError, match=r'tools not supported\n.*tool_calling="guided_json"'):
        make_model(model=GEMMA_3, tool_calling="native").bind_tools([plain]).invoke("hi")


# --- prompt -----------------------------------------------------------------------------------------------------------


def test_prompt_method_describes_tools_and_parses_calls_in_text(route: respx.Route, call_method: str) -> None:
    route.return_value = make_reply(call_method, "```tool_code\nplain(x=3)\n```", step=3)
    message = call_model(make_model(model=GEMMA_7B, tool_calling="prompt").bind_tools([plain]), call_method, "hi")
    assert get_tool_calls(message) == [("plain", {"x": 3})]
    assert message.content == ""
    body = get_sent_input(route)
    assert not {"tools", "response_format", "guided_json"} & body.keys()
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert '"name": "plain"' in body["messages"][0]["content"]


def test_tools_are_described_in_the_prompt_on_aimlapi(route: respx.Route, call_method: str) -> None:
    """docs/wire.md section 2, reported: `No endpoints found that support tool use`."""
    route.return_value = make_reply(call_method, '{"name": "plain", "parameters": {"x": 3}}', step=3)
    message = call_model(
        make_model(model="google/gemma-3-27b-it", host="aimlapi").bind_tools([plain]), call_method, "hi"
    )
    assert get_tool_calls(message) == [("plain", {"x": 3})]
    assert "tools" not in get_sent_input(route)
    assert get_sent_input(route)["messages"][0]["role"] == "system"
    with pytest.raises(ValueError, match="tool_calling='native' needs a model with tools"):
        make_model(model="google/gemma-3-27b-it", host="aimlapi", tool_calling="native").bind_tools([plain]).invoke(
            "hi"
        )
