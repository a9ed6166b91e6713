"""Histories of every kind, made to fit the chat template of each generation of Gemma (docs/wire.md section 6)."""

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


def call(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": call_id, "type": "tool_call"}


def wire(service: MockService, model: str, *messages: BaseMessage, **options: Any) -> list[dict[str, Any]]:
    """The messages that are sent, as the template's rules allow them."""
    llm = make_model(model=model)
    call_model(llm.bind_tools([WEATHER_TOOL], **options) if options else llm, "invoke", list(messages))
    check(model, service.last_messages)
    return service.last_messages


def talk(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


# --- An independent reading of the templates' rules -------------------------------------------------------------------


def check(model: str, messages: list[dict[str, Any]]) -> None:
    """Refuse what the model's own template would refuse."""
    for message in messages:
        assert isinstance(message["content"], str | list), "content is never null"
        if isinstance(message["content"], list):
            assert message["content"]
            assert model in (GEMMA_3, GEMMA_4), "one string as content"
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"}
    rest = messages
    if messages[0]["role"] == "system":
        assert model not in GEMMA_1, "System role not supported"
        rest = messages[1:]
    assert rest, "a system message alone is no conversation"
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
            assert message["tool_call_id"] in open_calls, "a result answers a call right before it"
            continue
        assert role != earlier["role"] or earlier.get("tool_calls"), "neighbours of one role merge"
        open_calls = {made["id"] for made in message.get("tool_calls", ())}
        for made in message.get("tool_calls", ()):
            assert isinstance(json.loads(made["function"]["arguments"]), dict)
            assert made["function"]["name"]


# --- System messages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, SEA_LION])
def test_leading_system_messages_merge_into_one(service: MockService, model: str, call_method: str) -> None:
    asked = [
        SystemMessage("One."),
        ChatMessage(content="Two.", role="developer"),
        SystemMessage("Three."),
        HumanMessage("Hi"),
    ]
    call_model(make_model(model=model), call_method, asked)
    assert talk(service.last_messages) == [("system", "One.\n\nTwo.\n\nThree."), ("user", "Hi")]


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_role_not_supported(service: MockService, model: str, call_method: str) -> None:
    call_model(make_model(model=model), call_method, [SystemMessage("One."), SystemMessage("Two."), HumanMessage("Hi")])
    assert talk(service.last_messages) == [("user", "One.\n\nTwo.\n\nHi")]


@pytest.mark.parametrize("model", GEMMA_1)
def test_gemma_1_system_then_assistant(service: MockService, model: str) -> None:
    messages = wire(service, model, SystemMessage("Be brief."), AIMessage("Hello!"), HumanMessage("Hi"))
    assert talk(messages) == [("user", "Be brief."), ("assistant", "Hello!"), ("user", "Hi")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_system_message_alone(service: MockService, model: str) -> None:
    assert talk(wire(service, model, SystemMessage("Tell a joke."))) == [("user", "Tell a joke.")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_later_system_message_folds_into_the_next_user_turn(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("a"),
        AIMessage("b"),
        SystemMessage("Now be formal."),
        HumanMessage("c"),
        AIMessage("d"),
        HumanMessage("e"),
    )
    assert talk(messages) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Now be formal.\n\nc"),
        ("assistant", "d"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_system_message_at_the_end(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage("a"), AIMessage("b"), SystemMessage("Sum up."))
    assert talk(messages) == [("user", "a"), ("assistant", "b"), ("user", "Sum up.")]


def test_gemma_4_system_message_must_be_at_the_beginning(service: MockService) -> None:
    messages = wire(
        service, GEMMA_4, SystemMessage("s"), HumanMessage("a"), SystemMessage("t"), AIMessage("b"), HumanMessage("c")
    )
    assert talk(messages) == [("system", "s"), ("user", "a\n\nt"), ("assistant", "b"), ("user", "c")]


# --- Alternation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_system_user_user_is_a_500(service: MockService, model: str, call_method: str) -> None:
    call_model(make_model(model=model), call_method, [SystemMessage("s"), HumanMessage("a"), HumanMessage("b")])
    assert talk(service.last_messages) == [("system", "s"), ("user", "a\n\nb")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_neighbours_of_one_role_merge(service: MockService, model: str) -> None:
    messages = wire(
        service, model, HumanMessage("a"), HumanMessage("b"), AIMessage("c"), AIMessage("d"), HumanMessage("e")
    )
    assert talk(messages) == [("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e")]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_neighbours_with_images_merge(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage(["a", IMAGE]), HumanMessage([IMAGE, "b"]))
    (message,) = messages
    assert [part.get("text", part["type"]) for part in message["content"]] == [
        "a",
        "image_url",
        "\n\n",
        "image_url",
        "b",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_history_that_starts_with_the_assistant(service: MockService, model: str) -> None:
    messages = wire(service, model, AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].strip(), "an opening that is not empty"
    assert talk(messages[1:]) == [("assistant", "How can I help?"), ("user", "Hi")]


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION, GEMMA_4])
def test_system_then_assistant(service: MockService, model: str) -> None:
    messages = wire(service, model, SystemMessage("s"), AIMessage("How can I help?"), HumanMessage("Hi"))
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_empty_assistant_message_is_no_turn(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage("a"), AIMessage(""), HumanMessage("b"), AIMessage([""]))
    assert talk(messages) == [("user", "a\n\nb")]


# --- Tool calls and results as text: Gemma 1 to 3 ---------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_calls_and_results_become_text(service: MockService, model: str, call_method: str) -> None:
    asked = [
        HumanMessage("Weather in Zürich?"),
        AIMessage("", tool_calls=[call("get_weather", "c1", city="Zürich")]),
        ToolMessage("sunny", tool_call_id="c1"),
    ]
    call_model(make_model(model=model), call_method, asked)
    check(model, service.last_messages)
    assert talk(service.last_messages) == [
        ("user", "Weather in Zürich?"),
        ("assistant", '{"name": "get_weather", "parameters": {"city": "Zürich"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


ROUND: list[BaseMessage] = [
    HumanMessage("Weather?"),
    AIMessage("Let me see.", tool_calls=[call("get_weather", "c1", city="Bonn")]),
    ToolMessage("sunny", tool_call_id="c1"),
]


@pytest.mark.parametrize("tool_calling", ["prompt", "native"])
def test_calls_as_text_with_every_method(service: MockService, tool_calling: str) -> None:
    call_model(make_model(model=GEMMA_3, tool_calling=tool_calling).bind_tools([WEATHER_TOOL]), "invoke", ROUND)
    check(GEMMA_3, service.last_messages)
    without_system = [message for message in service.last_messages if message["role"] != "system"]
    assert talk(without_system)[1:] == [
        ("assistant", 'Let me see.\n\n{"name": "get_weather", "parameters": {"city": "Bonn"}}'),
        ("user", "Result of the call get_weather:\nsunny"),
    ]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4, GEMMA_7B, SEA_LION])
def test_guided_calls_and_answers_are_written_as_the_constraint_allows(service: MockService, model: str) -> None:
    asked = [*ROUND, AIMessage("It is sunny."), HumanMessage("Thanks"), AIMessage("Bye."), HumanMessage("And in Rome?")]
    call_model(make_model(model=model, tool_calling="guided_json").bind_tools([WEATHER_TOOL]), "invoke", asked)
    check(model, service.last_messages)
    assert [message["content"] for message in service.last_messages if message["role"] == "assistant"] == [
        '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Bonn"}}]}',
        '{"answer": "It is sunny."}',
        '{"answer": "Bye."}',
    ]


def test_guided_calls_one_at_a_time(service: MockService) -> None:
    asked = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("get_weather", "c1", city="Bonn"), call("get_weather", "c2", city="Rome")]),
        ToolMessage("rain", tool_call_id="c1"),
        ToolMessage("sun", tool_call_id="c2"),
    ]
    llm = make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([WEATHER_TOOL], parallel_tool_calls=False)
    call_model(llm, "invoke", asked)
    assert talk(service.last_messages)[1:] == [
        ("user", "x"),
        ("assistant", '{"name": "get_weather", "arguments": {"city": "Bonn"}}'),
        ("user", "Result of the call get_weather (1 of 2):\nrain"),
        ("assistant", '{"name": "get_weather", "arguments": {"city": "Rome"}}'),
        ("user", "Result of the call get_weather (2 of 2):\nsun"),
    ]


def test_guided_answers_with_their_own_schema(service: MockService) -> None:
    schema = {"title": "weather", "type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]}
    format_ = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    service.respond_with_results({"response": '{"answer": {"sky": "grey"}}'})
    llm = make_model(model=GEMMA_3, tool_calling="guided_json").bind_tools([WEATHER_TOOL], response_format=format_)
    call_model(llm, "invoke", [*ROUND, AIMessage('{"sky": "blue"}'), HumanMessage("And now?")])
    assert service.last_messages[-2]["content"] == '{"answer": {"sky": "blue"}}'


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_a_failed_tool_is_reported(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage("no such city", tool_call_id="c1", status="error"),
    )
    assert messages[-1]["content"] == "The call f failed:\nno such city"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_a_silent_result_is_not_empty(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage("", tool_call_id="c1"),
    )
    assert messages[-1]["content"] == "Result of the call f:\n(no output)"


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_parallel_calls(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1", a=1), call("g", "c2", b=[True, None])]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2", status="error"),
        HumanMessage("And now?"),
    )
    assert talk(messages)[1:] == [
        ("assistant", '[{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {"b": [true, null]}}]'),
        ("user", "Result of the call f:\none\n\nThe call g failed:\ntwo\n\nAnd now?"),
    ]


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_several_rounds(service: MockService, model: str) -> None:
    history: list[BaseMessage] = [SystemMessage("s"), HumanMessage("x")]
    for number in range(3):
        history += [
            AIMessage("", tool_calls=[call("f", f"c{number}", n=number)]),
            ToolMessage(f"result {number}", tool_call_id=f"c{number}"),
        ]
    messages = wire(service, model, *history, AIMessage("done"), HumanMessage("thanks"))
    roles = [message["role"] for message in messages if message["role"] != "system"]
    assert roles == ["user", "assistant"] * 4 + ["user"]


def test_images_in_results_gemma_3(service: MockService) -> None:
    messages = wire(
        service,
        GEMMA_3,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("camera", "c1")]),
        ToolMessage([{"type": "text", "text": "a photo"}, IMAGE], tool_call_id="c1"),
    )
    assert [part.get("text", part["type"]) for part in messages[-1]["content"]] == [
        "Result of the call camera:\na photo",
        "image_url",
    ]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_orphaned_results(service: MockService, model: str) -> None:
    messages = wire(service, model, ToolMessage("42", tool_call_id="gone", name="f"), HumanMessage("x"))
    assert talk(messages) == [("user", "Result of the call f:\n42\n\nx")]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_orphaned_results_without_a_name(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage("x"), ToolMessage("42", tool_call_id="gone", status="error"))
    assert talk(messages) == [("user", "x\n\nThe call with id gone failed:\n42")]


