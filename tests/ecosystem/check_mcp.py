"""Tools of an MCP server over stdio: text, an image, several blocks, resource links and errors."""

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
from tests.ecosystem.asking import LIMIT, final, question, sent

SERVER: Any = {
    "weather": {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(Path(__file__).with_name("mcp_server.py"))],
    }
}
ANSWERS = {
    "weather": ["24 degrees in"],
    "forecast": ["Monday in", "Tuesday: 25"],
    "map": ["A map of"],
    "report": ["https://example.com/report"],
    "tide": ["no sea at"],
    "manual": ["PDF"],
}
"""What of each tool's result the model must be shown."""


async def test_tools_of_an_mcp_server(llm: ChatWorkersGemma, sandbox: Sandbox) -> None:
    softened = llm.model_copy(update={"unsupported_content": "note"})
    async with MultiServerMCPClient(SERVER).session("weather") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        assert set(tools) == {f"get_{asked}" for asked in ANSWERS}
        for asked, shown in ANSWERS.items():
            tool = tools[f"get_{asked}"]
            tool.handle_tool_error = True
            sandbox.clear()
            agent: Any = create_agent(softened, [tool])
            state = await agent.ainvoke(question(f"What is the {asked} of the city of Paris?"), LIMIT)
            final(state)
            results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
            assert results, f"get_{asked} was not called"
            assert all(text in sent(sandbox) for text in shown), (asked, shown, sent(sandbox)[-600:])
            shows_image = "data:image/png;base64," in sent(sandbox)
            assert shows_image is (asked == "map" and "7b" not in llm.model)
