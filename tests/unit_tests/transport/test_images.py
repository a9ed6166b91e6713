"""`inline_image_urls`: a stranger's URL must not reach what only this machine can, nor cost more than it may."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from langchain_workers_gemma.transport import guarded_fetch as images
from langchain_workers_gemma.transport.guarded_fetch import afetch_images, fetch_images, is_public
from tests.helpers.fault_server import (
    CLOSE,
    RESET,
    STALL,
    Drip,
    FaultServer,
    Script,
    make_http_response,
    make_response_head,
)
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import GEMMA_4, GEMMA_7B, PNG_BASE64, PNG_DATA_URI, call_model, make_model, run_async

Fetch = Callable[[list[str]], Any]
IMAGE = base64.b64decode(PNG_BASE64)
FOUND: Script = (make_http_response(200, IMAGE, content_type="image/png"),)


def _afetch(urls: list[str]) -> Any:
    return run_async(afetch_images(urls))


@pytest.fixture(params=[fetch_images, _afetch], ids=["sync", "async"])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    function: Fetch = request.param
    return function


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Have names resolve to addresses; an address replaces itself. Gives the list of names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        with suppress(ValueError):
            return real(str(ipaddress.ip_address(host)), port, type=socket.SOCK_STREAM)
        asked.append(host)
        name = host.partition(".")[0]
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in names[name] for entry in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server that the guard takes for a public one: `host.example` with its port."""
    real = is_public
    monkeypatch.setattr(images, "is_public", lambda address: address == "127.0.0.1" or real(address))
    resolving(monkeypatch, host=["127.0.0.1"], private=["10.0.0.1"], public=["127.0.0.1"])
    with FaultServer() as playing:
        playing.play(FOUND)
        yield playing


def at(server: FaultServer, path: str = "/a.png") -> str:
    return f"http://host.example:{server.port}{path}"


# --- Where it goes ----------------------------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "0.1.2.3", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450:4001::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_private_when_it_is_wrapped(address: Any) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") is public
    assert is_public(f"64:ff9b::{address}") is public
    assert not is_public(f"::{address}")


@pytest.mark.parametrize("address", [*PRIVATE, "localhost"])
def test_address_in_the_url(fetch: Fetch, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch)
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(ValueError, match=r"not at a public address|percent-encoded"):
            fetch([f"{scheme}://{host}/a.png"])
    assert not asked  # not even looked up


@pytest.mark.parametrize("address", PRIVATE)
def test_name_of_a_private_address(fetch: Fetch, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))]

    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("it connected")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(ValueError, match="not at a public address"):
        fetch(["https://rebound.example/a.png"])


def test_name_with_one_private_address_among_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, mixed=["1.1.1.1", "10.0.0.1"])
    with pytest.raises(ValueError, match="not at a public address"):
        fetch_images(["http://mixed.example/a.png"])


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost."])
def test_other_spellings_of_loopback(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"not at a public address|could not be fetched"):
        fetch_images([f"http://{spelling}/a.png"])