INVALID = {"type": "invalid_tool_call", "id": "c1", "name": "f", "args": '{"a": ', "error": "cut"}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_that_was_answered_is_kept(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", invalid_tool_calls=[INVALID]),
        ToolMessage("Your arguments were cut.", tool_call_id="c1", status="error"),
    )
    assert [message["role"] for message in messages][:2] == ["user", "assistant"]
    assert '{\\"a\\": ' in json.dumps(messages[1]) or "unreadable" in json.dumps(messages[1])
    assert "Your arguments were cut." in messages[2]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_an_invalid_call_without_a_result_is_omitted(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage("x"), AIMessage("", invalid_tool_calls=[INVALID]), HumanMessage("y"))
    assert talk(messages) == [("user", "x\n\ny")]


# --- Gemma 4: tool calls and results are native -----------------------------------------------------------------------


CALLS = [call("f", "c1", a="ä"), call("g", "c2")]
RESULTS: list[BaseMessage] = [
    ToolMessage("one", tool_call_id="c1"),
    ToolMessage("two", tool_call_id="c2", status="error"),
]
WIRE_CALLS = [
    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ä"}'}},
    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def test_gemma_4_calls_and_results(service: MockService) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
        AIMessage("done"),
        HumanMessage("y"),
    )
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": WIRE_CALLS}
    assert messages[2:4] == [
        {"role": "tool", "content": "one", "tool_call_id": "c1"},
        {"role": "tool", "content": "The call failed:\ntwo", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_gemma_4_thoughts_and_text_beside_calls_go_back_within_a_tool_loop(
    service: MockService, call_method: str
) -> None:
    thinking = {"reasoning_content": "Hm."}
    asked = [
        HumanMessage("x"),
        AIMessage("Let me see.", tool_calls=CALLS, additional_kwargs=thinking),
        *RESULTS,
        AIMessage("", tool_calls=[call("f", "c1")], additional_kwargs={"reasoning_content": "Again."}),
        ToolMessage("three", tool_call_id="c1"),
    ]
    call_model(make_model(), call_method, asked)
    thoughts = [(one.get("reasoning"), one.get("reasoning_content")) for one in service.last_messages]
    assert [thought for thought in thoughts if any(thought)] == [("Hm.\n\nLet me see.",) * 2, ("Again.",) * 2]
    assert all(one["content"] == "" for one in service.last_messages if one["role"] == "assistant")


@pytest.mark.parametrize("never", ["field", "call"])
def test_gemma_4_thoughts_are_never_replayed(service: MockService, never: str) -> None:
    asked = [
        HumanMessage("x"),
        AIMessage("", tool_calls=CALLS, additional_kwargs={"reasoning_content": "Hm."}),
        *RESULTS,
    ]
    llm: Any = make_model(replay_reasoning="never") if never == "field" else make_model().bind(replay_reasoning="never")
    call_model(llm, "invoke", asked)
    assert "Hm." not in json.dumps(service.last_messages)
    assert not any("reasoning" in key for one in service.last_messages for key in one)


@pytest.mark.parametrize("model", WITHOUT_TOOL_ROLE)
def test_thoughts_are_not_for_models_without_a_thinking_channel(service: MockService, model: str) -> None:
    thinking = {"reasoning_content": "Hm."}
    messages = wire(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS, additional_kwargs=thinking), *RESULTS
    )
    assert "Hm." not in json.dumps(messages)


THOUGHTS: dict[str, AIMessage] = {
    "ours": AIMessage("", additional_kwargs={"reasoning_content": "Hm."}),
    "v1": AIMessage([{"type": "reasoning", "reasoning": "Hm."}]),
    "anthropic": AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "x"}]),
    "openai": AIMessage([{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]}]),
}


