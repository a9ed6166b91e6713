"""Token estimates: their distance from Gemma's tokenizer, and counts of messages, tools and images."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, trim_messages

from langchain_workers_gemma.token_estimate import IMAGE_TOKENS, estimate_request_tokens, estimate_text_tokens
from tests.data.token_samples import SAMPLES
from tests.helpers.model_calls import PNG_BASE64, PNG_DATA_URI, WEATHER_TOOL, make_model

TOLERANCE = 0.2


@pytest.mark.parametrize(("text", "tokens"), SAMPLES.values(), ids=SAMPLES)
def test_the_estimate_is_near_gemmas_own_tokenizer(text: str, tokens: int) -> None:
    assert estimate_text_tokens(text) == pytest.approx(tokens, rel=TOLERANCE)
    assert make_model().get_num_tokens(text) == estimate_text_tokens(text)


@given(st.text(max_size=300), st.text(max_size=300))
def test_an_estimate_is_bounded_and_additive(first_text: str, second_text: str) -> None:
    first, second, both = (
        estimate_text_tokens(text) for text in (first_text, second_text, first_text + "\n" + second_text)
    )
    assert bool(first_text) is (first > 0)
    assert first <= 4 * len(first_text) + 1
    assert both <= 2 * (first + second) + 5


def test_an_empty_text_has_no_tokens() -> None:
    assert estimate_text_tokens("") == 0


def test_messages_calls_tools_and_images_are_counted() -> None:
    llm = make_model()
    plain = llm.get_num_tokens_from_messages([HumanMessage("What is the weather in Paris?")])
    assert plain > llm.get_num_tokens("What is the weather in Paris?")
    picture: Any = {"type": "image_url", "image_url": {"url": PNG_DATA_URI}}
    block: Any = {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"}
    for image in (picture, block):
        message = HumanMessage([{"type": "text", "text": "What is the weather in Paris?"}, image])
        assert llm.get_num_tokens_from_messages([message]) == plain + IMAGE_TOKENS
    call: Any = {"name": "get_weather", "args": {"city": "Paris"}, "id": "1"}
    called = llm.get_num_tokens_from_messages([AIMessage("", tool_calls=[call])])
    assert called > llm.get_num_tokens_from_messages([AIMessage("")])
    assert llm.get_num_tokens_from_messages([ToolMessage("sunny", tool_call_id="1")]) > 1
    assert llm.get_num_tokens_from_messages([HumanMessage("Hi")], tools=[WEATHER_TOOL]) > 20


def test_a_custom_tokenizer_is_used() -> None:
    llm = make_model(custom_get_token_ids=lambda text: list(range(len(text))))
    assert llm.get_num_tokens("abcde") == 5
    assert llm.get_num_tokens_from_messages([HumanMessage("abcde")]) == 9


def test_trim_messages_uses_the_estimate() -> None:
    history = [HumanMessage(f"message number {n}") for n in range(100)]
    trimmed = trim_messages(history, max_tokens=100, token_counter=make_model(), strategy="last")
    assert trimmed
    assert trimmed == history[-len(trimmed) :]
    assert make_model().get_num_tokens_from_messages(list(trimmed)) <= 100


def test_tokens_of_requests_are_estimated() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]}]}
    assert estimate_request_tokens(body) == IMAGE_TOKENS + 5
    assert estimate_request_tokens({"model": "m", "data": body}) == IMAGE_TOKENS + 5
    assert estimate_request_tokens({"prompt": "Hi"}) == 1
    assert estimate_request_tokens({**body, "tools": [WEATHER_TOOL]}) > IMAGE_TOKENS + 25


def test_token_ids_need_a_custom_tokenizer() -> None:
    with pytest.raises(ValueError, match="needs custom_get_token_ids"):
        make_model().get_token_ids("Hi")
    assert make_model(custom_get_token_ids=lambda text: [ord(character) for character in text]).get_token_ids("Hi") == [
        72,
        105,
    ]