def test_the_name_is_resolved_once(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no second look-up that could return another address than the checked one."""
    asked = resolving(monkeypatch, host=["127.0.0.1"])
    fetch_images([at(server)])
    assert asked == ["host.example"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host.example/a.png", "file:///etc/passwd", "gopher://host.example/", "//host.example/a.png", "http://",
        "http:///a.png", "https://user:secret@host.example/a.png", "http://user@host.example/", "http://[::1",
        "http://host.example/a b.png", "http://host.example/\r\nX: y", "http://host.example/\x00", "http://h\u00f6st.example/",
        "http://host.example:99999/a.png", "http://host.example:x/", "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_urls_that_are_refused(fetch: Fetch, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch)
    with pytest.raises(ValueError, match=r"."):
        fetch([url])
    assert not asked


@pytest.mark.parametrize("host", ["nowhere.example", "a" * 70 + ".example", "a..example"])
def test_names_that_cannot_be_resolved(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host.startswith("nowhere"):
        resolving(monkeypatch)
    with pytest.raises(ValueError, match="messages: the image"):
        fetch_images([f"http://{host}/a.png"])


# --- Redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: FaultServer, fetch: Fetch, status: int) -> None:
    server.play((make_http_response(status, b"", location="/b.png"),))
    server.choose_script = lambda request: (
        FOUND if "/b.png" in request.request_line else (make_http_response(status, b"", location="/b.png"),)
    )
    assert fetch([at(server)]) == {at(server): PNG_DATA_URI}


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://private.example/a.png", "file:///etc/passwd",
        "http://localhost/",
        "https://10.0.0.1/", "//192.168.0.1/a.png", "ftp://host.example/", "http://[::1", "http://a b/",
    ],
)  # fmt: skip
def test_redirects_to_forbidden_addresses(server: FaultServer, fetch: Fetch, location: str) -> None:
    server.play((make_http_response(302, b"", location=location),))
    with pytest.raises(ValueError, match=r"."):
        fetch([at(server)])
    assert len(server.requests) == 1


def test_too_many_redirects(server: FaultServer, fetch: Fetch) -> None:
    server.play((make_http_response(302, b"", location="/again"),))
    with pytest.raises(ValueError, match="redirects more than 3 times"):
        fetch([at(server)])
    assert len(server.requests) == 4


def test_redirect_without_a_place(server: FaultServer) -> None:
    server.play((make_http_response(302, b""),))
    with pytest.raises(ValueError, match="status 302"):
        fetch_images([at(server)])


# --- Size, type, time, faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        (make_response_head(200, content_type="image/png"), b"x" * 40_000, STALL),
        (make_response_head(200, content_type="image/png", content_length=str(10**12)), b"x" * 40_000, STALL),
    ],
)
def test_too_large(server: FaultServer, fetch: Fetch, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 30_000)
    server.play(script)
    with pytest.raises(ValueError, match=r"larger than 30,000 bytes"):
        fetch([at(server)])
    assert server.wait_for_disconnect()


def test_too_large_together(server: FaultServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_TOTAL_BYTES", 3 * len(PNG_DATA_URI))
    server.play(FOUND)
    assert len(fetch([at(server, f"/{n}") for n in range(3)])) == 3
    with pytest.raises(ValueError, match="images of one call"):
        fetch([at(server, f"/{n}") for n in range(9)])


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/octet-stream", "", "image/png2"])
def test_not_an_image(server: FaultServer, fetch: Fetch, kind: str) -> None:
    server.play((make_http_response(200, IMAGE, content_type=kind),))
    with pytest.raises(ValueError, match="not an image"):
        fetch([at(server)])


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG", "image/png; charset=binary"])
def test_types_that_are_taken(server: FaultServer, kind: str) -> None:
    server.play((make_http_response(200, IMAGE, content_type=kind),))
    assert fetch_images([at(server)])[at(server)] == PNG_DATA_URI


@pytest.mark.parametrize(
    "script",
    [
        (STALL,),
        (make_response_head(200, content_type="image/png"), STALL),
        (Drip(make_response_head(200, content_type="image/png") * 40, 0.01),),
        (make_response_head(200, content_type="image/png"), Drip(b"x" * 1_000, 0.01)),
    ],
    ids=["no head", "no body", "dripping head", "dripping body"],
)
def test_too_slow(server: FaultServer, fetch: Fetch, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily bytes drip in, in the head as in the body."""
    monkeypatch.setattr(images, "MAX_SECONDS", 0.2)
    server.play(script)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch([at(server)])
    assert server.wait_for_disconnect() in ("closed", "reset"), "in the middle of the reply"


def test_redirects_share_one_limit(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_SECONDS", 0.3)
    slow = (Drip(make_http_response(302, b"", location="/again"), 0.002),)
    server.play(slow)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch_images([at(server)])


@pytest.mark.parametrize(
    "script",
    [
        (RESET,), (CLOSE,),
        (b"garbage\r\n\r\n", CLOSE), (make_http_response(404, b""),),
        (make_http_response(500, IMAGE, content_type="image/png"),),
        (make_http_response(204, b"", content_type="image/png"),),
        (make_http_response(200, b"", content_type="image/png"),),
        (make_response_head(200, content_type="image/png", content_length="99"), b"x", CLOSE),
        (make_response_head(200, content_type="image/png", content_length="99"), b"x", RESET),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, CLOSE),
    ],
)  # fmt: skip
def test_faults(server: FaultServer, fetch: Fetch, script: Script) -> None:
    server.play(script)
    with pytest.raises(ValueError, match="messages: the image"):
        fetch([at(server)])
    assert server.wait_until_at_most_open(0) == 0


def test_refused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.fault_server import reserve_closed_port

    monkeypatch.setattr(images, "is_public", lambda _: True)
    with reserve_closed_port() as port, pytest.raises(ValueError, match="could not be fetched"):
        fetch_images([f"http://127.0.0.1:{port}/a.png"])


def test_another_address_is_tried(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have an address that this machine has no way to."""
    monkeypatch.setattr(images, "is_public", lambda _: True)
    resolving(monkeypatch, host=["127.0.0.2", "127.0.0.1"])
    assert fetch_images([at(server)])[at(server)] == PNG_DATA_URI


def test_a_handshake_that_never_ends(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_SECONDS", 0.3)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch_images([f"https://host.example:{server.port}/a.png"])
    assert not server.requests
    assert server.wait_until_at_most_open(0) == 0


def test_time_that_is_up_before_the_handshake(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed, not left to the garbage collector."""
    now = iter([0.0, 0.0, 31.0])  # when it begins, connects, and would start TLS
    monkeypatch.setattr(images, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(ValueError, match="longer than 30 s") as raised:
        fetch_images([f"https://host.example:{server.port}/a.png"])
    assert raised.value.__context__ is not None, "its frames keep alive what they hold"
    assert server.wait_until_at_most_open(0) == 0


# --- What becomes of it -----------------------------------------------------------------------------------------------

BLOCKS: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": "URL"}},
    {"type": "image_url", "image_url": "URL"},
    {"type": "image", "url": "URL"},
    {"type": "image", "source_type": "url", "url": "URL"},
    {"type": "image", "source": {"type": "url", "url": "URL"}},
]


@pytest.fixture
def asking_loopback(server: FaultServer) -> Iterator[FaultServer]:
    """A second server, the service itself; its requests are recognised by their path."""
    with FaultServer() as service:
        service.play((make_http_response(200, {"result": {"response": "A dot."}, "success": True}),))
        yield service


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_request_holds_the_image(
    server: FaultServer, asking_loopback: FaultServer, block: dict[str, Any], call_method: str
) -> None:
    url = at(server)
    message = HumanMessage([{"type": "text", "text": "What is this?"}, _with_url(block, url)])
    llm = make_model(base_url=asking_loopback.url, inline_image_urls=True)
    reply = llm.invoke([message]) if call_method == "invoke" else asyncio.run(llm.ainvoke([message]))
    assert reply.text == "A dot."
    (sent,) = asking_loopback.requests
    assert PNG_DATA_URI in sent.body.decode()
    assert url not in sent.body.decode()
    (fetched,) = server.requests
    assert fetched.request_line == "GET /a.png HTTP/1.1"
    assert "authorization" not in fetched.headers
    assert fetched.headers["host"] == f"host.example:{server.port}"


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_streams_fetch_too(server: FaultServer, asking_loopback: FaultServer, call_method: str) -> None:
    llm = make_model(base_url=asking_loopback.url, inline_image_urls=True)
    assert call_model(llm, call_method, [HumanMessage([_with_url(BLOCKS[0], at(server))])]).text == "A dot."
    assert PNG_DATA_URI in asking_loopback.requests[0].body.decode()


def test_one_url_is_fetched_once_a_call(server: FaultServer, asking_loopback: FaultServer) -> None:
    block = _with_url(BLOCKS[0], at(server))
    llm = make_model(base_url=asking_loopback.url, inline_image_urls=True)
    llm.invoke([HumanMessage([block, block])])
    assert len(server.requests) == 1
    assert asking_loopback.requests[0].body.decode().count(PNG_DATA_URI) == 2


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
def test_nothing_is_sent_when_an_image_may_not_be_fetched(service: MockService, call_method: str) -> None:
    message = HumanMessage([_with_url(BLOCKS[0], "http://169.254.169.254/latest/meta-data/")])
    with pytest.raises(ValueError, match="not at a public address"):
        call_model(make_model(inline_image_urls=True), call_method, [message])
    assert not service.requests


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
def test_nothing_is_fetched_unless_it_is_switched_on(
    service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch)
    message = HumanMessage([_with_url(BLOCKS[0], "https://host.example/a.png")])
    with pytest.raises(ValueError, match="inline_image_urls=True"):
        call_model(make_model(), call_method, [message])
    assert not service.requests
    assert not asked


def test_nothing_is_fetched_for_a_model_that_reads_text_only(
    service: MockService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch)
    message = HumanMessage([_with_url(BLOCKS[0], "https://host.example/a.png")])
    with pytest.raises(ValueError, match="text only"):
        make_model(model=GEMMA_7B, inline_image_urls=True).invoke([message])
    assert not asked


def test_the_model_of_the_call_decides(server: FaultServer, asking_loopback: FaultServer) -> None:
    message = HumanMessage([_with_url(BLOCKS[0], at(server))])
    llm = make_model(base_url=asking_loopback.url, model=GEMMA_7B, inline_image_urls=True)
    assert llm.invoke([message], model=GEMMA_4).text == "A dot."
    assert PNG_DATA_URI in asking_loopback.requests[0].body.decode()


def _with_url(block: dict[str, Any], url: str) -> Any:
    """The block with its URL filled in."""
    return {key: url if value == "URL" else _with_url(value, url) if isinstance(value, dict) else value
            for key, value in block.items()}  # fmt: skip
