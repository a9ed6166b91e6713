"""Connections: closed if a caller abandons a call, reused after a complete reply, and never left open."""

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


# --- Abandoned calls --------------------------------------------------------------------------------------------------

DISCONNECTED = ("closed", "reset")
STALLED_STREAM: Script = (STREAM_HEAD, FIRST_EVENT, FIRST_EVENT, STALL)


def test_an_abandoned_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(STALLED_STREAM)
    for _ in make_server_model(server, timeout=60).stream("Hi"):
        break
    assert server.wait_for_disconnect() in DISCONNECTED
    assert server.wait_until_at_most_open(0) == 0


def test_a_closed_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(STALLED_STREAM)
    stream = make_server_model(server, timeout=60).stream("Hi")
    assert next(stream).text == "Hel"
    stream.close()  # type: ignore[attr-defined]
    assert server.wait_for_disconnect() in DISCONNECTED


async def test_an_abandoned_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(STALLED_STREAM)
    async for _ in make_server_model(server, timeout=60).astream("Hi"):
        break
    assert await asyncio.to_thread(server.wait_for_disconnect) in DISCONNECTED


async def test_a_closed_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(STALLED_STREAM)
    stream = make_server_model(server, timeout=60).astream("Hi")
    assert (await anext(stream)).text == "Hel"
    assert isinstance(stream, AsyncIterator)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(server.wait_for_disconnect) in DISCONNECTED


def test_a_stream_abandoned_at_the_end_of_its_loop_closes_its_connection(server: FaultServer) -> None:
    async def leave() -> None:
        async for _ in make_server_model(server, timeout=60).astream("Hi"):
            break

    server.play(STALLED_STREAM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave())
        gc.collect()
    assert server.wait_for_disconnect() in DISCONNECTED


@pytest.mark.parametrize(
    "script", [STALLED_STREAM, (STALL,), HEAD_THEN_STALL], ids=["stream", "before head", "after head"]
)
@pytest.mark.parametrize("call_method", ["ainvoke", "astream"])
async def test_a_cancelled_call_closes_its_connection(server: FaultServer, script: Script, call_method: str) -> None:
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
    assert await asyncio.to_thread(server.wait_for_disconnect) in DISCONNECTED
    tasks = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    assert not tasks


async def test_wait_for_closes_the_connection(server: FaultServer) -> None:
    server.play((STALL,))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(make_server_model(server, timeout=60).ainvoke("Hi"), 1)
    assert await asyncio.to_thread(server.wait_for_disconnect) in DISCONNECTED


