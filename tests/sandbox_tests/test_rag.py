"""Embeddings together with chat: LangChain's standard tests, and retrieval from core's in-memory vector store."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests

from langchain_workers_gemma import AuthenticationError, ChatWorkersGemma, WorkersGemmaEmbeddings
from langchain_workers_gemma.sandbox import Sandbox

FACTS = [
    "The capital of Mongolia is Ulaanbaatar.",
    "Photosynthesis turns light into sugar.",
    "The violin has four strings.",
    "Cloudflare was founded in 2009.",
]


def get_connection(sandbox: Sandbox) -> dict[str, Any]:
    return {"base_url": sandbox.base_url, "account_id": sandbox.account_id, "api_token": sandbox.api_token}


@pytest.fixture(params=["native", "openai"])
def embeddings(request: pytest.FixtureRequest, sandbox: Sandbox) -> WorkersGemmaEmbeddings:
    return WorkersGemmaEmbeddings(api=request.param, prompts=True, **get_connection(sandbox))


class TestStandard(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _on_the_sandbox(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    @property
    def embeddings_class(self) -> type[WorkersGemmaEmbeddings]:
        return WorkersGemmaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return get_connection(self.sandbox)


def make_chain(sandbox: Sandbox, store: InMemoryVectorStore) -> Any:
    prompt = ChatPromptTemplate.from_template("Answer from this alone:\n{context}\n\nQuestion: {question}")
    llm = ChatWorkersGemma(temperature=0, thinking=False, **get_connection(sandbox))

    def join_documents(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    retriever = store.as_retriever(search_kwargs={"k": 1})
    return {"context": retriever | join_documents, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()


def test_retrieval_and_chat(sandbox: Sandbox, embeddings: WorkersGemmaEmbeddings) -> None:
    store = InMemoryVectorStore.from_texts(FACTS, embeddings)
    answer = make_chain(sandbox, store).invoke("What is the capital of Mongolia?")
    assert FACTS[0] in answer  # the mock model answers from the context
    question = sandbox.requests[-1].json["messages"][-1]["content"]
    assert FACTS[0] in question
    assert not any(fact in question for fact in FACTS[1:])


async def test_retrieval_and_chat_async(sandbox: Sandbox, embeddings: WorkersGemmaEmbeddings) -> None:
    store = await InMemoryVectorStore.afrom_texts(FACTS, embeddings)
    assert FACTS[2] in await make_chain(sandbox, store).ainvoke("How many strings has the violin?")


def test_hundreds_of_documents_keep_their_order(sandbox: Sandbox, embeddings: WorkersGemmaEmbeddings) -> None:
    texts = [f"Document number {at}" for at in range(250)]
    vectors = embeddings.embed_documents(texts)
    assert len(sandbox.requests) == 3
    assert vectors[137] == embeddings.embed_documents([texts[137]])[0]
    assert asyncio.run(embeddings.aembed_documents(texts)) == vectors


def test_a_wrong_token(sandbox: Sandbox) -> None:
    wrong = WorkersGemmaEmbeddings(**{**get_connection(sandbox), "api_token": "wrong"})
    with pytest.raises(AuthenticationError, match="argument api_token"):
        wrong.embed_query("a")


def _embed(pickled: bytes) -> list[float]:
    client = pickle.loads(pickled)
    assert isinstance(client, WorkersGemmaEmbeddings)
    return client.embed_query("a text")


def test_spawned_processes(sandbox: Sandbox, embeddings: WorkersGemmaEmbeddings) -> None:
    here = embeddings.embed_query("a text")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_embed, (pickle.dumps(embeddings),)) == here
