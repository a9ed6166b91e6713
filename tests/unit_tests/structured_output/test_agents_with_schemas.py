"""Agents with tools and a schema: tools are called first, also where a constraint covers the whole reply."""

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
from tests.helpers.unreliable_service import Habit, UnreliableService, get_constraint_form


class Forecast(BaseModel):
    """A forecast."""

    city: str
    degrees: int


class ForecastDict(TypedDict):
    """A forecast."""

    city: str
    degrees: int


KINDS: dict[str, Any] = {
    "pydantic": Forecast,
    "typed dict": ForecastDict,
    "json schema": {**Forecast.model_json_schema(), "title": "Forecast"},
}
TRUE = {"city": "Paris", "degrees": 24}
INVENTED = '{"city": "Paris", "degrees": -99}'
WAYS = ("invoke", "ainvoke", "stream", "astream", "messages")
ways = pytest.mark.parametrize("call_method", WAYS)
Engine = Callable[..., UnreliableService]


class WholeReplyEngine(UnreliableService):
    """As vLLM: a constraint covers the whole reply, so that no tool is ever called beside it."""

    def __init__(self, router: respx.MockRouter, habits: dict[str, Habit], *, final: str = "prose") -> None:
        super().__init__(router, habits, json.dumps(TRUE), INVENTED)
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
        if self.final == "prose" and body.get("tools"):
            return "It is 24 degrees in Paris.", "stop"
        if self.final == "thoughts" and body.get("tools"):
            return super()._write_reply("thinks only")
        return super()._write_reply("fences" if self.final == "fence" and body.get("tools") else habit)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with respx.mock(assert_all_called=False) as router:

        def engine(final: str = "prose", **habits: Habit) -> UnreliableService:
            return WholeReplyEngine(router, habits, final=final)

        yield engine


class Tools:
    def __init__(self) -> None:
        self.runs: list[str] = []

    def tool(self) -> Callable[..., str]:
        def look_up(city: str) -> str:
            """Look a city up."""
            self.runs.append(city)
            return f"{city}: 24 degrees"

        return look_up


def ask_agent(agent: Any, call_method: str) -> Any:
    asked = {"messages": [("user", "How warm is it in Paris?")]}

    async def last_state() -> Any:
        return [state async for state in agent.astream(asked, stream_mode="values")][-1]

    if call_method == "invoke":
        return agent.invoke(asked)
    if call_method == "ainvoke":
        return run_async(agent.ainvoke(asked))
    if call_method == "astream":
        return run_async(last_state())
    if call_method == "stream":
        return list(agent.stream(asked, stream_mode="values"))[-1]
    return [state for mode, state in agent.stream(asked, stream_mode=["messages", "values"]) if mode == "values"][-1]


def response_of(kind: str, state: dict[str, Any]) -> Any:
    response = state["structured_response"]
    return response.model_dump() if kind == "pydantic" else response


@ways
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("final", ["prose", "json", "fence", "thoughts"])
@pytest.mark.parametrize(
    "strategy", [ProviderStrategy, AutoStrategy, lambda schema: schema], ids=["provider", "auto", "bare"]
)
def test_gemma_4_calls_its_tools_first(engine: Engine, strategy: Any, final: str, kind: str, call_method: str) -> None:
    service, tools = engine(final), Tools()
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.tool()], response_format=strategy(KINDS[kind]))
    state = ask_agent(agent, call_method)
    assert response_of(kind, state) == TRUE
    assert tools.runs == ["Paris"]
    assert len(service.bodies) == (3 if final == "prose" else 2)
    for body in service.bodies[:2]:
        assert body["tools"][0]["function"]["name"] == "look_up"
        assert "response_format" not in body
        assert '"degrees"' in body["messages"][0]["content"]
    for body in service.bodies[2:]:
        assert body["response_format"]["type"] == "json_schema"
        assert "tools" not in body
        assert [message["role"] for message in body["messages"]][-3:] == ["tool", "assistant", "user"]


