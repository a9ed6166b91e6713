"""Caches, rate limiters, traced events, trimmed histories and retrieval."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_community.cache import SQLiteCache
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_workers_gemma import ChatWorkersGemma, WorkersGemmaEmbeddings
from langchain_workers_gemma.sandbox import Sandbox
from tests.ecosystem.agent_helpers import RECURSION_LIMIT, check_final_answer, get_weather, join_sent_bodies, make_input
from tests.helpers.model_calls import CALL_METHODS, EVENT_METHODS, call_model

# --- Caches -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> BaseCache:
    return InMemoryCache() if request.param == "memory" else SQLiteCache(str(tmp_path / "cache.sqlite"))


@pytest.fixture(params=["model's own", "global"])
def cached_llm(request: pytest.FixtureRequest, llm: ChatWorkersGemma, cache: BaseCache) -> Iterator[ChatWorkersGemma]:
    if request.param == "global":
        set_llm_cache(cache)
        yield llm
        set_llm_cache(None)
    else:
        yield llm.model_copy(update={"cache": cache})


@pytest.mark.parametrize("method", CALL_METHODS)
def test_cached_reply(cached_llm: ChatWorkersGemma, sandbox: Sandbox, method: str) -> None:
    first = call_model(cached_llm, method, "Name a colour.")
    again = call_model(cached_llm, method, "Name a colour.")
    is_stream = method in ("stream", "astream")
    assert len(sandbox.requests) == (2 if is_stream else 1), "LangChain's caches do not support streams"
    assert again.text == first.text
    assert again.response_metadata["model_name"] == first.response_metadata["model_name"]
    call_model(cached_llm.bind(temperature=0.5), method, "Name a colour.")
    call_model(cached_llm.model_copy(update={"seed": 7}), method, "Name a colour.")
    assert len(sandbox.requests) == (4 if is_stream else 3), "calls with other settings must not share a cache entry"


@pytest.mark.parametrize("method", ["invoke", "ainvoke"])
def test_cached_tool_call(llm: ChatWorkersGemma, cache: BaseCache, sandbox: Sandbox, method: str) -> None:
    bound = llm.model_copy(update={"cache": cache}).bind_tools([get_weather])
    messages = make_input()["messages"]
    first, again = call_model(bound, method, messages), call_model(bound, method, messages)
    assert len(sandbox.requests) == 1
    assert [call["args"] for call in again.tool_calls] == [call["args"] for call in first.tool_calls] != []


@pytest.mark.parametrize("method", ["invoke", "ainvoke"])
def test_cached_structured_output(llm: ChatWorkersGemma, cache: BaseCache, sandbox: Sandbox, method: str) -> None:
    schema = {"title": "city", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    structured = llm.model_copy(update={"cache": cache}).with_structured_output(schema)
    call = (lambda: asyncio.run(structured.ainvoke("The city is Paris."))) if method == "ainvoke" else None
    first, again = ((call or (lambda: structured.invoke("The city is Paris.")))() for _ in range(2))
    assert first == again
    assert len(sandbox.requests) == 1


# --- Rate limiters ----------------------------------------------------------------------------------------------------


class _CountingRateLimiter(InMemoryRateLimiter):
    """Core's rate limiter, which also counts its calls."""

    def __init__(self) -> None:
        super().__init__(requests_per_second=1000, check_every_n_seconds=0.001, max_bucket_size=2)
        self.calls = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.calls += 1
        return super().acquire(blocking=blocking)

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.calls += 1
        return await super().aacquire(blocking=blocking)


@pytest.mark.parametrize("method", [*CALL_METHODS, *EVENT_METHODS])
def test_rate_limiter(llm: ChatWorkersGemma, method: str) -> None:
    limiter = _CountingRateLimiter()
    limited = llm.model_copy(update={"rate_limiter": limiter})
    for _ in range(3):
        assert call_model(limited, method).text
    assert limiter.calls == 3


def test_rate_limiter_of_a_batch(llm: ChatWorkersGemma) -> None:
    limiter = _CountingRateLimiter()
    limited = llm.model_copy(update={"rate_limiter": limiter})
    assert all(answer.text for answer in limited.batch(["One", "Two", "Three", "Four"]))
    assert limiter.calls == 4


# --- Events -----------------------------------------------------------------------------------------------------------


