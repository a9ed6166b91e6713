"""What a call would send and cost, without sending it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma import AIGateway, WorkersGemmaError
from tests.helpers.asking import (
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG_URI,
    TOKEN,
    WEATHER,
    Service,
    ask,
    gemma,
    message_reply,
)
from tests.helpers.bindings import Ai

CALL = {"name": "get_weather", "args": {"city": "Bonn"}, "id": "c1", "type": "tool_call"}
ROUND: list[Any] = [
    HumanMessage("Weather?"),
    AIMessage("Let me see.", tool_calls=[CALL]),
    ToolMessage("rain", tool_call_id="c1"),
]


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_it_is_the_request_that_a_call_sends(service: Service, model: str, api: str) -> None:
    llm = gemma(model=model, api=api, temperature=0.5)
    arguments: dict[str, Any] = {"tools": [WEATHER], "max_tokens": 50, "stop": ["END"]}
    preview = llm.preview(ROUND, **arguments)
    assert not service.requests, "a preview sends nothing"
    ask(llm, "invoke", ROUND, **arguments)
    assert preview.request.body == service.sent
    assert preview.request.method == service.request.method
    assert preview.request.url == str(service.request.url)
    for name, value in preview.request.headers.items():
        assert name == "authorization" or service.request.headers[name] == value


def test_messages_in_every_form(service: Service) -> None:
    for asked in ("Hi", [("human", "Hi")], [{"role": "user", "content": "Hi"}], [HumanMessage("Hi")]):
        assert gemma().preview(asked).request.body["messages"] == [{"role": "user", "content": "Hi"}]
    assert not service.requests


def test_no_secret_shows() -> None:
    gateway = AIGateway("my-gateway", token="gateway-secret", metadata={"team": f"x {TOKEN}"})
    own = {"X-Api-Key": "own-secret", "Cookie": "session-secret", "x-note": f"uses {TOKEN}"}
    preview = gemma(ai_gateway=gateway, default_headers=own).preview("Hi")
    for shown in (repr(preview), preview._repr_html_(), json.dumps(dict(preview.request.headers))):
        for secret in (TOKEN, "gateway-secret", "own-secret", "session-secret"):
            assert secret not in shown
    assert preview.request.headers["cf-aig-gateway-id"] == "my-gateway"
    assert preview.request.headers["authorization"] == "Bearer **********"


def test_tokens_and_cost() -> None:
    short, long = gemma().preview("Hi"), gemma().preview("word " * 1000)
    assert 0 < short.input_tokens < 20
    assert 800 < long.input_tokens < 1300
    assert long.cost_usd == pytest.approx(long.input_tokens * 0.10 / 1_000_000)
    assert gemma(model=GEMMA_7B).preview("Hi").cost_usd is None


def changes(model: str, *messages: Any, **arguments: Any) -> str:
    return "\n".join(gemma(model=model).preview(list(messages), **arguments).changes)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_nothing_changed(model: str) -> None:
    assert changes(model, HumanMessage("a"), AIMessage("b"), HumanMessage("c")) == ""


CHANGED: dict[str, tuple[str, list[Any], str]] = {
    "systems": (GEMMA_4, [SystemMessage("a"), SystemMessage("b"), HumanMessage("c")], "2 system messages are merged"),
    "later system": (GEMMA_4, [HumanMessage("a"), SystemMessage("b")], "later system message"),
    "no system role": (GEMMA_7B, [SystemMessage("a"), HumanMessage("b")], "moved into the first user message"),
    "neighbours": (GEMMA_3, [HumanMessage("a"), HumanMessage("b")], "2 consecutive user messages are merged"),
    "assistant first": (GEMMA_3, [AIMessage("a"), HumanMessage("b")], "user message is added at the start"),
    "no result": (GEMMA_4, ROUND[:2], "placeholder is added as the result of the call get_weather"),
    "beside calls": (GEMMA_4, ROUND, "text beside the calls of get_weather is sent as a thought"),
    "beside older calls": (GEMMA_4, [*ROUND, AIMessage("a"), HumanMessage("b")], "is left out"),
    "orphan": (GEMMA_4, [HumanMessage("a"), ToolMessage("b", tool_call_id="x", name="f")], "does not follow its call"),
    "blank": (GEMMA_4, [HumanMessage("a"), AIMessage(""), HumanMessage("b")], "An empty assistant message is left out"),
    "foreign": (GEMMA_4, [HumanMessage("a"), AIMessage([{"type": "refusal", "refusal": "No"}])], "'refusal'"),
    "image": (
        GEMMA_4,
        [*ROUND[:2], ToolMessage([{"type": "image_url", "image_url": {"url": PNG_URI}}], tool_call_id="c1")],
        "images in the result of the call get_weather follow",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_changes_in_words(case: str) -> None:
    model, messages, words = CHANGED[case]
    assert words in changes(model, *messages)


def test_a_note_is_a_change() -> None:
    pdf = {"type": "file", "base64": "AAAA", "mime_type": "application/pdf"}
    said = changes(GEMMA_4, HumanMessage([pdf]), unsupported_content="note")
    assert "application/pdf" in said


def test_many_changes_of_one_kind_are_counted() -> None:
    history = [message for _ in range(5) for message in (*ROUND, AIMessage("It rains."))]
    older, latest = [one for one in gemma().preview(history).changes if "beside" in one]
    assert older.endswith("(4 times)")
    assert latest.endswith("misplace it.")


def test_instructions_are_a_change() -> None:
    assert "describes bound tools" in changes(GEMMA_3, HumanMessage("a"), tools=[WEATHER])


def test_images_are_not_fetched(service: Service) -> None:
    url = "https://example.org/a.png"
    preview = gemma(inline_image_urls=True).preview([HumanMessage([{"type": "image", "url": url}])])
    assert preview.request.body["messages"][0]["content"][0]["image_url"]["url"] == url
    assert not service.requests


def test_what_a_call_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="messages is empty"):
        gemma().preview([])
    with pytest.raises(ValueError, match="temprature"):
        gemma().preview("Hi", temprature=1)


def test_a_binding() -> None:
    preview = gemma(binding=Ai(), account_id=None, api_token=None).preview("Hi")
    assert preview.request.url == f"env.AI.run('{GEMMA_4}')"
    assert preview.request.body["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_table_in_a_notebook() -> None:
    nasty = "<script>alert(1)</script>"
    image = {"type": "image_url", "image_url": {"url": PNG_URI}}
    html = gemma().preview([AIMessage(nasty), HumanMessage([nasty, image])])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "user message is added at the start" in html
    assert PNG_URI not in html
    assert "$0.0000" in html


# --- Bound models -----------------------------------------------------------------------------------------------------

BINDINGS: dict[str, Callable[[Any], Any]] = {
    "tools": lambda llm: llm.bind_tools([WEATHER]),
    "a forced tool": lambda llm: llm.bind_tools([WEATHER], tool_choice="any"),
    "settings": lambda llm: llm.bind(temperature=0.25, stop=["END"]),
    "settings, then tools": lambda llm: llm.bind(temperature=0.25).bind_tools([WEATHER]),
    "tools, then settings": lambda llm: llm.bind_tools([WEATHER]).bind(temperature=0.25),
    "a configuration": lambda llm: llm.bind_tools([WEATHER]).with_config(tags=["a"]),
    "a configuration, then tools": lambda llm: llm.bind(temperature=0.25).with_config(tags=["a"]).bind_tools([WEATHER]),
    "a form": lambda llm: llm.bind(response_format={"type": "json_object"}),
}


METHODS = [
    (model, method)
    for model in CHAT_MODELS
    for method in ("auto", "native", "guided_json", "prompt")
    if (model, method) != (GEMMA_7B_LORA, "guided_json")  # it has no constraint
]


@pytest.mark.parametrize(("model", "tool_calling"), METHODS)
@pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS)
def test_a_preview_of_a_bound_model_is_its_request(
    service: Service, binding: Callable[[Any], Any], model: str, tool_calling: str
) -> None:
    bound = binding(gemma(model=model, tool_calling=tool_calling))
    try:
        preview = bound.preview("Weather in Bonn?")
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            bound.invoke("Weather in Bonn?")
        return
    with contextlib.suppress(WorkersGemmaError):  # the service says "Hi"
        bound.invoke("Weather in Bonn?")
    assert preview.request.body == service.bodies[0]


def test_bound_tools_are_counted() -> None:
    llm = gemma()
    messages: list[Any] = [HumanMessage("Hi")]
    bound: Any = llm.bind_tools([WEATHER])
    assert bound.get_num_tokens_from_messages(messages) == llm.get_num_tokens_from_messages(messages, tools=[WEATHER])


def test_settings_bound_before_a_schema_are_kept(service: Service) -> None:
    service.replies(message_reply('{"a": 1}'))
    schema = {"title": "a", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    settled: Any = gemma().bind(temperature=0.25).with_config(tags=["a"])
    bound = settled.with_structured_output(schema)
    assert bound.invoke("One") == {"a": 1}
    assert service.sent["temperature"] == 0.25
    assert "tools" not in service.sent
