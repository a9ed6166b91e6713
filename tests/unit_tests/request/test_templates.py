"""Histories are converted to fit the chat template of each generation of Gemma (docs/wire.md section 6)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG_BASE64,
    SEA_LION,
    WEATHER_TOOL,
    call_model,
    make_model,
)

pytestmark = pytest.mark.lowest

GEMMA_1 = (GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA)
WITHOUT_TOOL_ROLE = tuple(model for model in CHAT_MODELS if model != GEMMA_4)
IMAGE = {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"}


def make_call(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call of a LangChain message."""
    return {"name": name, "args": arguments, "id": call_id, "type": "tool_call"}


def send_history(service: MockService, model: str, *messages: BaseMessage, **options: Any) -> list[dict[str, Any]]:
    """Send a history, check the sent messages against the rules of the model's template, and return them."""
    llm = make_model(model=model)
    call_model(llm.bind_tools([WEATHER_TOOL], **options) if options else llm, "invoke", list(messages))
    check_template_rules(model, service.last_messages)
    return service.last_messages


def get_turns(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the role and the content of each message."""
    return [(message["role"], message["content"]) for message in messages]


# --- The rules of the templates, written independently of the package -------------------------------------------------


def check_template_rules(model: str, messages: list[dict[str, Any]]) -> None:
    """Fail if the model's own template would refuse the messages."""
    for message in messages:
        assert isinstance(message["content"], str | list), "content is never null"
        if isinstance(message["content"], list):
            assert message["content"]
            assert model in (GEMMA_3, GEMMA_4), "the content is one string"
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"}
    rest = messages
    if messages[0]["role"] == "system":
        assert model not in GEMMA_1, "System role not supported"
        rest = messages[1:]
    assert rest, "there is a message besides the system message"
    assert rest[0]["role"] == "user"
    if model != GEMMA_4:
        for number, message in enumerate(rest):
            expected = ("user", "assistant")[number % 2]
            assert message["role"] == expected, "Conversation roles must alternate user/assistant/user/assistant/..."
            assert "tool_calls" not in message
        return
    open_calls: set[str] = set()
    for earlier, message in zip([{"role": ""}, *rest], rest, strict=False):
        role = message["role"]
        assert role in ("user", "assistant", "tool"), "System message must be at the beginning"
        if role == "tool":
            assert message["tool_call_id"] in open_calls, "a result follows the message with its call"
            continue
        assert role != earlier["role"] or earlier.get("tool_calls"), "consecutive messages of one role are merged"
        open_calls = {tool_call["id"] for tool_call in message.get("tool_calls", ())}
        for tool_call in message.get("tool_calls", ()):
            assert isinstance(json.loads(tool_call["function"]["arguments"]), dict)
            assert tool_call["function"]["name"]


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


# --- Tool calls and results as text: Gemma 1 to 3 ---------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_calls_and_results_are_sent_as_text(service: MockService, model: str, call_method: str) -> None:
    history = [
        HumanMessage("Weather in Zürich?"),
        AIMessage("", tool_calls=[make_call("get_weather", "c1", city="Zürich")]),
        ToolMessage("sunny", tool_call_id="c1"),
    ]
    call_model(make_model(model=model), call_method, history)
    check_template_rules(model, service.last_messages)
    assert get_turns(service.last_messages) == [
        ("user", "Weather in Zürich?"),
        ("assistant", '{"name": "get_weather", "parameters": {"city": "Zürich"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


TOOL_ROUND: list[BaseMessage] = [
    HumanMessage("Weather?"),
    AIMessage("Let me see.", tool_calls=[make_call("get_weather", "c1", city="Bonn")]),
    ToolMessage("sunny", tool_call_id="c1"),
]


@pytest.mark.parametrize("tool_calling", ["prompt", "native"])
def test_calls_are_sent_as_text_with_prompt_and_native_tool_calling(service: MockService, tool_calling: str) -> None:
    call_model(make_model(model=GEMMA_3, tool_calling=tool_calling).bind_tools([WEATHER_TOOL]), "invoke", TOOL_ROUND)
    check_template_rules(GEMMA_3, service.last_messages)
    without_system = [message for message in service.last_messages if message["role"] != "system"]
    assert get_turns(without_system)[1:] == [
        ("assistant", 'Let me see.\n\n{"name": "get_weather", "parameters": {"city": "Bonn"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, GEMMA_7B, SEA_LION])
def test_guided_calls_and_answers_are_sent_in_the_form_of_the_constraint(service: MockService, model: str) -> None:
    history = [
        *TOOL_ROUND,
        AIMessage("It is sunny."),
        HumanMessage("Thanks"),
        AIMessage("Bye."),
        HumanMessage("And in Rome?"),
    ]
    call_model(make_model(model=model, tool_calling="guided_json").bind_tools([WEATHER_TOOL]), "invoke", history)
    check_template_rules(model, service.last_messages)
    assert [message["content"] for message in service.last_messages if message["role"] == "assistant"] == [
        '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Bonn"}}]}',
        '{"answer": "It is sunny."}',
        '{"answer": "Bye."}',
    ]


def test_guided_calls_are_sent_one_at_a_time_without_parallel_tool_calls(service: MockService) -> None:
    history = [
        HumanMessage("x"),
        AIMessage(
            "", tool_calls=[make_call("get_weather", "c1", city="Bonn"), make_call("get_weather", "c2", city="Rome")]
        ),
        ToolMessage("rain", tool_call_id="c1"),
        ToolMessage("sun", tool_call_id="c2"),
    ]
    llm = make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([WEATHER_TOOL], parallel_tool_calls=False)
    call_model(llm, "invoke", history)
    assert get_turns(service.last_messages)[1:] == [
        ("user", "x"),
        ("assistant", '{"name": "get_weather", "arguments": {"city": "Bonn"}}'),
        ("user", "Result of the call get_weather (1 of 2):\nrain"),
        ("assistant", '{"name": "get_weather", "arguments": {"city": "Rome"}}'),
        ("user", "Result of the call get_weather (2 of 2):\nsun"),
    ]


def test_guided_answers_with_a_schema_are_sent_as_objects(service: MockService) -> None:
    schema = {"title": "weather", "type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]}
    format_ = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    service.respond_with_results({"response": '{"answer": {"sky": "grey"}}'})
    llm = make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([WEATHER_TOOL], response_format=format_)
    call_model(llm, "invoke", [*TOOL_ROUND, AIMessage('{"sky": "blue"}'), HumanMessage("And now?")])
    assert service.last_messages[-2]["content"] == '{"answer": {"sky": "blue"}}'


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_a_failed_tool_is_reported_to_the_model(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage("no such city", tool_call_id="c1", status="error"),
    )
    assert messages[-1]["content"] == "The call f failed:\nno such city"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_an_empty_result_is_sent_as_no_output(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage("", tool_call_id="c1"),
    )
    assert messages[-1]["content"] == "Result of the call f:\n(no output)"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_parallel_calls_and_their_results_are_sent_as_text(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1", a=1), make_call("g", "c2", b=[True, None])]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2", status="error"),
        HumanMessage("And now?"),
    )
    assert get_turns(messages)[1:] == [
        ("assistant", '[{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {"b": [true, null]}}]'),
        ("user", "Result of the call f:\none\n\nThe call g failed:\ntwo\n\nAnd now?"),
    ]


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_roles_alternate_over_several_tool_rounds(service: MockService, model: str) -> None:
    history: list[BaseMessage] = [SystemMessage("s"), HumanMessage("x")]
    for number in range(3):
        history += [
            AIMessage("", tool_calls=[make_call("f", f"c{number}", n=number)]),
            ToolMessage(f"result {number}", tool_call_id=f"c{number}"),
        ]
    messages = send_history(service, model, *history, AIMessage("done"), HumanMessage("thanks"))
    roles = [message["role"] for message in messages if message["role"] != "system"]
    assert roles == ["user", "assistant"] * 4 + ["user"]


def test_gemma_3_images_in_results_are_sent(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_3,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("camera", "c1")]),
        ToolMessage([{"type": "text", "text": "a photo"}, IMAGE], tool_call_id="c1"),
    )
    assert [part.get("text", part["type"]) for part in messages[-1]["content"]] == [
        "Result of the call camera:\na photo",
        "image_url",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_result_without_a_call_becomes_a_user_message(service: MockService, model: str) -> None:
    messages = send_history(service, model, ToolMessage("42", tool_call_id="gone", name="f"), HumanMessage("x"))
    assert get_turns(messages) == [("user", "Result of the call f:\n42\n\nx")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_result_without_a_call_or_a_name_is_identified_by_its_id(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage("x"), ToolMessage("42", tool_call_id="gone", status="error"))
    assert get_turns(messages) == [("user", "x\n\nThe call with id gone failed:\n42")]


INVALID_CALL = {"type": "invalid_tool_call", "id": "c1", "name": "f", "args": '{"a": ', "error": "cut"}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_with_a_result_is_kept(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", invalid_tool_calls=[INVALID_CALL]),
        ToolMessage("Your arguments were cut.", tool_call_id="c1", status="error"),
    )
    assert [message["role"] for message in messages][:2] == ["user", "assistant"]
    assert '{\\"a\\": ' in json.dumps(messages[1]) or "unreadable" in json.dumps(messages[1])
    assert "Your arguments were cut." in messages[2]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_without_a_result_is_omitted(service: MockService, model: str) -> None:
    messages = send_history(
        service, model, HumanMessage("x"), AIMessage("", invalid_tool_calls=[INVALID_CALL]), HumanMessage("y")
    )
    assert get_turns(messages) == [("user", "x\n\ny")]


# --- Gemma 4: tool calls and results are native -----------------------------------------------------------------------


CALLS = [make_call("f", "c1", a="ä"), make_call("g", "c2")]
RESULTS: list[BaseMessage] = [
    ToolMessage("one", tool_call_id="c1"),
    ToolMessage("two", tool_call_id="c2", status="error"),
]
SENT_CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ä"}'}},
    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def test_gemma_4_calls_and_results_are_native(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
        AIMessage("done"),
        HumanMessage("y"),
    )
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": SENT_CALLS}
    assert messages[2:4] == [
        {"role": "tool", "content": "one", "tool_call_id": "c1"},
        {"role": "tool", "content": "The call failed:\ntwo", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_gemma_4_reasoning_and_text_beside_calls_are_replayed_within_a_tool_loop(
    service: MockService, call_method: str
) -> None:
    reasoning = {"reasoning_content": "Hm."}
    history = [
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs=reasoning),
        *RESULTS,
        AIMessage("", tool_calls=[make_call("f", "c1")], additional_kwargs={"reasoning_content": "Again."}),
        ToolMessage("three", tool_call_id="c1"),
    ]
    call_model(make_model(), call_method, history)
    thoughts = [(one.get("reasoning"), one.get("reasoning_content")) for one in service.last_messages]
    assert [thought for thought in thoughts if any(thought)] == [("Hm.\n\nLet me see.",) * 2, ("Again.",) * 2]
    assert all(one["content"] == "" for one in service.last_messages if one["role"] == "assistant")


@pytest.mark.parametrize("set_by", ["field", "call"])
def test_gemma_4_reasoning_is_not_replayed_if_replay_reasoning_is_never(service: MockService, set_by: str) -> None:
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
    ]
    llm: Any = (
        make_model(replay_reasoning="never") if set_by == "field" else make_model().bind(replay_reasoning="never")
    )
    call_model(llm, "invoke", history)
    assert "Hm." not in json.dumps(service.last_messages)
    assert not any("reasoning" in key for one in service.last_messages for key in one)


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_reasoning_is_not_sent_to_models_without_thinking(service: MockService, model: str) -> None:
    reasoning = {"reasoning_content": "Hm."}
    messages = send_history(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS, additional_kwargs=reasoning), *RESULTS
    )
    assert "Hm." not in json.dumps(messages)


REASONING_MESSAGES: dict[str, AIMessage] = {
    "ours": AIMessage("", additional_kwargs={"reasoning_content": "Hm."}),
    "v1": AIMessage([{"type": "reasoning", "reasoning": "Hm."}]),
    "anthropic": AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "x"}]),
    "openai": AIMessage([{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]}]),
}


