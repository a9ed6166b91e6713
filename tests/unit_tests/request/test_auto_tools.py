"""`tool_calling="auto"` and guided tools: the method of each model, and services that ignore or refuse constraints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_workers_gemma import BadRequestError, ToolChoiceError
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import (
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    WEATHER_TOOL,
    call_model,
    get_tool_calls,
    make_model,
)
from tests.helpers.unreliable_service import get_constraint_form

pytestmark = pytest.mark.lowest

for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)
PARIS = {"city": "Paris"}

# Calls in Gemma's notations, as an unconstrained model writes them (docs/wire.md section 6).
NOTATIONS = {
    "tool_code": "```tool_code\nget_weather(city='Paris')\n```",
    "tool_code list": "```tool_code\n[get_weather(city='Paris')]\n```",
    "print": "```tool_code\nprint(get_weather(city='Paris'))\n```",
    "bare list": "[get_weather(city='Paris')]",
    "json fence": '```json\n{"name": "get_weather", "parameters": {"city": "Paris"}}\n```',
    "json list": '[{"name": "get_weather", "arguments": {"city": "Paris"}}]',
    "tool_call fence": '```tool_call\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```',
    "function gemma": "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>",
    "gemma 4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
    "guided": '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}',
    "guided alone": '{"name": "get_weather", "arguments": {"city": "Paris"}}',
}
PLAIN_TEXTS = ["It is sunny.", "Use get_weather(city) for that.", '{"temperature": 24}', "```python\nprint(1)\n```"]


def respond_with_text(service: MockService, text: str, call_method: str) -> None:
    """Make the service answer with a text, streamed if the call method needs it."""
    if call_method in ("invoke", "ainvoke"):
        service.respond_with_results({"response": text})
    else:
        service.respond_with_events(
            *({"response": text[start : start + 3]} for start in range(0, len(text), 3)), "[DONE]"
        )


@for_each_call_method
@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_a_guided_reply_is_parsed_in_every_notation(
    service: MockService, model: str, notation: str, call_method: str
) -> None:
    respond_with_text(service, NOTATIONS[notation], call_method)
    message = call_model(make_model(model=model).bind_tools([WEATHER_TOOL]), call_method)
    assert get_tool_calls(message) == [("get_weather", PARIS)]
    assert str(message.text).strip() == ""
    assert len(service.requests) == 1


@for_each_call_method
@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_plain_text_of_a_guided_model_stays_text(service: MockService, text: str, call_method: str) -> None:
    respond_with_text(service, text, call_method)
    message = call_model(make_model(model=GEMMA_3).bind_tools([WEATHER_TOOL]), call_method)
    assert message.tool_calls == []
    assert str(message.text) == text


@for_each_call_method
def test_calls_inside_a_guided_answer_are_text(service: MockService, call_method: str) -> None:
    text = "Write get_weather(city='Paris'), or:\n" + NOTATIONS["tool_code"]
    respond_with_text(service, json.dumps({"answer": text}), call_method)
    message = call_model(make_model(model=GEMMA_3).bind_tools([WEATHER_TOOL]), call_method)
    assert message.tool_calls == []
    assert str(message.text) == text


def refuse_forms(service: MockService, *refused_forms: str) -> list[str]:
    """Make the service refuse some forms of constraint, and return a list that gets the form of each request."""
    forms: list[str] = []

    def respond() -> Any:
        body = json.loads(service.requests[-1].content)
        forms.append(get_constraint_form(body))
        if forms[-1] in refused_forms:
            return make_response({"success": False, "errors": [{"code": 5006, "message": "Grammar error: no"}]}, 400)()
        text = NOTATIONS["json list" if forms[-1] == "prompt" else "guided"]
        return make_response({"success": True, "result": {"response": text}})()

    service.respond_with(respond)
    return forms


@for_each_call_method
@pytest.mark.parametrize(
    ("model", "refused_forms", "expected_forms"),
    [
        (GEMMA_3, ["guided_json"], ["guided_json", "prompt"]),
        (GEMMA_7B, ["bare_schema"], ["bare_schema", "json_object"]),
        (GEMMA_7B, ["bare_schema", "json_object"], ["bare_schema", "json_object", "prompt"]),
        (GEMMA_7B_LORA, [], ["prompt"]),
    ],
)
def test_refused_forms_are_replaced_by_the_next_form(
    service: MockService, model: str, refused_forms: list[str], expected_forms: list[str], call_method: str
) -> None:
    forms = refuse_forms(service, *refused_forms)
    bound = make_model(model=model).bind_tools([WEATHER_TOOL])
    for expected in (expected_forms, [*expected_forms, expected_forms[-1]]):
        message = call_model(bound, call_method)
        assert get_tool_calls(message) == [("get_weather", PARIS)]
        assert forms == expected
    last = json.loads(service.requests[-1].content)
    if forms[-1] == "json_object":
        assert '"tool_calls"' in last["messages"][0]["content"]


def test_a_forced_call_uses_the_next_form_after_a_refusal(service: MockService) -> None:
    forms = refuse_forms(service, "guided_json")
    message = call_model(make_model(model=GEMMA_3).bind_tools([WEATHER_TOOL], tool_choice="any"), "invoke")
    assert message.tool_calls[0]["args"] == PARIS
    assert forms == ["guided_json", "prompt"]


def test_a_missing_forced_call_is_requested_in_the_next_form(service: MockService) -> None:
    service.respond_with_results({"response": "I will not."})
    with pytest.raises(ToolChoiceError, match="get_weather"):
        make_model(model=GEMMA_3).bind_tools([WEATHER_TOOL], tool_choice="any").invoke("Go")
    assert [get_constraint_form(body) for body in service.request_bodies] == ["guided_json", "prompt"]


def test_other_refusals_raise(service: MockService) -> None:
    service.respond_with(
        make_response({"success": False, "errors": [{"code": 5006, "message": "role: not alternating"}]}, 400)
    )
    with pytest.raises(BadRequestError):
        make_model(model=GEMMA_3).bind_tools([WEATHER_TOOL]).invoke("Go")
    assert len(service.requests) == 1


def test_tool_calling_native_is_kept(service: MockService) -> None:
    make_model(model=GEMMA_3, tool_calling="native").bind_tools([WEATHER_TOOL]).invoke("Go")
    assert "guided_json" not in service.request_body
    assert service.request_body["tools"] == [WEATHER_TOOL]


def test_gemma_4_uses_native_tools_by_default(service: MockService) -> None:
    make_model(model=GEMMA_4).bind_tools([WEATHER_TOOL]).invoke("Go")
    assert service.request_body["tools"] == [WEATHER_TOOL]
    assert "response_format" not in service.request_body
