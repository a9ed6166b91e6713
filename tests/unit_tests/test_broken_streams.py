"""What a stream leaves that breaks after it has begun."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core import exceptions as core
from langchain_core.messages import AIMessageChunk

from langchain_workers_gemma import (
    APITimeoutError,
    InternalServerError,
    StreamInterruptedError,
)
from tests.unit_tests.asking import GEMMA_3, STREAMED, ask
from tests.unit_tests.fault_server import (
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

pytestmark = pytest.mark.usefixtures("naps")


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
def test_held_back_text_is_told_at_the_end(server: FaultServer, way: str) -> None:
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
            told.append(str(piece.text))  # noqa: PERF401 - what came before the error is what counts

    def collect() -> None:
        for piece in model(server).stream("Hi"):
            told.append(str(piece.text))  # noqa: PERF401

    with pytest.raises(InternalServerError):
        collect() if way == "stream" else asyncio.run(acollect())
    assert told == ["Hel"]
    assert len(server.requests) == 1
