"""Agents whose model follows a script: each history that it receives is checked, and each run of a tool is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import respx
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from langchain_workers_gemma.middleware import ToolCallGuard
from tests.helpers.mock_service import encode_sse, make_completion, make_delta
from tests.helpers.model_calls import GEMMA_4, make_model, run_async

Script = Callable[[int, dict[str, Any]], dict[str, Any]]
"""Returns the model's `text` and `calls` for the index of a request and its body."""


class ScriptedModel:
    """Answers with the outputs of a script, whole or as a stream, and checks each history that it receives."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.script: Script = lambda _number, _body: {"text": "Done."}
        router.route().mock(side_effect=self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        check_history(sent["messages"])
        self.bodies.append(sent)
        outputs = self.script(len(self.bodies) - 1, sent)
        calls = [
            {
                "index": index,
                "id": f"call_{len(self.bodies)}_{index}",
                "type": "function",
                "function": {"name": n, "arguments": a},
            }
            for index, (n, a) in enumerate(outputs.get("calls", ()))
        ]
        reason = outputs.get("finish_reason") or ("tool_calls" if calls else "stop")
        message_fields = {"content": outputs.get("text", ""), **({"tool_calls": calls} if calls else {})}
        if sent.get("stream"):
            events = encode_sse(make_delta(**message_fields), make_delta(finish_reason=reason), "[DONE]")
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=events)
        return httpx.Response(
            200, json={"result": make_completion(finish_reason=reason, **message_fields), "success": True}
        )


def check_history(messages: list[dict[str, Any]]) -> None:
    """Check the rules of Gemma's templates: one leading system message, alternating turns, a result for every call."""
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    assert rest[0]["role"] == "user"
    open_calls: list[str] = []
    last = ""
    for message in rest:
        role = message["role"]
        if role == "tool":
            open_calls.remove(message["tool_call_id"])
            assert message["content"]
        else:
            assert not open_calls, f"calls without a result: {open_calls}"
            assert role != last
        if role == "assistant":
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
        last = role
    assert not open_calls


class CountingTools:
    """A tool that counts how often it runs."""

    def __init__(self) -> None:
        self.runs: list[str] = []

        @tool
        def look_up(city: str) -> str:
            """Look a city up."""
            self.runs.append(city)
            return f"{city}: 24 degrees"

        self.look_up: BaseTool = look_up


def make_city_call(city: str) -> tuple[str, str]:
    """Return the name and the arguments of a call for a city."""
    return ("look_up", json.dumps({"city": city}))


QUESTION = {"messages": [("user", "How warm is it in Paris?")]}


def make_agent(tools: CountingTools, guard: ToolCallGuard | None = None, *more: Any, **options: Any) -> Any:
    """Return an agent with a guard and further middleware."""
    streaming = options.pop("streaming", False)
    model_id = options.pop("model_id", GEMMA_4)
    method = "auto" if model_id == GEMMA_4 else "guided_json"
    llm = make_model(model=model_id, streaming=streaming, tool_calling=method)
    return create_agent(llm, [tools.look_up], middleware=[guard or ToolCallGuard(), *more], **options)


def run_agent(agent: Any, call_method: str, agent_input: Any = None, config: Any = None) -> list[Any]:
    """Run an agent and return the messages of its final state. Every call must have a result."""
    agent_input = QUESTION if agent_input is None else agent_input

    async def last_state() -> Any:
        states = [state async for state in agent.astream(agent_input, config, stream_mode="values")]
        return states[-1]

    if call_method == "invoke":
        state = agent.invoke(agent_input, config)
    elif call_method == "ainvoke":
        state = run_async(agent.ainvoke(agent_input, config))
    elif call_method == "astream":
        state = run_async(last_state())
    elif call_method == "stream":
        state = list(agent.stream(agent_input, config, stream_mode="values"))[-1]
    else:  # tokens and states together, as user interfaces request them
        pieces = list(agent.stream(agent_input, config, stream_mode=["messages", "values"]))
        state = [piece for mode, piece in pieces if mode == "values"][-1]
    messages = state["messages"]
    assert isinstance(messages, list)
    answered_ids = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        if isinstance(message, AIMessage):
            assert {call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls)} <= answered_ids
    return messages
