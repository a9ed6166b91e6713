"""`inline_image_urls`: a URL must not reach private addresses, and a fetch is bounded in size and time."""

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

from langchain_workers_gemma.transport import guarded_fetch
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
    reserve_closed_port,
)
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import GEMMA_4, GEMMA_7B, PNG_BASE64, PNG_DATA_URI, call_model, make_model, run_async

Fetch = Callable[[list[str]], Any]
IMAGE = base64.b64decode(PNG_BASE64)
IMAGE_SCRIPT: Script = (make_http_response(200, IMAGE, content_type="image/png"),)


def _fetch_async(urls: list[str]) -> Any:
    return run_async(afetch_images(urls))


@pytest.fixture(params=[fetch_images, _fetch_async], ids=["sync", "async"])
def fetch(request: pytest.FixtureRequest) -> Fetch:
    function: Fetch = request.param
    return function


def mock_name_lookup(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> list[str]:
    """Make names resolve to addresses, and return the list that gets each name that is looked up."""
    looked_up_names: list[str] = []
    original = socket.getaddrinfo

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        with suppress(ValueError):
            return original(str(ipaddress.ip_address(host)), port, type=socket.SOCK_STREAM)
        looked_up_names.append(host)
        name = host.partition(".")[0]
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in names[name] for entry in original(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return looked_up_names


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server that counts as public: `host.example` with its port."""
    original = is_public
    monkeypatch.setattr(guarded_fetch, "is_public", lambda address: address == "127.0.0.1" or original(address))
    mock_name_lookup(monkeypatch, host=["127.0.0.1"], private=["10.0.0.1"], public=["127.0.0.1"])
    with FaultServer() as server:
        server.play(IMAGE_SCRIPT)
        yield server


def make_image_url(server: FaultServer, path: str = "/a.png") -> str:
    """Return the URL of an image on the server."""
    return f"http://host.example:{server.port}{path}"


# --- Addresses --------------------------------------------------------------------------------------------------------

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
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_ipv4_address_is_checked(address: Any) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") is public
    assert is_public(f"64:ff9b::{address}") is public
    assert not is_public(f"::{address}")


@pytest.mark.parametrize("address", [*PRIVATE, "localhost"])
def test_a_private_address_in_the_url_raises(fetch: Fetch, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up_names = mock_name_lookup(monkeypatch)
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(ValueError, match=r"not at a public address|percent-encoded"):
            fetch([f"{scheme}://{host}/a.png"])
    assert not looked_up_names  # the name is not looked up


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_of_a_private_address_raises(fetch: Fetch, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))]

    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("it connected")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(ValueError, match="not at a public address"):
        fetch(["https://rebound.example/a.png"])


def test_a_name_with_one_private_address_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    mock_name_lookup(monkeypatch, mixed=["1.1.1.1", "10.0.0.1"])
    with pytest.raises(ValueError, match="not at a public address"):
        fetch_images(["http://mixed.example/a.png"])


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost."])
def test_other_spellings_of_loopback_raise(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"not at a public address|could not be fetched"):
        fetch_images([f"http://{spelling}/a.png"])


def test_the_name_is_resolved_once(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lookup could return another address than the checked one."""
    looked_up_names = mock_name_lookup(monkeypatch, host=["127.0.0.1"])
    fetch_images([make_image_url(server)])
    assert looked_up_names == ["host.example"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host.example/a.png", "file:///etc/passwd", "gopher://host.example/", "//host.example/a.png", "http://",
        "http:///a.png", "https://user:secret@host.example/a.png", "http://user@host.example/", "http://[::1",
        "http://host.example/a b.png", "http://host.example/\r\nX: y", "http://host.example/\x00", "http://h\u00f6st.example/",
        "http://host.example:99999/a.png", "http://host.example:x/", "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_invalid_urls_raise(fetch: Fetch, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up_names = mock_name_lookup(monkeypatch)
    with pytest.raises(ValueError, match=r"."):
        fetch([url])
    assert not looked_up_names


@pytest.mark.parametrize("host", ["nowhere.example", "a" * 70 + ".example", "a..example"])
def test_unknown_names_raise(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host.startswith("nowhere"):
        mock_name_lookup(monkeypatch)
    with pytest.raises(ValueError, match="messages: the image"):
        fetch_images([f"http://{host}/a.png"])


# --- Redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: FaultServer, fetch: Fetch, status: int) -> None:
    server.play((make_http_response(status, b"", location="/b.png"),))
    server.choose_script = lambda request: (
        IMAGE_SCRIPT if "/b.png" in request.request_line else (make_http_response(status, b"", location="/b.png"),)
    )
    assert fetch([make_image_url(server)]) == {make_image_url(server): PNG_DATA_URI}


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://private.example/a.png", "file:///etc/passwd",
        "http://localhost/",
        "https://10.0.0.1/", "//192.168.0.1/a.png", "ftp://host.example/", "http://[::1", "http://a b/",
    ],
)  # fmt: skip
def test_redirects_to_forbidden_addresses_raise(server: FaultServer, fetch: Fetch, location: str) -> None:
    server.play((make_http_response(302, b"", location=location),))
    with pytest.raises(ValueError, match=r"."):
        fetch([make_image_url(server)])
    assert len(server.requests) == 1


def test_too_many_redirects_raise(server: FaultServer, fetch: Fetch) -> None:
    server.play((make_http_response(302, b"", location="/again"),))
    with pytest.raises(ValueError, match="redirects more than 3 times"):
        fetch([make_image_url(server)])
    assert len(server.requests) == 4


def test_a_redirect_without_a_location_raises(server: FaultServer) -> None:
    server.play((make_http_response(302, b""),))
    with pytest.raises(ValueError, match="status 302"):
        fetch_images([make_image_url(server)])


# --- Size, type, time, faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        (make_response_head(200, content_type="image/png"), b"x" * 40_000, STALL),
        (make_response_head(200, content_type="image/png", content_length=str(10**12)), b"x" * 40_000, STALL),
    ],
)
def test_a_too_large_image_raises(
    server: FaultServer, fetch: Fetch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_fetch, "MAX_BYTES", 30_000)
    server.play(script)
    with pytest.raises(ValueError, match=r"larger than 30,000 bytes"):
        fetch([make_image_url(server)])
    assert server.wait_for_disconnect()


