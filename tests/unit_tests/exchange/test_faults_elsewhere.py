"""The faults of `test_faults` in other requests than chats: embeddings, and the batch queue on submit and poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import repeat
from typing import Any

import httpx
import pytest

from langchain_workers_gemma import BatchJob, ChatWorkersGemma, WorkersGemmaEmbeddings, WorkersGemmaError
from langchain_workers_gemma.batch.job import BatchPart
from tests.helpers.fault_server import (
    HELLO_RESPONSE,
    HELLO_TEXT,
    STALL,
    STALL_TIMEOUT,
    FaultServer,
    make_envelope,
    make_http_response,
    make_server_model,
)
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, GEMMA_4, format_traceback_with_locals
from tests.unit_tests.exchange.test_faults import FAULTS, WHOLE, Fault

pytestmark = pytest.mark.usefixtures("sleeps")

JOB = BatchJob(GEMMA_4, (BatchPart("batch-1", 1),))
SUBMITTED = make_http_response(200, make_envelope({"status": "queued", "request_id": "batch-1", "model": GEMMA_4}))
FINISHED = make_http_response(
    200, make_envelope({"responses": [{"id": 0, "result": {"response": HELLO_TEXT}, "success": True}]})
)
VECTOR = make_http_response(200, make_envelope({"data": [[0.5]], "shape": [1, 1]}))

Ask = Callable[[ChatWorkersGemma, WorkersGemmaEmbeddings], object]
WAYS: dict[str, tuple[Ask, object, tuple[bytes, ...]]] = {
    "embed_query": (lambda _, embeddings: embeddings.embed_query("Hi"), [0.5], (VECTOR,)),
    "aembed_query": (lambda _, embeddings: asyncio.run(embeddings.aembed_query("Hi")), [0.5], (VECTOR,)),
    "embed_documents": (lambda _, embeddings: embeddings.embed_documents(["Hi"]), [[0.5]], (VECTOR,)),
    "aembed_documents": (lambda _, embeddings: asyncio.run(embeddings.aembed_documents(["Hi"])), [[0.5]], (VECTOR,)),
    "submit_batch": (lambda llm, _: llm.submit_batch(["Hi"]), JOB, (SUBMITTED,)),
    "asubmit_batch": (lambda llm, _: asyncio.run(llm.asubmit_batch(["Hi"])), JOB, (SUBMITTED,)),
    "fetch_batch": (lambda llm, _: texts(llm.fetch_batch(JOB)), [HELLO_TEXT], (FINISHED,)),
    "afetch_batch": (lambda llm, _: texts(asyncio.run(llm.afetch_batch(JOB))), [HELLO_TEXT], (FINISHED,)),
    "queue_batch": (lambda llm, _: texts(llm.queue_batch(["Hi"])), [HELLO_TEXT], (SUBMITTED, FINISHED)),
    "aqueue_batch": (lambda llm, _: texts(asyncio.run(llm.aqueue_batch(["Hi"]))), [HELLO_TEXT], (SUBMITTED, FINISHED)),
}
"""The call of each, its right outcome, and the right response to each of its requests."""


def texts(messages: list[Any]) -> list[str]:
    return [str(message.text) for message in messages]


def stalls(fault: Fault) -> bool:
    return any(STALL in script for script in fault.scripts)


def is_of_a_chat(fault: Fault) -> bool:
    """Whether a fault is right, or wrong, as the answer of a chat only."""
    ends_right = not fault.scripts[-1]
    return not set(WHOLE) <= set(fault.ways) or (isinstance(fault.outcome, str) and not ends_right)


ELSEWHERE = [
    fault for fault in FAULTS if not is_of_a_chat(fault) and not (stalls(fault) and fault.outcome == HELLO_TEXT)
]
"""Stalls that end well depend on how soon a loaded machine answers the second time; `test_faults` has them."""


def test_most_faults_are_met_elsewhere_too() -> None:
    assert len(ELSEWHERE) > 40


@pytest.mark.parametrize("fault", ELSEWHERE, ids=lambda fault: fault.name)
@pytest.mark.parametrize("call_method", WAYS)
def test_fault(server: FaultServer, fault: Fault, call_method: str) -> None:
    ask, right, answers = WAYS[call_method]
    faulty = [script for script in fault.scripts if script]
    succeeds = isinstance(fault.outcome, str)
    server.play(*faulty, *([(answer,) for answer in answers] if succeeds else []))
    timeout = httpx.Timeout(20, read=STALL_TIMEOUT) if stalls(fault) else 20
    options: dict[str, Any] = {"timeout": timeout, **fault.model}
    llm = make_server_model(server, **options)
    embeddings = WorkersGemmaEmbeddings(
        account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url, **{"max_retries": 1, **options}
    )
    if succeeds:
        assert ask(llm, embeddings) == right
    else:
        with pytest.raises(WorkersGemmaError) as raised:
            ask(llm, embeddings)
        assert isinstance(fault.outcome, type)
        assert isinstance(raised.value, fault.outcome)
        assert API_TOKEN not in format_traceback_with_locals(raised.value)
    assert len(server.requests) == fault.requests + (len(answers) - 1 if succeeds else 0)
    kept = 0 if call_method.startswith("a") else 1
    assert server.wait_until_at_most_open(kept) <= kept


@pytest.mark.parametrize("call_method", ["queue_batch", "aqueue_batch"])
@pytest.mark.parametrize("fault", [fault for fault in ELSEWHERE if not stalls(fault)], ids=lambda f: f.name)
def test_a_fault_of_a_poll_names_the_job(server: FaultServer, fault: Fault, call_method: str) -> None:
    """Submitted inputs are billed, so the error shows how to fetch them."""
    ask, right, _ = WAYS[call_method]
    faulty = [script for script in fault.scripts if script]
    server.play((SUBMITTED,), *faulty, *repeat((FINISHED,), isinstance(fault.outcome, str)))
    llm = make_server_model(server, **fault.model)
    unused = WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url)
    if isinstance(fault.outcome, str):
        assert ask(llm, unused) == right
    else:
        with pytest.raises(fault.outcome) as raised:
            ask(llm, unused)
        assert "batch-1" in "".join(raised.value.__notes__)
        assert API_TOKEN not in format_traceback_with_locals(raised.value)
    assert len(server.requests) == 1 + fault.requests


def test_the_right_answers_are_right(server: FaultServer) -> None:
    """Without a fault, each call ends as in the table; none of them accepts the answer of a chat."""
    embeddings = WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url, max_retries=0)
    for ask, right, answers in WAYS.values():
        server.play(*[(answer,) for answer in answers])
        assert ask(make_server_model(server), embeddings) == right
        server.play((HELLO_RESPONSE,))
        with pytest.raises(WorkersGemmaError):
            ask(make_server_model(server, max_retries=0), embeddings)
