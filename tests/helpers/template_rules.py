"""The rules of Gemma's chat templates, written independently of the package, and histories that are checked by them."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG_BASE64,
    WEATHER_TOOL,
    call_model,
    make_model,
)

GEMMA_1 = (GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA)
WITHOUT_TOOL_ROLE = tuple(model for model in CHAT_MODELS if model != GEMMA_4)
IMAGE = {"type": "image", "base64": PNG_BASE64, "mime_type": "image/png"}


def make_call(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call of a LangChain message."""
    return {"name": name, "args": arguments, "id": call_id, "type": "tool_call"}


def send_history(service: MockService, model: str, *messages: BaseMessage, **options: Any) -> list[dict[str, Any]]:
    """Send a history, check the sent messages against the rules of the model's template, and return them."""
    llm = make_model(model=model)
    call_model(llm.bind_tools([WEATHER_TOOL], **options) if options else llm, "invoke", list(messages))
    check_template_rules(model, service.last_messages)
    return service.last_messages


def get_turns(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the role and the content of each message."""
    return [(message["role"], message["content"]) for message in messages]


def check_template_rules(model: str, messages: list[dict[str, Any]]) -> None:
    """Fail if the model's own template would refuse the messages."""
    for message in messages:
        assert isinstance(message["content"], str | list), "content is never null"
        if isinstance(message["content"], list):
            assert message["content"]
            assert model in (GEMMA_3, GEMMA_4), "the content is one string"
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"}
    rest = messages
    if messages[0]["role"] == "system":
        assert model not in GEMMA_1, "System role not supported"
        rest = messages[1:]
    assert rest, "there is a message besides the system message"
    assert rest[0]["role"] == "user"
    if model != GEMMA_4:
        for number, message in enumerate(rest):
            expected = ("user", "assistant")[number % 2]
            assert message["role"] == expected, "Conversation roles must alternate user/assistant/user/assistant/..."
            assert "tool_calls" not in message
        return
    open_calls: set[str] = set()
    for earlier, message in zip([{"role": ""}, *rest], rest, strict=False):
        role = message["role"]
        assert role in ("user", "assistant", "tool"), "System message must be at the beginning"
        if role == "tool":
            assert message["tool_call_id"] in open_calls, "a result follows the message with its call"
            continue
        assert role != earlier["role"] or earlier.get("tool_calls"), "consecutive messages of one role are merged"
        open_calls = {tool_call["id"] for tool_call in message.get("tool_calls", ())}
        for tool_call in message.get("tool_calls", ()):
            assert isinstance(json.loads(tool_call["function"]["arguments"]), dict)
            assert tool_call["function"]["name"]


CALLS = [make_call("f", "c1", a="ä"), make_call("g", "c2")]
RESULTS: list[BaseMessage] = [
    ToolMessage("one", tool_call_id="c1"),
    ToolMessage("two", tool_call_id="c2", status="error"),
]
