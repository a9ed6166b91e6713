"""Proxies and other settings of the environment, and errors that name the variable to change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from langchain_workers_gemma import APIConnectionError
from langchain_workers_gemma.transport import client_pool, environment
from tests.helpers.fault_server import (
    HELLO_TEXT,
    FaultServer,
    choose_hello_script,
    make_server_model,
    reserve_closed_port,
)
from tests.helpers.model_calls import CALL_METHODS, call_model, format_traceback_with_locals, make_model

pytestmark = [pytest.mark.usefixtures("sleeps"), pytest.mark.lowest]


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
