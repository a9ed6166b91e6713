"""Streams that break after they have begun: the error and the partial message."""

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
from tests.helpers.fault_server import (
    CLOSE,
    FIRST_EVENT,
    RESET,
    STALL,
    STALL_TIMEOUT,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    encode_event,
    make_server_model,
)
from tests.helpers.mock_service import MockService, encode_sse, make_delta, make_tool_call, make_usage
from tests.helpers.model_calls import GEMMA_3, STREAM_METHODS, call_model, make_model

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("end", [RESET, CLOSE, STALL, STREAM_END], ids=["reset", "close", "stall", "end"])
def test_the_partial_text_is_in_the_error(server: FaultServer, call_method: str, end: Any) -> None:
    server.play((STREAM_HEAD, FIRST_EVENT, encode_event({"response": "lo wor"}), end))
    with pytest.raises(StreamInterruptedError) as raised:
        call_model(make_server_model(server, timeout=STALL_TIMEOUT if end is STALL else 20), call_method)
    error = raised.value
    assert isinstance(error.partial, AIMessageChunk)
    assert error.partial.text == "Hello wor"
    assert error.partial.response_metadata["model_provider"] == "workers_gemma"
    assert error.is_retryable
    assert isinstance(error, core.ModelConnectionError)
    assert isinstance(error, APITimeoutError) is (end is STALL)
    if end is not STREAM_END:
        assert error.__cause__ is not None


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("end", [RESET, STREAM_END], ids=["reset", "end"])
@pytest.mark.parametrize("arguments", ['{"path": "/home/me', '{"path": "/home"}', '{"a": {"b": [1', ""])
def test_truncated_calls_in_the_partial_message_are_invalid(
    server: FaultServer, call_method: str, end: Any, arguments: str
) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "rm", "arguments": arguments}}
    server.play((STREAM_HEAD, FIRST_EVENT, encode_event({"choices": [{"delta": {"tool_calls": [call]}}]}), end))
    with pytest.raises(StreamInterruptedError) as raised:
        call_model(make_server_model(server), call_method)
    partial = raised.value.partial
    assert partial is not None
    is_complete = arguments.endswith("}")
    assert [call["name"] for call in partial.tool_calls] == (["rm"] if is_complete else [])
    assert [call["name"] for call in partial.invalid_tool_calls] == ([] if is_complete else ["rm"])
    assert partial.text == "Hel"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_held_back_text_is_in_the_partial_message(server: FaultServer, call_method: str) -> None:
    server.play((STREAM_HEAD, encode_event({"response": "so far <|chan"}), RESET))
    with pytest.raises(StreamInterruptedError) as raised:
        call_model(make_server_model(server), call_method)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "so far <|chan"

    server.play((STREAM_HEAD, encode_event({"response": "so far EN"}), RESET))
    with pytest.raises(StreamInterruptedError) as raised:
        call_model(make_server_model(server, model=GEMMA_3, stop=["END"]), call_method)
    assert raised.value.partial is not None
    assert raised.value.partial.text == "so far EN"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_held_back_text_is_emitted_at_the_end(server: FaultServer, call_method: str) -> None:
    """A reply that consists only of held-back text is not an empty reply."""
    server.play((STREAM_HEAD, encode_event({"response": "<|chan"}), encode_event(b"[DONE]"), STREAM_END))
    assert call_model(make_server_model(server), call_method).text == "<|chan"
    assert len(server.requests) == 1


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("in_one_packet", [True, False])
def test_text_before_an_unreadable_event_is_emitted(server: FaultServer, call_method: str, in_one_packet: bool) -> None:
    pieces = [STREAM_HEAD, FIRST_EVENT, encode_event(b"{nope")]
    server.play([b"".join(pieces)] if in_one_packet else pieces)
    texts: list[str] = []

    async def acollect() -> None:
        async for piece in make_server_model(server).astream("Hi"):
            texts.append(str(piece.text))  # noqa: PERF401 - keeps the chunks before the error

    def collect() -> None:
        for piece in make_server_model(server).stream("Hi"):
            texts.append(str(piece.text))  # noqa: PERF401

    with pytest.raises(InternalServerError):
        collect() if call_method == "stream" else asyncio.run(acollect())
    assert texts == ["Hel"]
    assert len(server.requests) == 1


# --- Behind respx -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize(
    "end", [[], [httpx.ReadError("reset")], [httpx.ReadTimeout("slow")]], ids=["eof", "reset", "slow"]
)
def test_an_interrupted_stream_raises_with_the_partial_message(
    service: MockService, end: list[Exception], call_method: str
) -> None:
    start = encode_sse(make_delta("Hello"), make_delta(tool_calls=[make_tool_call("f", '{"a": "b', id="c1", index=0)]))
    service.respond_with_pieces(start, *end)
    with pytest.raises(StreamInterruptedError) as caught:
        call_model(make_model(), call_method)
    partial = caught.value.partial
    assert partial is not None
    assert partial.text == "Hello"
    assert partial.tool_calls == []
    assert [call["name"] for call in partial.invalid_tool_calls] == ["f"]
    assert len(service.requests) == 1, "text that was emitted is not requested again"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_an_interrupted_stream_with_usage_on_every_event_raises(service: MockService, call_method: str) -> None:
    service.respond_with_events(
        *({**make_delta(text), "usage": make_usage(10, number)} for number, text in enumerate("abc"))
    )
    with pytest.raises(StreamInterruptedError):
        call_model(make_model(), call_method)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stream_that_ends_within_an_event_raises(service: MockService, call_method: str) -> None:
    service.respond_with_pieces(encode_sse({"response": "Hello"}) + b'data: {"respon')
    with pytest.raises(StreamInterruptedError) as caught:
        call_model(make_model(), call_method)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("before", [[], [{"response": "Hello"}]])
def test_an_error_event_raises(service: MockService, before: list[Any], call_method: str) -> None:
    service.respond_with_events(*before, {"errors": [{"code": 5006, "message": "bad input"}], "success": False})
    with pytest.raises(BadRequestError, match="bad input"):
        call_model(make_model(), call_method)


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("broken", ["{", "[1]", "42", "text"])
def test_an_unreadable_event_raises(service: MockService, broken: str, call_method: str) -> None:
    service.respond_with_events({"response": "Hello"}, broken, "[DONE]")
    with pytest.raises(InternalServerError) as caught:
        call_model(make_model(), call_method)
    assert caught.value.status_code == 200


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_connection_that_breaks_after_the_end_is_ignored(service: MockService, call_method: str) -> None:
    service.respond_with_pieces(encode_sse({"response": "Hello"}, "[DONE]"), httpx.ReadError("reset"))
    assert call_model(make_model(), call_method).content == "Hello"
