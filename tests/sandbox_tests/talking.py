"""Talking to a sandbox with nothing but httpx."""

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

QUIET = {"chat_template_kwargs": {"enable_thinking": False}}
"""Gemma 4 without its thinking."""


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def tool(name: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    described = {key: {"description": key, **schema} for key, schema in properties.items()}
    parameters = {"type": "object", "properties": described, "required": list(required or properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool("get_weather", "Get the current weather in a city", city={"type": "string"})
ADD = tool("add", "Add two numbers", a={"type": "integer"}, b={"type": "integer"})


class Api:
    """A sandbox's routes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.auth = {"Authorization": f"Bearer {sandbox.api_token}"}
        # Many tests cut connections; without keep-alive none of them meets another's.
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

    def chat(self, body: Any, **headers: str) -> httpx.Response:
        url = f"{self.account}/ai/v1/chat/completions"
        return self.http.post(url, json=body, headers={**self.auth, **headers})

    def say(self, model: str, text: str, **more: Any) -> httpx.Response:
        return self.run(model, {"messages": user(text), **more})

    def result(self, model: str, text: str, **more: Any) -> Any:
        response = self.say(model, text, **more)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def text(self, model: str, text: str, **more: Any) -> str:
        return text_of(self.result(model, text, **more))

    def calls(self, model: str, text: str, *tools: dict[str, Any], **more: Any) -> list[tuple[str, Any]]:
        return calls_of(self.result(model, text, tools=list(tools), **more))

    def events(self, model: str, text: str, **more: Any) -> list[Any]:
        return read_events(self.say(model, text, stream=True, **more).text)


def text_of(result: Any) -> str:
    if "choices" in result:
        choice = result["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    else:
        text = result["response"]
    assert isinstance(text, str)
    return text


def calls_of(result: Any) -> list[tuple[str, Any]]:
    if "choices" not in result:
        return [(call["name"], call["arguments"]) for call in result["tool_calls"]]
    functions = [call["function"] for call in result["choices"][0]["message"].get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def read_events(text: str) -> list[Any]:
    """Return the events of a stream, `[DONE]` as text."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def error_of(response: httpx.Response) -> tuple[int, int, str]:
    """Status, code and message of a native refusal."""
    body = response.json()
    assert body["success"] is False, body
    return response.status_code, body["errors"][0]["code"], body["errors"][0]["message"]
