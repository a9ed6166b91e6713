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

EXTRA_BYTES = {
    "a whole response": make_http_response(200, make_envelope({"response": "for somebody else"})),
    "a stream": STREAM_HEAD + encode_event({"response": "for somebody else"}) + encode_event(b"[DONE]") + STREAM_END,
    "an error": make_http_response(401, make_error_envelope(10000)),
    "half of a header": b"HTTP/1.1 429 Too Many Requests\r\nx-left: ",
    "line ends": b"\r\n\r\n",
    "another last chunk": STREAM_END,
    "garbage": b"\x00\xff",
}


def get_successful_response(call_method: str) -> bytes:
    """Return a successful response for a call method."""
    return HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE


@pytest.mark.parametrize("extra", EXTRA_BYTES)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_bytes_after_a_response_close_the_connection(
    server: FaultServer, extra: str, owner: str, call_method: str
) -> None:
    """All calls use one event loop, because each loop has its own connections. No call needs a retry."""
    server.play((get_successful_response(call_method) + EXTRA_BYTES[extra],))
    async with httpx.AsyncClient() as async_client:
        with httpx.Client() as client:
            client_arguments = (
                {"http_client": client, "http_async_client": async_client} if owner == "the caller's" else {}
            )
            llm = make_server_model(server, max_retries=0, **client_arguments)
            for calls in range(1, 4):
                assert await call_and_get_text(llm, call_method) == HELLO_TEXT
                assert server.accepted_connections == len(server.requests) == calls


async def call_and_get_text(llm: ChatWorkersGemma, call_method: str) -> str:
    """Call a model on the running loop and return the text."""
    if call_method == "astream":
        return str(merge_chunks(await acollect_chunks(llm)).text)
    return str(((await llm.ainvoke("Hi")) if call_method == "ainvoke" else call_model(llm, call_method, "Hi")).text)


@pytest.mark.parametrize("extra", EXTRA_BYTES)
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_bytes_after_an_error_close_the_connection(server: FaultServer, extra: str, call_method: str) -> None:
    busy = make_http_response(429, make_error_envelope(3040)) + EXTRA_BYTES[extra]
    server.play((busy,), (busy,), (get_successful_response(call_method),))
    assert await call_and_get_text(make_server_model(server, max_retries=2), call_method) == HELLO_TEXT
    assert server.accepted_connections == len(server.requests) == 3


@pytest.mark.parametrize("call_method", ["embed_query", "aembed_query"])
async def test_bytes_after_embeddings_close_the_connection(server: FaultServer, call_method: str) -> None:
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


@pytest.mark.parametrize("extra", EXTRA_BYTES)
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_bytes_after_a_response_close_a_reopened_connection(
    server: FaultServer, extra: str, call_method: str
) -> None:
    """httpx opens a connection to replace one that the server has closed."""
    server.play(
        (get_successful_response(call_method), CLOSE),
        (get_successful_response(call_method) + EXTRA_BYTES[extra],),
        (get_successful_response(call_method),),
    )
    llm = make_server_model(server, max_retries=0)
    assert await call_and_get_text(llm, call_method) == HELLO_TEXT
    assert await asyncio.to_thread(server.wait_until_at_most_open, 0) == 0
    for _ in range(3):
        assert await call_and_get_text(llm, call_method) == HELLO_TEXT


@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_extra_bytes_are_refused_if_connections_are_not_traced(
    server: FaultServer, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An httpcore whose trace events have other names: connections are kept, and extra bytes are refused."""
    monkeypatch.setattr(leftovers, "_CONNECTED", ("another name",))
    monkeypatch.setattr(leftovers.Reads, "sees_connections", False)
    server.play(
        (get_successful_response(call_method) + EXTRA_BYTES["a whole response"],),
        (get_successful_response(call_method),),
    )
    llm = make_server_model(server, max_retries=1)
    for _ in range(4):
        assert await call_and_get_text(llm, call_method) == HELLO_TEXT
    assert server.accepted_connections == 2


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("in_two_packets", [False, True])
async def test_connections_without_extra_bytes_are_kept(
    server: FaultServer, call_method: str, in_two_packets: bool
) -> None:
    """Also if the end of a stream arrives in two packets."""
    script = (
        (HELLO_STREAM.removesuffix(STREAM_END), STREAM_END)
        if in_two_packets and call_method in STREAM_METHODS
        else (get_successful_response(call_method),)
    )
    server.play(script)
    llm = make_server_model(server, max_retries=0)
    for _ in range(5):
        assert await call_and_get_text(llm, call_method) == HELLO_TEXT
    assert server.accepted_connections == 1


# --- Every response, in every split -----------------------------------------------------------------------------------

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


def read_like_httpcore(data: bytes, cuts: list[int]) -> tuple[bool, bool]:
    """Return whether h11 has bytes left after the response, and whether `Reads` reports them."""
    reads = leftovers.Reads(is_whole=True)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    headers: dict[str, str] = {}
    edges = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    packets = iter([data[start:end] for start, end in pairwise(edges) if end > start])
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            packet = next(packets)
            reads.add(packet)
            connection.receive_data(packet)
        elif isinstance(event, h11.Response):
            headers = {name.decode(): value.decode() for name, value in event.headers}
    return bool(connection.trailing_data[0]), reads.end_response(headers)


@given(responses(), st.sampled_from([b"", *EXTRA_BYTES.values()]), st.lists(st.integers(0, 10_000), max_size=6))
@example(
    make_response_head(200, transfer_encoding="chunked") + b"000\r\n\r\n", b"0\r\n\r\n", [-9]
)  # the last packet has both ends
def test_every_byte_that_h11_would_keep_is_noticed(response: bytes, extra: bytes, cuts: list[int]) -> None:
    has_extra_bytes, is_reported = read_like_httpcore(response + extra, cuts)
    assert is_reported or not has_extra_bytes


@given(st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=30)), max_size=5), st.integers(0, 10_000))
def test_responses_in_two_packets_keep_the_connection(payloads: list[Any], cut: int) -> None:
    whole = make_http_response(200, json.dumps(payloads).encode())
    stream = STREAM_HEAD + b"".join(map(encode_event, payloads)) + STREAM_END
    for response in (whole, stream):
        after_head = response.index(b"\r\n\r\n") + 4
        position = after_head + cut % (len(response) - after_head)
        assert read_like_httpcore(response, [position]) == (False, False)
