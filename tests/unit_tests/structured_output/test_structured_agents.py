"""Structured output: formats that callers and agents bind, and the tracing options."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from pydantic import BaseModel

from langchain_workers_gemma.schemas import (
    to_constraint_schema,
    to_strict_openai,
)
from tests.helpers.mock_service import MockService, make_completion
from tests.helpers.model_calls import GEMMA_3, make_model
from tests.helpers.structured_calls import (
    SERVICE_VARIANTS,
    VARIANTS_BY_NAME,
    Joke,
    ServiceVariant,
    build_expected_parameters,
    collect_outputs,
    for_each_pair,
    get_request_input,
    get_structured_parameters,
    make_constraint_parameters,
    respond_with_object,
)

# --- response_format and guided_json bound by the caller --------------------------------------------------------------


@pytest.mark.parametrize("variant", SERVICE_VARIANTS, ids=str)
@pytest.mark.parametrize("form", ["openai", "bare", "object", "text"])
def test_a_bound_response_format_is_sent(service: MockService, variant: ServiceVariant, form: str) -> None:
    respond_with_object(service, variant, None, Joke, '{"setup": "x"}', "invoke")
    schema = Joke.model_json_schema()
    formats: dict[str, dict[str, Any]] = {
        "openai": {"type": "json_schema", "json_schema": {"name": "Joke", "schema": schema, "strict": True}},
        "bare": {"type": "json_schema", "json_schema": schema},
        "object": {"type": "json_object"},
        "text": {"type": "text"},
    }
    message = make_model(**variant.arguments).bind(response_format=formats[form]).invoke("Go")
    assert message.content == '{"setup": "x"}'
    part = get_structured_parameters(get_request_input(service))
    if form == "openai":
        assert part == make_constraint_parameters(variant, to_strict_openai(schema), "Joke", strict=True)
    elif form == "bare":
        assert part == make_constraint_parameters(variant, to_constraint_schema(schema), "Joke")
    elif form == "object" and variant.parameter is not None:
        assert part == build_expected_parameters(variant, "json_mode", Joke)
    else:
        assert part == {}


@pytest.mark.parametrize("variant", ["gemma-3", "dataoorts"])
def test_bound_guided_json_is_sent(service: MockService, variant: str) -> None:
    respond_with_object(service, VARIANTS_BY_NAME[variant], None, Joke, '{"setup": "x"}', "invoke")
    schema = Joke.model_json_schema()
    assert (
        make_model(**VARIANTS_BY_NAME[variant].arguments).bind(guided_json=schema).invoke("Go").content
        == '{"setup": "x"}'
    )
    assert get_request_input(service)["guided_json"] == schema


@pytest.mark.parametrize("variant", ["gemma-4", "gemma-7b", "aimlapi"])
def test_bound_guided_json_raises_for_models_without_it(variant: str) -> None:
    with pytest.raises(ValueError, match=r"guided_json: .* has no such parameter"):
        make_model(**VARIANTS_BY_NAME[variant].arguments).bind(guided_json={"type": "object"}).invoke("Go")


@pytest.mark.parametrize(
    "bad",
    [
        "json_object",
        {"type": "json"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": {"type": "object", "properties": {"x": {"default": object()}}}},
        {"type": "json_schema", "json_schema": {"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}}},
    ],
)
def test_invalid_response_formats_raise(bad: Any) -> None:
    for variant in ("gemma-4", "gemma-3", "aimlapi"):
        with pytest.raises(ValueError, match=r"response_format|\$ref"):
            make_model(**VARIANTS_BY_NAME[variant].arguments).bind(response_format=bad).invoke("Go")


def test_schemas_may_contain_enums_and_any_mapping(service: MockService) -> None:
    class Size(StrEnum):
        S = "s"

    schema = MappingProxyType({"type": "object", "properties": {"size": {"enum": [Size.S]}}, "title": "Größe [x]"})
    service.respond_with_results({"response": '{"size": "s"}'})
    make_model().bind(response_format={"type": "json_schema", "json_schema": schema}).invoke("Go")
    envelope = get_request_input(service)["response_format"]["json_schema"]
    assert envelope["name"] == "Gr_e_x"
    assert envelope["schema"]["properties"] == {"size": {"enum": ["s"]}}


# --- Agents -----------------------------------------------------------------------------------------------------------


def look_up(city: str) -> str:
    """Look something up."""
    return f"{city}: 24 degrees"


class Forecast(BaseModel):
    """A forecast."""

    city: str
    degrees: int


@pytest.mark.parametrize("strategy", [ProviderStrategy, lambda schema: schema], ids=["provider", "bare"])
@pytest.mark.parametrize("variant", ["gemma-4", "gemma-3", "gemma-7b", "sea-lion"])
@pytest.mark.parametrize("text", ['{"city": "Paris", "degrees": 24}', '```json\n{"city": "Paris", "degrees": 24}\n```'])
def test_agents_without_tools_return_the_object(service: MockService, variant: str, strategy: Any, text: str) -> None:
    service_variant = VARIANTS_BY_NAME[variant]
    respond_with_object(service, service_variant, None, Forecast, text, "invoke")
    agent: Any = create_agent(make_model(**service_variant.arguments), response_format=strategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    schema = to_constraint_schema(Forecast.model_json_schema())
    assert get_structured_parameters(get_request_input(service)) == make_constraint_parameters(
        service_variant, schema, "Forecast"
    )


def test_an_agent_with_tools_and_provider_strategy_on_gemma_4(service: MockService) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Paris"}'}}
    service.respond_with_results(
        make_completion("", tool_calls=[call]), make_completion('{"city": "Paris", "degrees": 24}')
    )
    agent: Any = create_agent(make_model(), [look_up], response_format=ProviderStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    for body in service.request_bodies:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["look_up"]
        assert "response_format" not in body
        assert '"degrees"' in body["messages"][0]["content"]


def test_an_agent_with_tools_and_provider_strategy_on_gemma_3(service: MockService) -> None:
    """`guided_json` constrains the whole reply, so one schema covers the calls and the answer."""
    service.respond_with_results(
        {"response": '{"tool_calls": [{"name": "look_up", "arguments": {"city": "Paris"}}]}'},
        {"response": '{"answer": {"city": "Paris", "degrees": 24}}'},
    )
    agent: Any = create_agent(make_model(model=GEMMA_3), [look_up], response_format=ProviderStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    for body in service.request_bodies:
        assert "tools" not in body
        calls, answer = body["guided_json"]["anyOf"]
        assert calls["properties"]["tool_calls"]["items"]["properties"]["name"]["enum"] == ["look_up"]
        assert answer["properties"]["answer"]["required"] == ["city", "degrees"]


def test_an_agent_with_tool_strategy_forces_a_call(service: MockService) -> None:
    call = {"id": "c1", "function": {"name": "Forecast", "arguments": '{"city": "Paris", "degrees": 24}'}}
    service.respond_with_results(make_completion("", tool_calls=[{"type": "function", **call}]))
    agent: Any = create_agent(make_model(), [look_up], response_format=ToolStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    assert service.request_body["tool_choice"] == "required"
    assert "response_format" not in service.request_body


# --- Tracing ----------------------------------------------------------------------------------------------------------


class _Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.options: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.options.append(kwargs)


@for_each_pair
@pytest.mark.parametrize("call_method", ["invoke", "stream"])
def test_tracing_options_are_not_sent(
    service: MockService, call_method: str, variant: ServiceVariant, method: Any
) -> None:
    respond_with_object(service, variant, method, Joke, '{"setup": "x"}', call_method)
    listener = _Listener()
    llm = make_model(**variant.arguments).with_structured_output(Joke, method=method)
    collect_outputs(llm.with_config(callbacks=[listener]), call_method)
    tracing_options = listener.options[0]["options"]["ls_structured_output_format"]
    assert tracing_options["kwargs"] == {"method": method or variant.default_method or "prompt"}
    assert tracing_options["schema"]["properties"].keys() == {"setup", "rating"}
    sent = service.requests[0].content
    assert b"ls_structured" not in sent
    assert b"keep_broken_calls" not in sent
