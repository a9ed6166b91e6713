"""Binding tools, the three methods, forced choices: requests and messages of every method of a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_workers_gemma import BadRequestError, ChatWorkersGemma, ToolChoiceError

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
GEMMA_7B = "@hf/google/gemma-7b-it"
BARE_LORA = "@cf/google/gemma-7b-it-lora"
pytestmark = [pytest.mark.filterwarnings("ignore:.*was retired:UserWarning"), pytest.mark.lowest]


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


def model(name: str = GEMMA_4, **fields: Any) -> ChatWorkersGemma:
    host = fields.pop("host", "cloudflare")
    account = {"account_id": "acc"} if host == "cloudflare" else {}
    return ChatWorkersGemma(model=name, host=host, api_token="t", max_retries=0, **account, **fields)


@pytest.fixture
def route() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(url__regex=".*")


def sent(route: respx.Route, index: int = -1) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(route.calls[index].request.content)
    data: dict[str, Any] = body.get("data", body)
    return data


# --- Methods of a model -----------------------------------------------------------------------------------------------


def _merged(chunks: Sequence[BaseMessage]) -> AIMessage:
    merged = chunks[0]
    for chunk in chunks[1:]:
        merged = merged + chunk  # type: ignore[assignment]
    assert isinstance(merged, AIMessageChunk)
    return merged


async def _acollect(llm: Runnable[Any, Any], messages: Any) -> AIMessage:
    return _merged([chunk async for chunk in llm.astream(messages)])


WAYS: dict[str, Callable[[Any, Any], AIMessage]] = {
    "invoke": lambda llm, messages: llm.invoke(messages),
    "ainvoke": lambda llm, messages: asyncio.run(llm.ainvoke(messages)),
    "stream": lambda llm, messages: _merged(list(llm.stream(messages))),
    "astream": lambda llm, messages: asyncio.run(_acollect(llm, messages)),
}
WHOLE = ("invoke", "ainvoke")


@pytest.fixture(params=WAYS)
def call_method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reply(
    call_method: str, text: str = "", calls: Sequence[dict[str, Any]] = (), finish: str = "stop", step: int = 7
) -> httpx.Response:
    """The same reply, whole or as a stream in pieces of `step` characters."""
    if call_method in WHOLE:
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


def call(name: str, arguments: Any, call_id: str | None = "c1") -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def named(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(found["name"], found["args"]) for found in message.tool_calls]


# --- Binding ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_tool_is_bound_in_the_published_subset(route: respx.Route) -> None:
    """docs/wire.md section 2: type, properties, required; every property with a type and a description."""
    route.return_value = reply("invoke", "ok")
    model().bind_tools([get_weather, Search, plain, OPENAI_FORM, JSON_SCHEMA]).invoke("hi")
    tools = sent(route)["tools"]
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
def test_tool_choice_in_all_forms_on_gemma_4(route: respx.Route, choice: Any, expected: Any) -> None:
    route.return_value = reply("invoke", "", [call("plain", {"x": 1})])
    model().bind_tools([plain, get_weather], tool_choice=choice).invoke("hi")
    assert sent(route).get("tool_choice") == expected
    assert len(sent(route)["tools"]) == 2


@pytest.mark.parametrize("choice", ["nothing", {"type": "function", "function": {"name": "nothing"}}, 7])
def test_unknown_tool_choice_is_an_error(choice: Any) -> None:
    with pytest.raises(ValueError, match="tool_choice must be"):
        model().bind_tools([plain], tool_choice=choice)


def test_strict_and_parallel_tool_calls_reach_the_model_that_has_them(route: respx.Route) -> None:
    route.return_value = reply("invoke", "ok")
    model().bind_tools([plain], strict=True, parallel_tool_calls=False).invoke("hi")
    assert sent(route)["parallel_tool_calls"] is False
    assert sent(route)["tools"][0]["function"]["strict"] is True


def test_parallel_tool_calls_false_is_refused_where_nothing_could_obey_it(route: respx.Route) -> None:
    with pytest.raises(ValueError, match="parallel_tool_calls=False: @cf/google/gemma-3-12b-it has no such parameter"):
        model(GEMMA_3, tool_calling="native").bind_tools([plain], parallel_tool_calls=False).invoke("hi")
    assert not route.called


@pytest.mark.parametrize(
    "bad", ["a string", 7, {"type": "web_search_preview"}, {"name": "bad name!", "parameters": {}}]
)
def test_what_is_no_tool_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="tools:"):
        model().bind_tools([bad])


def test_no_tools_bound_is_a_plain_call(route: respx.Route) -> None:
    route.return_value = reply("invoke", "ok")
    model().bind_tools([]).invoke("hi")
    assert sent(route) == {"messages": [{"role": "user", "content": "hi"}]}


# --- native -----------------------------------------------------------------------------------------------------------


def test_native_calls_in_openai_form(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(
        call_method, "Let me see.", [call("plain", {"x": 1}), call("get_weather", {"city": "Köln"}, "c2")]
    )
    message = WAYS[call_method](model().bind_tools([plain, get_weather]), "hi")
    assert message.content == "Let me see."
    assert named(message) == [("plain", {"x": 1}), ("get_weather", {"city": "Köln"})]
    assert [found["id"] for found in message.tool_calls] == ["c1", "c2"]


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
def test_native_calls_in_workers_ai_form(route: respx.Route, call_method: str, arguments: Any) -> None:
    """docs/wire.md section 3: `{"name", "arguments"}`, an object or a string, ids missing."""
    found = {"name": "plain", "arguments": arguments}
    if call_method in WHOLE:
        route.return_value = httpx.Response(200, json={"result": {"response": None, "tool_calls": [found, found]}})
    else:
        events = f"data: {json.dumps({'response': '', 'tool_calls': [found, found]})}\n\ndata: [DONE]\n\n"
        route.return_value = httpx.Response(200, content=events, headers={"content-type": "text/event-stream"})
    message = WAYS[call_method](model(GEMMA_3).bind_tools([plain]), "hi")
    assert named(message) == [("plain", {"x": 1})] * 2
    assert len({found["id"] for found in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


def test_pieces_of_a_call_are_handed_on_as_they_arrive(route: respx.Route) -> None:
    route.return_value = reply("stream", calls=[call("plain", {"x": 1234567890})], step=3)
    pieces = [chunk.tool_call_chunks for chunk in model().bind_tools([plain]).stream("hi") if chunk.tool_call_chunks]  # type: ignore[attr-defined]
    assert len(pieces) > 4
    assert pieces[0][0]["name"] == "plain"
    assert "".join(piece["args"] for (piece,) in pieces) == '{"x": 1234567890}'


def test_ids_are_unique_in_the_whole_conversation(route: respx.Route, call_method: str) -> None:
    history = [
        HumanMessage("a"),
        AIMessage("", tool_calls=[{"name": "plain", "args": {"x": 1}, "id": "c1"}]),
        ToolMessage("2", tool_call_id="c1"),
        HumanMessage("b"),
    ]
    route.return_value = reply(call_method, calls=[call("plain", {"x": 2}), call("plain", {"x": 3})])
    message = WAYS[call_method](model().bind_tools([plain]), history)
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
def test_a_call_that_is_not_one_whole_json_object_never_runs(
    route: respx.Route, call_method: str, arguments: str, finish: str
) -> None:
    route.return_value = reply(
        call_method, calls=[call("plain", {"x": 1}), call("get_weather", arguments, "c2")], finish=finish
    )
    message = WAYS[call_method](model().bind_tools([plain, get_weather]), "hi")
    assert named(message) == [("plain", {"x": 1})]
    assert [found["name"] for found in message.invalid_tool_calls] == ["get_weather"]
    assert (message.invalid_tool_calls[0]["args"] or "").startswith(arguments)


def test_a_call_without_arguments_is_a_call(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, calls=[call("ping", "")])
    assert named(WAYS[call_method](model().bind_tools([OPENAI_FORM]), "hi")) == [("ping", {})]


def test_a_call_written_as_text_is_recovered(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, "I will. <|tool_call>call:plain{x:4}<tool_call|><|tool_response>")
    message = WAYS[call_method](model().bind_tools([plain]), "hi")
    assert message.text.strip() == "I will."
    assert named(message) == [("plain", {"x": 4})]


def test_choice_none_leaves_text_alone(route: respx.Route, call_method: str) -> None:
    text = "<|tool_call>call:plain{x:4}<tool_call|>"
    route.return_value = reply(call_method, text)
    message = WAYS[call_method](model().bind_tools([plain], tool_choice="none"), "hi")
    assert message.content == text
    assert not message.tool_calls


def test_choice_none_sends_no_tools_where_there_is_no_tool_choice(route: respx.Route) -> None:
    route.return_value = reply("invoke", "ok")
    model(GEMMA_3).bind_tools([plain], tool_choice="none").invoke("hi")
    assert sent(route) == {"messages": [{"role": "user", "content": "hi"}]}


def test_an_empty_reply_of_an_unflagged_model_is_warned_about(
    route: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    route.return_value = httpx.Response(200, json={"result": {"response": "", "tool_calls": []}, "success": True})
    model(GEMMA_3, tool_calling="native").bind_tools([plain]).invoke("hi")
    assert 'use tool_calling="guided_json"' in caplog.text


def test_refused_tools_on_an_unflagged_model_name_the_cure(route: respx.Route) -> None:
    route.return_value = httpx.Response(400, json={"errors": [{"code": 5006, "message": "tools not supported"}]})
    with pytest.raises(BadRequestError, match=r'tools not supported\n.*tool_calling="guided_json"'):
        model(GEMMA_3, tool_calling="native").bind_tools([plain]).invoke("hi")


# --- guided_json ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [GEMMA_3, GEMMA_7B, GEMMA_4])
def test_guided_json_constrains_the_reply_to_calls_or_an_answer(route: respx.Route, name: str) -> None:
    route.return_value = reply("invoke", '{"answer": "hello"}')
    message = model(name, tool_calling="guided_json").bind_tools([plain, Search]).invoke("hi")
    assert message.content == "hello"
    body = sent(route)
    assert "tools" not in body
    assert body["max_tokens"] > 256
    schema = schema_in(body)
    calls, answer = schema["anyOf"]
    assert answer["properties"]["answer"]["type"] == "string"
    variants = calls["properties"]["tool_calls"]["items"]["anyOf"]
    assert [variant["properties"]["name"]["enum"] for variant in variants] == [["plain"], ["Search"]]
    assert variants[0]["properties"]["arguments"]["required"] == ["x"]
    assert variants[1]["properties"]["arguments"]["required"] == ["query"]
    assert "plain: Double a number." in json.dumps(body["messages"])


def schema_in(body: dict[str, Any]) -> dict[str, Any]:
    schema = body.get("guided_json") or body["response_format"]["json_schema"]
    return schema.get("schema", schema)  # type: ignore[no-any-return]


def test_guided_json_text_streams_decoded(route: respx.Route) -> None:
    text = 'Say "hi"\n to 😀 and \\ Zoë'
    route.return_value = reply("stream", json.dumps({"answer": text}), step=1)
    chunks = list(model(GEMMA_3, tool_calling="guided_json").bind_tools([plain]).stream("hi"))
    assert "".join(chunk.text for chunk in chunks) == text
    assert len([chunk for chunk in chunks if chunk.text]) > 10


def test_guided_json_calls(route: respx.Route, call_method: str) -> None:
    found = [{"name": "plain", "arguments": {"x": 1}}, {"name": "Search", "arguments": {"query": '}]"'}}]
    route.return_value = reply(call_method, json.dumps({"tool_calls": found}), step=2)
    message = WAYS[call_method](model(GEMMA_3, tool_calling="guided_json").bind_tools([plain, Search]), "hi")
    assert named(message) == [("plain", {"x": 1}), ("Search", {"query": '}]"'})]
    assert message.content == ""


def test_guided_json_calls_are_held_until_they_are_whole(route: respx.Route) -> None:
    text = json.dumps({"tool_calls": [{"name": "Search", "arguments": {"query": "a long query about things"}}]})
    route.return_value = reply("stream", text, step=4)
    chunks = list(model(GEMMA_3, tool_calling="guided_json").bind_tools([Search]).stream("hi"))
    calls = [piece for chunk in chunks if isinstance(chunk, AIMessageChunk) for piece in chunk.tool_call_chunks]
    assert [(piece["name"], json.loads(piece["args"] or "")) for piece in calls] == [
        ("Search", {"query": "a long query about things"})
    ]


# Reported replies: a guided reply, and the calls, invalid calls and text that it must become.
_CALL = '{"name": "Search", "arguments": {"query": "x"}}'
_WHOLE = [("Search", {"query": "x"})]
GUIDED_REPLIES: list[tuple[str, list[Any], list[str], str]] = [
    ('{"tool_calls": [{"name": "Search", "arguments":', [], ["Search"], ""),
    ('{"tool_calls": [{"name": "Search"', [], ["Search"], ""),
    ('{"tool_calls": [{"name": "Search", "arg', [], ["Search"], ""),
    ('{"name": "Search"', [], ["Search"], ""),
    (f'{{"tool_calls": [{_CALL}, {{"name": "Search", "arguments": {{"query": "y', _WHOLE, ["Search"], ""),
    (f'{{"tool_calls": [{_CALL}, {{"name": "Sea', _WHOLE, [], ""),
    ('{"name": "Search", "args": {"query": "x"}}', _WHOLE, [], ""),
    ('{"tool_calls": [{"name": "Search", "id": "1", "arguments": {"query": "x"}}]}', _WHOLE, [], ""),
    ('{"tool_calls": [{"type": "function", "function": {"name": "Search", "arguments": {"query": "x"}}}]}', _WHOLE, [],
     ""),
    ('{"tool_calls": [{"name": "default_api.Search", "arguments": {"query": "x"}}]}', _WHOLE, [], ""),
    (f'```json\n{{"tool_calls": [{_CALL}]}}\n```', _WHOLE, [], ""),
    ('```json\n{"answer": "Hi"}\n```', [], [], "Hi"),
    ('{"tool_calls": [], "answer": "Hi"}', [], [], "Hi"),
    (f'{{"answer": "Hi", "tool_calls": [{_CALL}]}}', _WHOLE, [], "Hi"),
    (f'{{"tool_calls": [{_CALL}], "answer": "Hi"}}', _WHOLE, [], "Hi"),
    (f'{{"tool_calls": [{_CALL}, {{"name":"nope","arguments":{{"a":1}}}}]}}', _WHOLE, [],
     '{"name":"nope","arguments":{"a":1}}'),
    ('{"name": "Search", "description": "d"}', [], [], '{"name": "Search", "description": "d"}'),
    ('{"answer": "Hello"} and more', [], [], "Hello and more"),
    ('{"answer": "Hi", "confidence": 0.9}', [], [], "Hi"),
    ('{"answer": "cut in the mid', [], [], "cut in the mid"),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(("text", "calls", "invalid", "said"), GUIDED_REPLIES)
def test_what_a_guided_reply_becomes(
    route: respx.Route, call_method: str, step: int, text: str, calls: list[Any], invalid: list[str], said: str
) -> None:
    route.return_value = reply(call_method, text, step=step)
    message = WAYS[call_method](model(GEMMA_3, tool_calling="guided_json").bind_tools([Search]), "hi")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == calls
    assert [call["name"] for call in message.invalid_tool_calls] == invalid
    assert message.content == said


@pytest.mark.parametrize("text", ["Just prose.", '{"other": 1}', "[1, 2]", '{"answer" 1}'])
def test_a_constrained_reply_in_another_form_is_returned_as_text(
    route: respx.Route, call_method: str, text: str
) -> None:
    route.return_value = reply(call_method, text, step=1)
    message = WAYS[call_method](model(GEMMA_3, tool_calling="guided_json").bind_tools([plain]), "hi")
    assert message.content == text
    assert not message.tool_calls


def test_a_truncated_guided_call_never_runs(route: respx.Route, call_method: str) -> None:
    text = '{"tool_calls": [{"name": "Search", "arguments": {"query": "abc'
    route.return_value = reply(call_method, text, finish="length")
    message = WAYS[call_method](model(GEMMA_3, tool_calling="guided_json").bind_tools([Search]), "hi")
    assert not message.tool_calls
    assert [found["name"] for found in message.invalid_tool_calls] == ["Search"]


def test_guided_json_requests_one_call_at_a_time(route: respx.Route) -> None:
    route.return_value = reply("invoke", '{"answer": "a"}')
    llm = model(GEMMA_3, tool_calling="guided_json").bind_tools([plain], parallel_tool_calls=False)
    llm.invoke("hi")
    assert "tool_calls" not in json.dumps(sent(route)["guided_json"])


@pytest.mark.parametrize("name", [BARE_LORA])
def test_guided_json_needs_a_parameter_for_it(route: respx.Route, name: str) -> None:
    with pytest.raises(ValueError, match="tool_calling='guided_json' needs a model with"):
        model(name, tool_calling="guided_json").bind_tools([plain]).invoke("hi")
    assert not route.called


# --- prompt -----------------------------------------------------------------------------------------------------------


def test_prompt_describes_tools_and_reads_calls_from_text(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, "```tool_code\nplain(x=3)\n```", step=3)
    message = WAYS[call_method](model(GEMMA_7B, tool_calling="prompt").bind_tools([plain]), "hi")
    assert named(message) == [("plain", {"x": 3})]
    assert message.content == ""
    body = sent(route)
    assert not {"tools", "response_format", "guided_json"} & body.keys()
    assert [wire["role"] for wire in body["messages"]] == ["user"]
    assert '"name": "plain"' in body["messages"][0]["content"]


def test_aimlapi_has_no_tools_so_they_are_described(route: respx.Route, call_method: str) -> None:
    """docs/wire.md section 2, reported: `No endpoints found that support tool use`."""
    route.return_value = reply(call_method, '{"name": "plain", "parameters": {"x": 3}}', step=3)
    message = WAYS[call_method](model("google/gemma-3-27b-it", host="aimlapi").bind_tools([plain]), "hi")
    assert named(message) == [("plain", {"x": 3})]
    assert "tools" not in sent(route)
    assert sent(route)["messages"][0]["role"] == "system"
    with pytest.raises(ValueError, match="tool_calling='native' needs a model with tools"):
        model("google/gemma-3-27b-it", host="aimlapi", tool_calling="native").bind_tools([plain]).invoke("hi")


# --- Forced choices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["any", "plain"])
def test_forced_choice_on_gemma_4_answered_with_text_is_requested_once_more_under_a_constraint(
    route: respx.Route, call_method: str, choice: str
) -> None:
    """cloudflare/ai#561."""
    route.side_effect = [
        reply(call_method, "I would rather talk."),
        reply(call_method, '{"name": "plain", "arguments": {"x": 5}}'),
    ]
    message = WAYS[call_method](model().bind_tools([plain], tool_choice=choice), "hi")
    assert named(message) == [("plain", {"x": 5})]
    assert message.content == ""
    assert route.call_count == 2
    again = sent(route)
    assert "tools" not in again
    assert schema_in(again)["properties"]["name"]["enum"] == ["plain"]


