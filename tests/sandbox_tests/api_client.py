"""A client for the routes of a sandbox that uses only httpx."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import httpx

from langchain_workers_gemma.sandbox import Sandbox

GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
GEMMA_7B = "@hf/google/gemma-7b-it"
GEMMA_2B_LORA = "@cf/google/gemma-2b-it-lora"
GEMMA_7B_LORA = "@cf/google/gemma-7b-it-lora"
SEA_LION = "@cf/aisingapore/gemma-sea-lion-v4-27b-it"
EMBEDDING = "@cf/google/embeddinggemma-300m"
CHAT_MODELS = (GEMMA_4, GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION)
OLDER_MODELS = [model for model in CHAT_MODELS if model != GEMMA_4]

QUIET = {"chat_template_kwargs": {"enable_thinking": False}}
"""Turns off the thinking of Gemma 4."""


def to_messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def make_tool(name: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    described = {key: {"description": key, **schema} for key, schema in properties.items()}
    parameters = {"type": "object", "properties": described, "required": list(required or properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = make_tool("get_weather", "Get the current weather in a city", city={"type": "string"})
ADD = make_tool("add", "Add two numbers", a={"type": "integer"}, b={"type": "integer"})


class Api:
    """Sends requests to the routes of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.auth = {"Authorization": f"Bearer {sandbox.api_token}"}
        # Many tests cut connections. Without keep-alive, no test reuses the connection of another one.
        self.http = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    @property
    def account(self) -> str:
        return f"{self.sandbox.base_url}/accounts/{self.sandbox.account_id}"

    def run(self, model: str, body: Any, *, headers: dict[str, str] | None = None, **params: str) -> httpx.Response:
        url = f"{self.account}/ai/run/{model}"
        return self.http.post(url, json=body, headers={**self.auth, **(headers or {})}, params=params)

    def send_chat(self, body: Any, **headers: str) -> httpx.Response:
        url = f"{self.account}/ai/v1/chat/completions"
        return self.http.post(url, json=body, headers={**self.auth, **headers})

    def send_text(self, model: str, text: str, **more: Any) -> httpx.Response:
        return self.run(model, {"messages": to_messages(text), **more})

    def get_result(self, model: str, text: str, **more: Any) -> Any:
        response = self.send_text(model, text, **more)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def get_text(self, model: str, text: str, **more: Any) -> str:
        return get_text(self.get_result(model, text, **more))

    def get_calls(self, model: str, text: str, *tools: dict[str, Any], **more: Any) -> list[tuple[str, Any]]:
        return get_calls(self.get_result(model, text, tools=list(tools), **more))

    def get_events(self, model: str, text: str, **more: Any) -> list[Any]:
        return read_events(self.send_text(model, text, stream=True, **more).text)


def get_text(result: Any) -> str:
    if "choices" in result:
        choice = result["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    else:
        text = result["response"]
    assert isinstance(text, str)
    return text


def get_calls(result: Any) -> list[tuple[str, Any]]:
    if "choices" not in result:
        return [(call["name"], call["arguments"]) for call in result["tool_calls"]]
    functions = [call["function"] for call in result["choices"][0]["message"].get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def read_events(text: str) -> list[Any]:
    """Return the events of a stream as JSON values, and `[DONE]` as text."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in lines]


def get_error(response: httpx.Response) -> tuple[int, int, str]:
    """Return status, code and message of an error in the native form."""
    body = response.json()
    assert body["success"] is False, body
    return response.status_code, body["errors"][0]["code"], body["errors"][0]["message"]


def assert_refused(
    api: Api, model: str, body: dict[str, Any], *words: str, status: int = 400, code: int = 5006
) -> None:
    """Check the status, the code and the words with which a request is refused."""
    found = get_error(api.run(model, body))
    assert found[:2] == (status, code)
    for word in words:
        assert word in found[2]
