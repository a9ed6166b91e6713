"""Supervisors, swarms, deep agents, middleware and MCP tools: every run on the sandbox ends in an answer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox

MODELS = {
    "gemma-4": {"model": "@cf/google/gemma-4-26b-a4b-it"},
    "gemma-4 guided": {"model": "@cf/google/gemma-4-26b-a4b-it", "tool_calling": "guided_json"},
    "gemma-3 guided": {"model": "@cf/google/gemma-3-12b-it"},
    "gemma-3 prompt": {"model": "@cf/google/gemma-3-12b-it", "tool_calling": "prompt"},
    "gemma-7b guided": {"model": "@hf/google/gemma-7b-it"},
}
LIMIT = {"recursion_limit": 40}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(params=list(MODELS.values()), ids=list(MODELS))
def llm(request: pytest.FixtureRequest, sandbox: Sandbox) -> ChatWorkersGemma:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        return ChatWorkersGemma(
            base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token, **request.param
        )


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"24 degrees in {city}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def question(text: str = "What is the weather in the city of Paris?") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def final(state: dict[str, Any]) -> AIMessage:
    message = state["messages"][-1]
    assert isinstance(message, AIMessage)
    assert message.text.strip()
    assert not message.tool_calls
    return message


def test_supervisor(llm: ChatWorkersGemma) -> None:
    from langchain.agents import create_agent
    from langgraph_supervisor import create_supervisor

    weather: Any = create_agent(llm, [get_weather], name="weather_expert")
    maths: Any = create_agent(llm, [add], name="maths_expert")
    app: Any = create_supervisor(
        [weather, maths], model=llm, prompt="You manage a weather and a maths expert."
    ).compile()
    final(app.invoke(question(), LIMIT))


def test_swarm(llm: ChatWorkersGemma) -> None:
    from langchain.agents import create_agent
    from langgraph_swarm import create_handoff_tool, create_swarm

    to_maths = create_handoff_tool(agent_name="maths", description="Ask the maths expert.")
    to_weather = create_handoff_tool(agent_name="weather", description="Ask the weather expert.")
    weather: Any = create_agent(llm, [get_weather, to_maths], name="weather")
    maths: Any = create_agent(llm, [add, to_weather], name="maths")
    app: Any = create_swarm([weather, maths], default_active_agent="weather").compile()
    final(app.invoke(question(), LIMIT))


def test_deep_agent(llm: ChatWorkersGemma) -> None:
    from deepagents import create_deep_agent

    agent: Any = create_deep_agent(model=llm, tools=[get_weather], system_prompt="You know the weather.")
    final(agent.invoke(question(), {"recursion_limit": 80}))


def test_checkpoints_in_sqlite(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    from langchain.agents import create_agent
    from langgraph.checkpoint.sqlite import SqliteSaver

    thread: Any = {"configurable": {"thread_id": "1"}, **LIMIT}
    for asked in ("What is the weather in the city of Paris?", "And in the city of Rome?"):
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            agent: Any = create_agent(llm, [get_weather], checkpointer=saver)
            state = agent.invoke(question(asked), thread)
            final(state)
    assert sum(isinstance(message, HumanMessage) for message in state["messages"]) == 2


def middleware(llm: ChatWorkersGemma, name: str) -> Any:
    from langchain.agents import middleware as builtin

    from langchain_workers_gemma.middleware import ToolCallGuard

    makers: dict[str, Any] = {
        "summarization": lambda: builtin.SummarizationMiddleware(
            model=llm, trigger=("tokens", 60), keep=("messages", 2)
        ),
        "context editing": lambda: builtin.ContextEditingMiddleware(token_count_method="model"),
        "fallback": lambda: builtin.ModelFallbackMiddleware(llm),
        "tool selector": lambda: builtin.LLMToolSelectorMiddleware(model=llm, max_tools=1),
        "tool emulator": lambda: builtin.LLMToolEmulator(model=llm, tools=["get_weather"]),
        "todo list": builtin.TodoListMiddleware,
        "call limit": lambda: builtin.ModelCallLimitMiddleware(run_limit=9),
        "guard": ToolCallGuard,
    }
    return makers[name]()


@pytest.mark.parametrize(
    "name",
    [
        "summarization",
        "context editing",
        "fallback",
        "tool selector",
        "tool emulator",
        "todo list",
        "call limit",
        "guard",
    ],
)
def test_middleware(llm: ChatWorkersGemma, name: str) -> None:
    from langchain.agents import create_agent

    agent: Any = create_agent(llm, [get_weather, add], middleware=[middleware(llm, name)])
    history = [HumanMessage("Hello there."), AIMessage("Hello! How can I help you today?")] * 3
    final(agent.invoke({"messages": [*history, *question()["messages"]]}, LIMIT))


@pytest.mark.parametrize("asked", ["weather", "forecast", "map", "report", "tide"])
async def test_tools_of_an_mcp_server(llm: ChatWorkersGemma, asked: str) -> None:
    from langchain.agents import create_agent
    from langchain_mcp_adapters.client import MultiServerMCPClient

    server = {"transport": "stdio", "command": sys.executable, "args": [str(Path(__file__).with_name("mcp_server.py"))]}
    connections: Any = {"weather": server}
    tools = [tool for tool in await MultiServerMCPClient(connections).get_tools() if tool.name == f"get_{asked}"]
    assert tools
    for tool in tools:
        tool.handle_tool_error = True
    softened = llm.model_copy(update={"unsupported_content": "note"})
    agent: Any = create_agent(softened, tools)
    final(await agent.ainvoke(question(f"What is the {asked} of the city of Paris?"), LIMIT))