def test_a_forced_choice_that_stays_missing_is_an_error(route: respx.Route, call_method: str) -> None:
    route.side_effect = [reply(call_method, "No."), reply(call_method, "Still no.")]
    with pytest.raises(ToolChoiceError, match=r"demanded a call to plain.*Still no"):
        WAYS[call_method](model().bind_tools([plain], tool_choice="any"), "hi")
    assert route.call_count == 2


def test_empty_content_and_no_calls_is_requested_again_too(route: respx.Route, call_method: str) -> None:
    route.side_effect = [reply(call_method, ""), reply(call_method, '{"name": "plain", "arguments": {"x": 5}}')]
    assert named(WAYS[call_method](model().bind_tools([plain], tool_choice="any"), "hi")) == [("plain", {"x": 5})]


def test_a_named_choice_is_not_met_by_another_tool(route: respx.Route, call_method: str) -> None:
    other = reply(call_method, calls=[call("get_weather", {"city": "Rome"})])
    route.side_effect = [other, reply(call_method, '{"name": "plain", "arguments": {"x": 5}}')]
    llm = model().bind_tools([plain, get_weather], tool_choice="plain")
    assert named(WAYS[call_method](llm, "hi")) == [("plain", {"x": 5})]


def test_a_forced_call_that_is_cut_is_an_error_that_names_max_tokens(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, calls=[call("plain", '{"x": 1')], finish="length")
    with pytest.raises(ToolChoiceError, match="max_tokens"):
        WAYS[call_method](model().bind_tools([plain], tool_choice="any"), "hi")


