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
from tests.helpers.asking import STREAMED, TOKEN, WAYS, achunks, ask, merged
from tests.helpers.fault_server import (
    CLOSE,
    HELLO,
    STREAM_END,
    STREAM_HEAD,
    STREAMED_HELLO,
    WHOLE_HELLO,
    FaultServer,
    chunk,
    envelope,
    event,
    head,
    http,
    model,
    refusal,
)

pytestmark = [pytest.mark.usefixtures("naps"), pytest.mark.lowest]

LEFT = {
    "a whole response": http(200, envelope({"response": "for somebody else"})),
    "a stream": STREAM_HEAD + event({"response": "for somebody else"}) + event(b"[DONE]") + STREAM_END,
    "an error": http(401, refusal(10000)),
    "half a head": b"HTTP/1.1 429 Too Many Requests\r\nx-left: ",
    "the end of lines": b"\r\n\r\n",
    "another end of chunks": STREAM_END,
    "garbage": b"\x00\xff",
}


def right(way: str) -> bytes:
    return STREAMED_HELLO if way in STREAMED else WHOLE_HELLO


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
@pytest.mark.parametrize("way", WAYS)
async def test_bytes_after_a_response_end_its_connection(server: FaultServer, left: str, owner: str, way: str) -> None:
    """One event loop for all calls, since each loop has connections of its own; no call needs a retry."""
    server.play((right(way) + LEFT[left],))
    async with httpx.AsyncClient() as async_client:
        with httpx.Client() as client:
            own = {"http_client": client, "http_async_client": async_client} if owner == "the caller's" else {}
            llm = model(server, max_retries=0, **own)
            for calls in range(1, 4):
                assert await text_of(llm, way) == HELLO
                assert server.accepted == len(server.requests) == calls


async def text_of(llm: ChatWorkersGemma, way: str) -> str:
    if way == "astream":
        return str(merged(await achunks(llm)).text)
    return str(((await llm.ainvoke("Hi")) if way == "ainvoke" else ask(llm, way, "Hi")).text)


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("way", WAYS)
async def test_bytes_after_an_error_end_its_connection(server: FaultServer, left: str, way: str) -> None:
    busy = http(429, refusal(3040)) + LEFT[left]
    server.play((busy,), (busy,), (right(way),))
    assert await text_of(model(server, max_retries=2), way) == HELLO
    assert server.accepted == len(server.requests) == 3


@pytest.mark.parametrize("way", ["embed_query", "aembed_query"])
async def test_bytes_after_vectors_end_their_connection(server: FaultServer, way: str) -> None:
    server.play((http(200, envelope({"data": [[0.5]]})) + http(200, envelope({"data": [[1.0]]})),))
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=TOKEN, base_url=server.url, max_retries=0)
    for _ in range(3):
        assert (llm.embed_query("Hi") if way == "embed_query" else await llm.aembed_query("Hi")) == [0.5]
    assert server.accepted == 3


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_was_opened_unseen(server: FaultServer, left: str, way: str) -> None:
    """httpx opens one in place of one that the server closed in between."""
    server.play((right(way), CLOSE), (right(way) + LEFT[left],), (right(way),))
    llm = model(server, max_retries=0)
    assert await text_of(llm, way) == HELLO
    assert await asyncio.to_thread(server.wait_until_open, 0) == 0
    for _ in range(3):
        assert await text_of(llm, way) == HELLO


@pytest.mark.parametrize("way", WAYS)
async def test_where_connections_are_not_seen_a_response_without_a_read_is_none(
    server: FaultServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An httpcore that traces by other names: connections are kept, what was left is refused."""
    monkeypatch.setattr(leftovers, "_CONNECTED", ("another name",))
    monkeypatch.setattr(leftovers.Reads, "sees_connections", False)
    server.play((right(way) + LEFT["a whole response"],), (right(way),))
    llm = model(server, max_retries=1)
    for _ in range(4):
        assert await text_of(llm, way) == HELLO
    assert server.accepted == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spread", [False, True])
async def test_without_such_bytes_connections_are_kept(server: FaultServer, way: str, spread: bool) -> None:
    """However the end of a stream is spread over packets."""
    script = (STREAMED_HELLO.removesuffix(STREAM_END), STREAM_END) if spread and way in STREAMED else (right(way),)
    server.play(script)
    llm = model(server, max_retries=0)
    for _ in range(5):
        assert await text_of(llm, way) == HELLO
    assert server.accepted == 1


# --- Every response, in every cut -------------------------------------------------------------------------------------

BODIES = st.lists(st.binary(min_size=1, max_size=30) | st.sampled_from([b"0", b"\r\n", b"0\r\n\r\n"]), max_size=5)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    parts = draw(BODIES)
    more = draw(st.sampled_from([{}, {"x_trace": "0"}]))
    if draw(st.booleans()):
        trailer = draw(st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nx-sum: 0\r\n\r\n"]))
        return head(200, transfer_encoding="chunked", **more) + b"".join(map(chunk, parts)) + trailer
    return http(draw(st.sampled_from([200, 429])), b"".join(parts), **more)


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
@example(head(200, transfer_encoding="chunked") + b"000\r\n\r\n", b"0\r\n\r\n", [-9])  # the last read has both ends
def test_every_byte_that_http_would_keep_is_noticed(response: bytes, left: bytes, cuts: list[int]) -> None:
    is_left, is_seen = read_as_httpcore_does(response + left, cuts)
    assert is_seen or not is_left


@given(st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=30)), max_size=5), st.integers(0, 10_000))
def test_json_and_events_in_one_cut_after_the_head_keep_their_connection(payloads: list[Any], cut: int) -> None:
    whole = http(200, json.dumps(payloads).encode())
    stream = STREAM_HEAD + b"".join(map(event, payloads)) + STREAM_END
    for response in (whole, stream):
        after_head = response.index(b"\r\n\r\n") + 4
        at = after_head + cut % (len(response) - after_head)
        assert read_as_httpcore_does(response, [at]) == (False, False)
