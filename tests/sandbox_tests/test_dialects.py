"""Each dialect reproduces one reported behaviour, and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from langchain_workers_gemma.sandbox import DIALECTS, Dialect, Sandbox, get_dialect
from langchain_workers_gemma.sandbox.engines.mock.notation import NOTATIONS
from tests.sandbox_tests.api_client import (
    ADD,
    GEMMA_3,
    GEMMA_4,
    QUIET,
    WEATHER,
    Api,
    get_calls,
    get_text,
    read_events,
    to_messages,
)
from tests.sandbox_tests.test_streams import USAGE, get_stream_text, merge_calls

TWO_CALLS = "Add 3 and 4 and tell me the weather in Paris"
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
UNTOUCHED_TEXT = [
    "documented",
    "native",
    "choices",
    "usage_on_every_event",
    "usage_deltas",
    "no_usage",
    "several_finishes",
    "two_dones",
    "no_done",
    "empty_tool_calls",
    "null_tool_calls",
    "missing_tool_calls",
    "finaliser",
    "whole_calls",
    "crlf",
    "comments",
    "event_lines",
    "joined_packets",
    "split_packets",
    "numbers",
    "reasoning_key",
]


@pytest.fixture(params=[GEMMA_3, GEMMA_4])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", UNTOUCHED_TEXT)
def test_the_text_is_the_same(api: Api, name: str, model: str) -> None:
    text = "Write 2 sentences about 42 cats, 7 dogs and 你好"
    expected = api.get_text(model, text)
    with api.sandbox.using_dialect(name):
        assert get_stream_text(api.get_events(model, text)) == expected


@pytest.mark.parametrize("name", UNTOUCHED_TEXT)
def test_the_calls_are_the_same(api: Api, name: str, model: str) -> None:
    expected = api.get_calls(model, TWO_CALLS, ADD, WEATHER)
    with api.sandbox.using_dialect(name):
        calls = merge_calls(api.get_events(model, TWO_CALLS, tools=[ADD, WEATHER]))
    assert [(call["name"], json.loads(call["arguments"])) for call in calls.values()] == expected


def test_native_and_choices_for_any_model(api: Api, model: str) -> None:
    with api.sandbox.using_dialect("native"):
        assert "response" in api.get_result(model, "Hello")
        assert "response" in api.get_events(model, "Hello")[0]
    with api.sandbox.using_dialect("choices"):
        assert "message" in api.get_result(model, "Hello")["choices"][0]
        assert "delta" in api.get_events(model, "Hello")[0]["choices"][0]
    with api.sandbox.using_dialect("text_choices"):
        assert "text" in api.get_result(model, "Hello")["choices"][0]
        assert "text" in api.get_events(model, "Hello")[0]["choices"][0]


def test_numbers_instead_of_text(api: Api, model: str) -> None:
    with api.sandbox.using_dialect("numbers"):
        events = api.get_events(model, "Tell me about 42")
    texts = [
        event.get("response", event.get("choices", [{}])[:1]) for event in events[:-1] if event.get("choices", True)
    ]
    contents = [text[0]["delta"].get("content") if isinstance(text, list) else text for text in texts]
    assert {4, 2} <= {content for content in contents if isinstance(content, int)}


def test_a_null_response_beside_calls(api: Api) -> None:
    with api.sandbox.using_dialect("null_response"):
        assert api.get_result(GEMMA_3, TWO_CALLS, tools=[ADD])["response"] is None
        assert api.get_result(GEMMA_4, TWO_CALLS, tools=[ADD])["choices"][0]["message"]["content"] is None


def test_a_response_that_is_a_list(api: Api) -> None:
    text = api.get_text(GEMMA_3, "Hello")
    with api.sandbox.using_dialect("generated_text"):
        assert api.get_result(GEMMA_3, "Hello")["response"] == [{"generated_text": text}]


def test_a_response_that_is_a_number(api: Api) -> None:
    with api.sandbox.using_dialect("numbers"):
        assert api.get_result(GEMMA_3, "Ann is 41", guided_json={"type": "integer"})["response"] == 41


def test_a_response_that_is_an_object(api: Api) -> None:
    with api.sandbox.using_dialect("object_response"):
        assert api.get_result(GEMMA_3, "Ann is 41", guided_json=SCHEMA)["response"] == {"age": 41}
        assert isinstance(api.get_result(GEMMA_3, "Hello")["response"], str)


@pytest.mark.parametrize("text", ["Hello", TWO_CALLS])
def test_usage_on_every_event_counts_up(api: Api, model: str, text: str) -> None:
    expected = api.get_result(model, text, tools=[ADD, WEATHER])["usage"]
    with api.sandbox.using_dialect("usage_on_every_event"):
        events = api.get_events(model, text, tools=[ADD, WEATHER])[:-1]
    assert all("usage" in event for event in events)
    counts = [event["usage"]["completion_tokens"] for event in events]
    assert counts == sorted(counts)
    assert events[-1]["usage"] == expected


@pytest.mark.parametrize("text", ["Hello", TWO_CALLS])
def test_usage_deltas_add_up(api: Api, model: str, text: str) -> None:
    expected = api.get_result(model, text, tools=[ADD, WEATHER])["usage"]
    with api.sandbox.using_dialect("usage_deltas"):
        reports = [event["usage"] for event in api.get_events(model, text, tools=[ADD, WEATHER])[:-1]]
    assert reports[0]["prompt_tokens"] == expected["prompt_tokens"]
    assert all(report["prompt_tokens"] == 0 for report in reports[1:])
    assert sum(report["completion_tokens"] for report in reports) == expected["completion_tokens"]


def test_no_usage(api: Api, model: str) -> None:
    with api.sandbox.using_dialect("no_usage"):
        assert "usage" not in api.get_result(model, "Hello")
        assert "usage" not in str(api.get_events(model, "Hello", **USAGE))


def test_several_finishes_and_dones(api: Api) -> None:
    with api.sandbox.using_dialect("several_finishes", "two_dones"):
        events = api.get_events(GEMMA_4, "Hello")
    assert events[-2:] == ["[DONE]", "[DONE]"]
    assert sum(event["choices"][0]["finish_reason"] == "stop" for event in events[:-2]) == 3
    with api.sandbox.using_dialect("no_done"):
        assert "[DONE]" not in api.get_events(GEMMA_4, "Hello")


@pytest.mark.parametrize(("name", "tool_calls"), [("empty_tool_calls", []), ("null_tool_calls", None)])
def test_tool_calls_of_a_reply_with_text(api: Api, name: str, tool_calls: object) -> None:
    with api.sandbox.using_dialect(name):
        assert api.get_events(GEMMA_3, "Hello")[0]["tool_calls"] == tool_calls
        assert api.get_events(GEMMA_4, "Hello", **QUIET)[0]["choices"][0]["delta"]["tool_calls"] == tool_calls
        assert api.get_result(GEMMA_3, "Hello")["tool_calls"] == tool_calls
        assert api.get_result(GEMMA_4, "Hello")["choices"][0]["message"]["tool_calls"] == tool_calls


def test_no_tool_calls_at_all(api: Api) -> None:
    with api.sandbox.using_dialect("missing_tool_calls"):
        assert "tool_calls" not in api.get_result(GEMMA_3, "Hello")


def test_the_finaliser_has_no_index(api: Api) -> None:
    with api.sandbox.using_dialect("finaliser"):
        native = api.get_events(GEMMA_3, TWO_CALLS, tools=[ADD])
        choices = api.get_events(GEMMA_4, TWO_CALLS, tools=[ADD])
    last = {"id": None, "type": None, "function": {"name": None, "arguments": ""}}
    assert native[-3] == {"tool_calls": [last]}
    assert choices[-3]["choices"][0]["delta"] == {"tool_calls": [last]}


def test_whole_calls(api: Api, model: str) -> None:
    with api.sandbox.using_dialect("whole_calls"):
        events = api.get_events(model, TWO_CALLS, tools=[ADD, WEATHER], **QUIET)
    assert str(events).count("'arguments'") == 2


def test_ids_of_calls(api: Api) -> None:
    def get_call_ids() -> list[Any]:
        message = api.get_result(GEMMA_4, TWO_CALLS, tools=[ADD, WEATHER])["choices"][0]["message"]
        return [call.get("id", "none") for call in message["tool_calls"]]

    with api.sandbox.using_dialect("no_call_ids"):
        assert get_call_ids() == ["none", "none"]
        assert all(
            call["id"] is None
            for call in merge_calls(api.get_events(GEMMA_4, TWO_CALLS, tools=[ADD, WEATHER])).values()
        )
    with api.sandbox.using_dialect("repeated_call_ids"):
        assert len(set(get_call_ids() + get_call_ids())) == 1


def test_forms_of_calls_and_arguments(api: Api) -> None:
    with api.sandbox.using_dialect("function_calls"):
        (call,) = api.get_result(GEMMA_3, "Add 3 and 4", tools=[ADD])["tool_calls"]
        assert call["function"]["name"] == "add"
    with api.sandbox.using_dialect("arguments_as_string"):
        assert api.get_result(GEMMA_3, "Add 3 and 4", tools=[ADD])["tool_calls"][0]["arguments"] == '{"a": 3, "b": 4}'
    with api.sandbox.using_dialect("arguments_as_object"):
        message = api.get_result(GEMMA_4, "Add 3 and 4", tools=[ADD])["choices"][0]["message"]
        assert message["tool_calls"][0]["function"]["arguments"] == {"a": 3, "b": 4}


def test_a_body_instead_of_a_stream(api: Api, model: str) -> None:
    with api.sandbox.using_dialect("json_for_stream"):
        response = api.send_text(model, "Hello", stream=True)
        assert response.headers["content-type"] == "application/json"
        assert get_text(response.json()["result"])
    with api.sandbox.using_dialect("empty_stream"):
        assert api.send_text(model, "Hello", stream=True).json()["result"] == {}
        assert api.get_text(model, "Hello")


def test_line_endings_comments_and_event_lines(api: Api) -> None:
    with api.sandbox.using_dialect("crlf", "comments", "event_lines"):
        text = api.send_text(GEMMA_3, "Hello", stream=True).text
    assert text.count("\r\n") == text.count("\n")
    assert ": keep-alive\r\n\r\nevent: message\r\ndata: {" in text


def collect_packets(api: Api, text: str) -> list[bytes]:
    body = {"messages": to_messages(text), "stream": True}
    with api.http.stream("POST", f"{api.account}/ai/run/{GEMMA_3}", json=body, headers=api.auth) as response:
        return list(response.iter_raw())


def test_packets(api: Api) -> None:
    whole = b"".join(collect_packets(api, "你好"))
    with api.sandbox.using_dialect("joined_packets"):
        joined = collect_packets(api, "你好")
    with api.sandbox.using_dialect("split_packets"):
        split = collect_packets(api, "你好")
    assert b"".join(joined) == b"".join(split) == whole
    assert joined[0].count(b"data: ") > 1

    def cut_in_a_character(packet: bytes) -> bool:
        try:
            packet.decode()
        except UnicodeDecodeError:
            return True
        return False

    assert any(map(cut_in_a_character, split))


def test_forms_of_errors(api: Api) -> None:
    def send_invalid_request() -> httpx.Response:
        return api.run(GEMMA_3, {"messages": []})

    with api.sandbox.using_dialect("errors_with_200"):
        assert (send_invalid_request().status_code, send_invalid_request().json()["success"]) == (200, False)
    with api.sandbox.using_dialect("error_code_in_text"):
        assert send_invalid_request().json()["errors"][0]["message"].startswith("AiError: 5006: ")
    with api.sandbox.using_dialect("error_internal_codes"):
        assert (send_invalid_request().json()["internalCode"], send_invalid_request().json()["httpCode"]) == (5006, 400)
    with api.sandbox.using_dialect("error_object"):
        assert send_invalid_request().json()["errors"]["code"] == 5006


def test_a_required_call_answered_in_plain_text(api: Api) -> None:
    with api.sandbox.using_dialect("prose_for_required", "empty_tool_calls"):
        result = api.get_result(GEMMA_4, TWO_CALLS, tools=[ADD], tool_choice="required")
        assert result["choices"][0]["message"]["tool_calls"] == []
        assert get_text(result)
        assert get_calls(api.get_result(GEMMA_4, TWO_CALLS, tools=[ADD]))


def test_json_mode_that_cannot_be_met(api: Api) -> None:
    with api.sandbox.using_dialect("schema_fails"):
        response = api.send_text(GEMMA_3, "Hello", guided_json=SCHEMA)
    assert response.status_code == 400
    assert "JSON Mode couldn't be met" in response.text


def test_a_reply_that_ends_in_endless_white_space(api: Api) -> None:
    with api.sandbox.using_dialect("runaway"):
        result = api.get_result(GEMMA_3, "Ann is 41", guided_json=SCHEMA, max_tokens=300)
    assert result["response"].startswith('{"age":41')
    assert result["response"].endswith("\n" * 100)
    assert result["usage"]["completion_tokens"] == 300


def test_thinking_as_text(api: Api) -> None:
    with api.sandbox.using_dialect("thinking_as_text"):
        message = api.get_result(GEMMA_4, "Hello")["choices"][0]["message"]
    assert message["content"].startswith("<|channel>thought\n")
    assert "<channel|>" in message["content"]
    assert "reasoning_content" not in message
    with api.sandbox.using_dialect("reasoning_key"):
        assert api.get_result(GEMMA_4, "Hello")["choices"][0]["message"]["reasoning"]


@pytest.mark.parametrize("name", [name for name in DIALECTS if name.startswith("calls_as_")])
def test_calls_as_text(api: Api, model: str, name: str) -> None:
    with api.sandbox.using_dialect(name):
        result = api.get_result(model, TWO_CALLS, tools=[ADD, WEATHER])
    assert get_calls(result) == []
    text = get_text(result)
    assert "add" in text
    assert "get_weather" in text
    assert "Paris" in text


def test_every_notation_has_a_dialect() -> None:
    assert {dialect.habits.calls_as for dialect in DIALECTS.values()} == {None, *NOTATIONS}


def test_dialects_are_combined() -> None:
    both = get_dialect("crlf", "prose_for_required", "runaway")
    assert both.newline == "\r\n"
    assert both.habits.prose_for_required
    assert both.habits.runaway
    assert get_dialect() == Dialect() == DIALECTS["documented"]


def test_every_dialect_differs_from_the_documented_one() -> None:
    others = [dialect for name, dialect in DIALECTS.items() if name != "documented"]
    assert Dialect() not in others
    assert len(others) == len({repr(dialect) for dialect in others})


def test_a_sandbox_starts_with_its_dialect() -> None:
    for dialect in ("crlf", ["crlf", "numbers"], Dialect(newline="\r\n")):
        with Sandbox(dialect=dialect) as sandbox, Api(sandbox) as api:
            assert "\r\n\r\n" in api.send_text(GEMMA_3, "Hello", stream=True).text


def test_a_dialect_in_a_with_block_ends_with_it(api: Api) -> None:
    with api.sandbox.using_dialect("crlf", dones=0):
        assert (api.sandbox.dialect.newline, api.sandbox.dialect.dones) == ("\r\n", 0)
    assert api.sandbox.dialect == Dialect()
    assert read_events(api.send_text(GEMMA_3, "Hello", stream=True).text)[-1] == "[DONE]"