@pytest.mark.parametrize("form", THOUGHTS)
def test_gemma_4_thoughts_in_every_form(service: MockService, form: str) -> None:
    message = THOUGHTS[form].model_copy(update={"tool_calls": [call("f", "c1")]})
    messages = wire(service, GEMMA_4, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    assert messages[1]["reasoning"] == "Hm."


def test_gemma_4_text_right_before_calls(service: MockService) -> None:
    """Two assistant's messages in a row would write the calls outside of any turn."""
    asked = [HumanMessage("x"), AIMessage("One."), AIMessage("Two.", tool_calls=[call("f", "c1")])]
    messages = wire(service, GEMMA_4, *asked, ToolMessage("y", tool_call_id="c1"))
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["reasoning"] == "One.\n\nTwo."
    older = wire(service, GEMMA_4, *asked, ToolMessage("y", tool_call_id="c1"), AIMessage("z"), HumanMessage("?"))
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
    messages = wire(
        service, model, HumanMessage("x"), AIMessage("", tool_calls=CALLS), ToolMessage("two", tool_call_id="c2")
    )
    results = [message["content"] for message in messages[2:]]
    if model == GEMMA_4:
        assert results == ["The call has no result.", "two"]
        assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]
    else:
        assert results == ["The call f has no result.\n\nResult of the call g:\ntwo"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_history_that_ends_with_calls(service: MockService, model: str) -> None:
    messages = wire(service, model, HumanMessage("x"), AIMessage("", tool_calls=[call("f", "c1")]))
    assert messages[-1]["role"] == ("tool" if model == GEMMA_4 else "user")
    assert "has no result" in messages[-1]["content"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_late_result(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        HumanMessage("Hello?"),
        ToolMessage("42", tool_call_id="c1"),
    )
    said = "\n".join(message["content"] for message in messages)
    assert "follows below" in said
    assert messages[-1]["content"].endswith("Hello?\n\nResult of the call f:\n42")


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_ids_that_turns_reuse(service: MockService, model: str) -> None:
    """The result belongs to the nearest call before it."""
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        AIMessage("", tool_calls=[call("g", "c1")]),
        ToolMessage("two", tool_call_id="c1"),
    )
    if model == GEMMA_4:
        assert [message["content"] for message in messages if message["role"] == "tool"] == ["one", "two"]
    else:
        assert messages[2]["content"] == "Result of the call f:\none"
        assert messages[4]["content"] == "Result of the call g:\ntwo"


def test_ids_that_calls_of_one_message_share(service: MockService) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1"), call("g", "c1")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c1"),
    )
    ids = [made["id"] for made in messages[1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [(one["tool_call_id"], one["content"]) for one in messages[2:]] == list(
        zip(ids, ["one", "two"], strict=True)
    )


def test_results_are_in_the_order_of_their_calls(service: MockService) -> None:
    messages = wire(service, GEMMA_4, HumanMessage("x"), AIMessage("", tool_calls=CALLS), *reversed(RESULTS))
    assert [message["tool_call_id"] for message in messages[2:]] == ["c1", "c2"]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_several_text_blocks_of_a_result_are_on_separate_lines(service: MockService, model: str) -> None:
    blocks: list[Any] = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
        ToolMessage(blocks, tool_call_id="c1"),
    )
    assert messages[-1]["content"].endswith("one\ntwo")


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_images_in_results_name_their_call(service: MockService, model: str) -> None:
    messages = wire(
        service,
        model,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("camera", "c1", at="door"), call("camera", "c2", at="gate"), call("f", "c3")]),
        ToolMessage([IMAGE], tool_call_id="c1"),
        ToolMessage(["Night.", IMAGE, IMAGE], tool_call_id="c2"),
        ToolMessage("two", tool_call_id="c3"),
    )
    assert "(no output)" not in json.dumps(messages)
    shown = [part.get("text", "IMAGE") for part in messages[-1]["content"]]
    if model == GEMMA_4:
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "tool", "user"]
        assert messages[2]["content"] == "The result is an image, which follows below."
        assert messages[3]["content"] == "Night."
        assert shown[0] == "Image in the result of the call camera (1 of 2):\n"
        assert shown[2] == "\n\nImages in the result of the call camera (2 of 2):\n"
    else:
        assert shown[0] == "Result of the call camera (1 of 2):\n"
        assert shown[2] == "\n\nResult of the call camera (2 of 2):\nNight."
    assert shown.count("IMAGE") == 3


