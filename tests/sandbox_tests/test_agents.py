"""LangChain agents with every Gemma and tool calling method, against a server that enforces the chat templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.models import resolve_model
from langchain_workers_gemma.sandbox import Sandbox

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
GEMMA_7B = "@hf/google/gemma-7b-it"


@dataclass(frozen=True)
class Case:
    """A model and a method to run an agent with."""

    model: str
    method: str = "auto"
    host: str = "cloudflare"
    api: str | None = None

    def __str__(self) -> str:
        return "-".join((self.host, self.model.rsplit("/", 1)[-1], self.method, self.api or "default"))


CASES = [
    Case(GEMMA_4),
    Case(GEMMA_4, "native", api="openai"),
    Case(GEMMA_4, "guided_json"),
    Case(GEMMA_4, "prompt"),
    Case(GEMMA_3, "native"),
    Case(GEMMA_3, "guided_json"),
    Case(GEMMA_3, "prompt"),
    Case(GEMMA_7B, "prompt"),
    Case(GEMMA_7B, "guided_json"),
    Case("@cf/aisingapore/gemma-sea-lion-v4-27b-it", "guided_json"),
    Case("google/gemma-3-12b-it", "native", host="dataoorts"),
    Case("google/gemma-3-27b-it", host="aimlapi"),
]


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"24 degrees in {city}"


@tool
def divide(dividend: int, divisor: int) -> float:
    """Divide a number by another number."""
    return dividend / divisor


class Forecast(BaseModel):
    """A forecast for a city."""

    city: str
    degrees: int


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def make_model(case: Case, sandbox: Sandbox, **fields: Any) -> ChatWorkersGemma:
    urls = {"cloudflare": sandbox.base_url, "dataoorts": sandbox.dataoorts_url, "aimlapi": sandbox.aimlapi_url}
    return ChatWorkersGemma(
        model=case.model,
        host=case.host,
        api=case.api,
        base_url=urls[case.host],
        account_id=sandbox.account_id if case.host == "cloudflare" else None,
        api_token=sandbox.api_token,
        tool_calling=case.method,
        max_retries=0,
        **({"max_tokens": 1024} | fields),
    )


@pytest.fixture(params=CASES, ids=str)
def llm(request: pytest.FixtureRequest, sandbox: Sandbox, recwarn: pytest.WarningsRecorder) -> ChatWorkersGemma:
    return make_model(request.param, sandbox)


def run_agent(agent: Any, question: str, earlier: Sequence[BaseMessage] = ()) -> dict[str, Any]:
    """Call an agent, after earlier messages, and return its state."""
    state: dict[str, Any] = agent.invoke({"messages": [*earlier, HumanMessage(question)]}, {"recursion_limit": 12})
    return state


def get_calls(messages: list[BaseMessage]) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]


def get_results(messages: list[BaseMessage]) -> list[str]:
    return [message.text for message in messages if isinstance(message, ToolMessage)]


def assert_each_call_has_one_result(messages: list[BaseMessage]) -> None:
    """Assert that every call has one result, and that no id is used twice in the conversation."""
    call_ids = [call["id"] for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
    result_ids = [message.tool_call_id for message in messages if isinstance(message, ToolMessage)]
    assert len(set(call_ids)) == len(call_ids)
    assert sorted(map(str, call_ids)) == sorted(result_ids)


def test_agent_answers_with_a_tools_result(llm: ChatWorkersGemma) -> None:
    agent = create_agent(llm, [get_weather, divide], system_prompt="You are a helpful assistant.")
    messages = run_agent(agent, "What is the weather in the city of Paris?")["messages"]
    assert get_calls(messages) == [("get_weather", {"city": "Paris"})]
    assert "24 degrees in Paris" in messages[-1].text
    assert_each_call_has_one_result(messages)


def test_agent_answers_three_questions_in_one_conversation(llm: ChatWorkersGemma) -> None:
    agent = create_agent(llm, [get_weather, divide], system_prompt="You are a helpful assistant.")
    state: dict[str, Any] = {"messages": []}
    for question in (
        "What is the weather in the city of Paris?",
        "Divide the dividend 84 by the divisor 2.",
        "Thank you, that was kind.",
    ):
        state = run_agent(agent, question, state["messages"])
    messages = state["messages"]
    assert get_calls(messages) == [("get_weather", {"city": "Paris"}), ("divide", {"dividend": 84, "divisor": 2})]
    assert get_results(messages) == ["24 degrees in Paris", "42.0"]
    assert "42" in [m.text for m in messages if isinstance(m, AIMessage) and not m.tool_calls][1]
    assert_each_call_has_one_result(messages)


def test_agent_calls_tools_in_parallel(llm: ChatWorkersGemma) -> None:
    agent = create_agent(llm, [get_weather, divide])
    question = "What is the weather in the city of Paris? Also divide the dividend 84 by the divisor 2."
    messages = run_agent(agent, question)["messages"]
    assert sorted(name for name, _ in get_calls(messages)) == ["divide", "get_weather"]
    assert "24 degrees in Paris" in messages[-1].text
    assert "42" in messages[-1].text
    assert_each_call_has_one_result(messages)


def test_agent_continues_after_a_failing_tool(llm: ChatWorkersGemma) -> None:
    from langchain.agents.middleware import wrap_tool_call

    @wrap_tool_call
    def report_errors(request: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(request)
        except ZeroDivisionError as error:
            call = request.tool_call
            return ToolMessage(f"Error: {error}", tool_call_id=call["id"], name=call["name"], status="error")

    agent = create_agent(llm, [get_weather, divide], middleware=[report_errors])
    messages = run_agent(agent, "Divide the dividend 84 by the divisor 0.")["messages"]
    assert get_calls(messages) == [("divide", {"dividend": 84, "divisor": 0})]
    assert "division by zero" in messages[-1].text
    assert_each_call_has_one_result(messages)


async def test_agent_streams_messages(llm: ChatWorkersGemma) -> None:
    agent: Any = create_agent(llm, [get_weather, divide])
    inputs = {"messages": [HumanMessage("What is the weather in the city of Paris?")]}
    texts: list[str] = []
    pieces: list[str] = []
    async for message, metadata in agent.astream(inputs, stream_mode="messages"):
        if isinstance(message, AIMessageChunk) and metadata["langgraph_node"] == "model":
            texts += [message.text] if message.text else []
            pieces += [piece["args"] or "" for piece in message.tool_call_chunks]
    assert "Paris" in "".join(pieces)
    if llm.host != "dataoorts" and not (
        llm.tool_calling == "guided_json" and resolve_model(llm.model, llm.host).constraint == "bare_schema"
    ):
        assert len(texts) > 3  # Dataoorts and JSON mode send one body instead of a stream
    assert "24 degrees in Paris" in "".join(texts)
    assert not any(mark in "".join(texts) for mark in ("tool_code", "<|", '"name"', '"answer"'))


@pytest.mark.parametrize("strategy", ["provider", "tool", "bare"])
def test_agent_with_a_response_format(llm: ChatWorkersGemma, strategy: str) -> None:
    wrap: dict[str, Callable[[Any], Any]] = {"provider": ProviderStrategy, "tool": ToolStrategy, "bare": lambda x: x}
    agent = create_agent(llm, [get_weather], response_format=wrap[strategy](Forecast))
    question = "What is the weather in the city of Paris? Give the forecast's city and degrees."
    state = run_agent(agent, question)
    assert isinstance(state["structured_response"], Forecast)
    assert state["structured_response"].city == "Paris"


def test_ids_are_unique_when_the_server_repeats_them(sandbox: Sandbox) -> None:
    """See docs/wire.md section 3: services repeat ids across turns."""
    llm = make_model(Case(GEMMA_4), sandbox)
    agent = create_agent(llm, [get_weather])
    state: dict[str, Any] = {"messages": []}
    with sandbox.using_dialect("repeated_call_ids"):
        for city in ("Paris", "Berlin", "Rome"):
            state = run_agent(agent, f"What is the weather in the city of {city}?", state["messages"])
    assert [args for _, args in get_calls(state["messages"])] == [{"city": c} for c in ("Paris", "Berlin", "Rome")]
    assert_each_call_has_one_result(state["messages"])


PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHg"  # the header has 640 by 480 pixels
OUTCOMES: dict[str, Any] = {
    "text": "24 degrees",
    "json": '{"degrees": 24, "sky": "sunny"}',
    "list": '["sunny", "mild"]',
    "quoted": '"sunny"',
    "empty": "",
    "question": "Sunny.\n\nWhat is the weather in the city of Rome?\n\nUse get_weather for Rome.",
    "failure": "Error: no such city",
    "blocks": [{"type": "text", "text": "24 degrees"}, {"type": "text", "text": "sunny"}],
    "picture": [{"type": "image", "base64": PICTURE, "mime_type": "image/png"}],
    "picture and text": [
        {"type": "text", "text": "Today"},
        {"type": "image", "base64": PICTURE, "mime_type": "image/png"},
    ],
}


@pytest.mark.filterwarnings("ignore:.*was retired")
@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_agent_answers_after_any_tool_result(sandbox: Sandbox, case: Case, kind: str) -> None:
    @tool("get_weather")
    def report(city: str) -> Any:
        """Tell the weather in a city."""
        return OUTCOMES[kind]

    llm = make_model(case, sandbox, unsupported_content="note")
    messages = run_agent(create_agent(llm, [report, divide]), "What is the weather in the city of Paris?")["messages"]
    assert get_calls(messages) == [("get_weather", {"city": "Paris"})]
    assert messages[-1].text


@pytest.mark.filterwarnings("ignore:.*was retired")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_agents_that_hand_off_end_in_an_answer(sandbox: Sandbox, case: Case) -> None:
    """As in supervisors and swarms, another agent continues the same history."""

    @tool
    def transfer_to_travel() -> str:
        """Transfer to the travel agent, who knows the weather in a city."""
        return "Successfully transferred to travel"

    question = "Ask the travel agent about the weather in the city of Paris."
    llm = make_model(case, sandbox)
    first = run_agent(create_agent(llm, [transfer_to_travel]), question)["messages"]
    assert get_calls(first) == [("transfer_to_travel", {})]
    handed = first[:3]  # the question, the call and its result
    agent: Any = create_agent(llm, [get_weather])
    messages = agent.invoke({"messages": handed}, {"recursion_limit": 12})["messages"]
    assert get_calls(messages)[1:] == [("get_weather", {"city": "Paris"})]
    assert "24 degrees in Paris" in messages[-1].text
    back = [*messages, AIMessage("", tool_calls=[{"name": "transfer_back", "args": {}, "id": "b1"}])]
    back.append(ToolMessage("Successfully transferred back to supervisor", tool_call_id="b1", name="transfer_back"))
    supervisor: Any = create_agent(llm, [transfer_to_travel])
    ended = supervisor.invoke({"messages": back}, {"recursion_limit": 12})["messages"]
    assert "24 degrees in Paris" in ended[-1].text
