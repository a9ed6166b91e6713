"""Structured output in use: formats that callers and agents bind, and the tracing options."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from pydantic import BaseModel

from langchain_workers_gemma.schemas import (
    for_constraint,
    to_strict_openai,
)
from tests.helpers.asking import (
    GEMMA_3,
    Service,
    gemma,
    message_reply,
)
from tests.helpers.structured_asking import (
    BY_NAME,
    GENERATIONS,
    Generation,
    Joke,
    answer,
    ask,
    constrained_by,
    expected_part,
    input_of,
    pairs,
    structured_part,
)

# --- response_format and guided_json bound by the caller --------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS, ids=str)
@pytest.mark.parametrize("form", ["openai", "bare", "object", "text"])
def test_bound_response_format(service: Service, generation: Generation, form: str) -> None:
    answer(service, generation, None, Joke, '{"setup": "x"}', "invoke")
    schema = Joke.model_json_schema()
    formats: dict[str, dict[str, Any]] = {
        "openai": {"type": "json_schema", "json_schema": {"name": "Joke", "schema": schema, "strict": True}},
        "bare": {"type": "json_schema", "json_schema": schema},
        "object": {"type": "json_object"},
        "text": {"type": "text"},
    }
    message = gemma(**generation.arguments).bind(response_format=formats[form]).invoke("Go")
    assert message.content == '{"setup": "x"}'
    part = structured_part(input_of(service))
    if form == "openai":
        assert part == constrained_by(generation, to_strict_openai(schema), "Joke", strict=True)
    elif form == "bare":
        assert part == constrained_by(generation, for_constraint(schema), "Joke")
    elif form == "object" and generation.parameter is not None:
        assert part == expected_part(generation, "json_mode", Joke)
    else:
        assert part == {}


@pytest.mark.parametrize("generation", ["gemma-3", "dataoorts"])
def test_bound_guided_json(service: Service, generation: str) -> None:
    answer(service, BY_NAME[generation], None, Joke, '{"setup": "x"}', "invoke")
    schema = Joke.model_json_schema()
    assert gemma(**BY_NAME[generation].arguments).bind(guided_json=schema).invoke("Go").content == '{"setup": "x"}'
    assert input_of(service)["guided_json"] == schema


@pytest.mark.parametrize("generation", ["gemma-4", "gemma-7b", "aimlapi"])
def test_guided_json_where_there_is_none(generation: str) -> None:
    with pytest.raises(ValueError, match=r"guided_json: .* has no such parameter"):
        gemma(**BY_NAME[generation].arguments).bind(guided_json={"type": "object"}).invoke("Go")


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
def test_bad_response_formats(bad: Any) -> None:
    for generation in ("gemma-4", "gemma-3", "aimlapi"):
        with pytest.raises(ValueError, match=r"response_format|\$ref"):
            gemma(**BY_NAME[generation].arguments).bind(response_format=bad).invoke("Go")


def test_schemas_may_hold_enums_and_any_mapping(service: Service) -> None:
    from types import MappingProxyType

    class Size(StrEnum):
        S = "s"

    schema = MappingProxyType({"type": "object", "properties": {"size": {"enum": [Size.S]}}, "title": "Größe [x]"})
    service.replies({"response": '{"size": "s"}'})
    gemma().bind(response_format={"type": "json_schema", "json_schema": schema}).invoke("Go")
    envelope = input_of(service)["response_format"]["json_schema"]
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
@pytest.mark.parametrize("generation", ["gemma-4", "gemma-3", "gemma-7b", "sea-lion"])
@pytest.mark.parametrize("text", ['{"city": "Paris", "degrees": 24}', '```json\n{"city": "Paris", "degrees": 24}\n```'])
def test_agents_without_tools(service: Service, generation: str, strategy: Any, text: str) -> None:
    kind = BY_NAME[generation]
    answer(service, kind, None, Forecast, text, "invoke")
    agent: Any = create_agent(gemma(**kind.arguments), response_format=strategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    schema = for_constraint(Forecast.model_json_schema())
    assert structured_part(input_of(service)) == constrained_by(kind, schema, "Forecast")


def test_an_agent_with_tools_and_provider_strategy_on_gemma_4(service: Service) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Paris"}'}}
    service.replies(message_reply("", tool_calls=[call]), message_reply('{"city": "Paris", "degrees": 24}'))
    agent: Any = create_agent(gemma(), [look_up], response_format=ProviderStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    for body in service.bodies:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["look_up"]
        assert "response_format" not in body
        assert '"degrees"' in body["messages"][0]["content"]


def test_an_agent_with_tools_and_provider_strategy_on_gemma_3(service: Service) -> None:
    """`guided_json` constrains the whole reply, so calls and the answer share one schema."""
    service.replies(
        {"response": '{"tool_calls": [{"name": "look_up", "arguments": {"city": "Paris"}}]}'},
        {"response": '{"answer": {"city": "Paris", "degrees": 24}}'},
    )
    agent: Any = create_agent(gemma(model=GEMMA_3), [look_up], response_format=ProviderStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    for body in service.bodies:
        assert "tools" not in body
        calls, given = body["guided_json"]["anyOf"]
        assert calls["properties"]["tool_calls"]["items"]["properties"]["name"]["enum"] == ["look_up"]
        assert given["properties"]["answer"]["required"] == ["city", "degrees"]


def test_an_agent_with_tool_strategy(service: Service) -> None:
    call = {"id": "c1", "function": {"name": "Forecast", "arguments": '{"city": "Paris", "degrees": 24}'}}
    service.replies(message_reply("", tool_calls=[{"type": "function", **call}]))
    agent: Any = create_agent(gemma(), [look_up], response_format=ToolStrategy(Forecast))
    state = agent.invoke({"messages": [("user", "Go")]})
    assert state["structured_response"] == Forecast(city="Paris", degrees=24)
    assert service.sent["tool_choice"] == "required"
    assert "response_format" not in service.sent


# --- Tracing ----------------------------------------------------------------------------------------------------------


class _Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.options: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.options.append(kwargs)


@pairs
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_tracing_options_are_not_sent(service: Service, way: str, generation: Generation, method: Any) -> None:
    answer(service, generation, method, Joke, '{"setup": "x"}', way)
    listener = _Listener()
    llm = gemma(**generation.arguments).with_structured_output(Joke, method=method)
    ask(llm.with_config(callbacks=[listener]), way)
    told = listener.options[0]["options"]["ls_structured_output_format"]
    assert told["kwargs"] == {"method": method or generation.default or "prompt"}
    assert told["schema"]["properties"].keys() == {"setup", "rating"}
    sent = service.requests[0].content
    assert b"ls_structured" not in sent
    assert b"keep_broken_calls" not in sent
