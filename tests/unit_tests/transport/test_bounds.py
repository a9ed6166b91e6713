"""What a server or the environment does is bounded: memory, time, and whose connection is used again."""

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
from tests.helpers.asking import ACCOUNT, TOKEN, WAYS, ask, gemma, shown
from tests.helpers.fault_server import (
    CLOSE,
    EVENT,
    HELLO,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    WHOLE_HELLO,
    Drip,
    FaultServer,
    Received,
    Script,
    chunk,
    envelope,
    event,
    hello,
    http,
    model,
    refusal,
    refusing_port,
)

pytestmark = [pytest.mark.usefixtures("naps"), pytest.mark.lowest]

BODY = json.dumps(envelope({"response": HELLO, "usage": USAGE})).encode()


# --- Content codings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_only_a_bounded_coding_is_accepted(server: FaultServer, way: str) -> None:
    server.play((WHOLE_HELLO,))
    ask(model(server), way)
    assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_codings_are_decoded(server: FaultServer, way: str, coding: str, pack: Any) -> None:
    server.play((http(200, pack(BODY), content_encoding=coding),))
    assert ask(model(server), way).text == HELLO


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "gzip,br", "nonsense"])
def test_other_and_stacked_codings_are_refused(server: FaultServer, way: str, coding: str) -> None:
    server.play((http(200, gzip.compress(gzip.compress(BODY)), content_encoding=coding),))
    with pytest.raises(InternalServerError, match="was not accepted") as raised:
        ask(model(server, max_retries=0), way)
    assert raised.value.status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(BODY)[:-9]])
def test_broken_codings(server: FaultServer, way: str, data: bytes) -> None:
    server.play((http(200, data, content_encoding="gzip"),))
    with pytest.raises(InternalServerError, match="content encoding is broken"):
        ask(model(server, max_retries=0), way)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_bomb_is_not_inflated(server: FaultServer, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_body, "MAX_REPLY_BYTES", 4_000_000)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as writer:
        for _ in range(400):
            writer.write(b" " * 1_000_000)
    server.play((http(200, packed.getvalue(), content_encoding="gzip"),))
    llm = model(server, max_retries=0)
    tracemalloc.start()
    try:
        with pytest.raises(InternalServerError, match=r"larger than 4,000,000 bytes|not JSON"):
            ask(llm, way)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


# --- Time -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "GRACE_TIMEOUT", 0.2)


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    "after",
    [(STALL,), (Drip(chunk(b": ping\n\n") * 400, 0.05), STALL)],
    ids=["held open", "pings"],
)
@pytest.mark.usefixtures("short_grace")
def test_a_connection_held_open_after_done_costs_a_moment(server: FaultServer, way: str, after: Script) -> None:
    server.play((STREAM_HEAD + EVENT + event({"response": "lo", "usage": USAGE}) + event(b"[DONE]"), *after))
    reply = ask(model(server, timeout=60), way)
    assert reply.text == HELLO
    assert reply.usage_metadata is not None


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_events_after_done_still_count(server: FaultServer, way: str) -> None:
    late = event(b"[DONE]") + event({"response": "", "usage": USAGE}) + event(b"[DONE]") + STREAM_END
    server.play((STREAM_HEAD + EVENT + event({"response": "lo"}) + late,))
    reply = ask(model(server), way)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["total_tokens"] == 5


def test_images_of_one_call_are_limited_in_number() -> None:
    with pytest.raises(ValueError, match="at most 64 images"):
        guarded_fetch.fetch_images([f"https://example.com/{n}.png" for n in range(65)])


async def test_a_cancelled_fetch_ends_at_its_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    started, seen = threading.Event(), threading.Event()
    go_on = threading.Event()

    def fetch(url: str, total: Any) -> str:
        started.set()
        go_on.wait(10)
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
    go_on.set()
    assert await asyncio.to_thread(seen.wait, 10)


# --- Isolation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_connections_are_not_shared_between_tokens(server: FaultServer, way: str) -> None:
    """What one account's response leaves on a connection never reaches another account."""
    left_over = http(200, envelope({"response": "somebody else's answer"}))

    def choose(request: Received) -> Script:
        return (WHOLE_HELLO + left_over,) if "first-token" in request.headers["authorization"] else hello(request)

    server._choose = choose
    assert ask(model(server, api_token="first-token-of-two"), way).text == HELLO
    assert ask(model(server, api_token="second-token-of-two"), way).text == HELLO
    assert server.accepted == 2


