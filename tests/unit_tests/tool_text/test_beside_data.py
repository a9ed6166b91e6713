"""Text beside content that the service has parsed already: reasoning, tool calls, and truncated replies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.mock_service import MockService, make_completion, make_delta, make_tool_call
from tests.helpers.model_calls import call_model, make_model, summarize_message
from tests.unit_tests.tool_text.sample_calls import ROME, ROME_TEXT, TOOLS, Q

_LLM = make_model(api="openai", max_tokens=100).bind_tools(TOOLS)
_OSLO: tuple[str, dict[str, Any]] = ("weather", {"city": "Oslo"})


class Reply(NamedTuple):
    """The fields of a reply, and the expected message.

    Attributes:
        content: The text of the reply.
        reasoning: The reasoning of the reply.
        data: The calls that the service has parsed.
        calls: The expected calls.
        text: The expected text.
        expected_reasoning: The expected reasoning.
    """

    content: str
    reasoning: str
    data: list[tuple[str, dict[str, Any]]]
    calls: list[tuple[str, dict[str, Any]]]
    text: str = ""
    expected_reasoning: str = ""


REPLIES = {
    "a call at the end of a thought": Reply("", f"I call {ROME_TEXT}", [], [ROME], "", "I call"),
    "a call at the end of a thought, and newlines": Reply("\n\n", f"I call\n{ROME_TEXT}\n", [], [ROME], "", "I call"),
    "a call in a thought, and an answer": Reply("No.", f"I call {ROME_TEXT}", [], [], "No.", f"I call {ROME_TEXT}"),
    "a call in a thought, and another as data": Reply(
        "", f"I call {ROME_TEXT}", [_OSLO], [_OSLO], "", f"I call {ROME_TEXT}"),
    "a truncated call in a thought, and an answer": Reply(
        "No.", "I <|tool_call>call:weather{city:", [], [], "No.", "I <|tool_call>call:weather{city:"),
    "JSON in a thought": Reply("", '{"name": "now", "arguments": {}}', [], [], "", '{"name": "now", "arguments": {}}'),
    "the answer in the thought": Reply("", "hm<channel|>Yes.", [], [], "Yes.", "hm"),
    "the name of the thought": Reply("Yes.", "thought\nhm", [], [], "Yes.", "hm"),
    "the opener of the thought": Reply("Yes.", "<|channel>thought\nhm", [], [], "Yes.", "hm"),
    "the closer of the thought in the text": Reply("<channel|>Yes.", "hm", [], [], "Yes.", "hm"),
    "the end of a turn in the thought": Reply("Yes.", "hm<turn|>", [], [], "Yes.", "hm"),
    "a call as text and as data": Reply(ROME_TEXT, "", [ROME], [ROME]),
    "a call as text and as data, and another": Reply(ROME_TEXT, "", [ROME, _OSLO], [ROME, _OSLO]),
    "another, and a call as text and as data": Reply(ROME_TEXT, "", [_OSLO, ROME], [ROME, _OSLO]),
    "one call as text, one as data": Reply(ROME_TEXT, "", [_OSLO], [ROME, _OSLO]),
    "two equal calls in the text": Reply(ROME_TEXT * 2, "", [ROME], [ROME, ROME]),
    "two equal calls as data": Reply("", "", [ROME, ROME], [ROME, ROME]),
    "a piece of a token before a call": Reply("<|too", "hm", [ROME], [ROME], "", "hm"),
    "one character of a token before a call": Reply("<", "hm", [ROME], [ROME], "", "hm"),
    "text with a bracket, and a call as data": Reply("Is 3 < 4? ", "", [ROME], [ROME], "Is 3 < 4? "),
}  # fmt: skip


def iterate_messages(service: MockService, reply: Reply) -> Iterator[AIMessage]:
    """Yield the message of a reply, whole and streamed by character."""
    calls = [
        make_tool_call(name, json.dumps(arguments), index=index, id=f"c{index}", type="function")
        for index, (name, arguments) in enumerate(reply.data)
    ]
    whole: dict[str, Any] = {"reasoning": reply.reasoning} if reply.reasoning else {}
    service.respond_with_bodies(
        make_completion(reply.content, finish_reason="stop", **whole, **({"tool_calls": calls} if calls else {}))
    )
    yield call_model(_LLM, "invoke")
    for content in ([reply.content], list(reply.content)):
        service.respond_with_events(
            *(make_delta(reasoning=character) for character in reply.reasoning),
            *map(make_delta, content),
            *(make_delta(tool_calls=[call]) for call in calls),
            make_delta(finish_reason="stop"),
            "[DONE]",
        )
        yield call_model(_LLM, "stream")


@pytest.mark.parametrize("name", REPLIES)
def test_text_beside_parsed_fields(service: MockService, name: str) -> None:
    reply = REPLIES[name]
    for message in iterate_messages(service, reply):
        read = summarize_message(message)
        assert (read["text"], read["reasoning"].rstrip()) == (reply.text, reply.expected_reasoning)
        assert sorted(map(str, read["tool_calls"])) == sorted(map(str, reply.calls))
        assert not read["invalid"]


TRUNCATED: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "closed": (ROME_TEXT, [ROME]),
    "closed, and another that is truncated": (f"{ROME_TEXT}<|tool_call>call:weather{{city:{Q}Os", [ROME]),
    "text after it": (f"{ROME_TEXT}\nAnd", [ROME]),
    "no closing token": (ROME_TEXT.removesuffix("<tool_call|>"), []),
    "half a closing token": (ROME_TEXT.removesuffix("ll|>"), []),
    "a missing quote token at the end": (f"<|tool_call>call:weather{{city:{Q}Rome}}<tool_call|>", []),
    "stripped": ("call:weather{city:Rome}", []),
    "stripped, a line end": ("call:weather{city:Rome}\n", [ROME]),
    "python": ("weather(city='Rome')", []),
    "python, a line end": ("weather(city='Rome')\n", [ROME]),
    "a fence without its end": ("```tool_code\nweather(city='Rome')\n", []),
    "a fence": ("```tool_code\nweather(city='Rome')\n```", [ROME]),
    "json": ('{"name": "weather", "parameters": {"city": "Rome"}}', []),
    "json, a line end": ('{"name": "weather", "parameters": {"city": "Rome"}}\n', [ROME]),
    "tags": ('<tool_call>{"name": "weather", "parameters": {"city": "Rome"}}</tool_call>', [ROME]),
    "tags without an end": ('<tool_call>{"name": "weather", "parameters": {"city": "Rome"}}', []),
    "two, the last not closed": ("weather(city='Rome')\nweather(city='Oslo')", [ROME]),
    "in a thought": (f"<|channel>thought\nhm{ROME_TEXT.removesuffix('<tool_call|>')}", []),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_call_in_a_truncated_reply_is_valid_if_it_is_closed(service: MockService, name: str) -> None:
    text, calls = TRUNCATED[name]
    service.respond_with_bodies(make_completion(text, finish_reason="length"))
    read = [call_model(_LLM, "invoke")]
    for pieces in ([text], list(text)):
        service.respond_with_events(*map(make_delta, pieces), make_delta(finish_reason="length"), "[DONE]")
        read.append(call_model(_LLM, "stream"))
    for message in read:
        assert summarize_message(message)["tool_calls"] == calls
        assert len(message.invalid_tool_calls) == text.count("weather") - len(calls)
