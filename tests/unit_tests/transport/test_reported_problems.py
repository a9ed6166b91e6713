"""Problems that users reported of other packages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from langchain_workers_gemma import (
    APIStatusError,
    AuthenticationError,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    WorkersGemmaError,
)
from tests.helpers.fault_server import (
    FIRST_EVENT,
    HELLO_BODY,
    HELLO_TEXT,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    FaultServer,
    choose_hello_script,
    encode_chunk,
    encode_event,
    make_error_envelope,
    make_http_response,
    make_server_model,
)
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, call_model, format_traceback_with_locals

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]


def raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


@pytest.mark.parametrize(("status", "error_type"), [(429, RateLimitError), (401, AuthenticationError)])
def test_a_response_hook_that_raises_for_status(
    server: FaultServer, status: int, error_type: type[APIStatusError]
) -> None:
    server.play((make_http_response(status, make_error_envelope(None, "Slow down")),))
    with httpx.Client(event_hooks={"response": [raise_for_status]}) as client, pytest.raises(error_type) as raised:
        make_server_model(server, http_client=client, max_retries=0).invoke("Hi")
    assert raised.value.status_code == status
    assert API_TOKEN not in format_traceback_with_locals(raised.value)


def read_in_pieces(response: httpx.Response) -> None:
    for _ in response.stream:  # type: ignore[union-attr]
        pass


def read_and_drop(response: httpx.Response) -> None:
    for _ in response.iter_raw():
        pass


@pytest.mark.parametrize("hook", [read_and_drop, read_in_pieces])
@pytest.mark.parametrize("call_method", ["invoke", "stream"])
def test_a_response_hook_that_consumes_the_body_raises(server: FaultServer, call_method: str, hook: Any) -> None:
    server.choose_script = choose_hello_script
    with httpx.Client(event_hooks={"response": [hook]}) as client, pytest.raises(WorkersGemmaError):
        call_model(make_server_model(server, http_client=client, max_retries=0), call_method)


def read_and_raise(response: httpx.Response) -> None:
    response.read()
    response.raise_for_status()


def test_a_response_hook_that_reads_the_body_keeps_the_message(server: FaultServer) -> None:
    server.play(
        (
            make_http_response(
                429, make_error_envelope(4006, "you have used up your daily free allocation of 10,000 neurons")
            ),
        )
    )
    client = httpx.Client(event_hooks={"response": [read_and_raise]})
    with client, pytest.raises(QuotaExceededError, match="daily free allocation"):
        make_server_model(server, http_client=client).invoke("Hi")
    assert len(server.requests) == 1


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("status", "code", "error_type", "request_count"),
    [
        (429, 4006, QuotaExceededError, 1),
        (200, 2016, APIStatusError, 1),
        (424, 2017, APIStatusError, 1),
        (429, 2003, RateLimitError, 2),
        (400, 9109, AuthenticationError, 1),
        (404, 7000, APIStatusError, 1),
    ],
)
def test_reported_error_codes_raise_the_right_type(
    server: FaultServer, call_method: str, status: int, code: int, error_type: type[APIStatusError], request_count: int
) -> None:
    server.play((make_http_response(status, make_error_envelope(code, "Reported.")),))
    with pytest.raises(error_type, match="Reported") as raised:
        call_model(make_server_model(server), call_method)
    assert raised.value.code == code
    assert len(server.requests) == request_count


def test_an_authentication_error_in_an_error_chain_is_recognized(server: FaultServer) -> None:
    error = {"code": 6003, "message": "Invalid request headers", "error_chain": [{"code": 6111, "message": "Invalid"}]}
    server.play((make_http_response(400, {"success": False, "errors": [error], "result": None}),))
    with pytest.raises(AuthenticationError):
        make_server_model(server).invoke("Hi")


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_stream_instead_of_a_whole_reply_is_read(server: FaultServer, call_method: str) -> None:
    server.play(
        (
            STREAM_HEAD
            + FIRST_EVENT
            + encode_event({"response": "lo", "usage": USAGE})
            + encode_event(b"[DONE]")
            + STREAM_END,
        ),
    )
    reply = call_model(make_server_model(server), call_method)
    assert reply.text == HELLO_TEXT
    assert reply.usage_metadata is not None


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_json_followed_by_done_is_read(server: FaultServer, call_method: str) -> None:
    server.play((make_http_response(200, HELLO_BODY + b"\n\ndata: [DONE]\n\n"),))
    assert call_model(make_server_model(server), call_method).text == HELLO_TEXT


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_events_of_other_types_are_ignored(server: FaultServer, call_method: str) -> None:
    ping = encode_chunk(b"event: ping\ndata: 2026-11-25\n\n")
    server.play(
        (
            STREAM_HEAD
            + ping
            + FIRST_EVENT
            + ping
            + encode_event({"response": "lo"})
            + encode_event(b"[DONE]")
            + STREAM_END,
        )
    )
    assert call_model(make_server_model(server), call_method).text == HELLO_TEXT


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_lone_surrogate_in_a_reply_is_replaced(server: FaultServer, call_method: str) -> None:
    if "stream" in call_method:
        half = encode_event(b'{"response": "a \\ud83d"}') + encode_event(b'{"response": "\\ude00 b \\ud800"}')
        server.play((STREAM_HEAD + half + encode_event(b"[DONE]") + STREAM_END,))
        assert call_model(make_server_model(server), call_method).text == "a \U0001f600 b \ufffd"
    else:
        server.play((make_http_response(200, b'{"result": {"response": "a \\ud800 b"}, "success": true}'),))
        assert call_model(make_server_model(server), call_method).text == "a \ufffd b"


def test_many_retries_do_not_overflow(server: FaultServer, sleeps: list[float]) -> None:
    server.play((make_http_response(503, make_error_envelope(None)),))
    with pytest.raises(InternalServerError):
        make_server_model(server, max_retries=1_100).invoke("Hi")
    assert len(sleeps) == 1_100
    assert max(sleeps) <= 8
