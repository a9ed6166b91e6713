"""Bounds on what servers and the environment can cause: memory, time, and which connections are reused."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import pickle
import threading
import traceback
import tracemalloc
import zlib
from typing import Any

import httpx
import pytest

from langchain_workers_gemma import (
    AIGateway,
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ChatWorkersGemma,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    WorkersGemmaEmbeddings,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.transport import client_pool, driver, environment, guarded_fetch
from langchain_workers_gemma.transport import http as http_transport
from tests.helpers.fault_server import (
    CLOSE,
    FIRST_EVENT,
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
    make_error_envelope,
    make_http_response,
    make_server_model,
    reserve_closed_port,
)
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    call_model,
    format_traceback_with_locals,
    make_model,
)

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]

BODY = json.dumps(make_envelope({"response": HELLO_TEXT, "usage": USAGE})).encode()


# --- Content encodings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_only_gzip_is_accepted(server: FaultServer, call_method: str) -> None:
    server.play((HELLO_RESPONSE,))
    call_model(make_server_model(server), call_method)
    assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_content_encodings_are_decoded(server: FaultServer, call_method: str, encoding: str, pack: Any) -> None:
    server.play((make_http_response(200, pack(BODY), content_encoding=encoding),))
    assert call_model(make_server_model(server), call_method).text == HELLO_TEXT


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip,br", "nonsense"])
def test_other_and_stacked_content_encodings_raise(server: FaultServer, call_method: str, encoding: str) -> None:
    server.play((make_http_response(200, gzip.compress(gzip.compress(BODY)), content_encoding=encoding),))
    with pytest.raises(InternalServerError, match="was not accepted") as raised:
        call_model(make_server_model(server, max_retries=0), call_method)
    assert raised.value.status_code == 200


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(BODY)[:-9]])
def test_broken_content_encodings_raise(server: FaultServer, call_method: str, data: bytes) -> None:
    server.play((make_http_response(200, data, content_encoding="gzip"),))
    with pytest.raises(InternalServerError, match="content encoding is broken"):
        call_model(make_server_model(server, max_retries=0), call_method)


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_compression_bomb_is_not_inflated(
    server: FaultServer, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_body, "MAX_REPLY_BYTES", 4_000_000)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as writer:
        for _ in range(400):
            writer.write(b" " * 1_000_000)
    server.play((make_http_response(200, packed.getvalue(), content_encoding="gzip"),))
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
    started, seen = threading.Event(), threading.Event()
    may_continue = threading.Event()

    def fetch(url: str, total: Any) -> str:
        started.set()
        may_continue.wait(10)
        with pytest.raises(guarded_fetch._TooSlowError):
            total.get_time_left(None)
        seen.set()
        return url

    monkeypatch.setattr(guarded_fetch, "_fetch", fetch)
    task = asyncio.create_task(guarded_fetch.afetch_images(["https://example.com/a.png"]))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_continue.set()
    assert await asyncio.to_thread(seen.wait, 10)


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


# --- Tokens -----------------------------------------------------------------------------------------------------------

GATEWAY_TOKEN = "a-token-of-the-gateway"
BAD_TOKEN = "a-token-that-nobody\nmay-see"


@pytest.mark.parametrize("token", [BAD_TOKEN, "a-tokén-that-nobody-may-see"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_invalid_token_assigned_later_is_not_in_the_error(server: FaultServer, call_method: str, token: str) -> None:
    from pydantic import SecretStr

    for change in (SecretStr(token), token):
        with pytest.raises(ValueError, match="api_token") as raised:
            call_model(make_server_model(server).model_copy(update={"api_token": change}), call_method)
        assert "that-nobody" not in "".join(traceback.format_exception(raised.value))
    assert not server.requests


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    "script",
    [
        (make_http_response(500, make_error_envelope(None)),),
        (make_http_response(401, make_error_envelope(10000)),),
        (CLOSE,),
    ],
)
def test_no_local_variable_in_a_traceback_has_the_token(server: FaultServer, call_method: str, script: Script) -> None:
    server.play(script)
    llm = make_server_model(server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=1)
    with pytest.raises(WorkersGemmaError) as raised:
        call_model(llm, call_method)
    text = format_traceback_with_locals(raised.value)
    assert API_TOKEN not in text
    assert GATEWAY_TOKEN not in text


ECHOED_TOKENS = {
    "in a body": (
        make_http_response(400, make_error_envelope(5006, f"Bad header: Bearer {API_TOKEN}, {GATEWAY_TOKEN}")),
    ),
    "in a page": (make_http_response(502, f"<p>{API_TOKEN} {GATEWAY_TOKEN}</p>".encode(), content_type="text/html"),),
    "in an unreadable body": (make_http_response(200, f"no JSON: {API_TOKEN} {GATEWAY_TOKEN}".encode()),),
    "in headers": (make_http_response(400, make_error_envelope(5006), x_echo=f"{API_TOKEN} {GATEWAY_TOKEN}"),),
    "in a location": (make_http_response(307, location=f"https://example.com/{API_TOKEN}/{GATEWAY_TOKEN}"),),
    "in a content encoding": (make_http_response(200, content_encoding=f"{API_TOKEN} {GATEWAY_TOKEN}"),),
    "in the reason": (f"HTTP/1.1 400 {API_TOKEN} {GATEWAY_TOKEN}\r\ncontent-length: 0\r\n\r\n".encode(),),
    "in a broken header": (f"HTTP/1.1 200 OK\r\n{API_TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "not in HTTP": (f"{API_TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "in an event": (
        STREAM_HEAD + FIRST_EVENT + encode_event({"error": {"message": f"{API_TOKEN} {GATEWAY_TOKEN}"}}) + STREAM_END,
    ),
    "in an unreadable event": (
        STREAM_HEAD + FIRST_EVENT + encode_event(f"nope {API_TOKEN} {GATEWAY_TOKEN}".encode()) + STREAM_END,
    ),
}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("place", ECHOED_TOKENS)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
def test_a_token_that_the_server_echoes_is_masked(
    server: FaultServer, call_method: str, place: str, owner: str
) -> None:
    server.play(ECHOED_TOKENS[place])
    with httpx.Client() as client:
        client_argument = {"http_client": client} if owner != "ours" else {}
        llm = make_server_model(
            server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=0, **client_argument
        )
        with pytest.raises(WorkersGemmaError) as raised:
            call_model(llm, call_method)
    error: BaseException | None = raised.value
    while error is not None:  # `tblib`, which Dask loads, pickles causes and contexts too
        for text in (
            str(error),
            format_traceback_with_locals(error),
            repr(error),
            repr(vars(error)),
            str(pickle.dumps(error)),
        ):
            assert API_TOKEN not in text
            assert GATEWAY_TOKEN not in text
        error = error.__cause__ or error.__context__


def test_no_local_variable_in_a_traceback_has_the_token_without_a_server() -> None:
    with reserve_closed_port() as port:
        for client in (
            make_model,
            lambda **arguments: WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, **arguments),
        ):
            llm = client(base_url=f"http://127.0.0.1:{port}", max_retries=0)
            with pytest.raises(APIConnectionError) as raised:
                llm.invoke("Hi") if isinstance(llm, ChatWorkersGemma) else llm.embed_query("Hi")
            assert API_TOKEN not in format_traceback_with_locals(raised.value)


def test_the_token_is_not_in_the_error_for_another_argument() -> None:
    def construct() -> None:
        ChatWorkersGemma(account_id="a/b", api_token="".join(API_TOKEN))

    with pytest.raises(ValueError, match="account_id") as raised:
        construct()
    assert API_TOKEN not in format_traceback_with_locals(raised.value)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_token_of_a_gateway_given_as_a_dict_is_not_in_the_error(server: FaultServer, call_method: str) -> None:
    with pytest.raises(ValueError, match="ai_gateway") as raised:
        call_model(make_server_model(server).bind(ai_gateway={"id": "x", "token": GATEWAY_TOKEN}), call_method)
    assert GATEWAY_TOKEN not in str(raised.value)


# --- The environment --------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_pool() -> Any:
    client_pool._close_shared_clients()
    environment._make_context.cache_clear()
    yield
    client_pool._close_shared_clients()
    environment._make_context.cache_clear()


@pytest.mark.usefixtures("fresh_pool")
def test_an_ipv6_range_in_no_proxy_is_accepted(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.choose_script = choose_hello_script
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,fd00::/8,::1/128,[::1]")
    assert make_server_model(server).invoke("Hi").text == HELLO_TEXT
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    client_pool._close_shared_clients()
    assert make_server_model(server).invoke("Hi").text == HELLO_TEXT


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize(
    ("variable", "value", "base_url"),
    [
        ("SSL_CERT_FILE", "/nowhere/certificates.pem", "https://127.0.0.1:1"),
        ("ALL_PROXY", "gopher://127.0.0.1:1", "http://192.0.2.1"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "https://192.0.2.1"),
    ],
)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_error_for_an_invalid_environment_names_the_variable(
    call_method: str, variable: str, value: str, base_url: str, monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if variable == "SSL_CERT_FILE" and httpx.__version__ < "0.28":
        pytest.skip("httpx before 0.28 ignores certificate files that do not exist")
    monkeypatch.setenv(variable, value)
    with pytest.raises(APIConnectionError, match=variable):
        call_model(make_model(base_url=base_url, max_retries=3), call_method)
    assert not sleeps, "a retry would meet the same environment"


@pytest.mark.usefixtures("fresh_pool")
def test_the_proxy_in_the_environment_is_used(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.choose_script = choose_hello_script
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert make_model(base_url="http://workers.example").invoke("Hi").text == HELLO_TEXT
    assert server.requests[0].request_line.startswith("POST http://workers.example/")


PROXY_PASSWORD = "a-password-of-the-proxy"


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_the_error_for_an_unreachable_proxy_names_the_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with reserve_closed_port() as port:
        monkeypatch.setenv(variable, f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        with pytest.raises(APIConnectionError, match=f"the proxy that {variable} names") as raised:
            make_model(base_url="http://workers.example").invoke("Hi")
    assert PROXY_PASSWORD not in format_traceback_with_locals(raised.value)


# --- Problems reported of other packages ------------------------------------------------------------------------------


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
def test_reported_error_codes(
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
    server.play((make_http_response(200, BODY + b"\n\ndata: [DONE]\n\n"),))
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


def test_the_grace_timeout_is_short() -> None:
    assert driver.GRACE_TIMEOUT <= 2
