"""The faults of `faults` in requests other than chats: embeddings, and submitting and polling batches."""

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
from tests.unit_tests.exchange.faults import FAULTS, WHOLE_METHODS, Fault

pytestmark = pytest.mark.usefixtures("sleeps")

JOB = BatchJob(GEMMA_4, (BatchPart("batch-1", 1),))
SUBMITTED = make_http_response(200, make_envelope({"status": "queued", "request_id": "batch-1", "model": GEMMA_4}))
FINISHED = make_http_response(
    200, make_envelope({"responses": [{"id": 0, "result": {"response": HELLO_TEXT}, "success": True}]})
)
VECTOR = make_http_response(200, make_envelope({"data": [[0.5]], "shape": [1, 1]}))

Call = Callable[[ChatWorkersGemma, WorkersGemmaEmbeddings], object]
CALLS: dict[str, tuple[Call, object, tuple[bytes, ...]]] = {
    "embed_query": (lambda _, embeddings: embeddings.embed_query("Hi"), [0.5], (VECTOR,)),
    "aembed_query": (lambda _, embeddings: asyncio.run(embeddings.aembed_query("Hi")), [0.5], (VECTOR,)),
    "embed_documents": (lambda _, embeddings: embeddings.embed_documents(["Hi"]), [[0.5]], (VECTOR,)),
    "aembed_documents": (lambda _, embeddings: asyncio.run(embeddings.aembed_documents(["Hi"])), [[0.5]], (VECTOR,)),
    "submit_batch": (lambda llm, _: llm.submit_batch(["Hi"]), JOB, (SUBMITTED,)),
    "asubmit_batch": (lambda llm, _: asyncio.run(llm.asubmit_batch(["Hi"])), JOB, (SUBMITTED,)),
    "fetch_batch": (lambda llm, _: get_texts(llm.fetch_batch(JOB)), [HELLO_TEXT], (FINISHED,)),
    "afetch_batch": (lambda llm, _: get_texts(asyncio.run(llm.afetch_batch(JOB))), [HELLO_TEXT], (FINISHED,)),
    "queue_batch": (lambda llm, _: get_texts(llm.queue_batch(["Hi"])), [HELLO_TEXT], (SUBMITTED, FINISHED)),
    "aqueue_batch": (
        lambda llm, _: get_texts(asyncio.run(llm.aqueue_batch(["Hi"]))),
        [HELLO_TEXT],
        (SUBMITTED, FINISHED),
    ),
}
"""For each method: the call, its result, and the responses to its requests."""


def get_texts(messages: list[Any]) -> list[str]:
    return [str(message.text) for message in messages]


def has_stall(fault: Fault) -> bool:
    return any(STALL in script for script in fault.scripts)


def is_specific_to_chats(fault: Fault) -> bool:
    """Return whether the outcome of a fault is specific to chats."""
    ends_in_a_reply = not fault.scripts[-1]
    return not set(WHOLE_METHODS) <= set(fault.call_methods) or (isinstance(fault.outcome, str) and not ends_in_a_reply)


SHARED_FAULTS = [
    fault
    for fault in FAULTS
    if not is_specific_to_chats(fault) and not (has_stall(fault) and fault.outcome == HELLO_TEXT)
]
"""Faults that apply to all requests. Stalls that end with a result depend on timing; `test_faults` has them."""


def test_most_faults_are_shared() -> None:
    assert len(SHARED_FAULTS) > 40


@pytest.mark.parametrize("fault", SHARED_FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("call_method", CALLS)
def test_each_fault_of_another_request_has_the_expected_outcome(
    server: FaultServer, fault: Fault, call_method: str
) -> None:
    call, expected, responses = CALLS[call_method]
    fault_scripts = [script for script in fault.scripts if script]
    succeeds = isinstance(fault.outcome, str)
    server.play(*fault_scripts, *([(answer,) for answer in responses] if succeeds else []))
    timeout = httpx.Timeout(20, read=STALL_TIMEOUT) if has_stall(fault) else 20
    options: dict[str, Any] = {"timeout": timeout, **fault.model}
    llm = make_server_model(server, **options)
    embeddings = WorkersGemmaEmbeddings(
        account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url, **{"max_retries": 1, **options}
    )
    if succeeds:
        assert call(llm, embeddings) == expected
    else:
        with pytest.raises(WorkersGemmaError) as raised:
            call(llm, embeddings)
        assert isinstance(fault.outcome, type)
        assert isinstance(raised.value, fault.outcome)
        assert API_TOKEN not in format_traceback_with_locals(raised.value)
    assert len(server.requests) == fault.requests + (len(responses) - 1 if succeeds else 0)
    idle_connections = 0 if call_method.startswith("a") else 1
    assert server.wait_until_at_most_open(idle_connections) <= idle_connections


@pytest.mark.parametrize("call_method", ["queue_batch", "aqueue_batch"])
@pytest.mark.parametrize(
    "fault", [fault for fault in SHARED_FAULTS if not has_stall(fault)], ids=lambda fault: fault.name
)
def test_a_fault_of_a_poll_names_the_job(server: FaultServer, fault: Fault, call_method: str) -> None:
    """Submitted inputs are billed, so the error names the job that fetches them."""
    call, expected, _ = CALLS[call_method]
    fault_scripts = [script for script in fault.scripts if script]
    server.play((SUBMITTED,), *fault_scripts, *repeat((FINISHED,), isinstance(fault.outcome, str)))
    llm = make_server_model(server, **fault.model)
    unused = WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url)
    if isinstance(fault.outcome, str):
        assert call(llm, unused) == expected
    else:
        with pytest.raises(fault.outcome) as raised:
            call(llm, unused)
        assert "batch-1" in "".join(raised.value.__notes__)
        assert API_TOKEN not in format_traceback_with_locals(raised.value)
    assert len(server.requests) == 1 + fault.requests


def test_calls_without_a_fault_return_the_result(server: FaultServer) -> None:
    """Without a fault, each call returns the result in the table. None of them accepts the reply to a chat."""
    embeddings = WorkersGemmaEmbeddings(account_id=ACCOUNT_ID, api_token=API_TOKEN, base_url=server.url, max_retries=0)
    for call, expected, responses in CALLS.values():
        server.play(*[(answer,) for answer in responses])
        assert call(make_server_model(server), embeddings) == expected
        server.play((HELLO_RESPONSE,))
        with pytest.raises(WorkersGemmaError):
            call(make_server_model(server, max_retries=0), embeddings)
