"""Recorded replies of real vLLM servers to given texts of Gemma 4, and helpers that replay them.

The recordings (`engine_recordings.json.gz`, see `docs/wire.md` section 10) have, for each text, the reply without
`stream`, the events of the stream, and what the model meant: `calls`, `text` and `reasoning`. With `cut`, the token
limit or a stop sequence ended the reply within a call, and calls beyond `calls` must be invalid.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, reduce
from operator import add
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

import httpx
from langchain_core.messages import AIMessage

from langchain_workers_gemma import ChatWorkersGemma

_DATA = Path(__file__).with_name("engine_recordings.json.gz")

Dialect: TypeAlias = Literal["native", "openai"]
Splitter: TypeAlias = Callable[[list[Any]], list[bytes]]
"""Splits the events of a stream into packets."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The reply of one engine for one text.

    Attributes:
        engine: The name and the release of the engine.
        name: The name of the text.
        text: What the model wrote; `‡` marks where it was truncated.
        tools: The tools that were bound.
        max_tokens: The limit that was sent.
        stop: The stop sequences that were sent.
        expected: The calls, the text and the reasoning that the model meant.
        events: The events of the stream.
        whole: The reply without `stream`.
    """

    engine: str
    name: str
    text: str
    tools: list[dict[str, Any]]
    max_tokens: int
    stop: list[str] | None
    expected: dict[str, Any]
    events: list[dict[str, Any]]
    whole: dict[str, Any]

    @property
    def id(self) -> str:
        """The id in the names of tests."""
        return f"{self.name}-{self.engine}"

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that the model made and finished."""
        return [(name, arguments) for name, arguments in self.expected["calls"]]

    @property
    def is_truncated(self) -> bool:
        """Whether a call beyond `calls` was truncated."""
        return bool(self.expected.get("cut"))


@cache
def load_recordings() -> tuple[Recording, ...]:
    """Return all recordings."""
    data = json.loads(gzip.decompress(_DATA.read_bytes()))
    return tuple(Recording(**{**record, "tools": data["tools"][record["tools"]]}) for record in data["records"])


# --- Splitting a stream -----------------------------------------------------------------------------------------------


def encode_packet(event: Any) -> bytes:
    """Encode an event of a stream."""
    return f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n".encode()


def split_by_event(events: list[Any]) -> list[bytes]:
    """Return each event in its own packet."""
    return [*map(encode_packet, events), encode_packet("[DONE]")]


def split_by_character(events: list[Any]) -> list[bytes]:
    """Return each character of text, reasoning and arguments in its own event."""
    return split_by_event([piece for event in events for piece in _split_event(event)])


def split_at_random(seed: int) -> Splitter:
    """Return a function that splits a stream at random positions."""

    def split(events: list[Any]) -> list[bytes]:
        random = Random(seed)
        data = b"".join(split_by_event(events))
        ends = sorted(random.sample(range(len(data)), min(20, len(data))))
        return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]

    return split


def _split_event(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield events with one character each. The fields that end the choice are in the last event."""
    choice = event["choices"][0] if event.get("choices") else None
    if choice is None:
        yield event
        return
    delta = dict(choice["delta"])
    for key in ("reasoning", "content"):
        for character in delta.pop(key, None) or "":
            yield {"choices": [{"index": 0, "delta": {key: character}}]}
    for call in delta.pop("tool_calls", None) or ():
        function = call["function"]
        arguments = function.get("arguments") or ""
        if function.get("name"):
            yield _make_tool_call_event({**call, "function": {**function, "arguments": ""}})
        for character in arguments:
            yield _make_tool_call_event({"index": call["index"], "function": {"arguments": character}})
    if delta or choice.get("finish_reason") or len(event) > 1:
        yield {**event, "choices": [{**choice, "delta": delta}]}


def _make_tool_call_event(call: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


# --- Replaying --------------------------------------------------------------------------------------------------------


@dataclass
class ReplayService:
    """A service that answers every request with one recording, as a stream if the request asks for one.

    Attributes:
        whole: The reply without `stream`.
        events: The events of the stream.
        split: Splits the events into packets.
        enveloped: Whether the whole reply is in Cloudflare's envelope.
        requests: The bodies of the requests.
    """

    whole: dict[str, Any]
    events: list[Any]
    split: Splitter = split_by_event
    enveloped: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        self.requests.append(sent)
        if sent.get("stream"):
            packets = self.split(self.events)
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Packets(packets))
        return httpx.Response(
            200, json={"result": self.whole, "success": True, "errors": []} if self.enveloped else self.whole
        )


class _Packets(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, packets: list[bytes]) -> None:
        self._packets = packets

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packets)

    async def __aiter__(self) -> Any:
        for packet in self._packets:
            yield packet


def make_replay_model(service: ReplayService, **fields: Any) -> ChatWorkersGemma:
    """Return a model that calls a replay service."""
    transport = httpx.MockTransport(service)
    defaults: dict[str, Any] = {
        "account_id": "0123456789abcdef",
        "api_token": "a-token",
        "max_retries": 0,
        "http_client": httpx.Client(transport=transport),
        "http_async_client": httpx.AsyncClient(transport=transport),
    }
    return ChatWorkersGemma(**{**defaults, **fields})


def replay_recording(
    recording: Recording, *, streamed: bool, dialect: Dialect = "native", split: Splitter = split_by_event
) -> AIMessage:
    """Return the message of a recording."""
    service = ReplayService(recording.whole, recording.events, split, enveloped=dialect == "native")
    llm = make_replay_model(service, api=dialect, max_tokens=recording.max_tokens, stop=recording.stop)
    return collect_message(llm.bind_tools(recording.tools), streamed=streamed)


def collect_message(llm: Any, *, streamed: bool) -> AIMessage:
    """Return the message of a model, streamed or not."""
    message: AIMessage = reduce(add, list(llm.stream("Go"))) if streamed else llm.invoke("Go")
    return message
