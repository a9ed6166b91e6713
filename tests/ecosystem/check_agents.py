"""Supervisors, swarms, deep agents and checkpoints: every run on the sandbox ends in an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from langchain_workers_gemma import ChatWorkersGemma
from tests.ecosystem.asking import LIMIT, add, final, get_weather, question


def test_supervisor(llm: ChatWorkersGemma) -> None:
    weather: Any = create_agent(llm, [get_weather], name="weather_expert")
    maths: Any = create_agent(llm, [add], name="maths_expert")
    app: Any = create_supervisor(
        [weather, maths], model=llm, prompt="You manage a weather and a maths expert."
    ).compile()
    final(app.invoke(question(), LIMIT))


def test_swarm(llm: ChatWorkersGemma) -> None:
    to_maths = create_handoff_tool(agent_name="maths", description="Ask the maths expert.")
    to_weather = create_handoff_tool(agent_name="weather", description="Ask the weather expert.")
    weather: Any = create_agent(llm, [get_weather, to_maths], name="weather")
    maths: Any = create_agent(llm, [add, to_weather], name="maths")
    app: Any = create_swarm([weather, maths], default_active_agent="weather").compile()
    final(app.invoke(question(), LIMIT))


def test_deep_agent(llm: ChatWorkersGemma) -> None:
    agent: Any = create_deep_agent(model=llm, tools=[get_weather], system_prompt="You know the weather.")
    final(agent.invoke(question(), {"recursion_limit": 80}))


def test_checkpoints_in_sqlite(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}, **LIMIT}
    for asked in ("What is the weather in the city of Paris?", "And in the city of Rome?"):
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            agent: Any = create_agent(llm, [get_weather], checkpointer=saver)
            state = agent.invoke(question(asked), thread)
            final(state)
    assert sum(isinstance(message, HumanMessage) for message in state["messages"]) == 2


async def test_checkpoints_in_sqlite_of_async_runs(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}, **LIMIT}
    for asked in ("What is the weather in the city of Paris?", "And in the city of Rome?"):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            agent: Any = create_agent(llm, [get_weather], checkpointer=saver)
            state = await agent.ainvoke(question(asked), thread)
            final(state)
    assert sum(isinstance(message, HumanMessage) for message in state["messages"]) == 2