def test_images_that_are_too_large_together_raise(
    server: FaultServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_fetch, "MAX_TOTAL_BYTES", 3 * len(PNG_DATA_URI))
    server.play(IMAGE_SCRIPT)
    assert len(fetch([make_image_url(server, f"/{n}") for n in range(3)])) == 3
    with pytest.raises(ValueError, match="images of one call"):
        fetch([make_image_url(server, f"/{n}") for n in range(9)])


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/octet-stream", "", "image/png2"])
def test_a_content_type_that_is_not_an_image_raises(server: FaultServer, fetch: Fetch, kind: str) -> None:
    server.play((make_http_response(200, IMAGE, content_type=kind),))
    with pytest.raises(ValueError, match="not an image"):
        fetch([make_image_url(server)])


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG", "image/png; charset=binary"])
def test_image_content_types_are_accepted(server: FaultServer, kind: str) -> None:
    server.play((make_http_response(200, IMAGE, content_type=kind),))
    assert fetch_images([make_image_url(server)])[make_image_url(server)] == PNG_DATA_URI


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
def test_a_too_slow_reply_raises(
    server: FaultServer, fetch: Fetch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if bytes keep arriving slowly, in the header or in the body."""
    monkeypatch.setattr(guarded_fetch, "MAX_SECONDS", 0.2)
    server.play(script)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch([make_image_url(server)])
    assert server.wait_for_disconnect() in ("closed", "reset"), "closed during the reply"


def test_redirects_share_one_time_limit(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_fetch, "MAX_SECONDS", 0.3)
    slow = (Drip(make_http_response(302, b"", location="/again"), 0.002),)
    server.play(slow)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch_images([make_image_url(server)])


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
def test_faults_raise(server: FaultServer, fetch: Fetch, script: Script) -> None:
    server.play(script)
    with pytest.raises(ValueError, match="messages: the image"):
        fetch([make_image_url(server)])
    assert server.wait_until_at_most_open(0) == 0


def test_a_refused_connection_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_fetch, "is_public", lambda _: True)
    with reserve_closed_port() as port, pytest.raises(ValueError, match="could not be fetched"):
        fetch_images([f"http://127.0.0.1:{port}/a.png"])


def test_the_next_address_of_a_name_is_tried(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have an address that this machine cannot reach."""
    monkeypatch.setattr(guarded_fetch, "is_public", lambda _: True)
    mock_name_lookup(monkeypatch, host=["127.0.0.2", "127.0.0.1"])
    assert fetch_images([make_image_url(server)])[make_image_url(server)] == PNG_DATA_URI


def test_a_handshake_that_never_ends_times_out(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_fetch, "MAX_SECONDS", 0.3)
    with pytest.raises(ValueError, match=r"longer than|could not be fetched"):
        fetch_images([f"https://host.example:{server.port}/a.png"])
    assert not server.requests
    assert server.wait_until_at_most_open(0) == 0


def test_a_timeout_before_the_handshake_closes_the_connection(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed by the fetch, not by the garbage collector."""
    now = iter([0.0, 0.0, 31.0])  # at the start, at the connection, before TLS
    monkeypatch.setattr(guarded_fetch, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(ValueError, match="longer than 30 s") as raised:
        fetch_images([f"https://host.example:{server.port}/a.png"])
    assert raised.value.__context__ is not None, "the frames of the error keep its objects alive"
    assert server.wait_until_at_most_open(0) == 0


# --- Requests with images ---------------------------------------------------------------------------------------------

BLOCKS: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": "URL"}},
    {"type": "image_url", "image_url": "URL"},
    {"type": "image", "url": "URL"},
    {"type": "image", "source_type": "url", "url": "URL"},
    {"type": "image", "source": {"type": "url", "url": "URL"}},
]


@pytest.fixture
def image_service(server: FaultServer) -> Iterator[FaultServer]:
    """A second server that is the service."""
    with FaultServer() as service:
        service.play((make_http_response(200, {"result": {"response": "A dot."}, "success": True}),))
        yield service


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_the_request_has_the_image(
    server: FaultServer, image_service: FaultServer, block: dict[str, Any], call_method: str
) -> None:
    url = make_image_url(server)
    message = HumanMessage([{"type": "text", "text": "What is this?"}, _with_url(block, url)])
    llm = make_model(base_url=image_service.url, inline_image_urls=True)
    reply = llm.invoke([message]) if call_method == "invoke" else asyncio.run(llm.ainvoke([message]))
    assert reply.text == "A dot."
    (request,) = image_service.requests
    assert PNG_DATA_URI in request.body.decode()
    assert url not in request.body.decode()
    (fetched,) = server.requests
    assert fetched.request_line == "GET /a.png HTTP/1.1"
    assert "authorization" not in fetched.headers
    assert fetched.headers["host"] == f"host.example:{server.port}"


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_streams_fetch_images_too(server: FaultServer, image_service: FaultServer, call_method: str) -> None:
    llm = make_model(base_url=image_service.url, inline_image_urls=True)
    assert call_model(llm, call_method, [HumanMessage([_with_url(BLOCKS[0], make_image_url(server))])]).text == "A dot."
    assert PNG_DATA_URI in image_service.requests[0].body.decode()


def test_a_url_is_fetched_once_per_call(server: FaultServer, image_service: FaultServer) -> None:
    block = _with_url(BLOCKS[0], make_image_url(server))
    llm = make_model(base_url=image_service.url, inline_image_urls=True)
    llm.invoke([HumanMessage([block, block])])
    assert len(server.requests) == 1
    assert image_service.requests[0].body.decode().count(PNG_DATA_URI) == 2


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
def test_a_forbidden_url_sends_no_request(service: MockService, call_method: str) -> None:
    message = HumanMessage([_with_url(BLOCKS[0], "http://169.254.169.254/latest/meta-data/")])
    with pytest.raises(ValueError, match="not at a public address"):
        call_model(make_model(inline_image_urls=True), call_method, [message])
    assert not service.requests


@pytest.mark.parametrize("call_method", ["invoke", "ainvoke", "stream", "astream"])
def test_no_image_is_fetched_by_default(
    service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up_names = mock_name_lookup(monkeypatch)
    message = HumanMessage([_with_url(BLOCKS[0], "https://host.example/a.png")])
    with pytest.raises(ValueError, match="inline_image_urls=True"):
        call_model(make_model(), call_method, [message])
    assert not service.requests
    assert not looked_up_names


def test_no_image_is_fetched_for_a_text_only_model(service: MockService, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up_names = mock_name_lookup(monkeypatch)
    message = HumanMessage([_with_url(BLOCKS[0], "https://host.example/a.png")])
    with pytest.raises(ValueError, match="text only"):
        make_model(model=GEMMA_7B, inline_image_urls=True).invoke([message])
    assert not looked_up_names


def test_the_model_of_the_call_decides_about_images(server: FaultServer, image_service: FaultServer) -> None:
    message = HumanMessage([_with_url(BLOCKS[0], make_image_url(server))])
    llm = make_model(base_url=image_service.url, model=GEMMA_7B, inline_image_urls=True)
    assert llm.invoke([message], model=GEMMA_4).text == "A dot."
    assert PNG_DATA_URI in image_service.requests[0].body.decode()


def _with_url(block: dict[str, Any], url: str) -> Any:
    """Return a block with its URL filled in."""
    return {key: url if value == "URL" else _with_url(value, url) if isinstance(value, dict) else value
            for key, value in block.items()}  # fmt: skip