@pytest.mark.parametrize("form", REASONING_MESSAGES)
def test_gemma_4_reasoning_is_read_from_every_message_form(service: MockService, form: str) -> None:
    message = REASONING_MESSAGES[form].model_copy(update={"tool_calls": [make_call("f", "c1")]})
    messages = send_history(service, GEMMA_4, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    assert messages[1]["reasoning"] == "Hm."


def test_gemma_4_text_of_the_message_before_calls_becomes_reasoning(service: MockService) -> None:
    """After an assistant message, the template would render the calls of the next one outside of any turn."""
    history = [HumanMessage("x"), AIMessage("One."), AIMessage("Two.", tool_calls=[make_call("f", "c1")])]
    messages = send_history(service, GEMMA_4, *history, ToolMessage("y", tool_call_id="c1"))
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["reasoning"] == "One.\n\nTwo."
    older = send_history(
        service, GEMMA_4, *history, ToolMessage("y", tool_call_id="c1"), AIMessage("z"), HumanMessage("?")
    )
    assert [message["role"] for message in older] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert older[1]["content"] == "One."


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_call_without_a_result_gets_a_placeholder(service: MockService, model: str) -> None:
    messages = send_history(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS), ToolMessage("two", tool_call_id="c2")
    )
    results = [message["content"] for message in messages[2:]]
    if model == GEMMA_4:
        assert results == ["The call has no result.", "two"]
        assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]
    else:
        assert results == ["The call f has no result.\n\nResult of the call g:\ntwo"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_calls_at_the_end_of_a_history_get_placeholder_results(service: MockService, model: str) -> None:
    messages = send_history(service, model, HumanMessage("x"), AIMessage("", tool_calls=[make_call("f", "c1")]))
    assert messages[-1]["role"] == ("tool" if model == GEMMA_4 else "user")
    assert "has no result" in messages[-1]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_late_result_is_announced_and_follows_the_user_message(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        HumanMessage("Hello?"),
        ToolMessage("42", tool_call_id="c1"),
    )
    text = "\n".join(message["content"] for message in messages)
    assert "follows below" in text
    assert messages[-1]["content"].endswith("Hello?\n\nResult of the call f:\n42")


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_result_belongs_to_the_nearest_earlier_call_with_its_id(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        AIMessage("", tool_calls=[make_call("g", "c1")]),
        ToolMessage("two", tool_call_id="c1"),
    )
    if model == GEMMA_4:
        assert [message["content"] for message in messages if message["role"] == "tool"] == ["one", "two"]
    else:
        assert messages[2]["content"] == "Result of the call f:\none"
        assert messages[4]["content"] == "Result of the call g:\ntwo"


def test_calls_of_one_message_with_the_same_id_get_unique_ids(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1"), make_call("g", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c1"),
    )
    ids = [tool_call["id"] for tool_call in messages[1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [(one["tool_call_id"], one["content"]) for one in messages[2:]] == list(
        zip(ids, ["one", "two"], strict=True)
    )


def test_results_are_sent_in_the_order_of_their_calls(service: MockService) -> None:
    messages = send_history(service, GEMMA_4, HumanMessage("x"), AIMessage("", tool_calls=CALLS), *reversed(RESULTS))
    assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_several_text_blocks_of_a_result_are_on_separate_lines(service: MockService, model: str) -> None:
    blocks: list[Any] = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        ToolMessage(blocks, tool_call_id="c1"),
    )
    assert messages[-1]["content"].endswith("one\ntwo")


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_images_in_results_name_their_call(service: MockService, model: str) -> None:
    messages = send_history(
        service,
        model,
        HumanMessage("x"),
        AIMessage(
            "",
            tool_calls=[
                make_call("camera", "c1", at="door"),
                make_call("camera", "c2", at="gate"),
                make_call("f", "c3"),
            ],
        ),
        ToolMessage([IMAGE], tool_call_id="c1"),
        ToolMessage(["Night.", IMAGE, IMAGE], tool_call_id="c2"),
        ToolMessage("two", tool_call_id="c3"),
    )
    assert "(no output)" not in json.dumps(messages)
    parts = [part.get("text", "IMAGE") for part in messages[-1]["content"]]
    if model == GEMMA_4:
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "tool", "user"]
        assert messages[2]["content"] == "The result is an image, which follows below."
        assert messages[3]["content"] == "Night."
        assert parts[0] == "Image in the result of the call camera (1 of 2):\n"
        assert parts[2] == "\n\nImages in the result of the call camera (2 of 2):\n"
    else:
        assert parts[0] == "Result of the call camera (1 of 2):\n"
        assert parts[2] == "\n\nResult of the call camera (2 of 2):\nNight."
    assert parts.count("IMAGE") == 3


