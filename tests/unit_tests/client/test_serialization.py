"""Model objects that are serialized, pickled, copied, and used in event loops, threads and processes."""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps, loads

from langchain_workers_gemma import AIGateway, ChatWorkersGemma, WorkersGemmaEmbeddings
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, GEMMA_3, call_model, make_model, run_async
from tests.helpers.strict_warnings import STRICT_WARNINGS

OPTIONS: dict[str, Any] = {
    "model": "@cf/google/gemma-4-26b-a4b-it",
    "temperature": 0.5,
    "max_tokens": 9,
    "stop": ["a"],
    "thinking": False,
    "timeout": 12.5,
    "max_retries": 4,
    "default_headers": {"x-team": "a"},
    "model_kwargs": {"n": 1},
    "session_affinity": "s",
    "reject_if_busy": True,
}


def load_model(text: str, **options: Any) -> ChatWorkersGemma:
    """Load a model from the text of `dumps`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        model = loads(
            text,
            allowed_objects=[ChatWorkersGemma, AIGateway],
            valid_namespaces=["langchain_workers_gemma"],
            **options,
        )
    assert isinstance(model, ChatWorkersGemma)
    return model


def assert_equal_models(first: ChatWorkersGemma, second: ChatWorkersGemma) -> None:
    """Check that two models are equal."""
    assert first.model_dump() == second.model_dump()
    assert repr(first) == repr(second)


# --- dumps and loads --------------------------------------------------------------------------------------------------


def test_dumps_replaces_the_token_by_a_secret() -> None:
    dumped = dumpd(make_model(**OPTIONS))
    assert dumped["type"] == "constructor"
    assert dumped["kwargs"]["api_token"] == {"lc": 1, "type": "secret", "id": ["CLOUDFLARE_API_TOKEN"]}
    assert API_TOKEN not in json.dumps(dumped)


@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_dumps_names_the_secret_of_the_host(host: str) -> None:
    name = {"dataoorts": "DATAOORTS_API_KEY", "aimlapi": "AIMLAPI_API_KEY"}[host]
    assert dumpd(make_model(host=host))["kwargs"]["api_token"]["id"] == [name]


@pytest.mark.parametrize("alias", ["api_key", "cloudflare_api_token"])
def test_a_token_passed_by_an_alias_is_a_secret(alias: str) -> None:
    llm = ChatWorkersGemma(account_id="a", **{alias: API_TOKEN})
    assert API_TOKEN not in dumps(llm)


def test_loads_returns_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = make_model(**OPTIONS)
    assert_equal_models(load_model(dumps(llm), secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN}), llm)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", API_TOKEN)
    assert_equal_models(load_model(dumps(llm), secrets_from_env=True), llm)


def test_the_token_of_a_gateway_is_a_secret() -> None:
    llm = make_model(ai_gateway=AIGateway("gw", token="gateway-token", cache_ttl=5))
    text = dumps(llm)
    assert "gateway-token" not in text
    restored = load_model(text, secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN, "CF_AIG_TOKEN": "gateway-token"})
    assert restored.ai_gateway == llm.ai_gateway


CREDENTIALS = [
    "Authorization",
    "cf-aig-authorization",
    "x-api-key",
    "X-Auth-Key",
    "api-token",
    "cookie",
    "x-goog-apikey",
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_in_headers_are_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "WORKERS_GEMMA_HEADER_" + name.upper().replace("-", "_").replace(".", "_")
    llm = make_model(default_headers={name: "the-credential", "x-team": "a"})
    text = dumps(llm)
    assert "the-credential" not in text
    with pytest.raises(ValueError, match=variable):
        load_model(text, secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN})
    monkeypatch.setenv(variable, "the-credential")
    assert_equal_models(load_model(text, secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN}), llm)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.usefixtures("service")
def test_traces_have_no_credentials_of_headers(call_method: str) -> None:
    class RecordingHandler(BaseCallbackHandler):
        def on_chat_model_start(self, *arguments: Any, **options: Any) -> None:
            started.append(repr((arguments, options)))

    started: list[str] = []
    llm = make_model(default_headers={"cf-aig-authorization": "the-credential"}, callbacks=[RecordingHandler()])
    call_model(llm, call_method)
    assert len(started) == 1
    assert "the-credential" not in started[0]
    assert API_TOKEN not in started[0]


def test_dumps_of_embeddings_have_no_credentials_of_headers() -> None:
    llm = WorkersGemmaEmbeddings(account_id="a", api_token=API_TOKEN, default_headers={"x-api-key": "the-credential"})
    assert "the-credential" not in dumps(llm)


def test_an_httpx_timeout_is_kept_by_dumps_and_loads() -> None:
    llm = make_model(timeout=httpx.Timeout(5, connect=2))
    assert load_model(dumps(llm), secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN}).timeout == llm.timeout


def test_dumps_omits_clients() -> None:
    with httpx.Client() as client:
        text = dumps(make_model(http_client=client))
    assert "http_client" not in text
    assert_equal_models(load_model(text, secrets_map={"CLOUDFLARE_API_TOKEN": API_TOKEN}), make_model())


# --- Pickles and copies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_pickled_model_works(service: MockService, call_method: str) -> None:
    llm = make_model(**OPTIONS)
    restored = pickle.loads(pickle.dumps(llm))
    assert_equal_models(restored, llm)
    call_model(restored, call_method)
    assert service.only_request.headers["authorization"] == f"Bearer {API_TOKEN}"


def test_pickle_omits_clients(service: MockService) -> None:
    with httpx.Client() as client:
        restored = pickle.loads(pickle.dumps(make_model(http_client=client)))
    assert restored.http_client is None
    assert call_model(restored, "invoke").content == "Hi"


def test_a_used_model_can_be_pickled(service: MockService) -> None:
    llm = make_model()
    for call_method in CALL_METHODS:
        call_model(llm, call_method)
    assert_equal_models(pickle.loads(pickle.dumps(llm)), llm)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_deep_copy_works(service: MockService, call_method: str) -> None:
    llm = make_model(**OPTIONS)
    duplicate = copy.deepcopy(llm)
    assert_equal_models(duplicate, llm)
    assert duplicate.model_kwargs is not llm.model_kwargs
    call_model(duplicate, call_method)
    assert service.only_request.headers["x-team"] == "a"


def test_deepcopy_shares_clients_and_binding() -> None:
    binding = SimpleNamespace(run=respond)
    with httpx.Client() as client:
        duplicate = copy.deepcopy(make_model(http_client=client, binding=binding))
        assert duplicate.http_client is client
        assert duplicate.binding is binding


def test_a_copy_of_a_retired_model_does_not_warn_again() -> None:
    llm = make_model(model=GEMMA_3)
    assert_equal_models(copy.deepcopy(llm), llm)
    assert_equal_models(pickle.loads(pickle.dumps(llm)), llm)


# --- Clients of the caller --------------------------------------------------------------------------------------------


def respond(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"result": {"response": request.headers.get("x-mine", "")}, "success": True})


def test_a_sync_client_of_the_caller_is_used_and_not_closed() -> None:
    with httpx.Client(transport=httpx.MockTransport(respond), headers={"x-mine": "yes"}) as client:
        for call_method in ("invoke", "stream"):
            llm = make_model(http_client=client)
            assert call_model(llm, call_method).content == "yes"
            del llm
            assert not client.is_closed


def test_an_async_client_of_the_caller_is_used_and_not_closed() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(respond), headers={"x-mine": "yes"})
    for call_method in ("ainvoke", "astream"):
        assert call_model(make_model(http_async_client=client), call_method).content == "yes"
        assert not client.is_closed


def respond_with_headers(request: httpx.Request) -> httpx.Response:
    headers = {
        name: request.headers.get(name) for name in ("cookie", "x-signed", "x-hooked", "authorization", "user-agent")
    }
    text = json.dumps({**headers, "query": str(request.url.params)})
    return httpx.Response(200, json={"result": {"response": text}, "success": True})


class SigningClient(httpx.Client):
    def build_request(self, *arguments: Any, **options: Any) -> httpx.Request:
        request = super().build_request(*arguments, **options)
        request.headers["x-signed"] = str(len(request.read()))
        return request


class AsyncSigningClient(httpx.AsyncClient):
    def build_request(self, *arguments: Any, **options: Any) -> httpx.Request:
        request = super().build_request(*arguments, **options)
        request.headers["x-signed"] = str(len(request.read()))
        return request


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_client_of_the_caller_builds_its_own_requests(call_method: str) -> None:
    def hook(request: httpx.Request) -> None:
        request.headers["x-hooked"] = "yes"

    async def ahook(request: httpx.Request) -> None:
        hook(request)

    options: dict[str, Any] = {
        "cookies": {"a": "b"},
        "params": {"team": "blue"},
        "transport": httpx.MockTransport(respond_with_headers),
    }
    client = SigningClient(event_hooks={"request": [hook]}, **options)
    async_client = AsyncSigningClient(event_hooks={"request": [ahook]}, **options)
    llm = make_model(http_client=client, http_async_client=async_client)
    headers = json.loads(str(call_model(llm, call_method).text))
    assert headers.pop("x-signed").isdecimal()
    assert headers.pop("user-agent").startswith("langchain-workers-gemma/")
    assert headers == {"cookie": "a=b", "x-hooked": "yes", "authorization": f"Bearer {API_TOKEN}", "query": "team=blue"}
    client.close()
    run_async(async_client.aclose())


# --- Event loops, threads and processes -------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        reply = b'{"result": {"response": "Hi"}, "success": true}'
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_several_event_loops_in_sequence(base_url: str) -> None:
    llm = make_model(base_url=base_url)

    async def call_twice() -> list[str]:
        messages = await asyncio.gather(llm.ainvoke("a"), llm.ainvoke("b"))
        return [str(message.content) for message in messages]

    for _ in range(3):
        assert asyncio.run(call_twice()) == ["Hi", "Hi"]
    assert llm.invoke("c").content == "Hi"


def test_event_loops_in_several_threads(base_url: str) -> None:
    llm = make_model(base_url=base_url)

    def call_in_loop(_: int) -> Any:
        return asyncio.run(llm.ainvoke("a")).content

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call_in_loop, range(8))) == ["Hi"] * 8


def test_several_threads(base_url: str) -> None:
    llm = make_model(base_url=base_url)
    with ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(llm.invoke, ["a"] * 40))
    assert {message.content for message in messages} == {"Hi"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process(base_url: str) -> None:
    llm = make_model(base_url=base_url)
    assert llm.invoke("before").content == "Hi"
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            texts = f"{llm.invoke('in the child').content} {asyncio.run(llm.ainvoke('in the child')).content}"
            os.write(write, texts.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "Hi Hi"
    os.waitpid(child, 0)
    assert llm.invoke("after").content == "Hi"


def _call_in_process(llm: ChatWorkersGemma) -> str:
    return str(llm.invoke("Hello").content)


def test_a_spawned_process(base_url: str, tmp_path: Path) -> None:
    program = (
        "import pickle, sys; llm = pickle.loads(sys.stdin.buffer.read()); "
        "print(llm.invoke('Hello').content, llm.batch(['a', 'b'])[1].content)"
    )
    process = subprocess.run(
        [sys.executable, *STRICT_WARNINGS, "-c", program],
        input=pickle.dumps(make_model(base_url=base_url)),
        capture_output=True,
        check=True,
    )
    assert process.stdout.split() == [b"Hi", b"Hi"]
    assert not process.stderr


def test_a_pool_of_spawned_processes(base_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_call_in_process, [make_model(base_url=base_url)]) == ["Hi"]
