"""Bytes that a server sends after the end of a response never become the response to another call."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_workers_gemma import ChatWorkersGemma, WorkersGemmaEmbeddings
from langchain_workers_gemma.transport import leftovers
from tests.helpers.fault_server import (
    CLOSE,
    HELLO_RESPONSE,
    HELLO_STREAM,
    HELLO_TEXT,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    encode_chunk,
    encode_event,
    make_envelope,
    make_error_envelope,
    make_http_response,
    make_response_head,
    make_server_model,
)
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, STREAM_METHODS, acollect_chunks, call_model, merge_chunks

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]

LEFT = {
    "a whole response": make_http_response(200, make_envelope({"response": "for somebody else"})),
    "a stream": STREAM_HEAD + encode_event({"response": "for somebody else"}) + encode_event(b"[DONE]") + STREAM_END,
    "an error": make_http_response(401, make_error_envelope(10000)),
    "half a head": b"HTTP/1.1 429 Too Many Requests\r\nx-left: ",
    "the end of lines": b"\r\n\r\n",
    "another end of chunks": STREAM_END,
    "garbage": b"\x00\xff",
}


def right(call_method: str) -> bytes:
    return HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_bytes_after_a_response_end_its_connection(
    server: FaultServer, left: str, owner: str, call_method: str
) -> None:
    """One event loop for all calls, since each loop has connections of its own; no call needs a retry."""
    server.play((right(call_method) + LEFT[left],))
    async with httpx.AsyncClient() as async_client:
        with httpx.Client() as client:
            own = {"http_client": client, "http_async_client": async_client} if owner == "the caller's" else {}
            llm = make_server_model(server, max_retries=0, **own)
            for calls in range(1, 4):
                assert await text_of(llm, call_method) == HELLO_TEXT
                assert server.accepted_connections == len(server.requests) == calls


async def text_of(llm: ChatWorkersGemma, call_method: str) -> str:
    if call_method == "astream":
        return str(merge_chunks(await acollect_chunks(llm)).text)
    return str(((await llm.ainvoke("Hi")) if call_method == "ainvoke" else call_model(llm, call_method, "Hi")).text)


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_bytes_after_an_error_end_its_connection(server: FaultServer, left: str, call_method: str) -> None:
    busy = make_http_response(429, make_error_envelope(3040)) + LEFT[left]
    server.play((busy,), (busy,), (right(call_method),))
    assert await text_of(make_server_model(server, max_retries=2), call_method) == HELLO_TEXT
    assert server.accepted_connections == len(server.requests) == 3


@pytest.mark.parametrize("call_method", ["embed_query", "aembed_query"])
async def test_bytes_after_vectors_end_their_connection(server: FaultServer, call_method: str) -> None:
    server.play(
        (
            make_http_response(200, make_envelope({"data": [[0.5]]}))
            + make_http_response(200, make_envelope({"data": [[1.0]]})),
        )
    )
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, base_url=server.url, max_retries=0)
    for _ in range(3):
        assert (llm.embed_query("Hi") if call_method == "embed_query" else await llm.aembed_query("Hi")) == [0.5]
    assert server.accepted_connections == 3


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_a_connection_that_was_opened_unseen(server: FaultServer, left: str, call_method: str) -> None:
    """httpx opens one in place of one that the server closed in between."""
    server.play((right(call_method), CLOSE), (right(call_method) + LEFT[left],), (right(call_method),))
    llm = make_server_model(server, max_retries=0)
    assert await text_of(llm, call_method) == HELLO_TEXT
    assert await asyncio.to_thread(server.wait_until_at_most_open, 0) == 0
    for _ in range(3):
        assert await text_of(llm, call_method) == HELLO_TEXT


@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_where_connections_are_not_seen_a_response_without_a_read_is_none(
    server: FaultServer, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An httpcore that traces by other names: connections are kept, what was left is refused."""
    monkeypatch.setattr(leftovers, "_CONNECTED", ("another name",))
    monkeypatch.setattr(leftovers.Reads, "sees_connections", False)
    server.play((right(call_method) + LEFT["a whole response"],), (right(call_method),))
    llm = make_server_model(server, max_retries=1)
    for _ in range(4):
        assert await text_of(llm, call_method) == HELLO_TEXT
    assert server.accepted_connections == 2


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("spread", [False, True])
async def test_without_such_bytes_connections_are_kept(server: FaultServer, call_method: str, spread: bool) -> None:
    """However the end of a stream is spread over packets."""
    script = (
        (HELLO_STREAM.removesuffix(STREAM_END), STREAM_END)
        if spread and call_method in STREAM_METHODS
        else (right(call_method),)
    )
    server.play(script)
    llm = make_server_model(server, max_retries=0)
    for _ in range(5):
        assert await text_of(llm, call_method) == HELLO_TEXT
    assert server.accepted_connections == 1


# --- Every response, in every cut -------------------------------------------------------------------------------------

BODIES = st.lists(st.binary(min_size=1, max_size=30) | st.sampled_from([b"0", b"\r\n", b"0\r\n\r\n"]), max_size=5)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    parts = draw(BODIES)
    more = draw(st.sampled_from([{}, {"x_trace": "0"}]))
    if draw(st.booleans()):
        trailer = draw(st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nx-sum: 0\r\n\r\n"]))
        return (
            make_response_head(200, transfer_encoding="chunked", **more) + b"".join(map(encode_chunk, parts)) + trailer
        )
    return make_http_response(draw(st.sampled_from([200, 429])), b"".join(parts), **more)


def read_as_httpcore_does(data: bytes, cuts: list[int]) -> tuple[bool, bool]:
    """Whether h11 has bytes left at the end of the response, and whether the reads report it."""
    reads = leftovers.Reads(is_whole=True)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    headers: dict[str, str] = {}
    edges = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    packets = iter([data[start:end] for start, end in pairwise(edges) if end > start])
    while not isinstance(happened := connection.next_event(), h11.EndOfMessage):
        if happened is h11.NEED_DATA:
            packet = next(packets)
            reads.add(packet)
            connection.receive_data(packet)
        elif isinstance(happened, h11.Response):
            headers = {name.decode(): value.decode() for name, value in happened.headers}
    return bool(connection.trailing_data[0]), reads.end_response(headers)


@given(responses(), st.sampled_from([b"", *LEFT.values()]), st.lists(st.integers(0, 10_000), max_size=6))
@example(
    make_response_head(200, transfer_encoding="chunked") + b"000\r\n\r\n", b"0\r\n\r\n", [-9]
)  # the last read has both ends
def test_every_byte_that_http_would_keep_is_noticed(response: bytes, left: bytes, cuts: list[int]) -> None:
    is_left, is_seen = read_as_httpcore_does(response + left, cuts)
    assert is_seen or not is_left


@given(st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=30)), max_size=5), st.integers(0, 10_000))
def test_json_and_events_in_one_cut_after_the_head_keep_their_connection(payloads: list[Any], cut: int) -> None:
    whole = make_http_response(200, json.dumps(payloads).encode())
    stream = STREAM_HEAD + b"".join(map(encode_event, payloads)) + STREAM_END
    for response in (whole, stream):
        after_head = response.index(b"\r\n\r\n") + 4
        at = after_head + cut % (len(response) - after_head)
        assert read_as_httpcore_does(response, [at]) == (False, False)
