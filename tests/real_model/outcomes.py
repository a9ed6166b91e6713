"""Check the outcome of a call of a real model."""

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
"""Outcomes that the package allows. Any other text describes a problem."""


def find_outcome(case: Callable[[], str | None]) -> str:
    """Run a case, which returns a problem or `None`, and return its outcome."""
    try:
        problem = case()
    except OutputParserException as error:
        return "truncated" if "max_tokens" in str(error) else "typed error"
    except WorkersGemmaError:
        return "typed error"
    except Exception as error:  # noqa: BLE001 - any other error is a problem
        return f"{type(error).__name__}: {error}"
    return problem or "valid"


def check_value(example: Example, value: Any) -> str | None:
    """Return how a structured value does not match its schema, or `None`."""
    text = value.model_dump_json(by_alias=True) if isinstance(value, BaseModel) else json.dumps(value)
    errors = example.find_errors(text)
    return f"does not match the schema: {errors}" if errors else None


def check_message(message: AIMessage) -> str | None:
    """Return a problem of a reply in text, or `None`."""
    usage, reason = message.usage_metadata, message.response_metadata.get("finish_reason")
    if usage is None or usage["output_tokens"] < 1 or usage["input_tokens"] < 1:
        return f"usage is {usage}"
    if reason not in ("stop", "length"):
        return f"finish reason is {reason}"
    if message.tool_calls or message.invalid_tool_calls:
        return f"calls without tools: {message.tool_calls or message.invalid_tool_calls}"
    return None


def check_calls(message: AIMessage, tools: dict[str, type], *, forced: bool) -> str | None:
    """Return a problem of a reply if tools were bound, `truncated` for a truncated call, or `None`."""
    for call in message.tool_calls:
        if call["name"] not in tools:
            return f"call of an unknown tool {call['name']!r}"
        problem = [key for key, value in call["args"].items() if not isinstance(value, tools[call["name"]])]
        if problem or not call["args"]:
            return f"invalid arguments: {call['args']}"
    if message.invalid_tool_calls:
        return (
            "truncated"
            if message.response_metadata.get("invalid_tool_call_errors")
            else "an invalid call without an error"
        )
    return "no call, although one was forced" if forced and not message.tool_calls else None
