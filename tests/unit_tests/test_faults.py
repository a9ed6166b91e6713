"""Each fault x each way of asking, on real sockets: the right answer or a typed error, and nothing left open."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core import exceptions as core
from langchain_core.messages import AIMessageChunk, BaseMessage

from langchain_workers_gemma import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    CapacityError,
    ChatWorkersGemma,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    StreamInterruptedError,
    StreamTimeoutError,
    WorkersGemmaEmbeddings,
    WorkersGemmaError,
)
from tests.unit_tests.asking import GEMMA_3, TOKEN, gemma
from tests.unit_tests.fault_server import (
    CLOSE,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    STREAMED_HELLO,
    USAGE,
    WHOLE_HELLO,
    Drip,
    FaultServer,
    Script,
    chunk,
    envelope,
    event,
    head,
    hello,
    http,
    refusal,
    refusing_port,
    without_naps,
)

WHOLE = ("invoke", "ainvoke", "batch", "abatch")
STREAMED = ("stream", "astream")
HELLO = "Hello"
TIMEOUT = 0.5  # seconds; every stall costs this much


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as playing:
        yield playing


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_naps(monkeypatch)


def model(server: FaultServer, **arguments: Any) -> ChatWorkersGemma:
    return gemma(**{"base_url": server.url, "max_retries": 1, "timeout": 20, **arguments})


def ask(llm: ChatWorkersGemma, way: str) -> BaseMessage:
    """The message, chunks merged; a batch's first error is raised."""
    if way == "invoke":
        return llm.invoke("Hi")
    if way == "ainvoke":
        return asyncio.run(llm.ainvoke("Hi"))
    if way == "batch":
        return _alike(llm.batch(["Hi", "Hi there", "Hi again"], return_exceptions=True))
    if way == "abatch":
        return _alike(asyncio.run(llm.abatch(["Hi", "Hi there", "Hi again"], return_exceptions=True)))
    if way == "stream":
        return reduce(add, llm.stream("Hi"))
    return asyncio.run(_merged(llm))


async def _merged(llm: ChatWorkersGemma) -> AIMessageChunk:
    return reduce(add, [chunk async for chunk in llm.astream("Hi")])


def _alike(outcomes: list[Any]) -> BaseMessage:
    """One outcome of a batch in which all must be of one kind."""
    assert len({type(outcome) for outcome in outcomes}) == 1, outcomes
    first = outcomes[0]
    if isinstance(first, BaseException):
        raise first
    assert isinstance(first, BaseMessage)
    return first


Outcome = str | type[WorkersGemmaError]


@dataclass(frozen=True)
class Fault:
    """Scripts for one request after another, the outcome, and how many requests there are in all.

    `ok` as the last script stands for the right answer. `streamed` overrides what differs where a stream is asked for.
    """

    name: str
    scripts: tuple[Script, ...]
    outcome: Outcome
    requests: int = 1
    streamed: tuple[tuple[Script, ...], Outcome, int] | None = None
    says: str = ""
    ways: tuple[str, ...] = (*WHOLE, *STREAMED)
    model: dict[str, Any] = field(default_factory=dict)


