"""`preview`: the request of a call, its changes and its cost, without sending it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_workers_gemma import AIGateway, WorkersGemmaError
from tests.helpers.fake_bindings import FakeBinding
from tests.helpers.mock_service import MockService, make_completion
from tests.helpers.model_calls import (
    API_TOKEN,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG_DATA_URI,
    WEATHER_TOOL,
    call_model,
    make_model,
)

CALL = {"name": "get_weather", "args": {"city": "Bonn"}, "id": "c1", "type": "tool_call"}
TOOL_ROUND: list[Any] = [
    HumanMessage("Weather?"),
    AIMessage("Let me see.", tool_calls=[CALL]),
    ToolMessage("rain", tool_call_id="c1"),
]


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_preview_equals_the_request_of_a_call(service: MockService, model: str, api: str) -> None:
    llm = make_model(model=model, api=api, temperature=0.5)
    arguments: dict[str, Any] = {"tools": [WEATHER_TOOL], "max_tokens": 50, "stop": ["END"]}
    preview = llm.preview(TOOL_ROUND, **arguments)
    assert not service.requests, "a preview sends nothing"
    call_model(llm, "invoke", TOOL_ROUND, **arguments)
    assert preview.request.body == service.request_body
    assert preview.request.method == service.only_request.method
    assert preview.request.url == str(service.only_request.url)
    for name, value in preview.request.headers.items():
        assert name == "authorization" or service.only_request.headers[name] == value


def test_messages_are_accepted_in_every_form(service: MockService) -> None:
    for model_input in ("Hi", [("human", "Hi")], [{"role": "user", "content": "Hi"}], [HumanMessage("Hi")]):
        assert make_model().preview(model_input).request.body["messages"] == [{"role": "user", "content": "Hi"}]
    assert not service.requests


def test_secrets_are_masked() -> None:
    gateway = AIGateway("my-gateway", token="gateway-secret", metadata={"team": f"x {API_TOKEN}"})
    own_headers = {"X-Api-Key": "own-secret", "Cookie": "session-secret", "x-note": f"uses {API_TOKEN}"}
    preview = make_model(ai_gateway=gateway, default_headers=own_headers).preview("Hi")
    for text in (repr(preview), preview._repr_html_(), json.dumps(dict(preview.request.headers))):
        for secret in (API_TOKEN, "gateway-secret", "own-secret", "session-secret"):
            assert secret not in text
    assert preview.request.headers["cf-aig-gateway-id"] == "my-gateway"
    assert preview.request.headers["authorization"] == "Bearer **********"


def test_tokens_and_cost_are_estimated() -> None:
    short, long = make_model().preview("Hi"), make_model().preview("word " * 1000)
    assert 0 < short.input_tokens < 20
    assert 800 < long.input_tokens < 1300
    assert long.cost_usd == pytest.approx(long.input_tokens * 0.10 / 1_000_000)
    assert make_model(model=GEMMA_7B).preview("Hi").cost_usd is None


def get_changes(model: str, *messages: Any, **arguments: Any) -> str:
    """Return the changes that a preview lists."""
    return "\n".join(make_model(model=model).preview(list(messages), **arguments).changes)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_simple_history_has_no_changes(model: str) -> None:
    assert get_changes(model, HumanMessage("a"), AIMessage("b"), HumanMessage("c")) == ""


CHANGES: dict[str, tuple[str, list[Any], str]] = {
    "systems": (GEMMA_4, [SystemMessage("a"), SystemMessage("b"), HumanMessage("c")], "2 system messages are merged"),
    "later system": (GEMMA_4, [HumanMessage("a"), SystemMessage("b")], "later system message"),
    "no system role": (GEMMA_7B, [SystemMessage("a"), HumanMessage("b")], "moved into the first user message"),
    "consecutive": (GEMMA_3, [HumanMessage("a"), HumanMessage("b")], "2 consecutive user messages are merged"),
    "assistant first": (GEMMA_3, [AIMessage("a"), HumanMessage("b")], "user message is added at the start"),
    "no result": (GEMMA_4, TOOL_ROUND[:2], "placeholder is added as the result of the call get_weather"),
    "beside calls": (GEMMA_4, TOOL_ROUND, "text beside the calls of get_weather is sent as a thought"),
    "beside older calls": (GEMMA_4, [*TOOL_ROUND, AIMessage("a"), HumanMessage("b")], "is left out"),
    "orphan": (GEMMA_4, [HumanMessage("a"), ToolMessage("b", tool_call_id="x", name="f")], "does not follow its call"),
    "empty": (GEMMA_4, [HumanMessage("a"), AIMessage(""), HumanMessage("b")], "An empty assistant message is left out"),
    "other provider": (GEMMA_4, [HumanMessage("a"), AIMessage([{"type": "refusal", "refusal": "No"}])], "'refusal'"),
    "image": (
        GEMMA_4,
        [*TOOL_ROUND[:2], ToolMessage([{"type": "image_url", "image_url": {"url": PNG_DATA_URI}}], tool_call_id="c1")],
        "images in the result of the call get_weather follow",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changes_are_described(case: str) -> None:
    model, messages, words = CHANGES[case]
    assert words in get_changes(model, *messages)


def test_a_note_is_a_change() -> None:
    pdf = {"type": "file", "base64": "AAAA", "mime_type": "application/pdf"}
    changes = get_changes(GEMMA_4, HumanMessage([pdf]), unsupported_content="note")
    assert "application/pdf" in changes


def test_many_changes_of_one_kind_are_counted() -> None:
    history = [message for _ in range(5) for message in (*TOOL_ROUND, AIMessage("It rains."))]
    older, latest = [change for change in make_model().preview(history).changes if "beside" in change]
    assert older.endswith("(4 times)")
    assert latest.endswith("misplace it.")


def test_instructions_are_a_change() -> None:
    assert "describes bound tools" in get_changes(GEMMA_3, HumanMessage("a"), tools=[WEATHER_TOOL])


def test_images_are_not_fetched(service: MockService) -> None:
    url = "https://example.org/a.png"
    preview = make_model(inline_image_urls=True).preview([HumanMessage([{"type": "image", "url": url}])])
    assert preview.request.body["messages"][0]["content"][0]["image_url"]["url"] == url
    assert not service.requests


def test_invalid_input_raises() -> None:
    with pytest.raises(ValueError, match="messages is empty"):
        make_model().preview([])
    with pytest.raises(ValueError, match="temprature"):
        make_model().preview("Hi", temprature=1)


def test_a_preview_with_a_binding() -> None:
    preview = make_model(binding=FakeBinding(), account_id=None, api_token=None).preview("Hi")
    assert preview.request.url == f"env.AI.run('{GEMMA_4}')"
    assert preview.request.body["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_html_table_is_escaped() -> None:
    nasty = "<script>alert(1)</script>"
    image = {"type": "image_url", "image_url": {"url": PNG_DATA_URI}}
    html = make_model().preview([AIMessage(nasty), HumanMessage([nasty, image])])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "user message is added at the start" in html
    assert PNG_DATA_URI not in html
    assert "$0.0000" in html


# --- Bound models -----------------------------------------------------------------------------------------------------

BINDINGS: dict[str, Callable[[Any], Any]] = {
    "tools": lambda llm: llm.bind_tools([WEATHER_TOOL]),
    "a forced tool": lambda llm: llm.bind_tools([WEATHER_TOOL], tool_choice="any"),
    "settings": lambda llm: llm.bind(temperature=0.25, stop=["END"]),
    "settings, then tools": lambda llm: llm.bind(temperature=0.25).bind_tools([WEATHER_TOOL]),
    "tools, then settings": lambda llm: llm.bind_tools([WEATHER_TOOL]).bind(temperature=0.25),
    "a configuration": lambda llm: llm.bind_tools([WEATHER_TOOL]).with_config(tags=["a"]),
    "a configuration, then tools": lambda llm: (
        llm.bind(temperature=0.25).with_config(tags=["a"]).bind_tools([WEATHER_TOOL])
    ),
    "a form": lambda llm: llm.bind(response_format={"type": "json_object"}),
}


TOOL_CALLING_METHODS = [
    (model, method)
    for model in CHAT_MODELS
    for method in ("auto", "native", "guided_json", "prompt")
    if (model, method) != (GEMMA_7B_LORA, "guided_json")  # this model has no constraint
]


@pytest.mark.parametrize(("model", "tool_calling"), TOOL_CALLING_METHODS)
@pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS)
def test_a_preview_of_a_bound_model_equals_its_request(
    service: MockService, binding: Callable[[Any], Any], model: str, tool_calling: str
) -> None:
    bound = binding(make_model(model=model, tool_calling=tool_calling))
    try:
        preview = bound.preview("Weather in Bonn?")
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            bound.invoke("Weather in Bonn?")
        return
    with contextlib.suppress(WorkersGemmaError):  # the service replies "Hi"
        bound.invoke("Weather in Bonn?")
    assert preview.request.body == service.request_bodies[0]


def test_bound_tools_are_counted() -> None:
    llm = make_model()
    messages: list[Any] = [HumanMessage("Hi")]
    bound: Any = llm.bind_tools([WEATHER_TOOL])
    assert bound.get_num_tokens_from_messages(messages) == llm.get_num_tokens_from_messages(
        messages, tools=[WEATHER_TOOL]
    )


def test_settings_bound_before_a_schema_are_kept(service: MockService) -> None:
    service.respond_with_results(make_completion('{"a": 1}'))
    schema = {"title": "a", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    configured: Any = make_model().bind(temperature=0.25).with_config(tags=["a"])
    bound = configured.with_structured_output(schema)
    assert bound.invoke("One") == {"a": 1}
    assert service.request_body["temperature"] == 0.25
    assert "tools" not in service.request_body
