"""A reply to tool results that starts inside a thought, because the template opened it (vllm#45834, omlx#2533)."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_workers_gemma.response.stages.opened_thought import MAX_THOUGHT
from tests.helpers.mock_service import MockService, make_completion, make_delta
from tests.helpers.model_calls import WEATHER_TOOL, call_model, collect_chunks, make_model, summarize_message

HISTORY_WITH_RESULT = [
    HumanMessage("How is the weather in Rome?"),
    AIMessage("", tool_calls=[{"name": "get_weather", "args": {"city": "Rome"}, "id": "a"}]),
    ToolMessage("sunny", tool_call_id="a"),
]
OSLO_CALL_TEXT = '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>'
OSLO_CALL = ("get_weather", {"city": "Oslo"})
LONG_TEXT = "word " * (MAX_THOUGHT // 5)


def get_reply_parts(service: MockService, reply: str, messages: list[Any], **options: Any) -> dict[str, Any]:
    """Check that a reply gives the same message whole and in pieces of several lengths, and return its parts."""
    llm = make_model(**{"thinking": True, **options}).bind_tools([WEATHER_TOOL])
    service.respond_with_bodies(make_completion(reply))
    whole = summarize_message(call_model(llm, "invoke", messages))
    for size in (1, 2, 7, 64, 5_000):
        pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
        service.respond_with_events(*map(make_delta, pieces), make_delta(finish_reason="stop"), "[DONE]")
        assert summarize_message(call_model(llm, "stream", messages)) == whole
    return {key: whole[key] for key in ("text", "reasoning", "tool_calls", "invalid")}


@pytest.mark.parametrize(
    ("reply", "text", "reasoning", "calls"),
    [
        ("They asked for Rome.<channel|>Sunny.", "Sunny.", "They asked for Rome.", []),
        ("They asked.\n<channel|>\nSunny.", "\nSunny.", "They asked.", []),
        ("<channel|>Sunny.", "Sunny.", "", []),
        (f"Oslo as well.<channel|>{OSLO_CALL_TEXT}", "", "Oslo as well.", [OSLO_CALL]),
        ("Oslo as well.<channel|>Wait.<|channel>thought\nHm.<channel|>No.", "Wait.No.", "Oslo as well.Hm.", []),
        ("<|channel>thought\nThey asked.<channel|>Sunny.", "Sunny.", "They asked.", []),
        ("thought\nThey asked.<channel|>Sunny.", "Sunny.", "They asked.", []),
        ("Sunny.", "Sunny.", "", []),
        (OSLO_CALL_TEXT, "", "", [OSLO_CALL]),
        (f"{LONG_TEXT}<channel|>Sunny.", "Sunny.", LONG_TEXT, []),
        (f"{LONG_TEXT}!<channel|>Sunny.", f"{LONG_TEXT}!Sunny.", "", []),
    ],
)
def test_text_before_the_closing_token_is_reasoning(
    service: MockService, reply: str, text: str, reasoning: str, calls: list[Any]
) -> None:
    assert get_reply_parts(service, reply, HISTORY_WITH_RESULT) == {
        "text": text,
        "reasoning": reasoning,
        "tool_calls": calls,
        "invalid": [],
    }


@pytest.mark.parametrize("options", [{"thinking": False}, {"thinking": None}])
def test_without_thinking_the_text_is_not_reasoning(service: MockService, options: dict[str, Any]) -> None:
    assert (
        get_reply_parts(service, "They asked.<channel|>Sunny.", HISTORY_WITH_RESULT, **options)["text"]
        == "They asked.Sunny."
    )


def test_without_tool_results_the_text_is_not_reasoning(service: MockService) -> None:
    assert get_reply_parts(service, "They asked.<channel|>Sunny.", [HumanMessage("Hi")])["text"] == "They asked.Sunny."


def test_text_is_streamed_after_the_service_has_sent_reasoning(service: MockService) -> None:
    llm = make_model(thinking=True).bind_tools([WEATHER_TOOL])
    service.respond_with_events(
        make_delta(reasoning="Hm."),
        make_delta("Sun"),
        make_delta("ny"),
        make_delta(".", finish_reason="stop"),
        "[DONE]",
    )
    assert [chunk.text for chunk in collect_chunks(llm, "stream", HISTORY_WITH_RESULT) if chunk.text] == [
        "Sun",
        "ny",
        ".",
    ]


def test_a_long_text_is_streamed_after_the_maximum_thought(service: MockService) -> None:
    llm = make_model(reasoning_effort="high").bind_tools([WEATHER_TOOL])
    service.respond_with_events(*[make_delta("word ")] * 1_000, make_delta(finish_reason="stop"), "[DONE]")
    texts = [chunk.text for chunk in collect_chunks(llm, "stream", HISTORY_WITH_RESULT) if chunk.text]
    assert len(texts[0]) < MAX_THOUGHT + 20
    assert "".join(texts) == "word " * 1_000
