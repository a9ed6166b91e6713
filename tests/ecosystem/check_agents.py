"""Supervisors, swarms, deep agents and checkpoints: each run on the sandbox ends with an answer."""

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
from tests.ecosystem.agent_helpers import RECURSION_LIMIT, add, check_final_answer, get_weather, make_input


def test_supervisor(llm: ChatWorkersGemma) -> None:
    weather: Any = create_agent(llm, [get_weather], name="weather_expert")
    maths: Any = create_agent(llm, [add], name="maths_expert")
    app: Any = create_supervisor(
        [weather, maths], model=llm, prompt="You manage a weather and a maths expert."
    ).compile()
    check_final_answer(app.invoke(make_input(), RECURSION_LIMIT))


def test_swarm(llm: ChatWorkersGemma) -> None:
    to_maths = create_handoff_tool(agent_name="maths", description="Ask the maths expert.")
    to_weather = create_handoff_tool(agent_name="weather", description="Ask the weather expert.")
    weather: Any = create_agent(llm, [get_weather, to_maths], name="weather")
    maths: Any = create_agent(llm, [add, to_weather], name="maths")
    app: Any = create_swarm([weather, maths], default_active_agent="weather").compile()
    check_final_answer(app.invoke(make_input(), RECURSION_LIMIT))


def test_deep_agent(llm: ChatWorkersGemma) -> None:
    agent: Any = create_deep_agent(model=llm, tools=[get_weather], system_prompt="You know the weather.")
    check_final_answer(agent.invoke(make_input(), {"recursion_limit": 80}))


def test_checkpoints_in_sqlite(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}, **RECURSION_LIMIT}
    for question in ("What is the weather in the city of Paris?", "And in the city of Rome?"):
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            agent: Any = create_agent(llm, [get_weather], checkpointer=saver)
            state = agent.invoke(make_input(question), thread)
            check_final_answer(state)
    assert sum(isinstance(message, HumanMessage) for message in state["messages"]) == 2


async def test_checkpoints_in_sqlite_of_async_runs(llm: ChatWorkersGemma, tmp_path: Path) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}, **RECURSION_LIMIT}
    for question in ("What is the weather in the city of Paris?", "And in the city of Rome?"):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            agent: Any = create_agent(llm, [get_weather], checkpointer=saver)
            state = await agent.ainvoke(make_input(question), thread)
            check_final_answer(state)
    assert sum(isinstance(message, HumanMessage) for message in state["messages"]) == 2
