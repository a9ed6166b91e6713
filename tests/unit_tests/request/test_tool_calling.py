"""Tools: binding, the three tool calling methods and forced choices, with each call method of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_workers_gemma import BadRequestError, ToolChoiceError
from tests.helpers.model_calls import (
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    INVOKE_METHODS,
    call_model,
    collect_chunks,
    get_tool_calls,
    make_model,
)

pytestmark = pytest.mark.lowest


@tool
def get_weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return city


class Search(BaseModel):
    """Search the web."""

    query: str = Field(description="What to search for")
    site: str | None = None


def plain(x: int) -> int:
    """Double a number.

    Args:
        x: The number.
    """
    return 2 * x


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


@pytest.fixture
def route() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(url__regex=".*")


def get_sent_input(route: respx.Route) -> dict[str, Any]:
    """Return the model's input in the last request."""
    body: dict[str, Any] = json.loads(route.calls[-1].request.content)
    data: dict[str, Any] = body.get("data", body)
    return data


@pytest.fixture(params=CALL_METHODS)
def call_method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_reply(
    call_method: str, text: str = "", calls: Sequence[dict[str, Any]] = (), finish: str = "stop", step: int = 7
) -> httpx.Response:
    """Return a reply, whole or as a stream in pieces of `step` characters."""
    if call_method in INVOKE_METHODS:
        message = {"role": "assistant", "content": text, "tool_calls": list(calls)}
        result: dict[str, Any] = {"choices": [{"message": message, "finish_reason": finish}]}
        body: dict[str, Any] = {"result": result, "success": True}
        return httpx.Response(200, json=body)
    deltas: list[dict[str, Any]] = [{"content": text[i : i + step]} for i in range(0, len(text), step)]
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        pieces = [arguments[i : i + step] for i in range(0, len(arguments), step)]
        head = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas += [{"tool_calls": [head]}]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    frames: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    frames.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    events = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    return httpx.Response(200, content=events.encode(), headers={"content-type": "text/event-stream"})


def make_call(name: str, arguments: Any, call_id: str | None = "c1") -> dict[str, Any]:
    """Return a tool call in OpenAI's form."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


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


# --- guided_json ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [GEMMA_3, GEMMA_7B, GEMMA_4])
def test_guided_json_constrains_the_reply_to_calls_or_an_answer(route: respx.Route, name: str) -> None:
    route.return_value = make_reply("invoke", '{"answer": "hello"}')
    message = make_model(model=name, tool_calling="guided_json").bind_tools([plain, Search]).invoke("hi")
    assert message.content == "hello"
    body = get_sent_input(route)
    assert "tools" not in body
    assert body["max_tokens"] > 256
    schema = get_schema(body)
    calls, answer = schema["anyOf"]
    assert answer["properties"]["answer"]["type"] == "string"
    variants = calls["properties"]["tool_calls"]["items"]["anyOf"]
    assert [variant["properties"]["name"]["enum"] for variant in variants] == [["plain"], ["Search"]]
    assert variants[0]["properties"]["arguments"]["required"] == ["x"]
    assert variants[1]["properties"]["arguments"]["required"] == ["query"]
    assert "plain: Double a number." in json.dumps(body["messages"])


def get_schema(body: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that constrains the output."""
    schema = body.get("guided_json") or body["response_format"]["json_schema"]
    return schema.get("schema", schema)  # type: ignore[no-any-return]


def test_guided_json_streams_decoded_text(route: respx.Route) -> None:
    text = 'Say "hi"\n to 😀 and \\ Zoë'
    route.return_value = make_reply("stream", json.dumps({"answer": text}), step=1)
    chunks = list(make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([plain]).stream("hi"))
    assert "".join(chunk.text for chunk in chunks) == text
    assert len([chunk for chunk in chunks if chunk.text]) > 10


def test_guided_json_calls_are_parsed(route: respx.Route, call_method: str) -> None:
    found = [{"name": "plain", "arguments": {"x": 1}}, {"name": "Search", "arguments": {"query": '}]"'}}]
    route.return_value = make_reply(call_method, json.dumps({"tool_calls": found}), step=2)
    message = call_model(
        make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([plain, Search]), call_method, "hi"
    )
    assert get_tool_calls(message) == [("plain", {"x": 1}), ("Search", {"query": '}]"'})]
    assert message.content == ""


def test_guided_json_calls_are_held_back_until_they_are_complete(route: respx.Route) -> None:
    text = json.dumps({"tool_calls": [{"name": "Search", "arguments": {"query": "a long query about things"}}]})
    route.return_value = make_reply("stream", text, step=4)
    chunks = list(make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([Search]).stream("hi"))
    calls = [piece for chunk in chunks if isinstance(chunk, AIMessageChunk) for piece in chunk.tool_call_chunks]
    assert [(piece["name"], json.loads(piece["args"] or "")) for piece in calls] == [
        ("Search", {"query": "a long query about things"})
    ]


