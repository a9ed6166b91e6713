"""Bounds on what servers and the environment can cause: memory, time, and which connections are reused."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
import tracemalloc
import zlib
from typing import Any

import pytest

from langchain_workers_gemma import InternalServerError
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.transport import client_pool, driver, guarded_fetch
from langchain_workers_gemma.transport import http as http_transport
from tests.helpers.fault_server import (
    FIRST_EVENT,
    HELLO_BODY,
    HELLO_RESPONSE,
    HELLO_TEXT,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Drip,
    FaultServer,
    ReceivedRequest,
    Script,
    choose_hello_script,
    encode_chunk,
    encode_event,
    make_envelope,
    make_http_response,
    make_server_model,
)
from tests.helpers.model_calls import CALL_METHODS, call_model

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]


# --- Content encodings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_only_gzip_is_accepted(server: FaultServer, call_method: str) -> None:
    server.play((HELLO_RESPONSE,))
    call_model(make_server_model(server), call_method)
    assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_content_encodings_are_decoded(server: FaultServer, call_method: str, encoding: str, compress: Any) -> None:
    server.play((make_http_response(200, compress(HELLO_BODY), content_encoding=encoding),))
    assert call_model(make_server_model(server), call_method).text == HELLO_TEXT


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip,br", "nonsense"])
def test_other_and_stacked_content_encodings_raise(server: FaultServer, call_method: str, encoding: str) -> None:
    server.play((make_http_response(200, gzip.compress(gzip.compress(HELLO_BODY)), content_encoding=encoding),))
    with pytest.raises(InternalServerError, match="was not accepted") as raised:
        call_model(make_server_model(server, max_retries=0), call_method)
    assert raised.value.status_code == 200


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(HELLO_BODY)[:-9]])
def test_broken_content_encodings_raise(server: FaultServer, call_method: str, data: bytes) -> None:
    server.play((make_http_response(200, data, content_encoding="gzip"),))
    with pytest.raises(InternalServerError, match="content encoding is broken"):
        call_model(make_server_model(server, max_retries=0), call_method)


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_compression_bomb_is_not_inflated(
    server: FaultServer, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_body, "MAX_BODY_BYTES", 4_000_000)
    compressed = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed, mode="wb") as writer:
        for _ in range(400):
            writer.write(b" " * 1_000_000)
    server.play((make_http_response(200, compressed.getvalue(), content_encoding="gzip"),))
    llm = make_server_model(server, max_retries=0)
    tracemalloc.start()
    try:
        with pytest.raises(InternalServerError, match=r"larger than 4,000,000 bytes|not JSON"):
            call_model(llm, call_method)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


# --- Time -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "GRACE_TIMEOUT", 0.2)


@pytest.mark.parametrize("call_method", ["stream", "astream"])
@pytest.mark.parametrize(
    "after",
    [(STALL,), (Drip(encode_chunk(b": ping\n\n") * 400, 0.05), STALL)],
    ids=["held open", "pings"],
)
@pytest.mark.usefixtures("short_grace")
def test_a_connection_held_open_after_done_is_closed_soon(server: FaultServer, call_method: str, after: Script) -> None:
    server.play(
        (STREAM_HEAD + FIRST_EVENT + encode_event({"response": "lo", "usage": USAGE}) + encode_event(b"[DONE]"), *after)
    )
    reply = call_model(make_server_model(server, timeout=60), call_method)
    assert reply.text == HELLO_TEXT
    assert reply.usage_metadata is not None


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_usage_after_done_is_read(server: FaultServer, call_method: str) -> None:
    late = (
        encode_event(b"[DONE]") + encode_event({"response": "", "usage": USAGE}) + encode_event(b"[DONE]") + STREAM_END
    )
    server.play((STREAM_HEAD + FIRST_EVENT + encode_event({"response": "lo"}) + late,))
    reply = call_model(make_server_model(server), call_method)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["total_tokens"] == 5


def test_the_number_of_images_in_one_call_is_limited() -> None:
    with pytest.raises(ValueError, match="at most 64 images"):
        guarded_fetch.fetch_images([f"https://example.com/{n}.png" for n in range(65)])


async def test_a_cancelled_fetch_ends_at_its_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    started, is_cancelled = threading.Event(), threading.Event()
    may_continue = threading.Event()

    def fetch(url: str, total: Any) -> str:
        started.set()
        may_continue.wait(10)
        with pytest.raises(guarded_fetch._TooSlowError):
            total.get_time_left(None)
        is_cancelled.set()
        return url

    monkeypatch.setattr(guarded_fetch, "_fetch", fetch)
    task = asyncio.create_task(guarded_fetch.afetch_images(["https://example.com/a.png"]))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_continue.set()
    assert await asyncio.to_thread(is_cancelled.wait, 10)


# --- Isolation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_connections_are_not_shared_between_tokens(server: FaultServer, call_method: str) -> None:
    """Bytes left on a connection by a reply to one account never reach another account."""
    extra_response = make_http_response(200, make_envelope({"response": "somebody else's answer"}))

    def choose(request: ReceivedRequest) -> Script:
        return (
            (HELLO_RESPONSE + extra_response,)
            if "first-token" in request.headers["authorization"]
            else choose_hello_script(request)
        )

    server.choose_script = choose
    assert call_model(make_server_model(server, api_token="first-token-of-two"), call_method).text == HELLO_TEXT
    assert call_model(make_server_model(server, api_token="second-token-of-two"), call_method).text == HELLO_TEXT
    assert server.accepted_connections == 2


def test_idle_connections_of_many_tokens_are_limited(server: FaultServer) -> None:
    server.choose_script = choose_hello_script
    for number in range(client_pool.MAX_IDLE_CLIENTS + 20):
        make_server_model(server, api_token=f"a-token-of-customer-{number}").invoke("Hi")
    assert server.wait_until_at_most_open(client_pool.MAX_IDLE_CLIENTS) <= client_pool.MAX_IDLE_CLIENTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "@cf/google/../../user/tokens"),
        ("account_id", "../../other"),
        ("base_url", "https://user:password@example.com"),
    ],
)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_assigned_fields_are_validated(server: FaultServer, call_method: str, field: str, value: str) -> None:
    llm = make_server_model(server)
    setattr(llm, field, value)
    with pytest.raises(ValueError, match=field):
        call_model(llm, call_method)
    with pytest.raises(ValueError, match=field):
        call_model(make_server_model(server).model_copy(update={field: value}), call_method)
    assert not server.requests


def test_the_grace_timeout_is_short() -> None:
    assert driver.GRACE_TIMEOUT <= 2
