"""Agents with tools and a schema call their tools first, also if a constraint covers the whole reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import respx
from langchain.agents import create_agent
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.helpers.model_calls import GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, make_model, run_async
from tests.helpers.scripted_agent import CountingTools
from tests.helpers.unreliable_service import Habit, UnreliableService, get_constraint_form


class Forecast(BaseModel):
    """A forecast."""

    city: str
    degrees: int


class ForecastDict(TypedDict):
    """A forecast."""

    city: str
    degrees: int


SCHEMA_KINDS: dict[str, Any] = {
    "pydantic": Forecast,
    "typed dict": ForecastDict,
    "json schema": {**Forecast.model_json_schema(), "title": "Forecast"},
}
VALID_FORECAST = {"city": "Paris", "degrees": 24}
INVENTED = '{"city": "Paris", "degrees": -99}'
RUN_METHODS = ("invoke", "ainvoke", "stream", "astream", "messages")
for_each_run_method = pytest.mark.parametrize("call_method", RUN_METHODS)
StartEngine = Callable[..., UnreliableService]


class WholeReplyEngine(UnreliableService):
    """Behaves like vLLM: a constraint covers the whole reply, so the model calls no tools with it."""

    def __init__(self, router: respx.MockRouter, habits: dict[str, Habit], *, final: str = "plain text") -> None:
        super().__init__(router, habits, json.dumps(VALID_FORECAST), INVENTED)
        self.final = final
        self.calls = self._calls

    def _calls(self, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        if "response_format" in body or "guided_json" in body or self._has_result(body):
            return []
        return [("look_up", {"city": "Paris"})] if body.get("tools") else []

    def _has_result(self, body: dict[str, Any]) -> bool:
        return "24 degrees" in json.dumps(body["messages"])

    def _write_reply(self, habit: Habit) -> tuple[dict[str, Any] | str, str]:
        body = self.bodies[-1]
        if not self._has_result(body):
            return self.wrong, "stop"
        if self.final == "plain text" and body.get("tools"):
            return "It is 24 degrees in Paris.", "stop"
        if self.final == "reasoning" and body.get("tools"):
            return super()._write_reply("only reasons")
        return super()._write_reply("writes a fence" if self.final == "fence" and body.get("tools") else habit)


@pytest.fixture
def start_engine() -> Iterator[StartEngine]:
    with respx.mock(assert_all_called=False) as router:

        def start_engine(final: str = "plain text", **habits: Habit) -> UnreliableService:
            return WholeReplyEngine(router, habits, final=final)

        yield start_engine


def run_agent(agent: Any, call_method: str) -> Any:
    """Run an agent and return its final state."""
    agent_input = {"messages": [("user", "How warm is it in Paris?")]}

    async def last_state() -> Any:
        return [state async for state in agent.astream(agent_input, stream_mode="values")][-1]

    if call_method == "invoke":
        return agent.invoke(agent_input)
    if call_method == "ainvoke":
        return run_async(agent.ainvoke(agent_input))
    if call_method == "astream":
        return run_async(last_state())
    if call_method == "stream":
        return list(agent.stream(agent_input, stream_mode="values"))[-1]
    return [state for mode, state in agent.stream(agent_input, stream_mode=["messages", "values"]) if mode == "values"][
        -1
    ]


def get_response(kind: str, state: dict[str, Any]) -> Any:
    response = state["structured_response"]
    return response.model_dump() if kind == "pydantic" else response


@for_each_run_method
@pytest.mark.parametrize("kind", SCHEMA_KINDS)
@pytest.mark.parametrize("final", ["plain text", "json", "fence", "reasoning"])
@pytest.mark.parametrize(
    "strategy", [ProviderStrategy, AutoStrategy, lambda schema: schema], ids=["provider", "auto", "bare"]
)
def test_gemma_4_calls_its_tools_first(
    start_engine: StartEngine, strategy: Any, final: str, kind: str, call_method: str
) -> None:
    service, tools = start_engine(final), CountingTools()
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.look_up], response_format=strategy(SCHEMA_KINDS[kind]))
    state = run_agent(agent, call_method)
    assert get_response(kind, state) == VALID_FORECAST
    assert tools.runs == ["Paris"]
    assert len(service.bodies) == (3 if final == "plain text" else 2)
    for body in service.bodies[:2]:
        assert body["tools"][0]["function"]["name"] == "look_up"
        assert "response_format" not in body
        assert '"degrees"' in body["messages"][0]["content"]
    for body in service.bodies[2:]:
        assert body["response_format"]["type"] == "json_schema"
        assert "tools" not in body
        assert [message["role"] for message in body["messages"]][-3:] == ["tool", "assistant", "user"]


@for_each_run_method
def test_a_refused_form_of_the_answer_after_calls_is_replaced(start_engine: StartEngine, call_method: str) -> None:
    service, tools = start_engine(openai_schema="refuses"), CountingTools()
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.look_up], response_format=Forecast)
    assert run_agent(agent, call_method)["structured_response"] == Forecast(**VALID_FORECAST)
    assert service.constraint_forms == ["prompt", "prompt", "openai_schema", "json_object"]
    assert run_agent(agent, call_method)["structured_response"] == Forecast(**VALID_FORECAST)
    assert service.constraint_forms[4:] == ["prompt", "prompt", "json_object"]


@for_each_run_method
def test_an_answer_with_bound_tools_is_validated(start_engine: StartEngine, call_method: str) -> None:
    service, tools = start_engine("json", prompt="ignores the schema"), CountingTools()
    service.wrong = '{"city": "Paris", "degrees": "warm"}'
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.look_up], response_format=Forecast)
    assert run_agent(agent, call_method)["structured_response"] == Forecast(**VALID_FORECAST)
    assert "degrees" in service.bodies[-1]["messages"][-1]["content"]
    assert len(service.bodies) == 3


class GuidedEngine(UnreliableService):
    """A model whose tools are described in the prompt. It writes calls or the answer in the requested form."""

    def __init__(self, router: respx.MockRouter, final: str) -> None:
        super().__init__(router, {}, json.dumps(VALID_FORECAST), INVENTED)
        self.final = final

    def _write_reply(self, habit: Habit) -> tuple[dict[str, Any] | str, str]:
        body = self.bodies[-1]
        if "You have access to" not in json.dumps(body["messages"][0]):
            return self.right, "stop"
        if "24 degrees" not in json.dumps(body["messages"]):
            calls = [{"name": "look_up", "arguments": {"city": "Paris"}}]
            return json.dumps(calls if get_constraint_form(body) == "prompt" else {"tool_calls": calls}), "stop"
        final_messages = {
            "obeys": f'{{"answer": {self.right}}}',
            "bare": self.right,
            "fence": f"Here:\n```json\n{self.right}\n```",
            "plain text": "It is 24 degrees in Paris.",
            "ignores the schema": '{"answer": {"city": "Paris"}}',
        }
        return final_messages[self.final], "stop"


@for_each_run_method
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_7B_LORA])
@pytest.mark.parametrize("final", ["obeys", "bare", "fence", "plain text", "ignores the schema"])
def test_a_guided_agent_returns_the_object(model: str, final: str, call_method: str) -> None:
    tools = CountingTools()
    with respx.mock() as router:
        service = GuidedEngine(router, final)
        llm = make_model(model=model, streaming=call_method == "messages")
        agent: Any = create_agent(llm, [tools.look_up], response_format=ProviderStrategy(Forecast))
        state = run_agent(agent, call_method)
    assert state["structured_response"] == Forecast(**VALID_FORECAST)
    assert tools.runs == ["Paris"]
    is_valid = final in ("bare", "fence") or (final == "obeys" and model != GEMMA_7B_LORA)
    assert len(service.bodies) == (2 if is_valid else 3)
    for body in service.bodies:
        assert "tools" not in body


@pytest.mark.parametrize("choice", ["none", "look_up"])
def test_tool_choice_together_with_a_schema(start_engine: StartEngine, choice: str) -> None:
    """With `none` the answer can be constrained. A forced call is not an answer."""
    service, tools = start_engine("json"), CountingTools()
    bound = make_model().bind_tools(
        [tools.look_up],
        tool_choice=choice,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "Forecast", "schema": SCHEMA_KINDS["json schema"]},
        },
        max_repairs=0,
    )
    message = bound.invoke("Go")
    body = service.bodies[0]
    if choice == "none":
        assert "tools" not in body
        assert body["response_format"]["type"] == "json_schema"
    else:
        assert "response_format" not in body
        assert message.tool_calls[0]["name"] == "look_up"


def test_tool_calling_native_keeps_the_constraint(start_engine: StartEngine) -> None:
    service, tools = start_engine(), CountingTools()
    llm = make_model(tool_calling="native")
    agent: Any = create_agent(llm, [tools.look_up], response_format=ProviderStrategy(Forecast))
    agent.invoke({"messages": [("user", "Go")]})
    assert service.constraint_forms == ["openai_schema"]
    assert "tools" in service.bodies[0]


@pytest.mark.parametrize(
    ("model", "expected"), [(GEMMA_4, True), (GEMMA_3, True), (GEMMA_7B, True), (GEMMA_7B_LORA, False)]
)
def test_the_profile_has_structured_output_for_models_with_a_constraint(model: str, expected: bool) -> None:
    profile = make_model(model=model).profile
    assert profile is not None
    assert profile["structured_output"] is expected