OK: Script = ()  # replaced by the right answer in the form asked for
EVENT = event({"response": "Hel"})
HALF = WHOLE_HELLO[: len(WHOLE_HELLO) // 2 + 40]
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
ONLY_DONE = STREAM_HEAD + event(b"[DONE]") + STREAM_END
BOTH_HEADS_STALL: Script = (head(200, content_length="100"), STALL)


def error_frame(code: int) -> bytes:
    return event({"errors": [{"code": code, "message": "AiError"}], "success": False})


def always(*script: Any) -> tuple[Script, ...]:
    return (script,)


def once(*script: Any) -> tuple[Script, ...]:
    return (script, OK)


FAULTS = [
    # The connection
    Fault("reset before the head", once(RESET), HELLO, 2),
    Fault("reset before the head, always", always(RESET), APIConnectionError, 2),
    Fault("closed before the head", once(CLOSE), HELLO, 2),
    Fault("reset in the head", once(b"HTTP/1.1 200 OK\r\nContent-Ty", RESET), HELLO, 2),
    Fault("closed in the head", always(b"HTTP/1.1 200 OK\r\nContent-Ty", CLOSE), APIConnectionError, 2),
    Fault("not HTTP", always(b"\x16\x03\x01 lol\r\n\r\n", CLOSE), APIConnectionError, 2),
    Fault("not HTTP, once", once(b"220 smtp.example.com\r\n", CLOSE), HELLO, 2),
    Fault("a head without end", always(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, CLOSE), APIConnectionError, 2),
    Fault(
        "reset in the body",
        once(HALF, RESET),
        HELLO,
        2,
        streamed=(always(STREAM_HEAD + EVENT, RESET), StreamInterruptedError, 1),
    ),
    Fault(
        "cut in the body",
        once(HALF, CLOSE),
        HELLO,
        2,
        streamed=(always(STREAM_HEAD + EVENT, CLOSE), StreamInterruptedError, 1),
    ),
    Fault("cut in the body, always", always(HALF, CLOSE), APIConnectionError, 2, ways=WHOLE),
    Fault("a clean cut", always(STREAM_HEAD, EVENT, STREAM_END), StreamInterruptedError, ways=STREAMED),
    Fault(
        "a cut within an event",
        always(STREAM_HEAD, EVENT, chunk(b'data: {"respon'), STREAM_END),
        StreamInterruptedError,
        ways=STREAMED,
    ),
    Fault("reset before the first event", once(STREAM_HEAD, RESET), HELLO, 2, ways=STREAMED),
    Fault("reset within the first event", once(STREAM_HEAD, EVENT[:12], RESET), HELLO, 2, ways=STREAMED),
    Fault("reset after [DONE]", always(STREAMED_HELLO.removesuffix(STREAM_END), RESET), HELLO, ways=STREAMED),
    Fault(
        "usage beside every piece, then a cut",
        always(STREAM_HEAD, *(event({"response": "x", "usage": USAGE}) for _ in range(3)), STREAM_END),
        StreamInterruptedError,
        ways=STREAMED,
    ),
    Fault(
        "no [DONE] but usage",
        always(STREAM_HEAD, event({"response": "Hello"}), event({"response": "", "usage": USAGE}), STREAM_END),
        HELLO,
        ways=STREAMED,
    ),
    Fault(
        "no [DONE] but usage beside the last piece",
        always(STREAM_HEAD, event({"response": "Hel"}), event({"response": "lo", "usage": USAGE}), STREAM_END),
        HELLO,
        ways=STREAMED,
    ),
    Fault(
        "no [DONE] but a finish reason",
        always(STREAM_HEAD, event({"choices": [{"delta": {"content": HELLO}, "finish_reason": "stop"}]}), STREAM_END),
        HELLO,
        ways=STREAMED,
    ),
    # Time
    Fault("stall before the head", once(STALL), HELLO, 2),
    Fault("stall before the head, always", always(STALL), APITimeoutError, 2),
    Fault("stall after the head", once(*BOTH_HEADS_STALL), HELLO, 2),
    Fault("stall after the head, always", always(*BOTH_HEADS_STALL), APITimeoutError, 2),
    Fault(
        "stall in the body",
        once(HALF, STALL),
        HELLO,
        2,
        streamed=(always(STREAM_HEAD, EVENT, STALL), StreamTimeoutError, 1),
    ),
    Fault(
        "slow but alive",
        always(Drip(WHOLE_HELLO, 0.0005)),
        HELLO,
        streamed=(always(Drip(STREAMED_HELLO, 0.0005)), HELLO, 1),
    ),
    # What the service says
    Fault("429 then right", once(http(429, refusal(None, "Too many"))), HELLO, 2),
    Fault("429 always", always(http(429, refusal(None, "Too many"))), RateLimitError, 2, says="Too many"),
    Fault("429, later", always(http(429, refusal(None), retry_after="61")), RateLimitError, 1),
    Fault("429, a little later", once(http(429, refusal(None), retry_after="60")), HELLO, 2),
    Fault("3040 then right", once(http(429, refusal(3040))), HELLO, 2),
    Fault("3040 always", always(http(429, refusal(3040))), CapacityError, 2),
    Fault("3036", always(http(429, refusal(3036))), QuotaExceededError, 1),
    Fault("408 then right", once(http(408, refusal(3007))), HELLO, 2),
    Fault("408 always", always(http(408, refusal(3007))), RequestTimeoutError, 2),
    Fault("409 then right", once(http(409, b"")), HELLO, 2),
    Fault("500 then right", once(http(500, b"")), HELLO, 2),
    Fault("500 always", always(http(500, b"")), InternalServerError, 2),
    Fault("500 twice, retried twice", (*always(http(500)), *once(http(500))), HELLO, 3, model={"max_retries": 2}),
    Fault("500, no retries", always(http(500, b"")), InternalServerError, 1, model={"max_retries": 0}),
    Fault("502 in HTML", always(http(502, HTML, content_type="text/html")), InternalServerError, 2, says="502 Bad"),
    Fault("400", always(http(400, refusal(5006, "Bad input"))), BadRequestError, 1, says="Bad input"),
    Fault("3040 under 200", once(http(200, refusal(3040))), HELLO, 2),
    Fault("5006 under 200", always(http(200, refusal(5006))), BadRequestError, 1),
    Fault("a redirect", always(http(307, b"", location="https://example.com/")), InternalServerError, 1),
    Fault("an error's body is cut", once(head(500, content_length="99") + b"{", CLOSE), HELLO, 2),
    Fault("an error frame first", once(STREAM_HEAD, error_frame(3040), STREAM_END), HELLO, 2, ways=STREAMED),
    Fault("an error frame only", always(STREAM_HEAD, error_frame(3040), STREAM_END), CapacityError, 2, ways=STREAMED),
    Fault("an error frame after text", always(STREAM_HEAD, EVENT, error_frame(3040)), CapacityError, 1, ways=STREAMED),
    Fault(
        "an error frame in the same packet as text",
        always(STREAM_HEAD + EVENT + error_frame(3040)),
        CapacityError,
        ways=STREAMED,
    ),
    Fault(
        "an error frame without end",
        always(STREAM_HEAD, EVENT, chunk(b'data: {"error": {"message": "boom", "code": 500}}'), STREAM_END),
        InternalServerError,
        says="boom",
        ways=STREAMED,
    ),
    # What cannot be read
    Fault(
        "nothing under 200",
        always(http(200, b"")),
        InternalServerError,
        streamed=(always(http(200, b"")), InternalServerError, 2),
        says="cannot be read",
    ),
    Fault("a stream answered with nothing", ((http(200),), (WHOLE_HELLO,)), HELLO, 2, ways=STREAMED),
    Fault("a stream answered with null", ((http(200, envelope(None)),), (WHOLE_HELLO,)), HELLO, 2, ways=STREAMED),
    Fault("a stream answered with [DONE]", ((ONLY_DONE,), (WHOLE_HELLO,)), HELLO, 2, ways=STREAMED),
    Fault("a stream answered with one body", always(WHOLE_HELLO), HELLO, ways=STREAMED),
    Fault(
        "garbage under 200",
        always(http(200, b"\x00\xff\xfe garbage")),
        InternalServerError,
        streamed=(always(http(200, b"\x00\xff\xfe garbage")), InternalServerError, 2),
        says="cannot be read",
    ),
    Fault("HTML under 200", always(http(200, HTML)), InternalServerError, says="cannot be read"),
    Fault("half a JSON", always(http(200, b'{"result": {"respon')), InternalServerError, says="not JSON"),
    Fault("another JSON", always(http(200, envelope({"answer": 42}))), InternalServerError, says="neither"),
    Fault("a garbage frame", always(STREAM_HEAD, EVENT, event(b"{nope")), InternalServerError, ways=STREAMED),
    Fault("a garbage frame first", always(STREAM_HEAD, event(b"nope")), InternalServerError, ways=STREAMED),
    Fault("a frame that is a list", always(STREAM_HEAD, EVENT, event(b"[1]")), InternalServerError, ways=STREAMED),
    Fault(
        "empty frames and comments",
        always(STREAM_HEAD, chunk(b": hi\n\ndata:\n\ndata: \n\n"), STREAMED_HELLO.removeprefix(STREAM_HEAD)),
        HELLO,
        ways=STREAMED,
    ),
    Fault(
        "a length too short",
        always(head(200, content_length="20") + WHOLE_HELLO.partition(b"\r\n\r\n")[2]),
        InternalServerError,
        streamed=(
            always(head(200, content_length="30") + b'data: {"response": "Hel"}\n\ndata: {"response": "lo"}\n\n'),
            StreamInterruptedError,
            1,
        ),
    ),
    Fault(
        "a length too long",
        once(head(200, content_length="9999") + WHOLE_HELLO.partition(b"\r\n\r\n")[2], CLOSE),
        HELLO,
        2,
        streamed=(
            always(head(200, content_length="9999") + b'data: {"response": "Hello"}\n\ndata: [DONE]\n\n', CLOSE),
            HELLO,
            1,
        ),
    ),
    Fault("no length at all", always(head(200) + WHOLE_HELLO.partition(b"\r\n\r\n")[2], CLOSE), HELLO),
    Fault("a bad chunk", once(STREAM_HEAD, b"zz\r\nlol\r\n"), HELLO, 2),
    Fault(
        "broken compression",
        always(http(200, b"no gzip at all", content_encoding="gzip")),
        InternalServerError,
        says="content encoding",
    ),
]


@pytest.mark.parametrize(
    ("fault", "way"), [pytest.param(fault, way, id=f"{fault.name}-{way}") for fault in FAULTS for way in fault.ways]
)
def test_fault(server: FaultServer, fault: Fault, way: str) -> None:
    scripts, outcome, requests = fault.scripts, fault.outcome, fault.requests
    if way in STREAMED and fault.streamed is not None:
        scripts, outcome, requests = fault.streamed
    right = STREAMED_HELLO if way in STREAMED else WHOLE_HELLO
    server.play(*(script or (right,) for script in scripts))
    stalls = any(STALL in script for script in scripts)
    llm = model(server, timeout=TIMEOUT if stalls else 20, **fault.model)
    if isinstance(outcome, str):
        assert ask(llm, way).text == outcome
    else:
        with pytest.raises(outcome) as raised:
            ask(llm, way)
        error = raised.value
        assert type(error) is outcome
        assert fault.says in str(error)
        assert isinstance(error, core.ModelError)
        if isinstance(error, InternalServerError) and "cannot be read" in str(error):
            assert error.status_code == 200
    assert len(server.requests) == requests * (3 if "batch" in way else 1)


@pytest.mark.parametrize("way", [*WHOLE, *STREAMED])
def test_refused_connection(way: str) -> None:
    with refusing_port() as port:
        llm = gemma(base_url=f"http://127.0.0.1:{port}", max_retries=1)
        with pytest.raises(APIConnectionError) as raised:
            ask(llm, way)
    assert raised.value.is_retryable


@pytest.mark.parametrize("way", [*WHOLE, *STREAMED])
def test_unknown_host(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(APIConnectionError):
        ask(gemma(base_url="http://nowhere.invalid", max_retries=0), way)


# --- What a broken stream leaves --------------------------------------------------------------------------------------


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


# --- Leaving early ----------------------------------------------------------------------------------------------------

LEFT = ("closed", "reset")
ENDLESS: Script = (STREAM_HEAD, EVENT, EVENT, STALL)


def test_abandoned_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    for _ in model(server, timeout=60).stream("Hi"):
        break
    assert server.wait_until_left() in LEFT
    assert server.wait_until_open(0) == 0


def test_closed_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    stream = model(server, timeout=60).stream("Hi")
    assert next(stream).text == "Hel"
    stream.close()  # type: ignore[attr-defined]
    assert server.wait_until_left() in LEFT


async def test_abandoned_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    async for _ in model(server, timeout=60).astream("Hi"):
        break
    assert await asyncio.to_thread(server.wait_until_left) in LEFT


async def test_closed_async_stream_closes_its_connection(server: FaultServer) -> None:
    server.play(ENDLESS)
    stream = model(server, timeout=60).astream("Hi")
    assert (await anext(stream)).text == "Hel"
    assert isinstance(stream, AsyncIterator)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(server.wait_until_left) in LEFT


def test_stream_abandoned_at_the_end_of_its_loop(server: FaultServer) -> None:
    async def leave() -> None:
        async for _ in model(server, timeout=60).astream("Hi"):
            break

    server.play(ENDLESS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave())
        gc.collect()
    assert server.wait_until_left() in LEFT


@pytest.mark.parametrize("script", [ENDLESS, (STALL,), BOTH_HEADS_STALL], ids=["stream", "before head", "after head"])
@pytest.mark.parametrize("way", ["ainvoke", "astream"])
async def test_cancelled_call_closes_its_connection(server: FaultServer, script: Script, way: str) -> None:
    server.play(script)
    llm = model(server, timeout=60)

    async def consume() -> None:
        async for _ in llm.astream("Hi"):
            pass

    task: asyncio.Task[Any] = asyncio.create_task(llm.ainvoke("Hi") if way == "ainvoke" else consume())
    while not server.requests:  # noqa: ASYNC110 - the server is in another thread
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.wait_until_left) in LEFT
    left = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    assert not left


async def test_wait_for_closes_the_connection(server: FaultServer) -> None:
    server.play((STALL,))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model(server, timeout=60).ainvoke("Hi"), 1)
    assert await asyncio.to_thread(server.wait_until_left) in LEFT