def test_gemma_4_an_orphaned_result_does_not_part_the_others(service: MockService) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1"), call("g", "c2")]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("lost", tool_call_id="gone"),
        ToolMessage("two", tool_call_id="c2"),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]


def test_gemma_4_a_system_message_between_a_call_and_its_result(service: MockService) -> None:
    messages = wire(
        service,
        GEMMA_4,
        HumanMessage("x"),
        AIMessage("", tool_calls=[call("f", "c1")]),
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


UNKNOWN_TO_JSON: dict[str, tuple[Any, Any]] = {
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
@pytest.mark.parametrize("case", UNKNOWN_TO_JSON)
def test_arguments_that_json_cannot_hold(service: MockService, model: str, case: str) -> None:
    value, expected = UNKNOWN_TO_JSON[case]
    message = AIMessage("", tool_calls=[call("f", "c1", a=value)])
    messages = wire(service, model, HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1"))
    if model == GEMMA_4:
        arguments = messages[1]["tool_calls"][0]["function"]["arguments"]
    else:
        arguments = messages[1]["content"].removeprefix('{"name": "f", "parameters": ').removesuffix("}")
    parsed = json.loads(arguments, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert parsed == {"a": expected}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_arguments_that_contain_themselves(service: MockService, model: str) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    message = AIMessage("", tool_calls=[call("f", "c1", a=circle)])
    with pytest.raises(ValueError, match="contains itself"):
        call_model(make_model(model=model), "invoke", [HumanMessage("x"), message, ToolMessage("y", tool_call_id="c1")])
    assert not service.requests


# --- Any history ------------------------------------------------------------------------------------------------------

_IDS = st.sampled_from(["c1", "c2", "c3", "c4"])
_NAMES = st.sampled_from(["f", "g_h"])
_COUNTER = re.compile(r"w\d+q")


@st.composite
def _content(draw: st.DrawFn, words: list[str], *, empty: bool = True, images: bool = False) -> Any:
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
            messages.append(SystemMessage(draw(_content(words))))
        elif kind == "H":
            messages.append(HumanMessage(draw(_content(words, images=images))))
        elif kind == "A":
            messages.append(AIMessage(draw(_content(words))))
        elif kind == "D":
            role = draw(st.sampled_from(["system", "user", "assistant"]))
            messages.append(ChatMessage(content=draw(_content(words)), role=role))
        elif kind == "T":
            status = draw(st.sampled_from(["success", "error"]))
            messages.append(ToolMessage(draw(_content(words, images=images)), tool_call_id=draw(_IDS), status=status))
        else:
            content = draw(_content(words))
            calls = []
            for call_id in draw(st.lists(_IDS, min_size=1, max_size=3, unique=True)):
                words.append(f"w{len(words)}q")
                calls.append(call(draw(_NAMES), call_id, a=words[-1]))
            messages.append(AIMessage(content, tool_calls=calls))
    return messages, words


def _beside_calls(message: BaseMessage) -> list[str]:
    calls = isinstance(message, AIMessage) and message.tool_calls
    return _COUNTER.findall(str(message.content)) if calls else []


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_any_history_fits_the_template_and_keeps_every_word(model: str) -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"result": {"response": "Hi"}, "success": True})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        llm = make_model(model=model, http_client=client)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_histories(images=model in (GEMMA_3, GEMMA_4)))
        def fits(history: tuple[list[BaseMessage], list[str]]) -> None:
            asked, words = history
            llm.invoke(asked)
            text = sent.pop().decode()
            messages = json.loads(text)["messages"]
            check(model, messages)
            # Both keys of a thought hold the same; the text beside calls of earlier rounds is no more.
            texts = json.dumps([{**message, "reasoning": ""} for message in messages])
            beside = {text for message in asked for text in _beside_calls(message)} if model == GEMMA_4 else set()
            found = _COUNTER.findall(texts)
            assert len(found) == len(set(found))
            assert set(words) - beside <= set(found) <= set(words)

        fits()
