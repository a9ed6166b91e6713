"""What real vLLM servers answered when Gemma 4 wrote given texts, and the ways of playing it back.

The recordings (`engine_recordings.json.gz`, see `docs/wire.md` section 10) hold for each text the reply without
`stream`, the events of the stream, and what the model meant: `calls`, `text` and `reasoning`. With `cut`, the token
limit or a stop sequence ended the reply within a call, and calls beyond `calls` must not be valid.
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
"""How the events of a stream arrive: as which packets."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One text, as one engine sent it.

    Attributes:
        engine: The engine and its release.
        name: What the text is about.
        text: What the model wrote; `‡` marks where it was truncated.
        tools: The tools that were bound.
        max_tokens: The limit that was sent.
        stop: The stop sequences that were sent.
        expected: What the model meant.
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
        """What a test calls it."""
        return f"{self.name}-{self.engine}"

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that the model made and finished."""
        return [(name, arguments) for name, arguments in self.expected["calls"]]

    @property
    def is_cut(self) -> bool:
        """Whether a call beyond `calls` was truncated."""
        return bool(self.expected.get("cut"))


@cache
def load_recordings() -> tuple[Recording, ...]:
    """All recordings."""
    data = json.loads(gzip.decompress(_DATA.read_bytes()))
    return tuple(Recording(**{**record, "tools": data["tools"][record["tools"]]}) for record in data["records"])


# --- How a stream arrives ---------------------------------------------------------------------------------------------


def encode_packet(event: Any) -> bytes:
    """An event in the form of the wire."""
    return f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n".encode()


def split_by_event(events: list[Any]) -> list[bytes]:
    """Each event in a packet of its own."""
    return [*map(encode_packet, events), encode_packet("[DONE]")]


def split_by_character(events: list[Any]) -> list[bytes]:
    """Each character of text, thought and arguments in an event of its own."""
    return split_by_event([piece for event in events for piece in _split_event(event)])


def split_at_random(seed: int) -> Splitter:
    """Packets that end anywhere."""

    def cut(events: list[Any]) -> list[bytes]:
        random = Random(seed)
        data = b"".join(split_by_event(events))
        ends = sorted(random.sample(range(len(data)), min(20, len(data))))
        return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]

    return cut


def _split_event(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event, with one character where there were several; what ends the choice comes last."""
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


# --- Playing it back --------------------------------------------------------------------------------------------------


@dataclass
class ReplayService:
    """A service that answers every request with one recording: as a stream where one is requested, else whole.

    Attributes:
        whole: The reply without `stream`.
        events: The events of the stream.
        cut: How they arrive.
        enveloped: Whether a whole reply is in Cloudflare's envelope.
        requests: The bodies that were received.
    """

    whole: dict[str, Any]
    events: list[Any]
    cut: Splitter = split_by_event
    enveloped: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        self.requests.append(sent)
        if sent.get("stream"):
            packets = self.cut(self.events)
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
        for each in self._packets:
            yield each


def make_replay_model(player: ReplayService, **fields: Any) -> ChatWorkersGemma:
    """A model object whose service is a player."""
    transport = httpx.MockTransport(player)
    defaults: dict[str, Any] = {
        "account_id": "0123456789abcdef",
        "api_token": "a-token",
        "max_retries": 0,
        "http_client": httpx.Client(transport=transport),
        "http_async_client": httpx.AsyncClient(transport=transport),
    }
    return ChatWorkersGemma(**{**defaults, **fields})


def replay_recording(
    recording: Recording, *, streamed: bool, dialect: Dialect = "native", cut: Splitter = split_by_event
) -> AIMessage:
    """The message that comes of a recording."""
    player = ReplayService(recording.whole, recording.events, cut, enveloped=dialect == "native")
    llm = make_replay_model(player, api=dialect, max_tokens=recording.max_tokens, stop=recording.stop)
    return collect_message(llm.bind_tools(recording.tools), streamed=streamed)


def collect_message(llm: Any, *, streamed: bool) -> AIMessage:
    """One message, chunks merged."""
    message: AIMessage = reduce(add, list(llm.stream("Go"))) if streamed else llm.invoke("Go")
    return message


def get_tool_calls(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    """The valid calls."""
    return [(call["name"], call["args"]) for call in message.tool_calls]
