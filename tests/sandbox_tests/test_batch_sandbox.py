"""The asynchronous batch against the queue of the sandbox."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from langchain_workers_gemma import (
    BadRequestError,
    BatchJob,
    CapacityError,
    ChatWorkersGemma,
    ContextOverflowError,
)
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import GEMMA_4, SEA_LION

PROMPTS = [f"Say {at}" for at in range(1000)]


@pytest.fixture(scope="module")
def patient_sandbox() -> Iterator[Sandbox]:
    with Sandbox(queue_polls=2) as running:
        yield running


@pytest.fixture
def queue(patient_sandbox: Sandbox) -> Sandbox:
    patient_sandbox.clear()
    return patient_sandbox


def make_llm(sandbox: Sandbox, **fields: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        **{"model": SEA_LION, **fields},
    )


def test_a_thousand_prompts_with_failures_and_a_restart_in_the_middle(queue: Sandbox, tmp_path: Path) -> None:
    inputs: list[Any] = list(PROMPTS)
    broken = range(100, 1000, 100)
    for at in broken:
        inputs[at] = "word " * 240_000  # exceeds the context window, and together they exceed one payload
    queue.fail(1, status=429, code=3040, retry_after=0, path="/ai/run")  # the first payload is retried
    job = make_llm(queue).submit_batch(inputs)
    assert len(job) == 1000
    assert len(job.parts) == 2
    assert all(len(request.body) < 10_000_000 for request in queue.requests)

    job_file, outcomes_file = tmp_path / "job.pickle", tmp_path / "outcomes.pickle"
    job_file.write_bytes(pickle.dumps(job))
    script = """
import pickle, sys
from pathlib import Path
from langchain_workers_gemma import ChatWorkersGemma
job_file, outcomes_file, model, base_url, account, token = sys.argv[1:]
job = pickle.loads(Path(job_file).read_bytes())
llm = ChatWorkersGemma(model=model, base_url=base_url, account_id=account, api_token=token)
outcomes = llm.fetch_batch(job, poll_interval=0, return_exceptions=True)
Path(outcomes_file).write_bytes(pickle.dumps(outcomes))
"""
    arguments = [str(job_file), str(outcomes_file), SEA_LION, queue.base_url, queue.account_id, queue.api_token]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=120)

    outcomes = pickle.loads(outcomes_file.read_bytes())
    assert len(outcomes) == 1000
    for at, outcome in enumerate(outcomes):
        if at in broken:
            assert isinstance(outcome, ContextOverflowError)
        else:
            assert isinstance(outcome, AIMessage)
            assert outcome.text == str(at)
    ids = [outcome.id for outcome in outcomes if isinstance(outcome, AIMessage)]
    assert len(set(ids)) == 991
    assert all(outcome.usage_metadata for outcome in outcomes if isinstance(outcome, AIMessage))


def test_results_are_those_of_invoke(queue: Sandbox) -> None:
    llm = make_llm(queue, temperature=0)
    prompts: list[Any] = PROMPTS[:5]
    for queued, single in zip(llm.queue_batch(prompts, poll_interval=0), llm.batch(prompts), strict=True):
        assert queued.content == single.content
        assert queued.usage_metadata == single.usage_metadata
        metadata = [{k: v for k, v in m.response_metadata.items() if k != "request_id"} for m in (queued, single)]
        assert metadata[0] == metadata[1]


async def test_async(queue: Sandbox) -> None:
    messages = await make_llm(queue, model=GEMMA_4).aqueue_batch(PROMPTS[:3], poll_interval=0)
    assert [message.text == str(at) for at, message in enumerate(messages)] == [True] * 3
    assert all(message.additional_kwargs["reasoning_content"] for message in messages)


def test_tools(queue: Sandbox) -> None:
    @tool
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        return f"24 degrees in {city}"

    bound = make_llm(queue, model=GEMMA_4, thinking=False).bind_tools([get_weather])
    cities = ("Paris", "Rome")
    inputs = [f"What is the weather in the city of {city}?" for city in cities]
    messages = bound.queue_batch(inputs, poll_interval=0)  # type: ignore[attr-defined]
    assert [message.tool_calls[0]["args"] for message in messages] == [{"city": city} for city in cities]


def test_a_queue_that_fails_permanently(queue: Sandbox) -> None:
    llm = make_llm(queue, max_retries=1)
    job = llm.submit_batch(PROMPTS[:2])
    queue.fail(2, status=429, code=3040, retry_after=0)
    with pytest.raises(CapacityError) as caught:
        llm.fetch_batch(job, poll_interval=0)
    assert job.to_json() in caught.value.__notes__[0]
    again = BatchJob.from_json(job.to_json())
    assert llm.fetch_batch(again, poll_interval=0)[0].text == "0"


def test_an_unknown_job(queue: Sandbox) -> None:
    job = BatchJob.from_json(f'{{"model": "{SEA_LION}", "parts": [{{"request_id": "none", "count": 1}}]}}')
    with pytest.raises(BadRequestError, match="no request with the id none"):
        make_llm(queue).fetch_batch(job)
