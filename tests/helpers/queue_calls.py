"""The methods of the queue, called sync or async, and results of the queue as the service sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_workers_gemma import BatchJob
from langchain_workers_gemma.batch.job import BatchPart
from tests.helpers.mock_service import make_completion, make_usage
from tests.helpers.model_calls import GEMMA_4, run_async

JOB = BatchJob(GEMMA_4, (BatchPart("batch-1", 2),))


def make_queued_result(request_id: str = "batch-1") -> dict[str, Any]:
    return {"status": "queued", "request_id": request_id, "model": GEMMA_4}


RUNNING_RESULT = {"status": "running", "request_id": "batch-1", "model": GEMMA_4}


def make_item(index: Any, result: Any, **more: Any) -> dict[str, Any]:
    return {"id": index, "result": result, "success": True, "external_reference": None, **more}


def make_finished_result(*items: Any) -> dict[str, Any]:
    return {"responses": [*items], "usage": make_usage(1, 1)}


def make_reply(text: str) -> dict[str, Any]:
    return make_completion(text, usage=make_usage(7, 3))


def queue_batch(llm: Any, call_method: str, inputs: Sequence[Any], **options: Any) -> list[Any]:
    messages = (
        llm.queue_batch(inputs, **options) if call_method == "sync" else run_async(llm.aqueue_batch(inputs, **options))
    )
    assert isinstance(messages, list)
    return messages


def submit_batch(llm: Any, call_method: str, inputs: Sequence[Any], **options: Any) -> BatchJob:
    job = (
        llm.submit_batch(inputs, **options)
        if call_method == "sync"
        else run_async(llm.asubmit_batch(inputs, **options))
    )
    assert isinstance(job, BatchJob)
    return job


def fetch_batch(llm: Any, call_method: str, job: BatchJob, **options: Any) -> list[Any]:
    messages = llm.fetch_batch(job, **options) if call_method == "sync" else run_async(llm.afetch_batch(job, **options))
    assert isinstance(messages, list)
    return messages
