"""Tool calls and results of a history as text, for the templates without a tool role: Gemma 1 to 3."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    SEA_LION,
    WEATHER_TOOL,
    call_model,
    make_model,
)
from tests.helpers.template_rules import (
    IMAGE,
    WITHOUT_TOOL_ROLE,
    check_template_rules,
    get_turns,
    make_call,
    send_history,
)

pytestmark = pytest.mark.lowest


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
