"""Asking a model in every way that LangChain has, and a service that answers through respx."""

from __future__ import annotations

import asyncio
import atexit
import json
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache, reduce
from operator import add
from typing import Any, TypeAlias

import httpx
import pytest
import respx
from langchain_core._api import LangChainBetaWarning
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_workers_gemma import ChatWorkersGemma

ACCOUNT = "0123456789abcdef"
TOKEN = "a-token-that-nobody-may-see"

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
GEMMA_7B = "@hf/google/gemma-7b-it"
GEMMA_2B_LORA = "@cf/google/gemma-2b-it-lora"
GEMMA_7B_LORA = "@cf/google/gemma-7b-it-lora"
SEA_LION = "@cf/aisingapore/gemma-sea-lion-v4-27b-it"
CHAT_MODELS = (GEMMA_4, GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION)
"""Every chat model on Cloudflare."""

WHOLE = ("invoke", "ainvoke")
STREAMED = ("stream", "astream")
EVENTS = ("stream_events", "astream_events")
WAYS = (*WHOLE, *STREAMED)
"""The methods that return a message whose content is a string."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
PNG_URI = f"data:image/png;base64,{PNG}"

WEATHER = {
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


def gemma(**arguments: Any) -> ChatWorkersGemma:
    """A model object with credentials, silent about retired models."""
    if arguments.get("host", "cloudflare") == "cloudflare":
        arguments = {"account_id": ACCOUNT, **arguments}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        return ChatWorkersGemma(**{"api_token": TOKEN, "max_retries": 0, **arguments})


def refused(**arguments: Any) -> str:
    """The words in which arguments are refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        gemma(**arguments)
    return str(caught.value)


def shown(error: BaseException) -> str:
    """What error trackers show: each frame of the whole chain with its locals."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


# --- Methods of a model -----------------------------------------------------------------------------------------------


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all tests: a client belongs to its loop, and making one is slow."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    atexit.register(runner.close)
    return runner


def ask(llm: Any, way: str, asked: Any = "Hello", **options: Any) -> AIMessage:
    """Return the message of a method, chunks merged."""
    if way in STREAMED:
        return merged(chunks(llm, way, asked, **options))
    message: object
    if way == "invoke":
        message = llm.invoke(asked, **options)
    elif way == "ainvoke":
        message = _runner().run(llm.ainvoke(asked, **options))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LangChainBetaWarning)
            if way == "stream_events":
                message = llm.stream_events(asked, version="v3", **options).output
            else:
                message = _runner().run(_output(llm, asked, options))
    assert isinstance(message, AIMessage)
    return message


async def _output(llm: Any, asked: Any, options: dict[str, Any]) -> AIMessage:
    events = await llm.astream_events(asked, version="v3", **options)
    message = await events.output
    assert isinstance(message, AIMessage)
    return message


def chunks(llm: Any, way: str, asked: Any = "Hello", **options: Any) -> list[AIMessageChunk]:
    """The chunks of a stream."""
    if way == "stream":
        return list(llm.stream(asked, **options))
    return _runner().run(achunks(llm, asked, **options))


async def achunks(llm: Any, asked: Any = "Hello", **options: Any) -> list[AIMessageChunk]:
    """The chunks of an async stream, on the running loop."""
    return [chunk async for chunk in llm.astream(asked, **options)]


def merged(pieces: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """Chunks added up, as a program does that keeps a stream's message."""
    assert pieces
    return reduce(add, pieces)


def run(coroutine: Any) -> Any:
    """Run a coroutine on the loop that all tests share."""
    return _runner().run(coroutine)


def told(message: AIMessage) -> dict[str, Any]:
    """Return what must be equal for every method."""
    unequal = ("request_id", "output_version")
    return {
        "text": str(message.text),
        "reasoning": "".join(
            str(block.get("reasoning", "")) for block in message.content_blocks if block["type"] == "reasoning"
        ),
        "tool_calls": [(call["name"], call["args"]) for call in message.tool_calls],
        "invalid": [call["name"] or "" for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": {key: value for key, value in message.response_metadata.items() if key not in unequal},
    }


# --- A service --------------------------------------------------------------------------------------------------------

Answer: TypeAlias = Callable[[], httpx.Response]


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives in pieces; an exception among them breaks the connection there."""

    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Service:
    """Answers every request, and keeps what it was sent. The last answer is given again and again."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: list[Answer] = []
        router.route().mock(side_effect=self._answer)
        self.replies({"response": "Hi"})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer()

    # What it answers

    def answers(self, *answers: Answer) -> None:
        """Give these answers, one after another."""
        self._answers = list(answers)

    def replies(self, *results: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with whole replies in Cloudflare's envelope."""
        self.answers(*(body({"result": result, "success": True, "errors": []}, headers=headers) for result in results))

    def says(self, *payloads: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with bodies as they are."""
        self.answers(*(body(payload, headers=headers) for payload in payloads))

    def streams(self, *frames: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with a stream of these events."""
        self.answers(stream(sse(*frames), headers=headers))

    def pieces(self, *pieces: bytes | Exception) -> None:
        """Answer with a stream whose bytes arrive in these pieces."""
        self.answers(stream(*pieces))

    # The requests it received

    @property
    def request(self) -> httpx.Request:
        """The only request."""
        assert len(self.requests) == 1, [str(request.url) for request in self.requests]
        return self.requests[0]

    @property
    def sent(self) -> Any:
        """The body of the only request."""
        return json.loads(self.request.content)

    @property
    def bodies(self) -> list[Any]:
        """The bodies of all requests."""
        return [json.loads(request.content) for request in self.requests]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the latest request."""
        sent = json.loads(self.requests[-1].content)
        messages = sent.get("data", sent)["messages"]
        assert isinstance(messages, list)
        return messages


def body(payload: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer with a whole body: bytes as they are, anything else as JSON."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return lambda: httpx.Response(status, headers=headers, content=content)


def stream(*pieces: bytes | Exception, headers: dict[str, str] | None = None) -> Answer:
    """An answer with a stream of events."""
    known = {"content-type": "text/event-stream", **(headers or {})}
    return lambda: httpx.Response(200, headers=known, stream=Pieces(pieces))


def sse(*frames: Any, end: str = "\n\n") -> bytes:
    """Encode events of a stream; strings are sent as they are."""
    written = (frame if isinstance(frame, str) else json.dumps(frame, ensure_ascii=False) for frame in frames)
    return "".join(f"data: {frame}{end}" for frame in written).encode()


def delta(content: Any = None, **more: Any) -> dict[str, Any]:
    """An event of OpenAI's form."""
    finish_reason = more.pop("finish_reason", None)
    said = more if content is None else {"content": content, **more}
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


def function(name: str | None = None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


def message_reply(content: Any = None, *, finish_reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A whole reply of OpenAI's form."""
    usage = more.pop("usage", None)
    reply: dict[str, Any] = {
        "id": "chatcmpl-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish_reason}
        ],
    }
    return reply if usage is None else {**reply, "usage": usage}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """A report of tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
