"""Helpers of the checks in this folder: models, tools, inputs of agents, and checks of the result."""

from __future__ import annotations

import json
import warnings
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox

MODELS: dict[str, dict[str, Any]] = {
    "gemma-4": {"model": "@cf/google/gemma-4-26b-a4b-it"},
    "gemma-4 guided": {"model": "@cf/google/gemma-4-26b-a4b-it", "tool_calling": "guided_json"},
    "gemma-3 guided": {"model": "@cf/google/gemma-3-12b-it"},
    "gemma-3 prompt": {"model": "@cf/google/gemma-3-12b-it", "tool_calling": "prompt"},
    "gemma-7b guided": {"model": "@hf/google/gemma-7b-it"},
}
"""Models with each method of tool calling."""

RECURSION_LIMIT: Any = {"recursion_limit": 40}


def make_llm(sandbox: Sandbox, **arguments: Any) -> ChatWorkersGemma:
    """Return a model object, without the warning about retired models."""
    connection = {"base_url": sandbox.base_url, "account_id": sandbox.account_id, "api_token": sandbox.api_token}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        return ChatWorkersGemma(**{**connection, **arguments})


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"24 degrees in {city}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_input(text: str = "What is the weather in the city of Paris?") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def check_final_answer(state: dict[str, Any]) -> AIMessage:
    """Check that a run ended with an answer in text, and return it."""
    message = state["messages"][-1]
    assert isinstance(message, AIMessage)
    assert message.text.strip()
    assert not message.tool_calls
    return message


def join_sent_bodies(sandbox: Sandbox) -> str:
    """Return the bodies of all requests that the sandbox received, as one text."""
    return "\n".join(json.dumps(request.json, ensure_ascii=False) for request in sandbox.requests)
