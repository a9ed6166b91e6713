"""Other LangChain packages work with the sandbox as they do with the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import EMBEDDING, GEMMA_3, GEMMA_4, GEMMA_7B

openai = pytest.importorskip("langchain_openai")
cloudflare = pytest.importorskip("langchain_cloudflare")


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"24 degrees in {city}"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def merge(chunks: Iterator[BaseMessage]) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    for chunk in chunks:
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


def make_chat_openai(sandbox: Sandbox, http: httpx.Client, model: str) -> BaseChatModel:
    made = openai.ChatOpenAI(
        model=model,
        base_url=f"{sandbox.base_url}/accounts/{sandbox.account_id}/ai/v1",
        api_key=SecretStr(sandbox.api_token),
        stream_usage=True,
        max_retries=0,
        http_client=http,
    )
    assert isinstance(made, BaseChatModel)
    return made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def chat_cloudflare(sandbox: Sandbox) -> Iterator[Callable[[str], BaseChatModel]]:
    with ExitStack() as stack:

        def make(model: str) -> BaseChatModel:
            made = cloudflare.ChatCloudflareWorkersAI(
                model=model,
                account_id=sandbox.account_id,
                api_token=SecretStr(sandbox.api_token),
                base_url=sandbox.base_url,
            )
            stack.enter_context(made.client)  # the class does not accept a client
            assert isinstance(made, BaseChatModel)
            return made

        yield make


# --- langchain-openai -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
def test_openai_invokes_and_streams(sandbox: Sandbox, http: httpx.Client, model: str) -> None:
    chat = make_chat_openai(sandbox, http, model)
    whole = chat.invoke("Hello")
    streamed = merge(chat.stream("Hello"))
    assert whole.text.startswith("Hello!")
    assert streamed.text == whole.text
    assert streamed.usage_metadata is not None
    assert whole.usage_metadata is not None
    assert streamed.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]
    assert whole.response_metadata["finish_reason"] == "stop"


def test_openai_calls_tools_and_reads_their_results(sandbox: Sandbox, http: httpx.Client) -> None:
    chat = make_chat_openai(sandbox, http, GEMMA_4).bind_tools([get_weather])
    question = HumanMessage("What is the weather in Paris?")
    for reply in (chat.invoke([question]), merge(chat.stream([question]))):
        assert isinstance(reply, AIMessage)
        (call,) = reply.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        result = get_weather.invoke(call)
        assert isinstance(result, ToolMessage)
        assert "24 degrees in Paris" in chat.invoke([question, reply, result]).text


def test_openai_gets_structured_output(sandbox: Sandbox, http: httpx.Client) -> None:
    chat = make_chat_openai(sandbox, http, GEMMA_4).with_structured_output(Person, method="json_schema")
    assert chat.invoke("Ann is 41") == Person(name="Ann", age=41)


def test_openai_reads_refusals(sandbox: Sandbox, http: httpx.Client) -> None:
    from openai import BadRequestError

    with pytest.raises(BadRequestError) as raised:
        make_chat_openai(sandbox, http, "@cf/google/none").invoke("Hello")
    assert "No such model" in raised.value.response.text


async def test_openai_asynchronously(sandbox: Sandbox, http: httpx.Client) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        chat = openai.ChatOpenAI(
            model=GEMMA_4,
            base_url=f"{sandbox.base_url}/accounts/{sandbox.account_id}/ai/v1",
            api_key=SecretStr(sandbox.api_token),
            http_client=http,
            http_async_client=client,
        )
        texts = [chunk.text async for chunk in chat.astream("Hello")]
        assert "".join(texts) == (await chat.ainvoke("Hello")).text


def test_openai_embeds(sandbox: Sandbox, http: httpx.Client) -> None:
    embeddings = openai.OpenAIEmbeddings(
        model=EMBEDDING,
        base_url=f"{sandbox.base_url}/accounts/{sandbox.account_id}/ai/v1",
        api_key=SecretStr(sandbox.api_token),
        check_embedding_ctx_length=False,
        http_client=http,
    )
    first, second = embeddings.embed_documents(["a cat", "a dog"])
    assert len(first) == len(second) == 768
    assert first != second


# --- langchain-cloudflare ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3, GEMMA_7B])
def test_cloudflare_invokes_and_streams(chat_cloudflare: Callable[[str], BaseChatModel], model: str) -> None:
    chat = chat_cloudflare(model)
    whole = chat.invoke("Hello")
    assert whole.text.startswith("Hello!")
    assert merge(chat.stream("Hello")).text == whole.text


def test_cloudflare_calls_tools_and_reads_their_results(chat_cloudflare: Callable[[str], BaseChatModel]) -> None:
    chat = chat_cloudflare(GEMMA_4).bind_tools([get_weather])
    question = HumanMessage("What is the weather in Paris?")
    reply = chat.invoke([question])
    assert isinstance(reply, AIMessage)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = get_weather.invoke(call)
    assert "24 degrees in Paris" in chat.invoke([question, reply, result]).text
