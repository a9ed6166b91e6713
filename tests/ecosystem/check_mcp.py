"""Tools of an MCP server over stdio return text, an image, several blocks, resource links and errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.ecosystem.agent_helpers import RECURSION_LIMIT, check_final_answer, join_sent_bodies, make_input

SERVER: Any = {
    "weather": {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(Path(__file__).with_name("mcp_server.py"))],
    }
}
EXPECTED_TEXTS = {
    "weather": ["24 degrees in"],
    "forecast": ["Monday in", "Tuesday: 25"],
    "map": ["A map of"],
    "report": ["https://example.com/report"],
    "tide": ["no sea at"],
    "manual": ["PDF"],
}
"""The texts of each tool's result that the model must receive."""


async def test_tools_of_an_mcp_server(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    tolerant_llm = llm.model_copy(update={"unsupported_content": "note"})
    async with MultiServerMCPClient(SERVER).session("weather") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        assert set(tools) == {f"get_{topic}" for topic in EXPECTED_TEXTS}
        for topic, texts in EXPECTED_TEXTS.items():
            tool = tools[f"get_{topic}"]
            tool.handle_tool_error = True
            sandbox.clear()
            agent: Any = create_agent(tolerant_llm, [tool])
            state = await agent.ainvoke(make_input(f"What is the {topic} of the city of Paris?"), RECURSION_LIMIT)
            check_final_answer(state)
            results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
            assert results, f"get_{topic} was not called"
            sent = join_sent_bodies(sandbox)
            assert all(text in sent for text in texts), (topic, texts, sent[-600:])
            contains_image = "data:image/png;base64," in sent
            assert contains_image is (topic == "map" and "7b" not in llm.model)
