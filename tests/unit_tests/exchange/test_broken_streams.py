"""What a stream leaves that breaks after it has begun."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langchain_core import exceptions as core
from langchain_core.messages import AIMessageChunk

from langchain_workers_gemma import (
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    StreamInterruptedError,
)
from tests.helpers.asking import GEMMA_3, STREAMED, Service, ask, delta, function, gemma, sse, usage
from tests.helpers.fault_server import (
    CLOSE,
    EVENT,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    TIMEOUT,
    FaultServer,
    event,
    model,
)

pytestmark = [pytest.mark.usefixtures("naps"), pytest.mark.lowest]


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("end", [RESET, CLOSE, STALL, STREAM_END], ids=["reset", "close", "stall", "end"])
def test_partial_text(server: FaultServer, way: str, end: Any) -> None:
    server.play((STREAM_HEAD, EVENT, event({"response": "lo wor"}), end))
    with pytest.raises(StreamInterruptedError) as raised:
        ask(model(server, timeout=TIMEOUT if end is STALL else 20), way)
    error = raised.value
    assert isinstance(error.partial, AIMessageChunk)
    assert error.partial.text == "Hello wor"
    assert error.partial.response_metadata["model_provider"] == "workers_gemma"
    assert error.is_retryable
    assert isinstance(error, core.ModelConnectionError)
    assert isinstance(error, APITimeoutError) is (end is STALL)
    if end is not STREAM_END:
        assert error.__cause__ is not None


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("end", [RESET, STREAM_END], ids=["reset", "end"])
@pytest.mark.parametrize("arguments", ['{"path": "/home/me', '{"path": "/home"}', '{"a": {"b": [1', ""])
def test_cut_calls_in_partial_cannot_run(server: FaultServer, way: str, end: Any, arguments: str) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "rm", "arguments": arguments}}
    server.play((STREAM_HEAD, EVENT, event({"choices": [{"delta": {"tool_calls": [call]}}]}), end))
    with pytest.raises(StreamInterruptedError) as raised:
        ask(model(server), way)
    partial = raised.value.partial
    assert partial is not None
    whole = arguments.endswith("}")
    assert [call["name"] for call in partial.tool_calls] == (["rm"] if whole else [])
    assert [call["name"] for call in partial.invalid_tool_calls] == ([] if whole else ["rm"])
    assert partial.text == "Hel"


@pytest.mark.parametrize("way", STREAMED)
def test_held_back_text_is_in_partial(server: FaultServer, way: str) -> None:
    server.play((STREAM_HEAD, event({"response": "so far <|chan"}), RESET))
    with pytest.raises(StreamInterruptedError) as raised:
        ask(model(server), way)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "so far <|chan"

    server.play((STREAM_HEAD, event({"response": "so far EN"}), RESET))
    with pytest.raises(StreamInterruptedError) as raised:
        ask(model(server, model=GEMMA_3, stop=["END"]), way)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "so far EN"


@pytest.mark.parametrize("way", STREAMED)
def test_held_back_text_is_emitted_at_the_end(server: FaultServer, way: str) -> None:
    """A reply that consists of held-back text alone is not mistaken for nothing."""
    server.play((STREAM_HEAD, event({"response": "<|chan"}), event(b"[DONE]"), STREAM_END))
    assert ask(model(server), way).text == "<|chan"
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("together", [True, False])
def test_text_before_a_bad_frame_is_handed_over(server: FaultServer, way: str, together: bool) -> None:
    pieces = [STREAM_HEAD, EVENT, event(b"{nope")]
    server.play([b"".join(pieces)] if together else pieces)
    told: list[str] = []

    async def acollect() -> None:
        async for piece in model(server).astream("Hi"):
            told.append(str(piece.text))  # noqa: PERF401 - the chunks before the error count

    def collect() -> None:
        for piece in model(server).stream("Hi"):
            told.append(str(piece.text))  # noqa: PERF401

    with pytest.raises(InternalServerError):
        collect() if way == "stream" else asyncio.run(acollect())
    assert told == ["Hel"]
    assert len(server.requests) == 1


# --- Through respx ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize(
    "end", [[], [httpx.ReadError("reset")], [httpx.ReadTimeout("slow")]], ids=["eof", "reset", "slow"]
)
def test_a_stream_that_was_cut(service: Service, end: list[Exception], way: str) -> None:
    start = sse(delta("Hello"), delta(tool_calls=[function("f", '{"a": "b', id="c1", index=0)]))
    service.pieces(start, *end)
    with pytest.raises(StreamInterruptedError) as caught:
        ask(gemma(), way)
    partial = caught.value.partial
    assert partial is not None
    assert partial.text == "Hello"
    assert partial.tool_calls == []
    assert [call["name"] for call in partial.invalid_tool_calls] == ["f"]
    assert len(service.requests) == 1, "what a user has seen is not asked for again"


@pytest.mark.parametrize("way", STREAMED)
def test_usage_on_every_event_does_not_hide_a_cut(service: Service, way: str) -> None:
    service.streams(*({**delta(text), "usage": usage(10, number)} for number, text in enumerate("abc")))
    with pytest.raises(StreamInterruptedError):
        ask(gemma(), way)


@pytest.mark.parametrize("way", STREAMED)
def test_an_event_cut_in_the_middle(service: Service, way: str) -> None:
    service.pieces(sse({"response": "Hello"}) + b'data: {"respon')
    with pytest.raises(StreamInterruptedError) as caught:
        ask(gemma(), way)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("before", [[], [{"response": "Hello"}]])
def test_an_error_in_place_of_an_event(service: Service, before: list[Any], way: str) -> None:
    service.streams(*before, {"errors": [{"code": 5006, "message": "bad input"}], "success": False})
    with pytest.raises(BadRequestError, match="bad input"):
        ask(gemma(), way)


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("broken", ["{", "[1]", "42", "text"])
def test_an_event_that_cannot_be_read(service: Service, broken: str, way: str) -> None:
    service.streams({"response": "Hello"}, broken, "[DONE]")
    with pytest.raises(InternalServerError) as caught:
        ask(gemma(), way)
    assert caught.value.status_code == 200


@pytest.mark.parametrize("way", STREAMED)
def test_a_connection_that_breaks_after_the_end_is_ignored(service: Service, way: str) -> None:
    service.pieces(sse({"response": "Hello"}, "[DONE]"), httpx.ReadError("reset"))
    assert ask(gemma(), way).content == "Hello"
