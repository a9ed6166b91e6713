"""Faults of networks and servers as data: the reaction of the server to each request, and the outcome of the call."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

from langchain_workers_gemma import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    StreamInterruptedError,
    StreamTimeoutError,
    WorkersGemmaError,
)
from tests.helpers.fault_server import (
    CLOSE,
    FIRST_EVENT,
    HALF_RESPONSE,
    HEAD_THEN_STALL,
    HELLO_BODY,
    HELLO_RESPONSE,
    HELLO_STREAM,
    HELLO_TEXT,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Drip,
    Script,
    encode_chunk,
    encode_event,
    make_envelope,
    make_error_envelope,
    make_http_response,
    make_response_head,
)
from tests.helpers.model_calls import STREAM_METHODS

WHOLE_METHODS = ("invoke", "ainvoke", "batch", "abatch")
Outcome = str | type[WorkersGemmaError]


@dataclass(frozen=True)
class Fault:
    """A fault of a server, and the outcome of a call.

    Attributes:
        name: The name in the ids of tests.
        scripts: The scripts for one request after another. `OK` stands for a successful reply.
        outcome: The text of the message, or the type of the error.
        requests: The total number of requests.
        streamed: Scripts, outcome and number of requests if a stream is requested, where they differ.
        message_part: A part of the error message.
        call_methods: The call methods that are tested.
        model: Further arguments of the model.
    """

    name: str
    scripts: tuple[Script, ...]
    outcome: Outcome
    requests: int = 1
    streamed: tuple[tuple[Script, ...], Outcome, int] | None = None
    message_part: str = ""
    call_methods: tuple[str, ...] = (*WHOLE_METHODS, *STREAM_METHODS)
    model: dict[str, Any] = field(default_factory=dict)


OK: Script = ()  # replaced by a successful reply in the requested form
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
ANOTHER_REPLY = make_http_response(200, make_envelope({"response": "for somebody else"}))
BOMB = gzip.compress(gzip.compress(b" " * 1_000_000))
SURROGATES = (
    STREAM_HEAD
    + encode_event(b'{"response": "\\ud83d"}')
    + encode_event(b'{"response": "\\ud83d"}')
    + encode_event(b'{"response": "\\ude00"}')
    + encode_event(b"[DONE]")
    + STREAM_END
)
ERROR_CHAIN = make_error_envelope(6003) | {
    "errors": [{"code": 6003, "message": "No.", "error_chain": [{"code": 6111, "message": "No"}]}]
}
ONLY_DONE = STREAM_HEAD + encode_event(b"[DONE]") + STREAM_END


def encode_error_event(code: int) -> bytes:
    return encode_event({"errors": [{"code": code, "message": "AiError"}], "success": False})


def always(*script: Any) -> tuple[Script, ...]:
    return (script,)


def once(*script: Any) -> tuple[Script, ...]:
    return (script, OK)


FAULTS = [
    # The connection
    Fault("reset before the head", once(RESET), HELLO_TEXT, 2),
    Fault("reset before the head, always", always(RESET), APIConnectionError, 2),
    Fault("closed before the head", once(CLOSE), HELLO_TEXT, 2),
    Fault("reset in the head", once(b"HTTP/1.1 200 OK\r\nContent-Ty", RESET), HELLO_TEXT, 2),
    Fault("closed in the head", always(b"HTTP/1.1 200 OK\r\nContent-Ty", CLOSE), APIConnectionError, 2),
    Fault("not HTTP", always(b"\x16\x03\x01 lol\r\n\r\n", CLOSE), APIConnectionError, 2),
    Fault("not HTTP, once", once(b"220 smtp.example.com\r\n", CLOSE), HELLO_TEXT, 2),
    Fault("an endless head", always(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, CLOSE), APIConnectionError, 2),
    Fault(
        "reset in the body",
        once(HALF_RESPONSE, RESET),
        HELLO_TEXT,
        2,
        streamed=(always(STREAM_HEAD + FIRST_EVENT, RESET), StreamInterruptedError, 1),
    ),
    Fault(
        "closed in the body",
        once(HALF_RESPONSE, CLOSE),
        HELLO_TEXT,
        2,
        streamed=(always(STREAM_HEAD + FIRST_EVENT, CLOSE), StreamInterruptedError, 1),
    ),
    Fault(
        "closed in the body, always", always(HALF_RESPONSE, CLOSE), APIConnectionError, 2, call_methods=WHOLE_METHODS
    ),
    Fault(
        "a stream that ends properly but early",
        always(STREAM_HEAD, FIRST_EVENT, STREAM_END),
        StreamInterruptedError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "a stream that ends within an event",
        always(STREAM_HEAD, FIRST_EVENT, encode_chunk(b'data: {"respon'), STREAM_END),
        StreamInterruptedError,
        call_methods=STREAM_METHODS,
    ),
    Fault("reset before the first event", once(STREAM_HEAD, RESET), HELLO_TEXT, 2, call_methods=STREAM_METHODS),
    Fault(
        "reset within the first event",
        once(STREAM_HEAD, FIRST_EVENT[:12], RESET),
        HELLO_TEXT,
        2,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "reset after [DONE]",
        always(HELLO_STREAM.removesuffix(STREAM_END), RESET),
        HELLO_TEXT,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "usage on every event, then an early end",
        always(STREAM_HEAD, *(encode_event({"response": "x", "usage": USAGE}) for _ in range(3)), STREAM_END),
        StreamInterruptedError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "no [DONE] but usage",
        always(
            STREAM_HEAD, encode_event({"response": "Hello"}), encode_event({"response": "", "usage": USAGE}), STREAM_END
        ),
        HELLO_TEXT,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "no [DONE] but usage on the last event",
        always(
            STREAM_HEAD, encode_event({"response": "Hel"}), encode_event({"response": "lo", "usage": USAGE}), STREAM_END
        ),
        HELLO_TEXT,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "no [DONE] but a finish reason",
        always(
            STREAM_HEAD,
            encode_event({"choices": [{"delta": {"content": HELLO_TEXT}, "finish_reason": "stop"}]}),
            STREAM_END,
        ),
        HELLO_TEXT,
        call_methods=STREAM_METHODS,
    ),
    # Time
    Fault("stall before the head", once(STALL), HELLO_TEXT, 2),
    Fault("stall before the head, always", always(STALL), APITimeoutError, 2),
    Fault("stall after the head", once(*HEAD_THEN_STALL), HELLO_TEXT, 2),
    Fault("stall after the head, always", always(*HEAD_THEN_STALL), APITimeoutError, 2),
    Fault(
        "stall in the body",
        once(HALF_RESPONSE, STALL),
        HELLO_TEXT,
        2,
        streamed=(always(STREAM_HEAD, FIRST_EVENT, STALL), StreamTimeoutError, 1),
    ),
    Fault(
        "slow but alive",
        always(Drip(HELLO_RESPONSE, 0.0005)),
        HELLO_TEXT,
        streamed=(always(Drip(HELLO_STREAM, 0.0005)), HELLO_TEXT, 1),
    ),
    # The service's errors
    Fault("429 then right", once(make_http_response(429, make_error_envelope(None, "Too many"))), HELLO_TEXT, 2),
    Fault(
        "429 always",
        always(make_http_response(429, make_error_envelope(None, "Too many"))),
        RateLimitError,
        2,
        message_part="Too many",
    ),
    Fault(
        "429, later", always(make_http_response(429, make_error_envelope(None), retry_after="61")), RateLimitError, 1
    ),
    Fault(
        "429, a little later", once(make_http_response(429, make_error_envelope(None), retry_after="60")), HELLO_TEXT, 2
    ),
    Fault("3040 then right", once(make_http_response(429, make_error_envelope(3040))), HELLO_TEXT, 2),
    Fault("3040 always", always(make_http_response(429, make_error_envelope(3040))), CapacityError, 2),
    Fault("3036", always(make_http_response(429, make_error_envelope(3036))), QuotaExceededError, 1),
    Fault("408 then right", once(make_http_response(408, make_error_envelope(3007))), HELLO_TEXT, 2),
    Fault("408 always", always(make_http_response(408, make_error_envelope(3007))), RequestTimeoutError, 2),
    Fault("409 then right", once(make_http_response(409, b"")), HELLO_TEXT, 2),
    Fault("500 then right", once(make_http_response(500, b"")), HELLO_TEXT, 2),
    Fault("500 always", always(make_http_response(500, b"")), InternalServerError, 2),
    Fault(
        "500 twice, retried twice",
        (*always(make_http_response(500)), *once(make_http_response(500))),
        HELLO_TEXT,
        3,
        model={"max_retries": 2},
    ),
    Fault("500, no retries", always(make_http_response(500, b"")), InternalServerError, 1, model={"max_retries": 0}),
    Fault(
        "502 in HTML",
        always(make_http_response(502, HTML, content_type="text/html")),
        InternalServerError,
        2,
        message_part="502 Bad",
    ),
    Fault(
        "400",
        always(make_http_response(400, make_error_envelope(5006, "Bad input"))),
        BadRequestError,
        1,
        message_part="Bad input",
    ),
    Fault("3040 with status 200", once(make_http_response(200, make_error_envelope(3040))), HELLO_TEXT, 2),
    Fault("5006 with status 200", always(make_http_response(200, make_error_envelope(5006))), BadRequestError, 1),
    Fault("a redirect", always(make_http_response(307, b"", location="https://example.com/")), InternalServerError, 1),
    Fault("closed in an error body", once(make_response_head(500, content_length="99") + b"{", CLOSE), HELLO_TEXT, 2),
    Fault(
        "an error event first",
        once(STREAM_HEAD, encode_error_event(3040), STREAM_END),
        HELLO_TEXT,
        2,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "an error event only",
        always(STREAM_HEAD, encode_error_event(3040), STREAM_END),
        CapacityError,
        2,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "an error event after text",
        always(STREAM_HEAD, FIRST_EVENT, encode_error_event(3040)),
        CapacityError,
        1,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "an error event in the same packet as text",
        always(STREAM_HEAD + FIRST_EVENT + encode_error_event(3040)),
        CapacityError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "an error event without end",
        always(
            STREAM_HEAD, FIRST_EVENT, encode_chunk(b'data: {"error": {"message": "boom", "code": 500}}'), STREAM_END
        ),
        InternalServerError,
        message_part="boom",
        call_methods=STREAM_METHODS,
    ),
    # Unreadable bodies
    Fault(
        "nothing with status 200",
        always(make_http_response(200, b"")),
        InternalServerError,
        streamed=(always(make_http_response(200, b"")), InternalServerError, 2),
        message_part="cannot be read",
    ),
    Fault(
        "a stream answered with nothing",
        ((make_http_response(200),), (HELLO_RESPONSE,)),
        HELLO_TEXT,
        2,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "a stream answered with null",
        ((make_http_response(200, make_envelope(None)),), (HELLO_RESPONSE,)),
        HELLO_TEXT,
        2,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "a stream answered with [DONE]", ((ONLY_DONE,), (HELLO_RESPONSE,)), HELLO_TEXT, 2, call_methods=STREAM_METHODS
    ),
    Fault("a stream answered with one body", always(HELLO_RESPONSE), HELLO_TEXT, call_methods=STREAM_METHODS),
    Fault(
        "garbage with status 200",
        always(make_http_response(200, b"\x00\xff\xfe garbage")),
        InternalServerError,
        streamed=(always(make_http_response(200, b"\x00\xff\xfe garbage")), InternalServerError, 2),
        message_part="cannot be read",
    ),
    Fault(
        "HTML with status 200",
        always(make_http_response(200, HTML)),
        InternalServerError,
        message_part="cannot be read",
    ),
    Fault(
        "half of a JSON body",
        always(make_http_response(200, b'{"result": {"respon')),
        InternalServerError,
        message_part="not JSON",
    ),
    Fault(
        "JSON of another form",
        always(make_http_response(200, make_envelope({"answer": 42}))),
        InternalServerError,
        message_part="neither",
    ),
    Fault(
        "a garbage event",
        always(STREAM_HEAD, FIRST_EVENT, encode_event(b"{nope")),
        InternalServerError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "a garbage event first",
        always(STREAM_HEAD, encode_event(b"nope")),
        InternalServerError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "an event that is a list",
        always(STREAM_HEAD, FIRST_EVENT, encode_event(b"[1]")),
        InternalServerError,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "empty events and comments",
        always(STREAM_HEAD, encode_chunk(b": hi\n\ndata:\n\ndata: \n\n"), HELLO_STREAM.removeprefix(STREAM_HEAD)),
        HELLO_TEXT,
        call_methods=STREAM_METHODS,
    ),
    Fault(
        "a length too short",
        always(make_response_head(200, content_length="20") + HELLO_RESPONSE.partition(b"\r\n\r\n")[2]),
        InternalServerError,
        streamed=(
            always(
                make_response_head(200, content_length="30")
                + b'data: {"response": "Hel"}\n\ndata: {"response": "lo"}\n\n'
            ),
            StreamInterruptedError,
            1,
        ),
    ),
    Fault(
        "a length too long",
        once(make_response_head(200, content_length="9999") + HELLO_RESPONSE.partition(b"\r\n\r\n")[2], CLOSE),
        HELLO_TEXT,
        2,
        streamed=(
            always(
                make_response_head(200, content_length="9999") + b'data: {"response": "Hello"}\n\ndata: [DONE]\n\n',
                CLOSE,
            ),
            HELLO_TEXT,
            1,
        ),
    ),
    Fault(
        "no length at all",
        always(make_response_head(200) + HELLO_RESPONSE.partition(b"\r\n\r\n")[2], CLOSE),
        HELLO_TEXT,
    ),
    Fault("bytes after the end", always(HELLO_RESPONSE + ANOTHER_REPLY), HELLO_TEXT, call_methods=WHOLE_METHODS),
    Fault(
        "bytes after the end of a stream", always(HELLO_STREAM + ANOTHER_REPLY), HELLO_TEXT, call_methods=STREAM_METHODS
    ),
    Fault(
        "bytes after an error",
        (*always(make_http_response(429, make_error_envelope(3040)) + ANOTHER_REPLY), OK),
        HELLO_TEXT,
        2,
    ),
    Fault("a stream instead of a whole reply", always(HELLO_STREAM), HELLO_TEXT, call_methods=WHOLE_METHODS),
    Fault("JSON, then [DONE]", always(make_http_response(200, HELLO_BODY + b"\n\ndata: [DONE]\n\n")), HELLO_TEXT),
    Fault("a bad chunk", once(STREAM_HEAD, b"zz\r\nlol\r\n"), HELLO_TEXT, 2),
    Fault(
        "broken compression",
        always(make_http_response(200, b"no gzip at all", content_encoding="gzip")),
        InternalServerError,
        message_part="content encoding",
    ),
    Fault(
        "stacked content encodings",
        always(make_http_response(200, BOMB, content_encoding="gzip, gzip")),
        InternalServerError,
        message_part="content-encoding",
    ),
    Fault(
        "a content encoding that was not accepted",
        always(make_http_response(200, BOMB, content_encoding="br")),
        InternalServerError,
        message_part="content-encoding",
    ),
    Fault(
        "a compressed reply",
        always(make_http_response(200, gzip.compress(HELLO_BODY), content_encoding="gzip")),
        HELLO_TEXT,
    ),
    Fault(
        "a lone surrogate",
        always(make_http_response(200, b'{"result": {"response": "\\ud83d"}, "success": true}')),
        "\ufffd",
    ),
    Fault("a lone surrogate in a stream", always(SURROGATES), "\ufffd\U0001f600", call_methods=STREAM_METHODS),
    # Error codes that users report
    Fault("4006", always(make_http_response(429, make_error_envelope(4006))), QuotaExceededError),
    Fault("4006 with status 200", always(make_http_response(200, make_error_envelope(4006))), QuotaExceededError),
    Fault("2016 with status 200", always(make_http_response(200, make_error_envelope(2016))), APIStatusError),
    Fault("2017", always(make_http_response(500, make_error_envelope(2017))), APIStatusError),
    Fault("2003", always(make_http_response(429, make_error_envelope(2003))), RateLimitError, 2),
    Fault("9109", always(make_http_response(400, make_error_envelope(9109))), AuthenticationError),
    Fault("6003 with 6111", always(make_http_response(400, ERROR_CHAIN)), AuthenticationError),
]