def test_idle_connections_of_many_tokens_are_limited(server: FaultServer) -> None:
    server._choose = hello
    for number in range(client_pool.MAX_IDLE_CLIENTS + 20):
        model(server, api_token=f"a-token-of-customer-{number}").invoke("Hi")
    assert server.wait_until_open(client_pool.MAX_IDLE_CLIENTS) <= client_pool.MAX_IDLE_CLIENTS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "@cf/google/../../user/tokens"),
        ("account_id", "../../other"),
        ("base_url", "https://user:password@example.com"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_fields_that_were_assigned_are_checked(server: FaultServer, way: str, field: str, value: str) -> None:
    llm = model(server)
    setattr(llm, field, value)
    with pytest.raises(ValueError, match=field):
        ask(llm, way)
    with pytest.raises(ValueError, match=field):
        ask(model(server).model_copy(update={field: value}), way)
    assert not server.requests


# --- Tokens -----------------------------------------------------------------------------------------------------------

GATEWAY_TOKEN = "a-token-of-the-gateway"
BAD_TOKEN = "a-token-that-nobody\nmay-see"


@pytest.mark.parametrize("token", [BAD_TOKEN, "a-tokén-that-nobody-may-see"])
@pytest.mark.parametrize("way", WAYS)
def test_a_token_changed_after_construction_is_not_repeated(server: FaultServer, way: str, token: str) -> None:
    from pydantic import SecretStr

    for change in (SecretStr(token), token):
        with pytest.raises(ValueError, match="api_token") as raised:
            ask(model(server).model_copy(update={"api_token": change}), way)
        assert "that-nobody" not in "".join(traceback.format_exception(raised.value))
    assert not server.requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", [(http(500, refusal(None)),), (http(401, refusal(10000)),), (CLOSE,)])
def test_no_local_of_a_traceback_holds_the_token(server: FaultServer, way: str, script: Script) -> None:
    server.play(script)
    llm = model(server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=1)
    with pytest.raises(WorkersGemmaError) as raised:
        ask(llm, way)
    text = shown(raised.value)
    assert TOKEN not in text
    assert GATEWAY_TOKEN not in text


REPEATED = {
    "in a body": (http(400, refusal(5006, f"Bad header: Bearer {TOKEN}, {GATEWAY_TOKEN}")),),
    "in a page": (http(502, f"<p>{TOKEN} {GATEWAY_TOKEN}</p>".encode(), content_type="text/html"),),
    "in what cannot be read": (http(200, f"no JSON: {TOKEN} {GATEWAY_TOKEN}".encode()),),
    "in headers": (http(400, refusal(5006), x_echo=f"{TOKEN} {GATEWAY_TOKEN}"),),
    "in a place": (http(307, location=f"https://example.com/{TOKEN}/{GATEWAY_TOKEN}"),),
    "in a coding": (http(200, content_encoding=f"{TOKEN} {GATEWAY_TOKEN}"),),
    "in the reason": (f"HTTP/1.1 400 {TOKEN} {GATEWAY_TOKEN}\r\ncontent-length: 0\r\n\r\n".encode(),),
    "in a broken head": (f"HTTP/1.1 200 OK\r\n{TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "in no HTTP": (f"{TOKEN} {GATEWAY_TOKEN}\r\n\r\n".encode(), CLOSE),
    "in an event": (STREAM_HEAD + EVENT + event({"error": {"message": f"{TOKEN} {GATEWAY_TOKEN}"}}) + STREAM_END,),
    "in no event": (STREAM_HEAD + EVENT + event(f"nope {TOKEN} {GATEWAY_TOKEN}".encode()) + STREAM_END,),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", REPEATED)
@pytest.mark.parametrize("owner", ["ours", "the caller's"])
def test_a_token_that_the_server_repeats_is_not_shown(server: FaultServer, way: str, place: str, owner: str) -> None:
    server.play(REPEATED[place])
    with httpx.Client() as client:
        own = {"http_client": client} if owner != "ours" else {}
        llm = model(server, ai_gateway=AIGateway("x", token=GATEWAY_TOKEN), max_retries=0, **own)
        with pytest.raises(WorkersGemmaError) as raised:
            ask(llm, way)
    one: BaseException | None = raised.value
    while one is not None:  # `tblib`, which Dask loads, pickles causes and contexts as well
        for text in (str(one), shown(one), repr(one), repr(vars(one)), str(pickle.dumps(one))):
            assert TOKEN not in text
            assert GATEWAY_TOKEN not in text
        one = one.__cause__ or one.__context__


def test_no_local_of_a_traceback_holds_the_token_without_a_server() -> None:
    with refusing_port() as port:
        for client in (gemma, lambda **given: WorkersGemmaEmbeddings(account_id=ACCOUNT, api_token=TOKEN, **given)):
            llm = client(base_url=f"http://127.0.0.1:{port}", max_retries=0)
            with pytest.raises(APIConnectionError) as raised:
                llm.invoke("Hi") if isinstance(llm, ChatWorkersGemma) else llm.embed_query("Hi")
            assert TOKEN not in shown(raised.value)


def test_a_wrong_argument_does_not_show_the_token() -> None:
    def construct() -> None:
        ChatWorkersGemma(account_id="a/b", api_token="".join(TOKEN))

    with pytest.raises(ValueError, match="account_id") as raised:
        construct()
    assert TOKEN not in shown(raised.value)


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_given_as_a_dict_is_not_printed(server: FaultServer, way: str) -> None:
    with pytest.raises(ValueError, match="ai_gateway") as raised:
        ask(model(server).bind(ai_gateway={"id": "x", "token": GATEWAY_TOKEN}), way)
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
def test_an_ipv6_range_in_no_proxy_does_no_harm(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server._choose = hello
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,fd00::/8,::1/128,[::1]")
    assert model(server).invoke("Hi").text == HELLO
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    client_pool._close_shared_clients()
    assert model(server).invoke("Hi").text == HELLO


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize(
    ("variable", "value", "base_url"),
    [
        ("SSL_CERT_FILE", "/nowhere/certificates.pem", "https://127.0.0.1:1"),
        ("ALL_PROXY", "gopher://127.0.0.1:1", "http://192.0.2.1"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "https://192.0.2.1"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_broken_environment_names_its_variable(
    way: str, variable: str, value: str, base_url: str, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if variable == "SSL_CERT_FILE" and httpx.__version__ < "0.28":
        pytest.skip("httpx before 0.28 passes over certificates that do not exist")
    monkeypatch.setenv(variable, value)
    with pytest.raises(APIConnectionError, match=variable):
        ask(gemma(base_url=base_url, max_retries=3), way)
    assert not naps, "the environment will be the same"


@pytest.mark.usefixtures("fresh_pool")
def test_a_proxy_of_the_environment_is_used(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server._choose = hello
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert gemma(base_url="http://workers.example").invoke("Hi").text == HELLO
    assert server.requests[0].line.startswith("POST http://workers.example/")


PROXY_PASSWORD = "a-password-of-the-proxy"


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_reached_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with refusing_port() as port:
        monkeypatch.setenv(variable, f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        with pytest.raises(APIConnectionError, match=f"the proxy that {variable} names") as raised:
            gemma(base_url="http://workers.example").invoke("Hi")
    assert PROXY_PASSWORD not in shown(raised.value)


# --- What users of others ran into ------------------------------------------------------------------------------------


def raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


@pytest.mark.parametrize(("status", "cls"), [(429, RateLimitError), (401, AuthenticationError)])
def test_a_response_hook_of_the_callers_client(server: FaultServer, status: int, cls: type[APIStatusError]) -> None:
    server.play((http(status, refusal(None, "Slow down")),))
    with httpx.Client(event_hooks={"response": [raise_for_status]}) as client, pytest.raises(cls) as raised:
        model(server, http_client=client, max_retries=0).invoke("Hi")
    assert raised.value.status_code == status
    assert TOKEN not in shown(raised.value)


def read_in_pieces(response: httpx.Response) -> None:
    for _ in response.stream:  # type: ignore[union-attr]
        pass


def read_and_drop(response: httpx.Response) -> None:
    for _ in response.iter_raw():
        pass


@pytest.mark.parametrize("hook", [read_and_drop, read_in_pieces])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_response_hook_that_drops_the_body(server: FaultServer, way: str, hook: Any) -> None:
    server._choose = hello
    with httpx.Client(event_hooks={"response": [hook]}) as client, pytest.raises(WorkersGemmaError):
        ask(model(server, http_client=client, max_retries=0), way)


def read_and_raise(response: httpx.Response) -> None:
    response.read()
    response.raise_for_status()


def test_a_response_hook_that_reads_the_body_keeps_the_words(server: FaultServer) -> None:
    server.play((http(429, refusal(4006, "you have used up your daily free allocation of 10,000 neurons")),))
    client = httpx.Client(event_hooks={"response": [read_and_raise]})
    with client, pytest.raises(QuotaExceededError, match="daily free allocation"):
        model(server, http_client=client).invoke("Hi")
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "code", "cls", "tries"),
    [
        (429, 4006, QuotaExceededError, 1),
        (200, 2016, APIStatusError, 1),
        (424, 2017, APIStatusError, 1),
        (429, 2003, RateLimitError, 2),
        (400, 9109, AuthenticationError, 1),
        (404, 7000, APIStatusError, 1),
    ],
)
def test_reported_codes(
    server: FaultServer, way: str, status: int, code: int, cls: type[APIStatusError], tries: int
) -> None:
    server.play((http(status, refusal(code, "Reported.")),))
    with pytest.raises(cls, match="Reported") as raised:
        ask(model(server), way)
    assert raised.value.code == code
    assert len(server.requests) == tries


def test_an_authentication_error_within_an_error_chain(server: FaultServer) -> None:
    error = {"code": 6003, "message": "Invalid request headers", "error_chain": [{"code": 6111, "message": "Invalid"}]}
    server.play((http(400, {"success": False, "errors": [error], "result": None}),))
    with pytest.raises(AuthenticationError):
        model(server).invoke("Hi")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_stream_in_answer_to_a_whole_request(server: FaultServer, way: str) -> None:
    server.play(
        (STREAM_HEAD + EVENT + event({"response": "lo", "usage": USAGE}) + event(b"[DONE]") + STREAM_END,),
    )
    reply = ask(model(server), way)
    assert reply.text == HELLO
    assert reply.usage_metadata is not None


@pytest.mark.parametrize("way", WAYS)
def test_json_followed_by_done(server: FaultServer, way: str) -> None:
    server.play((http(200, BODY + b"\n\ndata: [DONE]\n\n"),))
    assert ask(model(server), way).text == HELLO


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_events_of_other_types_need_not_be_json(server: FaultServer, way: str) -> None:
    ping = chunk(b"event: ping\ndata: 2026-11-25\n\n")
    server.play((STREAM_HEAD + ping + EVENT + ping + event({"response": "lo"}) + event(b"[DONE]") + STREAM_END,))
    assert ask(model(server), way).text == HELLO


@pytest.mark.parametrize("way", WAYS)
def test_a_lone_surrogate_does_not_end_a_reply(server: FaultServer, way: str) -> None:
    if "stream" in way:
        half = event(b'{"response": "a \\ud83d"}') + event(b'{"response": "\\ude00 b \\ud800"}')
        server.play((STREAM_HEAD + half + event(b"[DONE]") + STREAM_END,))
        assert ask(model(server), way).text == "a \U0001f600 b \ufffd"
    else:
        server.play((http(200, b'{"result": {"response": "a \\ud800 b"}, "success": true}'),))
        assert ask(model(server), way).text == "a \ufffd b"


def test_many_retries_do_not_overflow(server: FaultServer, naps: list[float]) -> None:
    server.play((http(503, refusal(None)),))
    with pytest.raises(InternalServerError):
        model(server, max_retries=1_100).invoke("Hi")
    assert len(naps) == 1_100
    assert max(naps) <= 8


def test_the_driver_names_the_grace() -> None:
    assert driver.GRACE_TIMEOUT <= 2
