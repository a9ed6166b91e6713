"""Histories are converted to fit the chat template of each generation of Gemma (docs/wire.md section 6)."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import CALL_METHODS, CHAT_MODELS, GEMMA_3, GEMMA_4, SEA_LION, call_model, make_model
from tests.helpers.template_rules import (
    GEMMA_1,
    IMAGE,
    check_template_rules,
    get_turns,
    make_call,
    send_history,
)

pytestmark = pytest.mark.lowest


# --- System messages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, SEA_LION])
def test_leading_system_messages_are_merged_into_one(service: MockService, model: str, call_method: str) -> None:
    history = [
        SystemMessage("One."),
        ChatMessage(content="Two.", role="developer"),
        SystemMessage("Three."),
        HumanMessage("Hi"),
    ]
    call_model(make_model(model=model), call_method, history)
    assert get_turns(service.last_messages) == [("system", "One.\n\nTwo.\n\nThree."), ("user", "Hi")]


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_messages_are_merged_into_the_user_turn(
    service: MockService, model: str, call_method: str
) -> None:
    call_model(make_model(model=model), call_method, [SystemMessage("One."), SystemMessage("Two."), HumanMessage("Hi")])
    assert get_turns(service.last_messages) == [("user", "One.\n\nTwo.\n\nHi")]


@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_message_before_an_assistant_message_becomes_a_user_turn(
    service: MockService, model: str
) -> None:
    messages = send_history(service, model, SystemMessage("Be brief."), AIMessage("Hello!"), HumanMessage("Hi"))
    assert get_turns(messages) == [("user", "Be brief."), ("assistant", "Hello!"), ("user", "Hi")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_lone_system_message_becomes_a_user_message(service: MockService, model: str) -> None:
    assert get_turns(send_history(service, model, SystemMessage("Tell a joke."))) == [("user", "Tell a joke.")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_later_system_message_is_merged_into_the_next_user_turn(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("a"),
        AIMessage("b"),
        SystemMessage("Now be formal."),
        HumanMessage("c"),
        AIMessage("d"),
        HumanMessage("e"),
    )
    assert get_turns(messages) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Now be formal.\n\nc"),
        ("assistant", "d"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_final_system_message_becomes_a_user_turn(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage("a"), AIMessage("b"), SystemMessage("Sum up."))
    assert get_turns(messages) == [("user", "a"), ("assistant", "b"), ("user", "Sum up.")]


def test_gemma_4_system_message_before_an_assistant_message_is_merged_into_the_user_turn(service: MockService) -> None:
    messages = send_history(
        service, GEMMA_4, SystemMessage("s"), HumanMessage("a"), SystemMessage("t"), AIMessage("b"), HumanMessage("c")
    )
    assert get_turns(messages) == [("system", "s"), ("user", "a\n\nt"), ("assistant", "b"), ("user", "c")]


# --- Alternation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_consecutive_user_messages_after_a_system_message_are_merged(
    service: MockService, model: str, call_method: str
) -> None:
    call_model(make_model(model=model), call_method, [SystemMessage("s"), HumanMessage("a"), HumanMessage("b")])
    assert get_turns(service.last_messages) == [("system", "s"), ("user", "a\n\nb")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_consecutive_messages_of_one_role_are_merged(service: MockService, model: str) -> None:
    messages = send_history(
        service, model, HumanMessage("a"), HumanMessage("b"), AIMessage("c"), AIMessage("d"), HumanMessage("e")
    )
    assert get_turns(messages) == [("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e")]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_consecutive_messages_with_images_are_merged(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage(["a", IMAGE]), HumanMessage([IMAGE, "b"]))
    (message,) = messages
    assert [part.get("text", part["type"]) for part in message["content"]] == [
        "a",
        "image_url",
        "\n\n",
        "image_url",
        "b",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_user_turn_is_inserted_before_a_first_assistant_message(service: MockService, model: str) -> None:
    messages = send_history(service, model, AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].strip(), "the inserted message is not empty"
    assert get_turns(messages[1:]) == [("assistant", "How can I help?"), ("user", "Hi")]


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_a_user_turn_is_inserted_between_system_and_assistant_messages(service: MockService, model: str) -> None:
    messages = send_history(service, model, SystemMessage("s"), AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_empty_assistant_message_is_omitted(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage("a"), AIMessage(""), HumanMessage("b"), AIMessage([""]))
    assert get_turns(messages) == [("user", "a\n\nb")]


# --- Any history ------------------------------------------------------------------------------------------------------

_IDS = st.sampled_from(["c1", "c2", "c3", "c4"])
_NAMES = st.sampled_from(["f", "g_h"])
_WORD = re.compile(r"w\d+q")


@st.composite
def _contents(draw: st.DrawFn, words: list[str], *, empty: bool = True, images: bool = False) -> Any:
    def word() -> str:
        words.append(f"w{len(words)}q")
        return words[-1]

    kind = draw(st.sampled_from(["text", "blocks", "empty", "image"]))
    if kind == "empty" and empty:
        return draw(st.sampled_from(["", [], [""], [{"type": "text", "text": ""}]]))
    if kind == "blocks":
        return [word(), {"type": "text", "text": " " + word()}]
    if kind == "image" and images:
        return [{"type": "text", "text": word()}, IMAGE]
    return word()


@st.composite
def _histories(draw: st.DrawFn, *, images: bool) -> tuple[list[BaseMessage], list[str]]:
    words: list[str] = []
    messages: list[BaseMessage] = []
    for kind in draw(st.lists(st.sampled_from("SHATCD"), min_size=1, max_size=9)):
        if kind == "S":
            messages.append(SystemMessage(draw(_contents(words))))
        elif kind == "H":
            messages.append(HumanMessage(draw(_contents(words, images=images))))
        elif kind == "A":
            messages.append(AIMessage(draw(_contents(words))))
        elif kind == "D":
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            messages.append(ChatMessage(content=draw(_contents(words)), role=role))
        elif kind == "T":
            status = draw(st.sampled_from(["success", "error"]))
            messages.append(ToolMessage(draw(_contents(words, images=images)), tool_call_id=draw(_IDS), status=status))
        else:
            content = draw(_contents(words))
            calls = []
            for call_id in draw(st.lists(_IDS, min_size=1, max_size=3, unique=True)):
                words.append(f"w{len(words)}q")
                calls.append(make_call(draw(_NAMES), call_id, a=words[-1]))
            messages.append(AIMessage(content, tool_calls=calls))
    return messages, words


def _find_words_beside_calls(message: BaseMessage) -> list[str]:
    calls = isinstance(message, AIMessage) and message.tool_calls
    return _WORD.findall(str(message.content)) if calls else []


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_any_history_fits_the_template_and_keeps_every_word(model: str) -> None:
    sent: list[bytes] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"result": {"response": "Hi"}, "success": True})

    with httpx.Client(transport=httpx.MockTransport(respond)) as client:
        llm = make_model(model=model, http_client=client)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_histories(images=model in (GEMMA_3, GEMMA_4)))
        def check_history(history: tuple[list[BaseMessage], list[str]]) -> None:
            messages_in, words = history
            llm.invoke(messages_in)
            text = sent.pop().decode()
            messages = json.loads(text)["messages"]
            check_template_rules(model, messages)
            # Both keys of reasoning have the same text. The text beside calls of earlier rounds is not sent.
            texts = json.dumps([{**message, "reasoning": ""} for message in messages])
            beside = (
                {text for message in messages_in for text in _find_words_beside_calls(message)}
                if model == GEMMA_4
                else set()
            )
            found = _WORD.findall(texts)
            assert len(found) == len(set(found))
            assert set(words) - beside <= set(found) <= set(words)

        check_history()