@ways
def test_the_answer_after_calls_tries_every_form_too(engine: Engine, call_method: str) -> None:
    service, tools = engine(openai_schema="refuses"), Tools()
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.tool()], response_format=Forecast)
    assert ask_agent(agent, call_method)["structured_response"] == Forecast(**TRUE)
    assert service.constraint_forms == ["prompt", "prompt", "openai_schema", "json_object"]
    assert ask_agent(agent, call_method)["structured_response"] == Forecast(**TRUE)
    assert service.constraint_forms[4:] == ["prompt", "prompt", "json_object"]


@ways
def test_an_answer_beside_tools_is_checked(engine: Engine, call_method: str) -> None:
    service, tools = engine("json", prompt="misfits"), Tools()
    service.wrong = '{"city": "Paris", "degrees": "warm"}'
    llm = make_model(streaming=call_method == "messages")
    agent: Any = create_agent(llm, [tools.tool()], response_format=Forecast)
    assert ask_agent(agent, call_method)["structured_response"] == Forecast(**TRUE)
    assert "degrees" in service.bodies[-1]["messages"][-1]["content"]
    assert len(service.bodies) == 3


class GuidedEngine(UnreliableService):
    """A Gemma that is told of its tools in the prompt: calls or the answer, in the form that it is requested."""

    def __init__(self, router: respx.MockRouter, final: str) -> None:
        super().__init__(router, {}, json.dumps(TRUE), INVENTED)
        self.final = final

    def _write_reply(self, habit: Habit) -> tuple[dict[str, Any] | str, str]:
        body = self.bodies[-1]
        if "You have access to" not in json.dumps(body["messages"][0]):
            return self.right, "stop"
        if "24 degrees" not in json.dumps(body["messages"]):
            calls = [{"name": "look_up", "arguments": {"city": "Paris"}}]
            return json.dumps(calls if get_constraint_form(body) == "prompt" else {"tool_calls": calls}), "stop"
        finals = {
            "obeys": f'{{"answer": {self.right}}}',
            "bare": self.right,
            "fence": f"Here:\n```json\n{self.right}\n```",
            "prose": "It is 24 degrees in Paris.",
            "misfits": '{"answer": {"city": "Paris"}}',
        }
        return finals[self.final], "stop"


@ways
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_7B_LORA])
@pytest.mark.parametrize("final", ["obeys", "bare", "fence", "prose", "misfits"])
def test_a_guided_agent_with_a_schema(model: str, final: str, call_method: str) -> None:
    tools = Tools()
    with respx.mock() as router:
        service = GuidedEngine(router, final)
        llm = make_model(model=model, streaming=call_method == "messages")
        agent: Any = create_agent(llm, [tools.tool()], response_format=ProviderStrategy(Forecast))
        state = ask_agent(agent, call_method)
    assert state["structured_response"] == Forecast(**TRUE)
    assert tools.runs == ["Paris"]
    is_right = final in ("bare", "fence") or (final == "obeys" and model != GEMMA_7B_LORA)
    assert len(service.bodies) == (2 if is_right else 3)
    for body in service.bodies:
        assert "tools" not in body


@pytest.mark.parametrize("choice", ["none", "look_up"])
def test_a_choice_beside_a_schema(engine: Engine, choice: str) -> None:
    """`none` leaves nothing that a constraint could forbid; a forced call is no answer."""
    service, tools = engine("json"), Tools()
    bound = make_model().bind_tools(
        [tools.tool()],
        tool_choice=choice,
        response_format={"type": "json_schema", "json_schema": {"name": "Forecast", "schema": KINDS["json schema"]}},
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


def test_the_callers_explicit_native_keeps_the_constraint(engine: Engine) -> None:
    service, tools = engine(), Tools()
    llm = make_model(tool_calling="native")
    agent: Any = create_agent(llm, [tools.tool()], response_format=ProviderStrategy(Forecast))
    agent.invoke({"messages": [("user", "Go")]})
    assert service.constraint_forms == ["openai_schema"]
    assert "tools" in service.bodies[0]


@pytest.mark.parametrize(
    ("model", "expected"), [(GEMMA_4, True), (GEMMA_3, True), (GEMMA_7B, True), (GEMMA_7B_LORA, False)]
)
def test_the_profile_decides_what_create_agent_does(model: str, expected: bool) -> None:
    profile = make_model(model=model).profile
    assert profile is not None
    assert profile["structured_output"] is expected
