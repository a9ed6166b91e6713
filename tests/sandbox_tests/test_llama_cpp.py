"""The sandbox with llama-cpp-python and a real Gemma 3 graph as its engine. Slow, and not part of `make test`.

python -m venv /tmp/llama
CMAKE_ARGS="-DGGML_NATIVE=OFF" /tmp/llama/bin/pip install "llama-cpp-python[server]" gguf numpy
LLAMA_CPP_PYTHON=/tmp/llama/bin/python pytest -m slow tests/sandbox_tests/test_llama_cpp.py
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, Api, get_error
from tests.sandbox_tests.test_streams import USAGE, get_stream_text

PYTHON = os.environ.get("LLAMA_CPP_PYTHON")
SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}, "ok": {"type": "boolean"}},
    "required": ["color", "ok"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="LLAMA_CPP_PYTHON is not set to a Python with llama-cpp-python"),
]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    assert PYTHON is not None
    model = tmp_path_factory.mktemp("model") / "tiny-gemma3.gguf"
    subprocess.run([PYTHON, str(Path(__file__).with_name("tiny_gemma3.py")), str(model)], check=True, timeout=60)
    port = find_free_port()
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(f"{url}/models")
            front = Sandbox(upstream=url, upstream_model="tiny-gemma3", upstream_schema="json_object")
            with front, Api(front) as client:
                yield client
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{url} did not respond")


def test_it_chats(api: Api) -> None:
    result = api.get_result(GEMMA_3, "Hello", max_tokens=12, seed=3)
    assert isinstance(result["response"], str)
    assert 0 < result["usage"]["completion_tokens"] <= 13
    assert api.get_result(GEMMA_4, "Hello", max_tokens=12)["choices"][0]["finish_reason"] in ("length", "stop")


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_it_streams(api: Api, model: str) -> None:
    events = api.get_events(model, "Hello", max_tokens=12, seed=5, **USAGE)
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["total_tokens"] > 0
    assert isinstance(get_stream_text(events), str)


@pytest.mark.parametrize("seed", range(1, 6))
def test_guided_json_constrains_the_reply(api: Api, seed: int) -> None:
    value = json.loads(api.get_text(GEMMA_3, "Hello", guided_json=SCHEMA, max_tokens=300, seed=seed))
    assert value["color"] in ("red", "green")
    assert isinstance(value["ok"], bool)


def test_guided_json_constrains_a_stream(api: Api) -> None:
    events = api.get_events(GEMMA_3, "Hello", guided_json=SCHEMA, max_tokens=300, seed=2)
    assert set(json.loads(get_stream_text(events))) == {"color", "ok"}


def test_an_error_of_the_server_is_forwarded(api: Api) -> None:
    status, code, message = get_error(api.send_text(GEMMA_3, "word " * 5000, max_tokens=5))
    assert (status, code) == (400, 5006)
    assert "maximum context length is 2048 tokens" in message
