from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from langchain_workers_gemma.sandbox import Fault, Sandbox
from langchain_workers_gemma.sandbox.engines.mock import MockModel
from langchain_workers_gemma.sandbox.http import thread
from tests.sandbox_tests.api_client import GEMMA_3, Api, to_messages

HEAVY = {"langchain_core", "llguidance", "numpy", "PIL", "rich", "tokenizers", "torch", "transformers"}


def test_starts_without_slow_imports() -> None:
    """`benchmarks/` measures how long a start takes."""
    program = (
        "import sys; from langchain_workers_gemma.sandbox import Sandbox\n"
        "with Sandbox(): print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    loaded = set(ran.stdout.split())
    assert "uvicorn" in loaded
    assert not loaded & HEAVY


def test_leaves_no_thread_task_or_socket_behind() -> None:
    before = set(threading.enumerate())
    with Sandbox() as sandbox, Api(sandbox) as api:
        assert api.send_text(GEMMA_3, "Hello").status_code == 200
        port = sandbox.port
    assert set(threading.enumerate()) == before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    gc.collect()  # an open socket or a pending task causes a warning here, and warnings are errors


def test_closes_while_a_client_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "_GRACE_TIMEOUT", 600.0)  # seconds; the test fails if something waits for it
    with httpx.Client(trust_env=False) as client:
        with Sandbox() as sandbox:
            url = sandbox.base_url
            client.get(url)
        with pytest.raises(httpx.TransportError):
            client.get(url)


def test_two_sandboxes_are_independent() -> None:
    with Sandbox(api_token="one") as one, Sandbox(api_token="two") as two, Api(one) as first, Api(two) as second:
        assert one.port != two.port
        first.send_text(GEMMA_3, "Hello")
        assert (len(one.requests), len(two.requests)) == (1, 0)
        assert second.http.get(f"{two.base_url}/user/tokens/verify", headers=first.auth).status_code == 401


def test_can_be_started_again() -> None:
    sandbox = Sandbox()
    for _ in range(2):
        with sandbox, Api(sandbox) as api:
            assert api.send_text(GEMMA_3, "Hello").status_code == 200


def test_start_and_close_work_without_with() -> None:
    sandbox = Sandbox().start()
    try:
        with pytest.raises(RuntimeError, match="already running"):
            sandbox.start()
        assert str(sandbox.port) in repr(sandbox)
    finally:
        sandbox.close()
        sandbox.close()
    assert "not running" in repr(sandbox)


def test_an_error_names_the_cure_when_it_was_not_started() -> None:
    with pytest.raises(RuntimeError, match="context manager"):
        _ = Sandbox().base_url


def test_the_given_port_is_used() -> None:
    with Sandbox() as one:
        port = one.port
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()
    with Sandbox(port=port) as again:
        assert again.base_url == f"http://127.0.0.1:{port}/client/v4"


async def test_async_with() -> None:
    async with Sandbox() as sandbox, httpx.AsyncClient(trust_env=False) as client:
        url = f"{sandbox.base_url}/accounts/{sandbox.account_id}/ai/run/{GEMMA_3}"
        calls = [
            client.post(
                url,
                json={"messages": to_messages(f"Say {n}")},
                headers={"Authorization": f"Bearer {sandbox.api_token}"},
            )
            for n in range(8)
        ]
        replies = await asyncio.gather(*calls)
    assert [reply.status_code for reply in replies] == [200] * 8


def test_serves_only_loopback() -> None:
    with Sandbox() as sandbox:
        assert sandbox.base_url.startswith("http://127.0.0.1:")


def test_an_unknown_dialect_is_an_error_that_lists_the_dialects() -> None:
    with pytest.raises(ValueError, match="crlf"):
        Sandbox(dialect="klingon")


def test_without_the_extra_the_import_names_it() -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "try:\n    from langchain_workers_gemma.sandbox import Sandbox\n"
        "except ImportError as error:\n    print(error)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert 'pip install "langchain-workers-gemma[sandbox]"' in output


def test_the_package_has_no_other_names() -> None:
    import langchain_workers_gemma.sandbox as package

    with pytest.raises(AttributeError, match="Sandpit"):
        _ = package.Sandpit


def test_an_internal_error_is_a_500_that_names_the_sandbox(
    sandbox: Sandbox, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def raise_error(_self: object, _request: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(MockModel, "write_reply", raise_error)
    response = api.send_text(GEMMA_3, "Hello")
    assert response.status_code == 500
    assert "a bug in the sandbox itself" in response.text
    assert "ZeroDivisionError" in caplog.text


def test_requests_are_recorded_until_cleared(sandbox: Sandbox, api: Api) -> None:
    api.run(GEMMA_3, {"messages": to_messages("Hello")}, headers={"X-Session-Affinity": "ses_1"}, tag="a")
    (request,) = sandbox.requests
    assert request.method == "POST"
    assert request.path.endswith(f"/ai/run/{GEMMA_3}")
    assert request.query == {"tag": "a"}
    assert request.headers["x-session-affinity"] == "ses_1"
    assert request.json == {"messages": to_messages("Hello")}
    assert b"Hello" in request.body
    assert sandbox.api_token not in repr(request)
    with pytest.raises(AttributeError):
        request.path = ""  # type: ignore[misc]
    sandbox.clear()
    assert sandbox.requests == []


def test_the_former_names_still_work(sandbox: Sandbox, api: Api) -> None:
    sandbox.order(Fault(status=503))
    assert api.send_text(GEMMA_3, "Hello").status_code == 503
    with sandbox.speaking("crlf"):
        assert "\r\n" in api.send_text(GEMMA_3, "Hello", stream=True).text
