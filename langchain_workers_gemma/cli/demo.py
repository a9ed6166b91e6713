"""`workers-gemma demo`: the main features, against the sandbox on loopback. Needs no account and no network."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox

MAX_ROUNDS = 5
TOKENS_PER_SECOND = 40
"""The speed of streams, slow enough to see the chunks arrive."""

NEXT_STEPS = """
Next steps:
  1. Write a program without an account: run `{command} sandbox`, and set the variables that it prints.
  2. Use the real Gemma: docs/install.md shows how to get credentials, `{command} check` tests them.
  3. Build an agent with LangChain's create_agent: docs/guides/tools.md, notebooks/02_tools_and_agents.ipynb."""


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"24 degrees and sunny in {city}"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person that a text mentions."""

    name: str = Field(description="The person's full name")
    age: int = Field(description="The person's age in years")


def run_demo() -> int:
    """Show a chat, a stream, an agent, structured output and a preview, each with its tokens and cost.

    Returns:
        The exit code.
    """
    with Sandbox(tokens_per_second=TOKENS_PER_SECOND) as sandbox:
        inspector = f"http://127.0.0.1:{sandbox.port}/"
        print(f"A local Workers AI is listening at {sandbox.base_url}. HTTP is real; answers are mock data.")
        print(f"Its inspector shows each request: open {inspector} in a browser while the demo runs.")
        llm = ChatWorkersGemma(
            base_url=sandbox.base_url,
            account_id=sandbox.account_id,
            api_token=sandbox.api_token,
            temperature=0,
            max_tokens=512,
            thinking=False,
        )
        print(f"The model is {llm.model}.")
        _show_chat(llm)
        _show_stream(llm)
        _show_agent(llm)
        _show_structured(llm)
        _show_preview(llm)
        print(NEXT_STEPS.format(command=_name_command()))
        _wait_for_enter(inspector)
    return 0


def _show_chat(llm: ChatWorkersGemma) -> None:
    _print_title("Chat")
    message = llm.invoke(
        [("system", "You are a friendly assistant."), ("human", "What is the origin of Hello, World?")]
    )
    print(message.text)
    _print_usage(message)


def _show_stream(llm: ChatWorkersGemma) -> None:
    _print_title("Stream")
    started_at = time.perf_counter()
    times: list[float] = []
    merged: Any = None
    for chunk in llm.stream("Explain quantum entanglement in one sentence."):
        if chunk.text:
            times.append(time.perf_counter() - started_at)
            print(chunk.text, end="", flush=True)
        merged = chunk if merged is None else merged + chunk
    print(f"\n({len(times)} chunks, the first after {times[0]:.2f} s, the last after {times[-1]:.2f} s)")
    _print_usage(merged)


def _show_agent(llm: ChatWorkersGemma) -> None:
    _print_title("Agent with two tools")
    tools = {get_weather.name: get_weather, add.name: add}
    with_tools = llm.bind_tools(list(tools.values()))
    messages: list[BaseMessage] = [HumanMessage("What is the weather in Paris? And add 19 and 23.")]
    print(f"human: {messages[0].text}")
    for _ in range(MAX_ROUNDS):
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


def _show_structured(llm: ChatWorkersGemma) -> None:
    _print_title("Structured output")
    text = "Ada Lovelace was 36 years old."
    print(f"text: {text}")
    for partial in llm.with_structured_output(Person.model_json_schema()).stream(text):
        print(f"partial: {partial}")
    reply = llm.with_structured_output(Person, include_raw=True).invoke(text)
    print(f"object:  {reply['parsed']!r}")
    _print_usage(reply["raw"])


def _show_preview(llm: ChatWorkersGemma) -> None:
    _print_title("Preview: show the request of a call without sending it")
    preview = llm.preview([("human", "Hi."), ("human", "What is the capital of France?")])
    print(f"{preview.request.method} {preview.request.url}")
    print(f"body: {json.dumps(preview.request.body)}")
    print(f"about {preview.input_tokens} tokens in, ${preview.cost_usd or 0:.7f}")
    for change in preview.changes:
        print(f"changed: {change}")


def _name_command() -> str:
    """Return the command that runs `workers-gemma` in this shell, with its path if the environment is not activated."""
    if shutil.which("workers-gemma"):
        return "workers-gemma"
    script = Path(sys.executable).with_name("workers-gemma")
    return os.path.relpath(script) if script.exists() else f"{Path(sys.executable).name} -m langchain_workers_gemma"


def _wait_for_enter(inspector: str) -> None:
    """In a terminal, keep the sandbox running until the user presses Enter, so that they can open the inspector."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        input(f"\nThe inspector is at {inspector}. Press Enter to stop the sandbox.")


def _print_title(text: str) -> None:
    print(f"\n--- {text} ---")


def _print_usage(message: AIMessage) -> None:
    usage = message.usage_metadata
    if usage is not None:
        cost = message.response_metadata["cost_usd"]
        print(f"({usage['input_tokens']} tokens in, {usage['output_tokens']} out, ${cost:.7f})")
