"""Jobs of the queue: how they are polled, resumed, interrupted and shown."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from langchain_core.runnables import RunnableBinding

from langchain_workers_gemma import APIConnectionError, APITimeoutError, BatchJob
from langchain_workers_gemma.batch.queue import PollPolicy
from tests.helpers.mock_service import MockService, make_completion, make_response
from tests.helpers.model_calls import GEMMA_4, SEA_LION, WEATHER_TOOL, make_model
from tests.helpers.queue_calls import (
    JOB,
    RUNNING_RESULT,
    fetch_batch,
    make_finished_result,
    make_item,
    make_queued_result,
    make_reply,
    queue_batch,
    submit_batch,
)

pytestmark = pytest.mark.usefixtures("sleeps")


# --- Poll delays ------------------------------------------------------------------------------------------------------


def test_poll_delays_grow_and_are_bounded() -> None:
    policy = PollPolicy(poll_interval=2)
    assert [policy.get_delay(polls, 0) for polls in (0, 1, 2, 3)] == [2, 3, 4.5, 6.75]
    assert policy.get_delay(10_000, 0) == 30
    assert PollPolicy(poll_interval=120).get_delay(3, 0) == 120
    assert PollPolicy(poll_interval=0).get_delay(50, 0) == 0


def test_retry_after_is_followed_up_to_a_minute(service: MockService, call_method: str, sleeps: list[float]) -> None:
    done = make_response({"result": make_finished_result(make_item(0, make_reply("a")), make_item(1, make_reply("b")))})
    service.respond_with(
        make_response({"result": RUNNING_RESULT}, headers={"retry-after": "20"}),
        make_response({"result": RUNNING_RESULT}, headers={"retry-after": "900"}),
        make_response({"success": False, "errors": [{"code": 3040, "message": "Capacity"}]}, 429, {"retry-after": "9"}),
        done,
    )
    assert len(fetch_batch(make_model(max_retries=1), call_method, JOB)) == 2
    assert sleeps == [20, 60, 9]


def test_a_poll_is_retried_like_a_call(service: MockService, call_method: str, sleeps: list[float]) -> None:
    service.respond_with(
        make_response(b"oops", 502),
        make_response(b"oops", 503),
        make_response({"result": make_finished_result(make_item(0, make_reply("a")), make_item(1, make_reply("b")))}),
    )
    assert len(fetch_batch(make_model(max_retries=2), call_method, JOB)) == 2
    assert len(sleeps) == 2


def test_max_wait_ends_the_polling(service: MockService, call_method: str, sleeps: list[float]) -> None:
    service.respond_with_results(RUNNING_RESULT)
    with pytest.raises(APITimeoutError, match="within max_wait=10 seconds") as caught:
        fetch_batch(make_model(), call_method, JOB, max_wait=10)
    assert sleeps == [2, 3, 4.5]
    assert JOB.to_json() in caught.value.__notes__[0]
    with pytest.raises(APITimeoutError):
        fetch_batch(make_model(), call_method, JOB, max_wait=0)


def test_a_connection_error_names_the_job(service: MockService, call_method: str) -> None:
    def lose_connection() -> httpx.Response:
        raise httpx.ConnectError("refused")

    service.respond_with(make_response({"result": make_queued_result()}), lose_connection)
    with pytest.raises(APIConnectionError) as caught:
        queue_batch(make_model(), call_method, ["a", "b"])
    assert JOB.to_json() in caught.value.__notes__[0]


# --- The job ----------------------------------------------------------------------------------------------------------


def test_a_job_can_be_serialized_and_pickled() -> None:
    assert json.loads(JOB.to_json()) == json.loads(json.dumps(asdict(JOB)))
    assert BatchJob.from_json(JOB.to_json()) == JOB == pickle.loads(pickle.dumps(JOB))
    assert hash(JOB) == hash(BatchJob.from_json(JOB.to_json()))
    assert len(JOB) == 2
    with pytest.raises(AttributeError):
        JOB.model = "another"  # type: ignore[misc]


def test_a_job_can_be_fetched_by_another_model_object(service: MockService, call_method: str) -> None:
    service.respond_with_results(
        make_queued_result(), make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two")))
    )
    job = submit_batch(make_model(), call_method, ["1", "2"])
    assert job == JOB
    restored = BatchJob.from_json(job.to_json())
    assert [message.text for message in fetch_batch(make_model(), call_method, restored)] == ["one", "two"]
    assert service.request_bodies[1] == {"request_id": "batch-1"}


def test_fetching_a_job_of_another_model_raises(service: MockService, call_method: str) -> None:
    service.respond_with_results(make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two"))))
    with pytest.raises(ValueError, match=f"pass model='{GEMMA_4}'"):
        fetch_batch(make_model(model=SEA_LION), call_method, JOB)
    assert len(fetch_batch(make_model(model=SEA_LION), call_method, JOB, model=GEMMA_4)) == 2


def test_a_bound_model_applies_its_arguments_when_fetching(service: MockService, call_method: str) -> None:
    written = make_completion('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>')
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, written)))
    bound = make_model().bind_tools([WEATHER_TOOL])
    (message,) = fetch_batch(bound, call_method, submit_batch(bound, call_method, ["Weather?"]))
    assert message.tool_calls[0]["args"] == {"city": "Paris"}


def test_bind_returns_a_runnable_binding_with_the_queue_methods() -> None:
    bound = make_model().bind(stop=["x"])
    assert isinstance(bound, RunnableBinding)
    assert type(bound).lc_id() == RunnableBinding.lc_id()
    further: Any = bound.bind(seed=1)
    assert further.kwargs == {"stop": ["x"], "seed": 1}
    assert hasattr(further, "queue_batch")


# --- The progress bar -------------------------------------------------------------------------------------------------


def test_progress_is_shown(service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    service.respond_with_results(
        make_queued_result(),
        RUNNING_RESULT,
        make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two"))),
    )
    queue_batch(make_model(), call_method, ["1", "2"], show_progress=True)
    assert "running" in stderr.getvalue()
    assert "2/2" in stderr.getvalue()


@pytest.mark.parametrize("call", [queue_batch, fetch_batch])
def test_a_missing_tqdm_is_reported_before_any_request(
    service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "langchain-workers-gemma\[progress\]"'):
        call(make_model(), call_method, JOB if call is fetch_batch else ["a"], show_progress=True)
    assert service.requests == []


@pytest.mark.parametrize("responses", [None, []])
@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_running_batch_may_have_empty_responses(
    service: MockService, call_method: str, status: str, responses: Any
) -> None:
    service.respond_with_results(
        make_queued_result(),
        {"status": status, "responses": responses},
        make_finished_result(make_item(0, make_reply("one"))),
    )
    assert [message.text for message in queue_batch(make_model(), call_method, ["a"])] == ["one"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError])
def test_an_interrupt_logs_the_job(
    service: MockService,
    call_method: str,
    interrupt: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service.respond_with_results(make_queued_result(), {"status": "running"})

    def stop(_seconds: float) -> None:
        raise interrupt

    async def astop(_seconds: float) -> None:
        raise interrupt

    monkeypatch.setattr("langchain_workers_gemma.transport.driver.time.sleep", stop)
    monkeypatch.setattr("langchain_workers_gemma.transport.driver.asyncio.sleep", astop)
    with pytest.raises(interrupt):
        make_model().queue_batch(["a"]) if call_method == "sync" else asyncio.run(make_model().aqueue_batch(["a"]))
    assert "BatchJob.from_json(" in caplog.text
    assert "batch-1" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "nope", "[]", "{}", '{"model": 3, "parts": []}', '{"model": "m", "parts": [{"request_id": "", "count": 1}]}',
     '{"model": "m", "parts": [{"request_id": "r", "count": "1"}]}', '{"model": "m", "parts": 5}'],
)  # fmt: skip
def test_invalid_job_json_raises(text: str) -> None:
    with pytest.raises(ValueError, match="not a BatchJob that to_json wrote"):
        BatchJob.from_json(text)
