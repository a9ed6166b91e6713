"""A real engine through `host="openai_compatible"`: chat, streams, guided tools, agents, structured output, errors."""

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
WAYS = ("invoke", "stream")
WORDS_THAT_OVERFLOW = 6000
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


class Requests:
    """Counts what was sent."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, _request: httpx.Request) -> None:
        """Count one more."""
        self.count += 1


def connect(url: str, model: str, requests: Requests) -> ChatWorkersGemma:
    """Return the model object."""
    client = httpx.Client(event_hooks={"request": [requests.add]}, timeout=300)
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
    for way in WAYS:
        yield f"chat, {way}", partial(_chat, llm, way, "Say hello.")
        history = [("system", "Be brief."), ("human", "Hi"), ("ai", "Hello!"), ("human", "What is the sun?")]
        yield f"a conversation, {way}", partial(_chat, llm, way, history)
        for choice in (None, "any", "get_weather"):
            yield f"tools, tool_choice={choice!r}, {way}", partial(_call, llm, way, choice)
        yield f"one call at a time, {way}", partial(_call, llm, way, "any", parallel_tool_calls=False)
        yield f"an agent, {way}", partial(_run_agent, llm, way, None)
        yield f"an agent with a schema, {way}", partial(_run_agent, llm, way, EXAMPLES[AGENT_SCHEMA].schema)
        for name in SCHEMAS:
            yield f"schema {name}, {way}", partial(_structure, llm, way, name)
        yield f"a prompt that is too long, {way}", partial(_overflow, llm, way)


def _ask(llm: Any, way: str, asked: Any) -> AIMessage:
    message: AIMessage = llm.invoke(asked) if way == "invoke" else reduce(add, llm.stream(asked))
    return message


def _chat(llm: ChatWorkersGemma, way: str, asked: Any) -> str | None:
    return check_message(_ask(llm, way, asked))


def _call(llm: ChatWorkersGemma, way: str, choice: str | None, **options: Any) -> str | None:
    bound = llm.bind_tools(TOOLS, tool_choice=choice, **options)
    message = _ask(bound, way, "What is the weather in Paris?")
    wrong = check_calls(message, TYPES, forced=choice is not None)
    if wrong is None and options and len(message.tool_calls) > 1:
        return f"{len(message.tool_calls)} calls at once"
    return wrong


def _run_agent(llm: ChatWorkersGemma, way: str, schema: Any) -> str | None:
    agent: Any = create_agent(llm, TOOLS, response_format=schema, middleware=[ToolCallGuard(max_repeats=1)])
    asked = {"messages": [("user", "What is the weather in Paris?")]}
    config = {"recursion_limit": 40}
    try:
        state = (
            agent.invoke(asked, config)
            if way == "invoke"
            else list(agent.stream(asked, config, stream_mode="values"))[-1]
        )
    except StructuredOutputValidationError as error:
        raise OutputParserException(str(error)) from error
    return _check_history(state["messages"]) or (
        None if schema is None else check_value(EXAMPLES[AGENT_SCHEMA], state["structured_response"])
    )


def _check_history(messages: Sequence[AnyMessage]) -> str | None:
    """Return what is wrong with an agent's history: each call has its result, and the last word is the model's."""
    results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    calls = {call["id"] for one in messages if isinstance(one, AIMessage) for call in one.tool_calls}
    if calls - results:
        return f"calls without a result: {calls - results}"
    last = messages[-1]
    return None if isinstance(last, AIMessage) and not last.tool_calls else f"it ends in {last!r:.200}"


def _structure(llm: ChatWorkersGemma, way: str, name: str) -> str | None:
    example = EXAMPLES[name]
    runnable = llm.with_structured_output(example.schema)
    question = f"Invent a short example of {name.replace('_', ' ')}. One short item in each list."
    return check_value(example, runnable.invoke(question) if way == "invoke" else list(runnable.stream(question))[-1])


def _overflow(llm: ChatWorkersGemma, way: str) -> str | None:
    try:
        _ask(llm, way, "word " * WORDS_THAT_OVERFLOW)
    except ContextOverflowError:
        return None
    return "no error for a prompt that does not fit the context window"
