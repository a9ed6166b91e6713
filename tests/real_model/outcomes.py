"""What may come of asking a real model, and what may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_workers_gemma import WorkersGemmaError
from tests.helpers.schema_examples import Example

ALLOWED = ("valid", "truncated", "typed error")
"""Outcomes that keep what the package promises; any other text says what is wrong."""


def find_outcome(case: Callable[[], str | None]) -> str:
    """Run a case, which returns what is wrong with what it got. Return its outcome."""
    try:
        wrong = case()
    except OutputParserException as error:
        return "truncated" if "max_tokens" in str(error) else "typed error"
    except WorkersGemmaError:
        return "typed error"
    except Exception as error:  # noqa: BLE001 - whatever else is raised is what this is about
        return f"{type(error).__name__}: {error}"
    return wrong or "valid"


def check_value(example: Example, value: Any) -> str | None:
    """Return what is wrong with an answer in the form of a schema."""
    text = value.model_dump_json(by_alias=True) if isinstance(value, BaseModel) else json.dumps(value)
    broken = example.find_errors(text)
    return f"does not fit: {broken}" if broken else None


def check_message(message: AIMessage) -> str | None:
    """Return what is wrong with a reply in text."""
    usage, reason = message.usage_metadata, message.response_metadata.get("finish_reason")
    if usage is None or usage["output_tokens"] < 1 or usage["input_tokens"] < 1:
        return f"usage is {usage}"
    if reason not in ("stop", "length"):
        return f"finish reason is {reason}"
    if message.tool_calls or message.invalid_tool_calls:
        return f"calls without tools: {message.tool_calls or message.invalid_tool_calls}"
    return None


def check_calls(message: AIMessage, tools: dict[str, type], *, forced: bool) -> str | None:
    """Return what is wrong with a reply for which tools were bound. Gives `truncated` for a call that was cut."""
    for call in message.tool_calls:
        if call["name"] not in tools:
            return f"call of an unknown tool {call['name']!r}"
        wrong = [key for key, value in call["args"].items() if not isinstance(value, tools[call["name"]])]
        if wrong or not call["args"]:
            return f"arguments that do not fit: {call['args']}"
    if message.invalid_tool_calls:
        return "truncated" if message.response_metadata.get("invalid_tool_call_errors") else "no reason is given"
    return "a forced call is missing" if forced and not message.tool_calls else None