def test_gemma_4_a_result_without_a_call_does_not_separate_the_other_results(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1"), make_call("g", "c2")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("lost", tool_call_id="gone"),
        ToolMessage("two", tool_call_id="c2"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]


def test_gemma_4_a_system_message_between_a_call_and_its_result_is_moved_after_the_result(service: MockService) -> None:
    messages = send_history(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[make_call("f", "c1")]),
        SystemMessage("Be quick."),
        ToolMessage("one", tool_call_id="c1"),
        HumanMessage("y"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[-1]["content"] == "Be quick.\n\ny"


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


NON_JSON_VALUES: dict[str, tuple[Any, Any]] = {
    "infinity": (float("inf"), "Infinity"),
    "minus infinity": (float("-inf"), "-Infinity"),
    "not a number": ([float("nan"), 1.5], ["NaN", 1.5]),
    "datetime": (datetime(2026, 5, 30, 12, tzinfo=UTC), "2026-05-30T12:00:00+00:00"),
    "date": ({"day": date(2026, 5, 30)}, {"day": "2026-05-30"}),
    "decimal": (Decimal("1.50"), "1.50"),
    "uuid": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "path": (PurePosixPath("/a"), "/a"),
    "set": ({1}, [1]),
    "bytes": (b"abc", "abc"),
    "binary": (b"\xff", "/w=="),
    "enum": (Color.RED, "red"),
    "dataclass": (Point(1), {"x": 1}),
    "keys": ({1: "a", None: "b", Color.RED: "c", date(2026, 5, 30): "d"}, {
        "1": "a", "null": "b", "red": "c", "2026-05-30": "d"
    }),
}  # fmt: skip


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("case", NON_JSON_VALUES)
def test_arguments_that_are_not_json_types_are_converted(service: MockService, model: str, case: str) -> None:
    value, expected = NON_JSON_VALUES[case]
    message = AIMessage("", tool_calls=[make_call("f", "c1", a=value)])
    messages = send_history(service, model, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    if model == GEMMA_4:
        arguments = messages[1]["tool_calls"][0]["function"]["arguments"]
    else:
        arguments = messages[1]["content"].removeprefix('{"name": "f", "parameters": ').removesuffix("}")
    parsed = json.loads(arguments, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert parsed == {"a": expected}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_arguments_that_contain_themselves_raise(service: MockService, model: str) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    message = AIMessage("", tool_calls=[make_call("f", "c1", a=circle)])
    with pytest.raises(ValueError, match="contains itself"):
        call_model(make_model(model=model), "invoke", [HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1")])
    assert not service.requests


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
