"""The subjects of the benchmark: this package, bare httpx, a minimal LangChain model and two other packages."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import httpx
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

MODEL = "@cf/google/gemma-4-26b-a4b-it"


class Subject(Protocol):
    """A client that is measured."""

    def call(self, messages: Any) -> Any: ...

    def stream(self, messages: Any) -> int: ...


class BareHttpx:
    """Bare httpx: it sends, receives and parses, which every client must do."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/accounts/a/ai/run/{MODEL}"
        self.client = httpx.Client(timeout=60)

    def call(self, messages: Any) -> Any:
        texts = [messages] if isinstance(messages, str) else [message.content for message in messages]
        body = {"messages": [{"role": "user", "content": text} for text in texts]}
        return self.client.post(self.url, json=body).json()

    def stream(self, messages: Any) -> int:
        body = {"messages": [{"role": "user", "content": messages}], "stream": True}
        count = 0
        with self.client.stream("POST", self.url, json=body) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    json.loads(line[6:])
                    count += 1
        return count


class MinimalModel(BaseChatModel):
    """A minimal LangChain model on bare httpx: no mapping of roles, no checks, no usage.

    It shows what LangChain itself costs, so it is what other models are compared with.
    """

    url: str
    client: Any = None
    async_client: Any = None

    @property
    def _llm_type(self) -> str:
        return "minimal"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        return _make_result(self.client.post(self.url, json={**_make_body(messages), **kwargs}).json())

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        return _make_result((await self.async_client.post(self.url, json=_make_body(messages))).json())

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        body = {**_make_body(messages), "stream": True}
        with self.client.stream("POST", self.url, json=body) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    choices = json.loads(line[6:])["choices"]
                    delta = choices[0]["delta"] if choices else {}
                    chunks = [
                        {**piece["function"], "args": piece["function"]["arguments"], "index": 0, "id": None}
                        for piece in delta.get("tool_calls") or ()
                    ]
                    yield ChatGenerationChunk(
                        message=AIMessageChunk(
                            content=delta.get("content") or "",
                            tool_call_chunks=[
                                {"name": c.get("name"), "args": c["args"], "index": 0, "id": None} for c in chunks
                            ],
                        )
                    )


def _make_body(messages: list[BaseMessage]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": message.content} for message in messages]}


def _make_result(reply: Any) -> ChatResult:
    message_data = reply["choices"][0]["message"]
    calls = [
        {"name": call["function"]["name"], "args": json.loads(call["function"]["arguments"]), "id": call["id"]}
        for call in message_data.get("tool_calls") or ()
    ]
    message = AIMessage(content=message_data["content"] or "", tool_calls=calls)
    return ChatResult(generations=[ChatGeneration(message=message)])


class LangChainSubject:
    """A LangChain chat model."""

    def __init__(self, llm: BaseChatModel) -> None:
        self.llm = llm

    def call(self, messages: Any) -> Any:
        return self.llm.invoke(messages)

    def stream(self, messages: Any) -> int:
        count = 0
        for _ in self.llm.stream(messages):
            count += 1
        return count


def make_minimal_model(url: str) -> LangChainSubject:
    return LangChainSubject(
        MinimalModel(
            url=f"{url}/accounts/a/ai/run/{MODEL}",
            client=httpx.Client(timeout=60),
            async_client=httpx.AsyncClient(timeout=60),
        )
    )


def make_ours(url: str) -> LangChainSubject:
    from langchain_workers_gemma import ChatWorkersGemma

    return LangChainSubject(ChatWorkersGemma(model=MODEL, base_url=url, account_id="a", api_token="t"))


def make_cloudflare(url: str) -> LangChainSubject:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_cloudflare import ChatCloudflareWorkersAI

        llm = ChatCloudflareWorkersAI(model=MODEL, account_id="a", api_token="t", base_url=f"{url}/accounts/a/ai/run")
    return LangChainSubject(llm)


def make_openai(url: str) -> LangChainSubject:
    from langchain_openai import ChatOpenAI

    return LangChainSubject(ChatOpenAI(model=MODEL, base_url=f"{url}/v1", api_key="t", stream_usage=True))


SUBJECTS = {
    "httpx": BareHttpx,
    "minimal model": make_minimal_model,
    "ours": make_ours,
    "langchain-cloudflare": make_cloudflare,
    "langchain-openai": make_openai,
}
