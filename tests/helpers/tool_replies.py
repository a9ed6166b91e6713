"""Tools, and replies of a service with calls of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import respx
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from tests.helpers.model_calls import INVOKE_METHODS


@tool
def get_weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return city


class Search(BaseModel):
    """Search the web."""

    query: str = Field(description="What to search for")
    site: str | None = None


def plain(x: int) -> int:
    """Double a number.

    Args:
        x: The number.
    """
    return 2 * x


def get_sent_input(route: respx.Route) -> dict[str, Any]:
    """Return the model's input in the last request."""
    body: dict[str, Any] = json.loads(route.calls[-1].request.content)
    data: dict[str, Any] = body.get("data", body)
    return data


def make_reply(
    call_method: str, text: str = "", calls: Sequence[dict[str, Any]] = (), finish: str = "stop", step: int = 7
) -> httpx.Response:
    """Return a reply, whole or as a stream in pieces of `step` characters."""
    if call_method in INVOKE_METHODS:
        message = {"role": "assistant", "content": text, "tool_calls": list(calls)}
        result: dict[str, Any] = {"choices": [{"message": message, "finish_reason": finish}]}
        body: dict[str, Any] = {"result": result, "success": True}
        return httpx.Response(200, json=body)
    deltas: list[dict[str, Any]] = [{"content": text[i : i + step]} for i in range(0, len(text), step)]
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        pieces = [arguments[i : i + step] for i in range(0, len(arguments), step)]
        head = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas += [{"tool_calls": [head]}]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    events: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    events.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return httpx.Response(200, content=stream.encode(), headers={"content-type": "text/event-stream"})


def make_call(name: str, arguments: Any, call_id: str | None = "c1") -> dict[str, Any]:
    """Return a tool call in OpenAI's form."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def get_schema(body: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that constrains the output."""
    schema = body.get("guided_json") or body["response_format"]["json_schema"]
    return schema.get("schema", schema)  # type: ignore[no-any-return]
