"""Streams as the service documents them (docs/wire.md section 4)."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import (
    ADD,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    QUIET,
    SEA_LION,
    WEATHER,
    Api,
    read_events,
    to_messages,
)

USAGE = {"stream_options": {"include_usage": True}}


def get_stream_text(events: list[Any]) -> str:
    parts = []
    for event in events:
        if event == "[DONE]":
            continue
        parts += [
            str(choice.get("text", choice.get("delta", {}).get("content") or "")) for choice in event.get("choices", ())
        ]
        parts.append(str(event.get("response", "")))
    return "".join(parts)


def merge_calls(events: list[Any]) -> dict[int, dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if event == "[DONE]":
            continue
        pieces = list(event.get("tool_calls") or ())
        for choice in event.get("choices", ()):
            pieces += choice.get("delta", {}).get("tool_calls") or ()
        for piece in pieces:
            if "index" not in piece:
                continue
            call = calls.setdefault(piece["index"], {"id": piece.get("id"), "name": None, "arguments": ""})
            call["name"] = piece["function"].get("name") or call["name"]
            call["arguments"] += piece["function"]["arguments"]
    return calls


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("text", ["Hello", "Write 3 sentences about 你好 and 42", "What is 6 times 7?"])
def test_a_stream_equals_the_whole_reply(api: Api, model: str, text: str) -> None:
    assert get_stream_text(api.get_events(model, text)) == api.get_text(model, text)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_stream_has_the_calls_of_the_whole_reply(api: Api, model: str) -> None:
    text = "Add 3 and 4 and tell me the weather in São Paulo"
    calls = merge_calls(api.get_events(model, text, tools=[ADD, WEATHER]))
    streamed = [(call["name"], json.loads(call["arguments"])) for _, call in sorted(calls.items())]
    assert streamed == api.get_calls(model, text, ADD, WEATHER)
    assert len(streamed) == 2
    assert len({call["id"] for call in calls.values()}) == 2


def test_native_events(api: Api) -> None:
    *texts, last, done = api.get_events(GEMMA_3, "Hello")
    assert done == "[DONE]"
    assert all(set(event) == {"response", "p"} for event in texts)
    assert last == {"response": "", "usage": api.get_result(GEMMA_3, "Hello")["usage"]}


def test_choices_events(api: Api) -> None:
    *deltas, finish, usage, done = api.get_events(GEMMA_4, "Hello", **USAGE)
    assert done == "[DONE]"
    assert deltas[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in event["choices"][0]["delta"] for event in deltas[1:])
    assert all(event["choices"][0]["finish_reason"] is None for event in deltas)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]) == ([], api.get_result(GEMMA_4, "Hello")["usage"])
    assert len({event["id"] for event in deltas}) == 1


def test_usage_is_sent_on_request_where_the_schema_has_stream_options(api: Api) -> None:
    assert not any("usage" in event for event in api.get_events(GEMMA_4, "Hello")[:-1])
    assert "usage" in api.get_events(SEA_LION, "Hello")[-2]


def test_reasoning_comes_first(api: Api) -> None:
    deltas = [event["choices"][0]["delta"] for event in api.get_events(GEMMA_4, "Hello")[:-1] if event["choices"]]
    kinds = ["reasoning_content" if "reasoning_content" in delta else "content" for delta in deltas[:-1]]
    assert kinds == sorted(kinds, reverse=True)
    assert len(set(kinds)) == 2


def test_text_events_of_a_prompt(api: Api) -> None:
    events = read_events(api.run(SEA_LION, {"prompt": "Hello", "stream": True}).text)
    assert get_stream_text(events) == api.run(SEA_LION, {"prompt": "Hello"}).json()["result"]["choices"][0]["text"]
    assert events[-3]["choices"][0]["finish_reason"] == "stop"


def test_a_truncated_stream_has_the_finish_reason_length(api: Api) -> None:
    events = api.get_events(GEMMA_4, "Hello", max_tokens=3, **USAGE, **QUIET)
    assert events[-3]["choices"][0]["finish_reason"] == "length"
    assert events[-2]["usage"]["completion_tokens"] == 3


def test_several_choices_in_a_stream(api: Api) -> None:
    events = api.get_events(GEMMA_4, "Hello", n=2, **USAGE)
    indexes = {event["choices"][0]["index"] for event in events[:-2] if event["choices"]}
    assert indexes == {0, 1}
    assert events[-2]["usage"] == api.get_result(GEMMA_4, "Hello", n=2)["usage"]


def test_a_refused_stream_is_a_json_error(api: Api) -> None:
    response = api.run(GEMMA_4, {"messages": [], "stream": True})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"


def test_each_event_is_its_own_packet(api: Api) -> None:
    body = {"messages": to_messages("Hello"), "stream": True}
    with api.http.stream("POST", f"{api.account}/ai/run/{GEMMA_3}", json=body, headers=api.auth) as response:
        packets = list(response.iter_raw())
    assert all(packet.startswith(b"data: ") and packet.endswith(b"\n\n") for packet in packets)
    assert len(packets) > 10


def test_the_openai_route_streams(api: Api) -> None:
    body = {"model": GEMMA_3, "messages": to_messages("Hello"), "stream": True}
    assert get_stream_text(read_events(api.send_chat(body).text)) == api.get_text(GEMMA_3, "Hello")


def test_an_abandoned_stream_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """If the sandbox continued to write to a closed connection, asyncio would log a warning for each chunk."""
    with Sandbox() as sandbox:
        for _ in range(10):
            llm = ChatWorkersGemma(
                base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token, max_tokens=512
            )
            stream = llm.stream("Name three rivers.")
            next(stream)
            stream.close()  # type: ignore[attr-defined]  # a generator, which core declares as an iterator
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
