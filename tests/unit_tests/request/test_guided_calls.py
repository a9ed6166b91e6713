"""Tools with `guided_json`: the constraint, and how calls and answers are read out of the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest
import respx
from langchain_core.messages import AIMessageChunk

from tests.helpers.model_calls import GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, call_model, get_tool_calls, make_model
from tests.helpers.tool_replies import Search, get_schema, get_sent_input, make_reply, plain

pytestmark = pytest.mark.lowest


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
    # The constraint was ignored: each call is on its own line.
    ('{"name": "Search", "parameters": {"query": "x"}}\n\n{"name": "Search", "parameters": {"query": "y"}}\n',
     [("Search", {"query": "x"}), ("Search", {"query": "y"})], [], ""),
    (f'{{"tool_calls": [{_SEARCH_CALL}]}}\nI wait for it.', _SEARCHES, [], "I wait for it."),
    (f'{{"tool_calls": [{_SEARCH_CALL}, {{"name": "Search", "arguments": {{"query": x}}}}]}}',
     _SEARCHES, ["Search"], ""),
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