def test_a_call_cancelled_between_retries_closes_its_connection(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # a real delay, which the cancellation ends
    server.play((make_http_response(500, b"", retry_after="60"),))

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(make_server_model(server).ainvoke("Hi"), 1)

    asyncio.run(leave())
    assert len(server.requests) == 1
    assert server.wait_until_at_most_open(0) == 0


# --- Reuse and cleanup ------------------------------------------------------------------------------------------------


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


def test_a_connection_closed_by_the_server_is_not_reused() -> None:
    with FaultServer() as server:
        server.play((HELLO_RESPONSE, CLOSE))
        llm = make_server_model(server, max_retries=0)
        for _ in range(5):
            assert llm.invoke("Hi").text == HELLO_TEXT
            assert server.wait_until_at_most_open(0) == 0
        assert server.accepted_connections == 5


ANOTHER_REPLY = make_http_response(200, make_envelope({"response": "for somebody else"}))
WHOLE_BODY = HELLO_RESPONSE.partition(b"\r\n\r\n")[2]
STREAM_BODY = b'data: {"response": "Hel"}\n\n'
UNREADABLE_REPLIES = {
    "half of a JSON body": make_http_response(200, WHOLE_BODY[:20]),
    "a length too short": make_response_head(200, content_length="20") + WHOLE_BODY + ANOTHER_REPLY,
    "a length too short, in a stream": make_response_head(200, content_length=str(len(STREAM_BODY)))
    + STREAM_BODY
    + ANOTHER_REPLY,
    "an event that is not JSON": STREAM_HEAD + encode_event(b"{nope") + STREAM_END + ANOTHER_REPLY,
    "broken compression": make_http_response(200, b"no gzip at all", content_encoding="gzip") + ANOTHER_REPLY,
    "a page of a proxy": make_http_response(503, b"<html>busy</html>", content_type="text/html") + ANOTHER_REPLY,
    "an error with a length too short": make_response_head(429, content_length="9")
    + json.dumps(make_error_envelope(3040)).encode()
    + ANOTHER_REPLY,
    "an error without a body": make_http_response(500) + ANOTHER_REPLY,
    "a redirect": make_http_response(302, b"", location="/again") + ANOTHER_REPLY,
}
"""Unreadable replies, followed by more bytes in the same packet."""


@pytest.mark.parametrize("case", UNREADABLE_REPLIES)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
async def test_an_unreadable_reply_does_not_affect_the_next_call(
    server: FaultServer, case: str, owner: str, call_method: str
) -> None:
    """The bytes that remain on the connection never become the reply to another call.

    Both calls use one event loop, because each loop has its own connections.
    """
    server.play((UNREADABLE_REPLIES[case],), (HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE,))
    async with httpx.AsyncClient() as async_client:
        with httpx.Client() as client:
            client_arguments = (
                {"http_client": client, "http_async_client": async_client} if owner == "the caller's" else {}
            )
            llm = make_server_model(server, max_retries=0, **client_arguments)

            async def call_once() -> str:
                if call_method == "astream":
                    return str(merge_chunks(await acollect_chunks(llm)).text)
                return str(
                    ((await llm.ainvoke("Hi")) if call_method == "ainvoke" else call_model(llm, call_method, "Hi")).text
                )

            with pytest.raises(WorkersGemmaError):
                await call_once()
            assert await call_once() == HELLO_TEXT
            assert len(server.requests) == 2
            assert server.accepted_connections == 2
            assert await asyncio.to_thread(server.wait_until_at_most_open, 1) == 1


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("status", [200, 429])
def test_a_readable_error_keeps_its_connection(server: FaultServer, status: int, call_method: str) -> None:
    busy = make_http_response(status, make_error_envelope(3040))
    server.play((busy,), (busy,), (HELLO_STREAM if call_method in STREAM_METHODS else HELLO_RESPONSE,))
    assert call_model(make_server_model(server, max_retries=2), call_method, "Hi").text == HELLO_TEXT
    assert len(server.requests) == 3
    assert server.accepted_connections == 1


class CancelAtTurn:
    """Awaits an object in a task that is cancelled when it waits for the `turn`-th time."""

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
            except BaseException as error:  # noqa: BLE001 - passed to the coroutine
                thrown = error


def test_a_call_cancelled_anywhere_leaves_no_connection(server: FaultServer) -> None:
    """Cancelled while it connects, sends, reads, aborts after an unreadable event, and closes."""
    server.play((STREAM_HEAD, FIRST_EVENT, encode_event(b"{nope"), STALL))
    llm = make_server_model(server, max_retries=0)

    async def leave(turn: int) -> None:
        await CancelAtTurn(turn, acollect_chunks(llm))

    outcomes = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(1, 30):
            with pytest.raises((asyncio.CancelledError, InternalServerError)) as raised:
                asyncio.run(leave(turn))
            assert server.wait_until_at_most_open(0) == 0
            outcomes.append(raised.type)
        gc.collect()
    first_completed = outcomes.index(InternalServerError)
    assert first_completed > 8
    assert set(outcomes[first_completed:]) == {InternalServerError}, "every turn was cancelled once"


@pytest.mark.parametrize("call_method", ["embed_query", "aembed_query"])
async def test_unreadable_embeddings_do_not_affect_the_next_call(server: FaultServer, call_method: str) -> None:
    rest = make_http_response(200, make_envelope({"data": [[1.0]], "shape": [1, 1]}))  # the reply to another call
    server.play(
        (make_response_head(200, content_length="5") + b'{"res' + rest,),
        (make_http_response(200, make_envelope({"data": [[0.5]]})),),
    )
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, base_url=server.url, max_retries=0)

    async def call_once() -> object:
        return llm.embed_query("Hi") if call_method == "embed_query" else await llm.aembed_query("Hi")

    with pytest.raises(InternalServerError, match="not JSON"):
        await call_once()
    assert await call_once() == [0.5]
    assert server.accepted_connections == 2


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_an_empty_stream_does_not_affect_the_next_request(server: FaultServer, call_method: str) -> None:
    rest = make_http_response(200, make_envelope({"response": "for somebody else"}))
    server.play((make_http_response(200) + rest,), (HELLO_RESPONSE,))
    assert call_model(make_server_model(server, max_retries=0), call_method).text == HELLO_TEXT
    assert len(server.requests) == 2


