"""Each fault x each method, on real sockets.

The outcome is the right answer or a typed error that shows no token, after so many requests, with nothing left open.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from langchain_core import exceptions as core
from langchain_core.messages import BaseMessage

from langchain_workers_gemma import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    ChatWorkersGemma,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    StreamInterruptedError,
    StreamTimeoutError,
    WorkersGemmaError,
)
from tests.helpers.asking import STREAMED, TOKEN, achunks, gemma, merged, shown
from tests.helpers.fault_server import (
    CLOSE,
    EVENT,
    HALF,
    HEAD_THEN_STALL,
    HELLO,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    STREAMED_HELLO,
    TIMEOUT,
    USAGE,
    WHOLE_HELLO,
    Drip,
    FaultServer,
    Script,
    chunk,
    envelope,
    event,
    head,
    http,
    model,
    refusal,
    refusing_port,
)

WHOLE = ("invoke", "ainvoke", "batch", "abatch")


pytestmark = pytest.mark.usefixtures("naps")


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
        return merged(list(llm.stream("Hi")))
    return merged(asyncio.run(achunks(llm)))


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

    `ok` as the last script means the right answer. `streamed` overrides what differs where a stream is requested.
    """

    name: str
    scripts: tuple[Script, ...]
    outcome: Outcome
    requests: int = 1
    streamed: tuple[tuple[Script, ...], Outcome, int] | None = None
    says: str = ""
    ways: tuple[str, ...] = (*WHOLE, *STREAMED)
    model: dict[str, Any] = field(default_factory=dict)


OK: Script = ()  # replaced by the right answer in the requested form
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
JSON_HELLO = WHOLE_HELLO.partition(b"\r\n\r\n")[2]
SOMEBODY_ELSES = http(200, envelope({"response": "for somebody else"}))
BOMB = gzip.compress(gzip.compress(b" " * 1_000_000))
SURROGATES = (
    STREAM_HEAD
    + event(b'{"response": "\\ud83d"}')
    + event(b'{"response": "\\ud83d"}')
    + event(b'{"response": "\\ude00"}')
    + event(b"[DONE]")
    + STREAM_END
)
CHAINED = refusal(6003) | {
    "errors": [{"code": 6003, "message": "No.", "error_chain": [{"code": 6111, "message": "No"}]}]
}
ONLY_DONE = STREAM_HEAD + event(b"[DONE]") + STREAM_END


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
    Fault("stall after the head", once(*HEAD_THEN_STALL), HELLO, 2),
    Fault("stall after the head, always", always(*HEAD_THEN_STALL), APITimeoutError, 2),
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
    # The service's errors
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
    Fault("bytes after the end", always(WHOLE_HELLO + SOMEBODY_ELSES), HELLO, ways=WHOLE),
    Fault("bytes after the end of a stream", always(STREAMED_HELLO + SOMEBODY_ELSES), HELLO, ways=STREAMED),
    Fault("bytes after an error", (*always(http(429, refusal(3040)) + SOMEBODY_ELSES), OK), HELLO, 2),
    Fault("a stream where one body was wanted", always(STREAMED_HELLO), HELLO, ways=WHOLE),
    Fault("JSON, then [DONE]", always(http(200, JSON_HELLO + b"\n\ndata: [DONE]\n\n")), HELLO),
    Fault("a bad chunk", once(STREAM_HEAD, b"zz\r\nlol\r\n"), HELLO, 2),
    Fault(
        "broken compression",
        always(http(200, b"no gzip at all", content_encoding="gzip")),
        InternalServerError,
        says="content encoding",
    ),
    Fault(
        "stacked codings",
        always(http(200, BOMB, content_encoding="gzip, gzip")),
        InternalServerError,
        says="content-encoding",
    ),
    Fault(
        "a coding nobody asked for",
        always(http(200, BOMB, content_encoding="br")),
        InternalServerError,
        says="content-encoding",
    ),
    Fault("a coded answer", always(http(200, gzip.compress(JSON_HELLO), content_encoding="gzip")), HELLO),
    Fault("a lone surrogate", always(http(200, b'{"result": {"response": "\\ud83d"}, "success": true}')), "\ufffd"),
    Fault("a lone surrogate in a stream", always(SURROGATES), "\ufffd\U0001f600", ways=STREAMED),
    # Codes that users report
    Fault("4006", always(http(429, refusal(4006))), QuotaExceededError),
    Fault("4006 under 200", always(http(200, refusal(4006))), QuotaExceededError),
    Fault("2016 under 200", always(http(200, refusal(2016))), APIStatusError),
    Fault("2017", always(http(500, refusal(2017))), APIStatusError),
    Fault("2003", always(http(429, refusal(2003))), RateLimitError, 2),
    Fault("9109", always(http(400, refusal(9109))), AuthenticationError),
    Fault("6003 with 6111", always(http(400, CHAINED)), AuthenticationError),
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
    timeout = httpx.Timeout(20, read=TIMEOUT) if stalls else 20
    llm = model(server, timeout=timeout, **fault.model)
    if isinstance(outcome, str):
        assert ask(llm, way).text == outcome
    else:
        with pytest.raises(outcome) as raised:
            ask(llm, way)
        error = raised.value
        assert type(error) is outcome or outcome is APIStatusError
        assert fault.says in str(error)
        assert isinstance(error, core.ModelError)
        assert TOKEN not in shown(error)
        if isinstance(error, InternalServerError) and "cannot be read" in str(error):
            assert error.status_code == 200
    assert len(server.requests) == requests * (3 if "batch" in way else 1)
    kept = 3 if way == "batch" else 0 if way.startswith("a") else 1  # by sync calls, for the next ones
    assert server.wait_until_open(kept) <= kept


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
