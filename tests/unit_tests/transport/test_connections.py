"""Connections: closed when a caller leaves, used again when a reply was whole, and never left open."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Generator
from functools import reduce
from itertools import count
from operator import add
from typing import Any

import httpx
import pytest
from langchain_core.messages import BaseMessage

from langchain_workers_gemma import (
    ChatWorkersGemma,
    InternalServerError,
    WorkersGemmaEmbeddings,
    WorkersGemmaError,
)
from tests.helpers.fault_server import (
    CLOSE,
    FIRST_EVENT,
    HALF_RESPONSE,
    HEAD_THEN_STALL,
    HELLO_RESPONSE,
    HELLO_STREAM,
    HELLO_TEXT,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    Script,
    Wait,
    choose_hello_script,
    encode_event,
    make_envelope,
    make_error_envelope,
    make_http_response,
    make_response_head,
    make_server_model,
)
from tests.helpers.model_calls import (
    API_TOKEN,
    CALL_METHODS,
    STREAM_METHODS,
    acollect_chunks,
    call_model,
    make_model,
    merge_chunks,
)

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]


# --- Leaving early ----------------------------------------------------------------------------------------------------

LEFT = ("closed", "reset")
ENDLESS: Script = (STREAM_HEAD, FIRST_EVENT, FIRST_EVENT, STALL)


def test_abandoned_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    for _ in make_server_model(server, timeout=60).stream("Hi"):
        break
    assert server.wait_for_disconnect() in LEFT
    assert server.wait_until_at_most_open(0) == 0


def test_closed_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    stream = make_server_model(server, timeout=60).stream("Hi")
    assert next(stream).text == "Hel"
    stream.close()  # type: ignore[attr-defined]
    assert server.wait_for_disconnect() in LEFT


async def test_abandoned_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    async for _ in make_server_model(server, timeout=60).astream("Hi"):
        break
    assert await asyncio.to_thread(server.wait_for_disconnect) in LEFT


async def test_closed_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    stream = make_server_model(server, timeout=60).astream("Hi")
    assert (await anext(stream)).text == "Hel"
    assert isinstance(stream, AsyncIterator)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(server.wait_for_disconnect) in LEFT


def test_stream_abandoned_at_the_end_of_its_loop(server: FaultServer) -> None:
    async def leave() -> None:
        async for _ in make_server_model(server, timeout=60).astream("Hi"):
            break

    server.play(ENDLESS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave())
        gc.collect()
    assert server.wait_for_disconnect() in LEFT


@pytest.mark.parametrize("script", [ENDLESS, (STALL,), HEAD_THEN_STALL], ids=["stream", "before head", "after head"])
@pytest.mark.parametrize("call_method", ["ainvoke", "astream"])
async def test_cancelled_call_closes_its_connection(server: FaultServer, script: Script, call_method: str) -> None:
    server.play(script)
    llm = make_server_model(server, timeout=60)

    task: asyncio.Task[Any] = asyncio.create_task(
        llm.ainvoke("Hi") if call_method == "ainvoke" else acollect_chunks(llm)
    )
    while not server.requests:  # noqa: ASYNC110 - the server is in another thread
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait_for_disconnect) in LEFT
    left = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    assert not left


async def test_wait_for_closes_the_connection(server: FaultServer) -> None:
    server.play((STALL,))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(make_server_model(server, timeout=60).ainvoke("Hi"), 1)
    assert await asyncio.to_thread(server.wait_for_disconnect) in LEFT


def test_cancelled_between_retries(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # a real nap, which the cancellation ends
    server.play((make_http_response(500, b"", retry_after="60"),))

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(make_server_model(server).ainvoke("Hi"), 1)

    asyncio.run(leave())
    assert len(server.requests) == 1
    assert server.wait_until_at_most_open(0) == 0


# --- Nothing left open ------------------------------------------------------------------------------------------------


def test_connections_are_reused(server: FaultServer) -> None:
    server.play((HELLO_RESPONSE,))
    llm = make_server_model(server)
    for _ in range(20):
        assert llm.invoke("Hi").text == HELLO_TEXT
    assert server.accepted_connections == 1
    server.play((HELLO_STREAM,))
    for _ in range(20):
        assert reduce(add, llm.stream("Hi")).text == HELLO_TEXT
    assert server.accepted_connections == 1


def test_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with FaultServer() as server:
        server.play((HELLO_RESPONSE, CLOSE))
        llm = make_server_model(server, max_retries=0)
        for _ in range(5):
            assert llm.invoke("Hi").text == HELLO_TEXT
            assert server.wait_until_at_most_open(0) == 0
        assert server.accepted_connections == 5


REST = make_http_response(200, make_envelope({"response": "for somebody else"}))
WHOLE_BODY = HELLO_RESPONSE.partition(b"\r\n\r\n")[2]
STREAM_BODY = b'data: {"response": "Hel"}\n\n'
UNCLEAR = {
    "half a JSON": make_http_response(200, WHOLE_BODY[:20]),
    "a length too short": make_response_head(200, content_length="20") + WHOLE_BODY + REST,
    "a length too short, in a stream": make_response_head(200, content_length=str(len(STREAM_BODY)))
    + STREAM_BODY
    + REST,
    "a frame that is no JSON": STREAM_HEAD + encode_event(b"{nope") + STREAM_END + REST,
    "broken compression": make_http_response(200, b"no gzip at all", content_encoding="gzip") + REST,
    "a page of a proxy": make_http_response(503, b"<html>busy</html>", content_type="text/html") + REST,
    "an error with a length too short": make_response_head(429, content_length="9")
    + json.dumps(make_error_envelope(3040)).encode()
    + REST,
    "an error without a word": make_http_response(500) + REST,
    "a redirect": make_http_response(302, b"", location="/again") + REST,
}
"""Replies that are not understood, with what is left of them, in one packet."""


@pytest.mark.parametrize("unclear", UNCLEAR)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_a_reply_that_is_not_understood_does_no_harm_to_the_next_call(
    server: FaultServer, unclear: str, owner: str, call_method: str
) -> None:
    """What is left of it on the connection is not taken for another call's reply.

    One event loop for both calls, since each loop has connections of its own.
    """
    server.play((UNCLEAR[unclear],), (HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE,))
    async with httpx.AsyncClient() as async_client:
        with httpx.Client() as client:
            own = {"http_client": client, "http_async_client": async_client} if owner == "the caller's" else {}
            llm = make_server_model(server, max_retries=0, **own)

            async def once() -> str:
                if call_method == "astream":
                    return str(merge_chunks(await acollect_chunks(llm)).text)
                return str(
                    ((await llm.ainvoke("Hi")) if call_method == "ainvoke" else call_model(llm, call_method, "Hi")).text
                )

            with pytest.raises(WorkersGemmaError):
                await once()
            assert await once() == HELLO_TEXT
            assert len(server.requests) == 2
            assert server.accepted_connections == 2
            assert await asyncio.to_thread(server.wait_until_at_most_open, 1) == 1


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("status", [200, 429])
def test_an_error_in_the_services_words_keeps_its_connection(
    server: FaultServer, status: int, call_method: str
) -> None:
    busy = make_http_response(status, make_error_envelope(3040))
    server.play((busy,), (busy,), (HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE,))
    assert call_model(make_server_model(server, max_retries=2), call_method, "Hi").text == HELLO_TEXT
    assert len(server.requests) == 3
    assert server.accepted_connections == 1


class CancelledAt:
    """Awaits something in a task that is cancelled when it comes to wait for so many times."""

    def __init__(self, turn: int, awaited: Awaitable[object]) -> None:
        self._turn = turn
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        inner: Any = self._awaited.__await__()
        thrown: BaseException | None = None
        for turn in count(1):
            try:
                waiting = inner.send(None) if thrown is None else inner.throw(thrown)
            except StopIteration:
                return
            task = asyncio.current_task()
            if turn == self._turn and task is not None:
                task.cancel()
            thrown = None
            try:
                yield waiting
            except BaseException as error:  # noqa: BLE001 - handed on
                thrown = error


def test_a_call_that_is_cancelled_anywhere_leaves_no_connection(server: FaultServer) -> None:
    """While it connects, sends, reads, hangs up on what cannot be read, and closes."""
    server.play((STREAM_HEAD, FIRST_EVENT, encode_event(b"{nope"), STALL))
    llm = make_server_model(server, max_retries=0)

    async def leave(turn: int) -> None:
        await CancelledAt(turn, acollect_chunks(llm))

    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(1, 30):
            with pytest.raises((asyncio.CancelledError, InternalServerError)) as raised:
                asyncio.run(leave(turn))
            assert server.wait_until_at_most_open(0) == 0
            outcomes.append(raised.type)
        gc.collect()
    cancelled = outcomes.index(InternalServerError)
    assert cancelled > 8
    assert set(outcomes[cancelled:]) == {InternalServerError}, "every turn was tried"


@pytest.mark.parametrize("call_method", ["embed_query", "aembed_query"])
async def test_vectors_that_cannot_be_read_do_no_harm_to_the_next_call(server: FaultServer, call_method: str) -> None:
    rest = make_http_response(200, make_envelope({"data": [[1.0]], "shape": [1, 1]}))  # somebody else's
    server.play(
        (make_response_head(200, content_length="5") + b'{"res' + rest,),
        (make_http_response(200, make_envelope({"data": [[0.5]]})),),
    )
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, base_url=server.url, max_retries=0)

    async def once() -> object:
        return llm.embed_query("Hi") if call_method == "embed_query" else await llm.aembed_query("Hi")

    with pytest.raises(InternalServerError, match="not JSON"):
        await once()
    assert await once() == [0.5]
    assert server.accepted_connections == 2


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stream_answered_with_nothing_does_no_harm_to_the_next_request(server: FaultServer, call_method: str) -> None:
    rest = make_http_response(200, make_envelope({"response": "for somebody else"}))
    server.play((make_http_response(200) + rest,), (HELLO_RESPONSE,))
    assert call_model(make_server_model(server, max_retries=0), call_method).text == HELLO_TEXT
    assert len(server.requests) == 2


def test_nothing_leaks_over_many_calls() -> None:
    """Faults of all kinds, many times: no connection is left but the one for reuse, and no warning is given."""
    kinds: list[Script] = [
        (HELLO_RESPONSE,),
        (RESET,),
        (HALF_RESPONSE, RESET),
        (make_http_response(500, b""),),
        (make_http_response(200, b"garbage"),),
        (HALF_RESPONSE, CLOSE),
        (make_http_response(400, make_error_envelope(5006)),),
    ]
    outcomes: list[object] = []

    async def many(llm: ChatWorkersGemma) -> int:
        outcomes.extend(await llm.abatch([str(n) for n in range(140)], {"max_concurrency": 16}, return_exceptions=True))
        return len(asyncio.all_tasks()) - 1

    with warnings.catch_warnings(), FaultServer(lambda request: kinds[int(request.prompt) % len(kinds)]) as server:
        warnings.simplefilter("error")
        llm = make_server_model(server, max_retries=0, timeout=10)
        for n in range(280):
            try:
                outcomes.append(llm.invoke(str(n)))
            except WorkersGemmaError as error:
                outcomes.append(error)
        assert server.wait_until_at_most_open(1) <= 1
        for _ in range(3):  # several event loops, one after another
            assert asyncio.run(many(llm)) == 0
            assert server.wait_until_at_most_open(1) <= 1
        gc.collect()
    assert len(outcomes) == 280 + 3 * 140
    assert all(isinstance(outcome, BaseMessage | WorkersGemmaError) for outcome in outcomes)
    assert sum(isinstance(outcome, BaseMessage) for outcome in outcomes) == len(outcomes) // len(kinds)


def test_new_loops_issue_no_warnings() -> None:
    """A loop that is closed without ceremony, as older programs do, leaves nothing behind that complains."""
    with FaultServer(choose_hello_script) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        llm = make_server_model(server)
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(llm.ainvoke("Hi")).text == HELLO_TEXT
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        gc.collect()
        assert server.wait_until_at_most_open(1) <= 1


def test_callers_clients_are_used_and_left_open() -> None:
    with FaultServer(choose_hello_script) as server, httpx.Client() as client:
        llm = make_server_model(server, http_client=client)
        assert llm.invoke("Hi").text == HELLO_TEXT
        assert reduce(add, llm.stream("Hi")).text == HELLO_TEXT
        assert not client.is_closed
        assert server.accepted_connections == 1

    async def ask_twice(base_url: str) -> None:
        async with httpx.AsyncClient() as client:
            llm = make_model(base_url=base_url, http_async_client=client)
            assert (await llm.ainvoke("Hi")).text == HELLO_TEXT
            assert await acollect_chunks(llm)
            assert not client.is_closed

    with FaultServer(choose_hello_script) as server:
        asyncio.run(ask_twice(server.url))
        assert server.accepted_connections == 1


def test_no_cookies_are_kept() -> None:
    """What a server sets in answer to one account does not travel with another's calls."""
    with FaultServer() as server:
        server.play(
            (make_http_response(200, make_envelope({"response": HELLO_TEXT}), set_cookie="__cf_bm=secret; Path=/"),)
        )
        for account in ("one", "two"):
            make_server_model(server, account_id=account).invoke("Hi")
            asyncio.run(make_server_model(server, account_id=account).ainvoke("Hi"))
        assert all("cookie" not in request.headers for request in server.requests)


def test_a_stream_is_emitted_as_it_arrives(server: FaultServer) -> None:
    """No piece waits for the next one."""
    seen = threading.Event()
    rest = encode_event({"response": "lo"}) + encode_event(b"[DONE]") + STREAM_END
    server.play((STREAM_HEAD, FIRST_EVENT, Wait(seen), rest))
    told = []
    for piece in make_server_model(server, timeout=5).stream("Hi"):
        told.append(str(piece.text))
        seen.set()
    assert told[:2] == ["Hel", "lo"]
