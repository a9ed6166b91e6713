"""`tool_calling="auto"` and guided tools: what works for each model, and what a service makes of the constraint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_workers_gemma import BadRequestError, ToolChoiceError
from tests.helpers.asking import GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, WAYS, WEATHER, Service, ask, body, gemma
from tests.helpers.uncertain_service import form_of

pytestmark = pytest.mark.lowest

ways = pytest.mark.parametrize("way", WAYS)
PARIS = {"city": "Paris"}

# Calls in Gemma's notations, as a model writes them that was not constrained (docs/wire.md section 6).
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
PROSE = ["It is sunny.", "Use get_weather(city) for that.", '{"temperature": 24}', "```python\nprint(1)\n```"]


def answers(service: Service, text: str, way: str) -> None:
    if way in ("invoke", "ainvoke"):
        service.replies({"response": text})
    else:
        service.streams(*({"response": text[at : at + 3]} for at in range(0, len(text), 3)), "[DONE]")


@ways
@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_a_guided_reply_is_read_in_every_notation(service: Service, model: str, notation: str, way: str) -> None:
    answers(service, NOTATIONS[notation], way)
    message = ask(gemma(model=model).bind_tools([WEATHER]), way)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", PARIS)]
    assert str(message.text).strip() == ""
    assert len(service.requests) == 1


@ways
@pytest.mark.parametrize("prose", PROSE)
def test_prose_from_a_guided_model_stays_prose(service: Service, prose: str, way: str) -> None:
    answers(service, prose, way)
    message = ask(gemma(model=GEMMA_3).bind_tools([WEATHER]), way)
    assert message.tool_calls == []
    assert str(message.text) == prose


@ways
def test_notations_inside_a_guided_answer_are_its_text(service: Service, way: str) -> None:
    said = "Write get_weather(city='Paris'), or:\n" + NOTATIONS["tool_code"]
    answers(service, json.dumps({"answer": said}), way)
    message = ask(gemma(model=GEMMA_3).bind_tools([WEATHER]), way)
    assert message.tool_calls == []
    assert str(message.text) == said


def refusing(service: Service, *refused: str) -> list[str]:
    """Have the service refuse some forms; the list fills with the form of each request."""
    forms: list[str] = []

    def answer() -> Any:
        sent = json.loads(service.requests[-1].content)
        forms.append(form_of(sent))
        if forms[-1] in refused:
            return body({"success": False, "errors": [{"code": 5006, "message": "Grammar error: no"}]}, 400)()
        text = NOTATIONS["json list" if forms[-1] == "prompt" else "guided"]
        return body({"success": True, "result": {"response": text}})()

    service.answers(answer)
    return forms


@ways
@pytest.mark.parametrize(
    ("model", "refused", "tried"),
    [
        (GEMMA_3, ["guided_json"], ["guided_json", "prompt"]),
        (GEMMA_7B, ["bare_schema"], ["bare_schema", "json_object"]),
        (GEMMA_7B, ["bare_schema", "json_object"], ["bare_schema", "json_object", "prompt"]),
        (GEMMA_7B_LORA, [], ["prompt"]),
    ],
)
def test_guided_tools_go_through_the_forms(
    service: Service, model: str, refused: list[str], tried: list[str], way: str
) -> None:
    forms = refusing(service, *refused)
    bound = gemma(model=model).bind_tools([WEATHER])
    for expected in (tried, [*tried, tried[-1]]):
        message = ask(bound, way)
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", PARIS)]
        assert forms == expected
    last = json.loads(service.requests[-1].content)
    if forms[-1] == "json_object":
        assert '"tool_calls"' in last["messages"][0]["content"]


def test_a_forced_call_tries_every_form(service: Service) -> None:
    forms = refusing(service, "guided_json")
    message = ask(gemma(model=GEMMA_3).bind_tools([WEATHER], tool_choice="any"), "invoke")
    assert message.tool_calls[0]["args"] == PARIS
    assert forms == ["guided_json", "prompt"]


def test_a_missing_forced_call_is_requested_in_the_next_form(service: Service) -> None:
    service.replies({"response": "I will not."})
    with pytest.raises(ToolChoiceError, match="get_weather"):
        gemma(model=GEMMA_3).bind_tools([WEATHER], tool_choice="any").invoke("Go")
    assert [form_of(sent) for sent in service.bodies] == ["guided_json", "prompt"]


def test_tools_refused_for_another_reason(service: Service) -> None:
    service.answers(body({"success": False, "errors": [{"code": 5006, "message": "role: not alternating"}]}, 400))
    with pytest.raises(BadRequestError):
        gemma(model=GEMMA_3).bind_tools([WEATHER]).invoke("Go")
    assert len(service.requests) == 1


def test_native_stays_the_callers_choice(service: Service) -> None:
    gemma(model=GEMMA_3, tool_calling="native").bind_tools([WEATHER]).invoke("Go")
    assert "guided_json" not in service.sent
    assert service.sent["tools"] == [WEATHER]


def test_gemma_4_is_native_by_itself(service: Service) -> None:
    gemma(model=GEMMA_4).bind_tools([WEATHER]).invoke("Go")
    assert service.sent["tools"] == [WEATHER]
    assert "response_format" not in service.sent