async def test_events_v2_of_a_model(llm: ChatWorkersGemma) -> None:
    events = [event async for event in llm.astream_events("Name a colour.", version="v2")]
    assert [event["event"] for event in (events[0], events[-1])] == ["on_chat_model_start", "on_chat_model_end"]
    streamed = "".join(event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream")
    assert streamed == events[-1]["data"]["output"].text != ""


async def test_events_v2_of_an_agent(llm: ChatWorkersGemma) -> None:
    agent: Any = create_agent(llm, [get_weather])
    names = [event["event"] async for event in agent.astream_events(make_input(), {**RECURSION_LIMIT}, version="v2")]
    assert names.count("on_chat_model_start") == names.count("on_chat_model_end") == 2
    assert names.count("on_tool_start") == names.count("on_tool_end") == 1
    assert names.count("on_chat_model_stream") > 2


@pytest.mark.parametrize("method", EVENT_METHODS)
def test_events_v3_of_a_model(llm: ChatWorkersGemma, method: str) -> None:
    bound = llm.bind_tools([get_weather])
    message = call_model(bound, method, make_input()["messages"])
    assert [call["name"] for call in message.tool_calls] == ["get_weather"]
    assert message.usage_metadata
    whole = call_model(bound, "invoke", make_input()["messages"])
    assert message.text == whole.text
    assert [call["args"] for call in message.tool_calls] == [call["args"] for call in whole.tool_calls]


async def test_events_v3_of_an_agent(llm: ChatWorkersGemma) -> None:
    agent: Any = create_agent(llm, [get_weather])
    stream = await agent.astream_events(make_input(), {**RECURSION_LIMIT}, version="v3")
    answers = [await message.output async for message in stream.messages]
    state = await stream.output()
    assert check_final_answer(state).text == answers[-1].text
    assert [call["name"] for answer in answers for call in answer.tool_calls] == ["get_weather"]


# --- Trimmed histories ------------------------------------------------------------------------------------------------


def test_trimming_with_the_token_count_of_the_model(llm: ChatWorkersGemma) -> None:
    history = [
        SystemMessage("Be brief."),
        *(kind(f"This is message number {n} of a long talk.") for n in range(20) for kind in (HumanMessage, AIMessage)),
        HumanMessage("Which was the last?"),
    ]
    for limit in (60, 200):
        trimmed = trim_messages(
            history, max_tokens=limit, token_counter=llm, include_system=True, start_on="human", strategy="last"
        )
        assert trimmed[0] == history[0]
        assert trimmed[-1] == history[-1]
        assert 2 <= len(trimmed) < len(history)
        assert llm.get_num_tokens_from_messages(trimmed) <= limit
        assert llm.invoke(trimmed).text


def test_trimming_keeps_calls_and_results_together(llm: ChatWorkersGemma) -> None:
    call = {"name": "get_weather", "args": {"city": "Paris"}, "id": "1", "type": "tool_call"}
    history = [
        HumanMessage("Hello there, this is a rather long first message that has to go."),
        AIMessage("", tool_calls=[call]),
        ToolMessage("24 degrees", tool_call_id="1"),
        HumanMessage("And tomorrow?"),
    ]
    trimmer = trim_messages(max_tokens=60, token_counter=llm, strategy="last", allow_partial=False)
    assert (trimmer | llm).invoke(history).text


# --- Retrieval --------------------------------------------------------------------------------------------------------

FACTS = [
    "The capital of Mongolia is Ulaanbaatar.",
    "Photosynthesis turns light into sugar.",
    "A violin has four strings.",
]


@pytest.fixture
def store(sandbox: Sandbox) -> InMemoryVectorStore:
    embeddings = WorkersGemmaEmbeddings(
        base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token
    )
    return InMemoryVectorStore.from_documents([Document(fact) for fact in FACTS], embeddings)


def test_retrieval_chain(llm: ChatWorkersGemma, store: InMemoryVectorStore, sandbox: Sandbox) -> None:
    prompt = ChatPromptTemplate.from_template("Answer from this alone:\n{context}\n\nQuestion: {question}")
    context = store.as_retriever(search_kwargs={"k": 1}) | (lambda found: "\n".join(one.page_content for one in found))
    chain: Any = {"context": context, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
    assert chain.invoke("What is the capital of Mongolia?").strip()
    assert "Ulaanbaatar" in join_sent_bodies(sandbox)
    assert "violin" not in join_sent_bodies(sandbox).rsplit("\n", 1)[-1]
    assert "".join(chain.stream("What is the capital of Mongolia?")).strip()


def test_agent_with_a_retriever_tool(llm: ChatWorkersGemma, store: InMemoryVectorStore, sandbox: Sandbox) -> None:
    tool = create_retriever_tool(
        store.as_retriever(search_kwargs={"k": 1}), "search_facts", "Search facts about a topic."
    )
    agent: Any = create_agent(llm, [tool])
    state = agent.invoke(make_input("Search the facts: what is the capital of Mongolia?"), RECURSION_LIMIT)
    check_final_answer(state)
    results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert results
    assert results[0].text in FACTS