def test_cancelled_between_retries(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # a real nap, which the cancellation ends
    server.play((http(500, b"", retry_after="60"),))

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model(server).ainvoke("Hi"), 0.2)

    asyncio.run(leave())
    assert len(server.requests) == 1
    assert server.wait_until_open(0) == 0


# --- Nothing left open ------------------------------------------------------------------------------------------------


def test_connections_are_reused(server: FaultServer) -> None:
    server.play((WHOLE_HELLO,))
    llm = model(server)
    for _ in range(20):
        assert llm.invoke("Hi").text == HELLO
    assert server.accepted == 1
    server.play((STREAMED_HELLO,))
    for _ in range(20):
        assert reduce(add, llm.stream("Hi")).text == HELLO
    assert server.accepted == 1


def test_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    with FaultServer() as server:
        server.play((WHOLE_HELLO, CLOSE))
        llm = model(server, max_retries=0)
        for _ in range(5):
            assert llm.invoke("Hi").text == HELLO
            assert server.wait_until_open(0) == 0
        assert server.accepted == 5


@pytest.mark.parametrize("broken", ["half a JSON", "a length too short"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_reply_that_cannot_be_read_does_no_harm_to_the_next_call(
    server: FaultServer, broken: str, way: str
) -> None:
    """What is left of it on the connection is not taken for another call's reply: an answer to somebody else, at worst.

    One event loop for both calls, since each loop has connections of its own.
    """
    whole = WHOLE_HELLO.partition(b"\r\n\r\n")[2]
    streamed = b'data: {"response": "Hel"}\n\n'
    rest = http(200, envelope({"response": "for somebody else"}))
    first = {
        ("half a JSON", False): http(200, whole[:20]),
        ("half a JSON", True): http(200, whole[:20]),
        ("a length too short", False): head(200, content_length="20") + whole[:20] + rest,
        ("a length too short", True): head(200, content_length=str(len(streamed))) + streamed + rest,
    }[broken, way in STREAMED]
    right = STREAMED_HELLO if way in STREAMED else WHOLE_HELLO
    llm = model(server, max_retries=0)

    async def once() -> str:
        if way == "astream":
            return str((await _merged(llm)).text)
        if way == "ainvoke":
            return str((await llm.ainvoke("Hi")).text)
        return str(ask(llm, way).text)

    server.play((first,), (right,))
    with pytest.raises(WorkersGemmaError):
        await once()
    assert await once() == HELLO
    assert len(server.requests) == 2
    assert server.accepted == 2
    assert await asyncio.to_thread(server.wait_until_open, 1) == 1


@pytest.mark.parametrize("way", ["embed_query", "aembed_query"])
async def test_vectors_that_cannot_be_read_do_no_harm_to_the_next_call(server: FaultServer, way: str) -> None:
    rest = http(200, envelope({"data": [[1.0]], "shape": [1, 1]}))  # somebody else's
    server.play((head(200, content_length="5") + b'{"res' + rest,), (http(200, envelope({"data": [[0.5]]})),))
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=TOKEN, base_url=server.url, max_retries=0)

    async def once() -> object:
        return llm.embed_query("Hi") if way == "embed_query" else await llm.aembed_query("Hi")

    with pytest.raises(InternalServerError, match="not JSON"):
        await once()
    assert await once() == [0.5]
    assert server.accepted == 2


@pytest.mark.parametrize("way", STREAMED)
def test_a_stream_answered_with_nothing_does_no_harm_to_the_next_request(server: FaultServer, way: str) -> None:
    rest = http(200, envelope({"response": "for somebody else"}))
    server.play((http(200) + rest,), (WHOLE_HELLO,))
    assert ask(model(server, max_retries=0), way).text == HELLO
    assert len(server.requests) == 2


def test_nothing_leaks_over_many_calls() -> None:
    """Faults of all kinds, many times: no connection is left but the one for reuse, and no warning is given."""
    kinds: list[Script] = [
        (WHOLE_HELLO,),
        (RESET,),
        (HALF, RESET),
        (http(500, b""),),
        (http(200, b"garbage"),),
        (HALF, CLOSE),
        (http(400, refusal(5006)),),
    ]
    outcomes: list[object] = []

    async def many(llm: ChatWorkersGemma) -> int:
        outcomes.extend(await llm.abatch([str(n) for n in range(140)], {"max_concurrency": 16}, return_exceptions=True))
        return len(asyncio.all_tasks()) - 1

    with warnings.catch_warnings(), FaultServer(lambda request: kinds[int(request.prompt) % len(kinds)]) as server:
        warnings.simplefilter("error")
        llm = model(server, max_retries=0, timeout=10)
        for n in range(280):
            try:
                outcomes.append(llm.invoke(str(n)))
            except WorkersGemmaError as error:
                outcomes.append(error)
        assert server.wait_until_open(1) <= 1
        for _ in range(3):  # several event loops, one after another
            assert asyncio.run(many(llm)) == 0
            assert server.wait_until_open(1) <= 1
        gc.collect()
    assert len(outcomes) == 280 + 3 * 140
    assert all(isinstance(outcome, BaseMessage | WorkersGemmaError) for outcome in outcomes)
    assert sum(isinstance(outcome, BaseMessage) for outcome in outcomes) == len(outcomes) // len(kinds)


def test_new_loops_make_no_warnings() -> None:
    """A loop that is closed without ceremony, as older programs do, leaves nothing behind that complains."""
    with FaultServer(hello) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        llm = model(server)
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(llm.ainvoke("Hi")).text == HELLO
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        gc.collect()
        assert server.wait_until_open(1) <= 1


def test_callers_clients_are_used_and_left_open() -> None:
    import httpx

    with FaultServer(hello) as server, httpx.Client() as client:
        llm = model(server, http_client=client)
        assert llm.invoke("Hi").text == HELLO
        assert reduce(add, llm.stream("Hi")).text == HELLO
        assert not client.is_closed
        assert server.accepted == 1

    async def ask_twice(base_url: str) -> None:
        async with httpx.AsyncClient() as client:
            llm = gemma(base_url=base_url, http_async_client=client)
            assert (await llm.ainvoke("Hi")).text == HELLO
            assert [chunk async for chunk in llm.astream("Hi")]
            assert not client.is_closed

    with FaultServer(hello) as server:
        asyncio.run(ask_twice(server.url))
        assert server.accepted == 1


def test_no_cookies_are_kept() -> None:
    """What a server sets in answer to one account does not travel with another's calls."""
    with FaultServer() as server:
        server.play((http(200, envelope({"response": HELLO}), set_cookie="__cf_bm=secret; Path=/"),))
        for account in ("one", "two"):
            model(server, account_id=account).invoke("Hi")
            asyncio.run(model(server, account_id=account).ainvoke("Hi"))
        assert all("cookie" not in request.headers for request in server.requests)


def test_stream_is_told_as_it_comes(server: FaultServer) -> None:
    """No piece waits for the next one."""
    from tests.unit_tests.fault_server import Wait

    seen = threading.Event()
    rest = event({"response": "lo"}) + event(b"[DONE]") + STREAM_END
    server.play((STREAM_HEAD, EVENT, Wait(seen), rest))
    told = []
    for piece in model(server, timeout=5).stream("Hi"):
        told.append(str(piece.text))
        seen.set()
    assert told[:2] == ["Hel", "lo"]
