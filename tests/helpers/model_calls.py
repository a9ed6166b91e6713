"""Make chat models, call them with every method that LangChain has, and compare their messages."""

from __future__ import annotations

import asyncio
import atexit
import traceback
import warnings
from collections.abc import Sequence
from functools import cache, reduce
from operator import add
from typing import Any

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_workers_gemma import ChatWorkersGemma

ACCOUNT_ID = "0123456789abcdef"
API_TOKEN = "a-token-that-nobody-may-see"

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
GEMMA_7B = "@hf/google/gemma-7b-it"
GEMMA_2B_LORA = "@cf/google/gemma-2b-it-lora"
GEMMA_7B_LORA = "@cf/google/gemma-7b-it-lora"
SEA_LION = "@cf/aisingapore/gemma-sea-lion-v4-27b-it"
CHAT_MODELS = (GEMMA_4, GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION)
"""Every chat model on Cloudflare."""

INVOKE_METHODS = ("invoke", "ainvoke")
STREAM_METHODS = ("stream", "astream")
EVENT_METHODS = ("stream_events", "astream_events")
CALL_METHODS = (*INVOKE_METHODS, *STREAM_METHODS)
"""The methods that return a message whose content is a string."""

PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
)
PNG_DATA_URI = f"data:image/png;base64,{PNG_BASE64}"

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city."}},
            "required": ["city"],
        },
    },
}


def make_model(**arguments: Any) -> ChatWorkersGemma:
    """Return a model with credentials and no retries, and ignore warnings about retired models."""
    if arguments.get("host", "cloudflare") == "cloudflare":
        arguments = {"account_id": ACCOUNT_ID, **arguments}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        return ChatWorkersGemma(**{"api_token": API_TOKEN, "max_retries": 0, **arguments})


COMPATIBLE_URL = "http://127.0.0.1:8000/v1"


def make_compatible_model(model: str = "gemma3:12b", **arguments: Any) -> ChatWorkersGemma:
    """Return a model on an OpenAI-compatible server, without a token and without retries."""
    return ChatWorkersGemma(
        **{"host": "openai_compatible", "base_url": COMPATIBLE_URL, "model": model, "max_retries": 0, **arguments}
    )


def get_construction_error(**arguments: Any) -> str:
    """Return the message of the error that these arguments raise."""
    with pytest.raises(ValueError, match=r".") as caught:
        make_model(**arguments)
    return str(caught.value)


def format_traceback_with_locals(error: BaseException) -> str:
    """Return what an error tracker shows: each frame of the error and its causes, with local variables."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


# --- Methods of a model -----------------------------------------------------------------------------------------------


@cache
def _get_runner() -> asyncio.Runner:
    """Return the one event loop of all tests: a client belongs to its loop, and creating a client is slow."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    atexit.register(runner.close)
    return runner


def call_model(llm: Any, call_method: str, model_input: Any = "Hello", **options: Any) -> AIMessage:
    """Call a method and return its message. The chunks of a stream are merged."""
    if call_method in STREAM_METHODS:
        return merge_chunks(collect_chunks(llm, call_method, model_input, **options))
    message: object
    if call_method == "invoke":
        message = llm.invoke(model_input, **options)
    elif call_method == "ainvoke":
        message = _get_runner().run(llm.ainvoke(model_input, **options))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LangChainBetaWarning)
            if call_method == "stream_events":
                message = llm.stream_events(model_input, version="v3", **options).output
            else:
                message = _get_runner().run(_get_event_output(llm, model_input, options))
    assert isinstance(message, AIMessage)
    return message


async def _get_event_output(llm: Any, model_input: Any, options: dict[str, Any]) -> AIMessage:
    events = await llm.astream_events(model_input, version="v3", **options)
    message = await events.output
    assert isinstance(message, AIMessage)
    return message


def collect_chunks(llm: Any, call_method: str, model_input: Any = "Hello", **options: Any) -> list[AIMessageChunk]:
    """Return the chunks of a stream."""
    if call_method == "stream":
        return list(llm.stream(model_input, **options))
    return _get_runner().run(acollect_chunks(llm, model_input, **options))


async def acollect_chunks(llm: Any, model_input: Any = "Hello", **options: Any) -> list[AIMessageChunk]:
    """Return the chunks of an async stream, on the running loop."""
    return [chunk async for chunk in llm.astream(model_input, **options)]


def merge_chunks(pieces: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """Add the chunks of a stream, as a program does that needs the whole message."""
    assert pieces
    return reduce(add, pieces)


def run_async(coroutine: Any) -> Any:
    """Run a coroutine on the loop that all tests share."""
    return _get_runner().run(coroutine)


def get_tool_calls(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the arguments of each valid tool call."""
    return [(call["name"], call["args"]) for call in message.tool_calls]


def summarize_message(message: AIMessage) -> dict[str, Any]:
    """Return the parts of a message that must be equal for every method."""
    ignored_keys = ("request_id", "output_version")
    return {
        "text": str(message.text),
        "reasoning": "".join(
            str(block.get("reasoning", "")) for block in message.content_blocks if block["type"] == "reasoning"
        ),
        "tool_calls": get_tool_calls(message),
        "invalid": [call["name"] or "" for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": {key: value for key, value in message.response_metadata.items() if key not in ignored_keys},
    }
