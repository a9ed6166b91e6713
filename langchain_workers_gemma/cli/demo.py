"""`workers-gemma demo`: the main job, against the sandbox on loopback. Needs no account and no network."""

from __future__ import annotations

import time
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox

_MOST_ROUNDS = 5


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"24 degrees and sunny in {city}"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person that a text speaks of."""

    name: str = Field(description="The person's full name")
    age: int = Field(description="The person's age in years")


def run_demo() -> int:
    """Show a chat, a stream, an agent that calls tools, and a structured answer, with tokens and cost.

    Returns:
        The exit code.
    """
    with Sandbox(latency=0.01) as sandbox:
        print(
            f"A sandbox is listening at {sandbox.base_url}. Its model is a stand-in: the wire is real, the wit is not."
        )
        llm = ChatWorkersGemma(
            base_url=sandbox.base_url,
            account_id=sandbox.account_id,
            api_token=sandbox.api_token,
            temperature=0,
            max_tokens=512,
            thinking=False,
        )
        print(f"The model is {llm.model}.")
        _chat(llm)
        _stream(llm)
        _agent(llm)
        _structured(llm)
    return 0


def _chat(llm: ChatWorkersGemma) -> None:
    _title("A chat")
    message = llm.invoke(
        [("system", "You are a friendly assistant."), ("human", "What is the origin of Hello, World?")]
    )
    print(message.text)
    _print_usage(message)


def _stream(llm: ChatWorkersGemma) -> None:
    _title("A stream, piece by piece")
    began = time.perf_counter()
    merged: Any = None
    for chunk in llm.stream("Explain quantum entanglement in one sentence."):
        if chunk.text:
            print(f"[{(time.perf_counter() - began) * 1000:4.0f} ms] {chunk.text!r}")
        merged = chunk if merged is None else merged + chunk
    _print_usage(merged)


def _agent(llm: ChatWorkersGemma) -> None:
    _title("An agent that calls tools")
    tools = {get_weather.name: get_weather, add.name: add}
    with_tools = llm.bind_tools(list(tools.values()))
    messages: list[BaseMessage] = [HumanMessage("What is the weather in Paris? And add 19 and 23.")]
    print(f"human: {messages[0].text}")
    for _ in range(_MOST_ROUNDS):
        message = with_tools.invoke(messages)
        messages.append(message)
        _print_usage(message)
        if not message.tool_calls:
            print(f"model: {message.text}")
            return
        for call in message.tool_calls:
            result: ToolMessage = tools[call["name"]].invoke(call)
            messages.append(result)
            print(f"model calls {call['name']}({call['args']}) -> {result.text}")


def _structured(llm: ChatWorkersGemma) -> None:
    _title("A structured answer")
    reply = llm.with_structured_output(Person, include_raw=True).invoke("Ada Lovelace was 36 years old.")
    print(repr(reply["parsed"]))
    _print_usage(reply["raw"])


def _title(text: str) -> None:
    print(f"\n--- {text} ---")


def _print_usage(message: AIMessage) -> None:
    usage = message.usage_metadata
    if usage is not None:
        cost = message.response_metadata["cost_usd"]
        print(f"({usage['input_tokens']} tokens in, {usage['output_tokens']} out, ${cost:.7f})")