def test_many_faults_leave_no_connection_open() -> None:
    """After many faults of all kinds, only the connection for reuse is open, and there are no warnings."""
    scripts: list[Script] = [
        (HELLO_RESPONSE,),
        (RESET,),
        (HALF_RESPONSE, RESET),
        (make_http_response(500, b""),),
        (make_http_response(200, b"garbage"),),
        (HALF_RESPONSE, CLOSE),
        (make_http_response(400, make_error_envelope(5006)),),
    ]
    outcomes: list[object] = []

    async def call_many(llm: ChatWorkersGemma) -> int:
        outcomes.extend(await llm.abatch([str(n) for n in range(140)], {"max_concurrency": 16}, return_exceptions=True))
        return len(asyncio.all_tasks()) - 1

    with warnings.catch_warnings(), FaultServer(lambda request: scripts[int(request.prompt) % len(scripts)]) as server:
        warnings.simplefilter("error")
        llm = make_server_model(server, max_retries=0, timeout=10)
        for n in range(280):
            try:
                outcomes.append(llm.invoke(str(n)))
            except WorkersGemmaError as error:
                outcomes.append(error)
        assert server.wait_until_at_most_open(1) <= 1
        for _ in range(3):  # several event loops, one after another
            assert asyncio.run(call_many(llm)) == 0
            assert server.wait_until_at_most_open(1) <= 1
        gc.collect()
    assert len(outcomes) == 280 + 3 * 140
    assert all(isinstance(outcome, BaseMessage | WorkersGemmaError) for outcome in outcomes)
    assert sum(isinstance(outcome, BaseMessage) for outcome in outcomes) == len(outcomes) // len(scripts)


def test_new_event_loops_cause_no_warnings() -> None:
    """An event loop that is closed manually, as older programs do, causes no warnings."""
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


def test_clients_of_the_caller_are_used_and_not_closed() -> None:
    with FaultServer(choose_hello_script) as server, httpx.Client() as client:
        llm = make_server_model(server, http_client=client)
        assert llm.invoke("Hi").text == HELLO_TEXT
        assert reduce(add, llm.stream("Hi")).text == HELLO_TEXT
        assert not client.is_closed
        assert server.accepted_connections == 1

    async def call_twice(base_url: str) -> None:
        async with httpx.AsyncClient() as client:
            llm = make_model(base_url=base_url, http_async_client=client)
            assert (await llm.ainvoke("Hi")).text == HELLO_TEXT
            assert await acollect_chunks(llm)
            assert not client.is_closed

    with FaultServer(choose_hello_script) as server:
        asyncio.run(call_twice(server.url))
        assert server.accepted_connections == 1


def test_no_cookies_are_kept() -> None:
    """A cookie that a server sets for one account is not sent with the calls of another."""
    with FaultServer() as server:
        server.play(
            (make_http_response(200, make_envelope({"response": HELLO_TEXT}), set_cookie="__cf_bm=secret; Path=/"),)
        )
        for account in ("one", "two"):
            make_server_model(server, account_id=account).invoke("Hi")
            asyncio.run(make_server_model(server, account_id=account).ainvoke("Hi"))
        assert all("cookie" not in request.headers for request in server.requests)


def test_a_stream_is_emitted_as_it_arrives(server: FaultServer) -> None:
    """No chunk waits for the next event."""
    received = threading.Event()
    rest = encode_event({"response": "lo"}) + encode_event(b"[DONE]") + STREAM_END
    server.play((STREAM_HEAD, FIRST_EVENT, Wait(received), rest))
    texts = []
    for piece in make_server_model(server, timeout=5).stream("Hi"):
        texts.append(str(piece.text))
        received.set()
    assert texts[:2] == ["Hel", "lo"]