def test_prose_before_a_forced_call_is_kept(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, "Well. ", [call("plain", {"x": 1})])
    message = WAYS[call_method](model().bind_tools([plain], tool_choice="any"), "hi")
    assert message.content == "Well. "
    assert named(message) == [("plain", {"x": 1})]


@pytest.mark.parametrize("name", [GEMMA_3, GEMMA_7B])
@pytest.mark.parametrize("choice", ["any", "plain"])
def test_forced_choice_without_tool_choice_is_constrained_decoding(
    route: respx.Route, call_method: str, name: str, choice: str
) -> None:
    route.return_value = reply(call_method, '{"name": "plain", "arguments": {"x": 5}}')
    message = WAYS[call_method](model(name).bind_tools([plain, get_weather], tool_choice=choice), "hi")
    assert named(message) == [("plain", {"x": 5})]
    body = sent(route)
    assert "tools" not in body
    assert ("anyOf" in schema_in(body)) == (choice == "any")


def test_forced_choice_where_nothing_constrains(route: respx.Route, call_method: str) -> None:
    route.return_value = reply(call_method, "Prose.")
    llm = model("google/gemma-3-27b-it", host="aimlapi").bind_tools([plain], tool_choice="any")
    with pytest.raises(ToolChoiceError):
        WAYS[call_method](llm, "hi")
    assert "You MUST invoke a function now." in sent(route)["messages"][0]["content"]


def test_usage_of_both_requests_is_counted(route: respx.Route) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    first = {"choices": [{"message": {"content": "No."}, "finish_reason": "stop"}], "usage": usage}
    call_text = '{"name": "plain", "arguments": {"x": 5}}'
    second = {"choices": [{"message": {"content": call_text}, "finish_reason": "stop"}], "usage": usage}
    route.side_effect = [httpx.Response(200, json=first), httpx.Response(200, json=second)]
    message = model().bind_tools([plain], tool_choice="any").invoke("hi")
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 30


def test_forcing_sends_enough_max_tokens_for_the_call(route: respx.Route) -> None:
    """docs/wire.md section 6: forcing with too small a max_tokens is an 8006 error."""
    route.return_value = reply("invoke", calls=[call("plain", {"x": 1})])
    model().bind_tools([plain], tool_choice="any").invoke("hi")
    assert sent(route)["max_tokens"] > 256
    model(max_tokens=300).bind_tools([plain], tool_choice="any").invoke("hi")
    assert sent(route)["max_tokens"] == 300
