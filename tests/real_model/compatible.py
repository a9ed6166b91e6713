"""Checks of a real engine with `host="openai_compatible"`: chat, streams, tools, agents, structured output, errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain.agents.structured_output import StructuredOutputValidationError
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import tool

from langchain_workers_gemma import ChatWorkersGemma, ContextOverflowError
from langchain_workers_gemma.middleware import ToolCallGuard
from tests.helpers.schema_examples import EXAMPLES
from tests.real_model.outcomes import check_calls, check_message, check_value

MAX_TOKENS = 96
SCHEMAS = ("enums", "json_schema", "openai_tool", "typed_dict")
AGENT_SCHEMA = "typed_dict"
METHODS = ("invoke", "stream")
MANY_WORDS = 6000
Case = tuple[str, Callable[[], str | None]]


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"24 degrees in {city}"


@tool
def add_numbers(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


TOOLS = [get_weather, add_numbers]
TYPES: dict[str, type] = {"get_weather": str, "add_numbers": int}


class RequestCounter:
    """Counts the requests."""

    def __init__(self) -> None:
        self.count = 0

    def count_request(self, _request: httpx.Request) -> None:
        """Count a request."""
        self.count += 1


def connect(url: str, model: str, requests: RequestCounter) -> ChatWorkersGemma:
    """Return the model object."""
    client = httpx.Client(event_hooks={"request": [requests.count_request]}, timeout=300)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* names no known Gemma", category=UserWarning)
        return ChatWorkersGemma(
            host="openai_compatible",
            base_url=url,
            model=model,
            max_tokens=MAX_TOKENS,
            temperature=0.2,
            seed=7,
            http_client=client,
        )


def list_cases(llm: ChatWorkersGemma) -> Iterator[Case]:
    """Yield the cases."""
    for method in METHODS:
        yield f"chat, {method}", partial(_check_chat, llm, method, "Say hello.")
        history = [("system", "Be brief."), ("human", "Hi"), ("ai", "Hello!"), ("human", "What is the sun?")]
        yield f"a conversation, {method}", partial(_check_chat, llm, method, history)
        for choice in (None, "any", "get_weather"):
            yield f"tools, tool_choice={choice!r}, {method}", partial(_check_tool_calls, llm, method, choice)
        yield f"one call at a time, {method}", partial(_check_tool_calls, llm, method, "any", parallel_tool_calls=False)
        yield f"an agent, {method}", partial(_check_agent, llm, method, None)
        yield f"an agent with a schema, {method}", partial(_check_agent, llm, method, EXAMPLES[AGENT_SCHEMA].schema)
        for name in SCHEMAS:
            yield f"schema {name}, {method}", partial(_check_structured_output, llm, method, name)
        yield f"a prompt that is too long, {method}", partial(_check_overflow, llm, method)


def _send(llm: Any, method: str, question: Any) -> AIMessage:
    message: AIMessage = llm.invoke(question) if method == "invoke" else reduce(add, llm.stream(question))
    return message


def _check_chat(llm: ChatWorkersGemma, method: str, question: Any) -> str | None:
    return check_message(_send(llm, method, question))


def _check_tool_calls(llm: ChatWorkersGemma, method: str, choice: str | None, **options: Any) -> str | None:
    bound = llm.bind_tools(TOOLS, tool_choice=choice, **options)
    message = _send(bound, method, "What is the weather in Paris?")
    problem = check_calls(message, TYPES, forced=choice is not None)
    if problem is None and options and len(message.tool_calls) > 1:
        return f"{len(message.tool_calls)} calls at once"
    return problem


def _check_agent(llm: ChatWorkersGemma, method: str, schema: Any) -> str | None:
    agent: Any = create_agent(llm, TOOLS, response_format=schema, middleware=[ToolCallGuard(max_repeats=1)])
    question = {"messages": [("user", "What is the weather in Paris?")]}
    config = {"recursion_limit": 40}
    try:
        state = (
            agent.invoke(question, config)
            if method == "invoke"
            else list(agent.stream(question, config, stream_mode="values"))[-1]
        )
    except StructuredOutputValidationError as error:
        raise OutputParserException(str(error)) from error
    return _check_history(state["messages"]) or (
        None if schema is None else check_value(EXAMPLES[AGENT_SCHEMA], state["structured_response"])
    )


def _check_history(messages: Sequence[AnyMessage]) -> str | None:
    """Return a problem of an agent's history. Each call needs a result, and the last message must be the model's."""
    results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    calls = {call["id"] for one in messages if isinstance(one, AIMessage) for call in one.tool_calls}
    if calls - results:
        return f"calls without a result: {calls - results}"
    last = messages[-1]
    return None if isinstance(last, AIMessage) and not last.tool_calls else f"it ends with {last!r:.200}"


def _check_structured_output(llm: ChatWorkersGemma, method: str, name: str) -> str | None:
    example = EXAMPLES[name]
    runnable = llm.with_structured_output(example.schema)
    question = f"Invent a short example of {name.replace('_', ' ')}. One short item in each list."
    return check_value(
        example, runnable.invoke(question) if method == "invoke" else list(runnable.stream(question))[-1]
    )


def _check_overflow(llm: ChatWorkersGemma, method: str) -> str | None:
    try:
        _send(llm, method, "word " * MANY_WORDS)
    except ContextOverflowError:
        return None
    return "no error for a prompt that exceeds the context window"