# Reported replies: the reply, and the calls, the invalid calls and the text that it must become.
_SEARCH_CALL = '{"name": "Search", "arguments": {"query": "x"}}'
_SEARCHES = [("Search", {"query": "x"})]
GUIDED_REPLIES: list[tuple[str, list[Any], list[str], str]] = [
    ('{"tool_calls": [{"name": "Search", "arguments":', [], ["Search"], ""),
    ('{"tool_calls": [{"name": "Search"', [], ["Search"], ""),
    ('{"tool_calls": [{"name": "Search", "arg', [], ["Search"], ""),
    ('{"name": "Search"', [], ["Search"], ""),
    (f'{{"tool_calls": [{_SEARCH_CALL}, {{"name": "Search", "arguments": {{"query": "y', _SEARCHES, ["Search"], ""),
    (f'{{"tool_calls": [{_SEARCH_CALL}, {{"name": "Sea', _SEARCHES, [], ""),
    ('{"name": "Search", "args": {"query": "x"}}', _SEARCHES, [], ""),
    ('{"tool_calls": [{"name": "Search", "id": "1", "arguments": {"query": "x"}}]}', _SEARCHES, [], ""),
    ('{"tool_calls": [{"type": "function", "function": {"name": "Search", "arguments": {"query": "x"}}}]}',
     _SEARCHES, [], ""),
    ('{"tool_calls": [{"name": "default_api.Search", "arguments": {"query": "x"}}]}', _SEARCHES, [], ""),
    (f'```json\n{{"tool_calls": [{_SEARCH_CALL}]}}\n```', _SEARCHES, [], ""),
    ('```json\n{"answer": "Hi"}\n```', [], [], "Hi"),
    ('{"tool_calls": [], "answer": "Hi"}', [], [], "Hi"),
    (f'{{"answer": "Hi", "tool_calls": [{_SEARCH_CALL}]}}', _SEARCHES, [], "Hi"),
    (f'{{"tool_calls": [{_SEARCH_CALL}], "answer": "Hi"}}', _SEARCHES, [], "Hi"),
    (f'{{"tool_calls": [{_SEARCH_CALL}, {{"name":"nope","arguments":{{"a":1}}}}]}}', _SEARCHES, [],
     '{"name":"nope","arguments":{"a":1}}'),
    ('{"name": "Search", "description": "d"}', [], [], '{"name": "Search", "description": "d"}'),
    ('{"answer": "Hello"} and more', [], [], "Hello and more"),
    ('{"answer": "Hi", "confidence": 0.9}', [], [], "Hi"),
    ('{"answer": "cut in the mid', [], [], "cut in the mid"),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(("text", "calls", "invalid", "content"), GUIDED_REPLIES)
def test_reported_guided_replies_are_parsed(
    route: respx.Route, call_method: str, step: int, text: str, calls: list[Any], invalid: list[str], content: str
) -> None:
    route.return_value = make_reply(call_method, text, step=step)
    message = call_model(make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([Search]), call_method, "hi")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == calls
    assert [call["name"] for call in message.invalid_tool_calls] == invalid
    assert message.content == content


@pytest.mark.parametrize("text", ["Just prose.", '{"other": 1}', "[1, 2]", '{"answer" 1}'])
def test_a_guided_reply_in_another_form_is_returned_as_text(route: respx.Route, call_method: str, text: str) -> None:
    route.return_value = make_reply(call_method, text, step=1)
    message = call_model(make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([plain]), call_method, "hi")
    assert message.content == text
    assert not message.tool_calls


def test_a_truncated_guided_call_is_invalid(route: respx.Route, call_method: str) -> None:
    text = '{"tool_calls": [{"name": "Search", "arguments": {"query": "abc'
    route.return_value = make_reply(call_method, text, finish="length")
    message = call_model(make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([Search]), call_method, "hi")
    assert not message.tool_calls
    assert [found["name"] for found in message.invalid_tool_calls] == ["Search"]


def test_guided_json_allows_one_call_without_parallel_tool_calls(route: respx.Route) -> None:
    route.return_value = make_reply("invoke", '{"answer": "a"}')
    llm = make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([plain], parallel_tool_calls=False)
    llm.invoke("hi")
    assert "tool_calls" not in json.dumps(get_sent_input(route)["guided_json"])


@pytest.mark.parametrize("name", [GEMMA_7B_LORA])
def test_guided_json_raises_for_a_model_without_a_schema_parameter(route: respx.Route, name: str) -> None:
    with pytest.raises(ValueError, match="tool_calling='guided_json' needs a model with"):
        make_model(model=name, tool_calling="guided_json").bind_tools([plain]).invoke("hi")
    assert not route.called


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


# --- Forced choices ---------------------------------------------------------------------------------------------------


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
    with pytest.raises(ToolChoiceError, match=r"demanded a call to plain.*Still no"):
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
