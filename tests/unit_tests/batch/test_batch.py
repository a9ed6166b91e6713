"""Batches: `queue_batch`, `submit_batch` and `fetch_batch`, sync and async."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.runnables import RunnableBinding

from langchain_workers_gemma import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    BatchJob,
    CapacityError,
    InternalServerError,
    ToolChoiceError,
)
from langchain_workers_gemma.batch.job import BatchPart
from langchain_workers_gemma.batch.queue import PollPolicy
from langchain_workers_gemma.exchange.payload_chunks import split
from tests.helpers.mock_service import MockService, make_completion, make_response, make_usage
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    GEMMA_3,
    GEMMA_4,
    PNG_DATA_URI,
    SEA_LION,
    WEATHER_TOOL,
    make_model,
    run_async,
    summarize_message,
)

URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/run/{GEMMA_4}?queueRequest=true"
JOB = BatchJob(GEMMA_4, (BatchPart("batch-1", 2),))
pytestmark = pytest.mark.usefixtures("sleeps")


def make_queued_result(request_id: str = "batch-1") -> dict[str, Any]:
    return {"status": "queued", "request_id": request_id, "model": GEMMA_4}


RUNNING_RESULT = {"status": "running", "request_id": "batch-1", "model": GEMMA_4}


def make_item(at: Any, result: Any, **more: Any) -> dict[str, Any]:
    return {"id": at, "result": result, "success": True, "external_reference": None, **more}


def make_failed_item(at: int, **result: Any) -> dict[str, Any]:
    return {"id": at, "result": result, "success": False, "external_reference": None}


def make_finished_result(*items: Any) -> dict[str, Any]:
    return {"responses": [*items], "usage": make_usage(1, 1)}


def make_reply(text: str) -> dict[str, Any]:
    return make_completion(text, usage=make_usage(7, 3))


@pytest.fixture(params=["sync", "async"])
def call_method(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


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


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_submitted_polled_and_returned(service: MockService, call_method: str, sleeps: list[float]) -> None:
    service.respond_with_results(
        make_queued_result(),
        make_queued_result(),
        RUNNING_RESULT,
        make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two"))),
    )
    messages = queue_batch(make_model(), call_method, ["Say one", "Say two"], poll_interval=4)
    assert [message.text for message in messages] == ["one", "two"]
    assert {str(request.url) for request in service.requests} == {URL}
    assert [request.content for request in service.requests] == [
        (
            b'{"requests":[{"messages":[{"role":"user","content":"Say one"}]},'
            b'{"messages":[{"role":"user","content":"Say two"}]}]}'
        ),
        *[b'{"request_id":"batch-1"}'] * 3,
    ]
    assert sleeps == [4, 6]


def test_inputs_may_have_any_type_that_invoke_accepts(service: MockService) -> None:
    inputs: list[Any] = [
        "text",
        [("system", "Be terse."), ("human", "pairs")],
        [HumanMessage("message")],
        StringPromptValue(text="prompt"),
        ChatPromptValue(messages=[HumanMessage("chat prompt")]),
        [{"role": "user", "content": "dict"}],
    ]
    service.respond_with_results(
        make_queued_result(), make_finished_result(*(make_item(at, make_reply("ok")) for at in range(len(inputs))))
    )
    make_model().queue_batch(inputs)
    sent = [one["messages"][-1]["content"] for one in service.request_bodies[0]["requests"]]
    assert sent == ["text", "pairs", "message", "prompt", "chat prompt", "dict"]


def test_a_batch_item_equals_the_request_of_invoke(service: MockService) -> None:
    llm = make_model(temperature=0.5, max_tokens=64, thinking=False, stop=["END"], model_kwargs={"logprobs": True})
    bound = llm.bind_tools([WEATHER_TOOL]).bind(stop=["STOP"], seed=7)
    service.respond_with_results(
        make_reply("ok"), make_queued_result(), make_finished_result(make_item(0, make_reply("ok")))
    )
    bound.invoke("Hello")
    assert queue_batch(bound, "sync", ["Hello"])[0].text == "ok"
    single, batch, _ = service.request_bodies
    assert batch == {"requests": [single]}
    assert single["stop"] == ["END", "STOP"]


def test_headers_are_sent_with_every_request(service: MockService) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("ok"))))
    make_model(ai_gateway="gate", session_affinity="s", default_headers={"x-team": "blue"}).queue_batch(["Hello"])
    for request in service.requests:
        assert request.headers["cf-aig-gateway-id"] == "gate"
        assert request.headers["x-session-affinity"] == "s"
        assert request.headers["x-team"] == "blue"


def test_the_queue_uses_the_native_dialect_on_every_model(service: MockService) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("ok"))))
    make_model(api="openai", reject_if_busy=True).queue_batch(["Hello"])
    assert str(service.requests[0].url) == URL
    assert service.request_bodies[0] == {"requests": [{"messages": [{"role": "user", "content": "Hello"}]}]}


def test_an_empty_list_of_inputs_sends_no_request(service: MockService, call_method: str) -> None:
    assert queue_batch(make_model(), call_method, []) == []
    job = submit_batch(make_model(), call_method, [])
    assert job.parts == ()
    assert job
    assert fetch_batch(make_model(), call_method, job) == []
    assert service.requests == []


# --- Splitting --------------------------------------------------------------------------------------------------------


def test_payloads_are_split_under_10_mb(service: MockService, call_method: str, sleeps: list[float]) -> None:
    texts = ["ü" * 2_000_000 + str(at) for at in range(5)]  # two bytes each
    service.respond_with_results(
        make_queued_result("a"),
        make_queued_result("b"),
        make_queued_result("c"),
        make_queued_result("a"),
        make_finished_result(make_item(1, make_reply("3")), make_item(0, make_reply("2"))),
        make_queued_result("c"),
        make_finished_result(make_item(0, make_reply("0")), make_item(1, make_reply("1"))),
        make_finished_result(make_item(0, make_reply("4"))),
    )
    messages = queue_batch(make_model(), call_method, texts)
    assert [message.text for message in messages] == list("01234")
    submitted, polled = service.requests[:3], service.request_bodies[3:]
    assert all(len(request.content) < 10_000_000 for request in submitted)
    assert [len(sent["requests"]) for sent in service.request_bodies[:3]] == [2, 2, 1]
    assert [sent["request_id"] for sent in polled] == ["a", "b", "c", "a", "c"]
    assert len(sleeps) == 1


def test_a_payload_has_at_most_9_999_999_bytes(service: MockService) -> None:
    empty = len(b'{"requests":[{"messages":[{"role":"user","content":""}]}]}')
    service.respond_with_results(make_queued_result())
    make_model().submit_batch(["x" * (9_999_999 - empty)])
    assert len(service.only_request.content) == 9_999_999
    with pytest.raises(ValueError, match="must stay under 10,000,000"):
        make_model().submit_batch(["x" * (10_000_000 - empty)])


def test_a_lone_surrogate_in_a_payload_is_replaced(service: MockService) -> None:
    service.respond_with_results(make_queued_result())
    make_model().submit_batch(["a\ud800b"])
    assert service.request_bodies[0]["requests"][0]["messages"][0]["content"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("sizes", "room", "most", "parts"),
    [
        ([], 10, None, []),
        ([10], 10, None, [1]),
        ([11, 11], 10, None, [1, 1]),
        ([5, 4], 10, None, [2]),
        ([5, 5], 10, None, [1, 1]),
        ([1] * 7, 100, 3, [3, 3, 1]),
        ([1] * 6, 100, 3, [3, 3]),
    ],
)
def test_split_by_size_and_count(sizes: list[int], room: int, most: int | None, parts: list[int]) -> None:
    assert [len(sizes[part]) for part in split(sizes, room=room, most=most)] == parts


# --- Replies ----------------------------------------------------------------------------------------------------------

RESULTS: list[Any] = [
    {"response": "text", "usage": make_usage(7, 3)},
    {"response": {"a": 1}},
    make_completion("text", reasoning_content="thought", usage=make_usage(7, 3, neurons=1.5)),
    make_completion("cut", finish_reason="length", usage=make_usage(7, 3)),
    {
        "response": None,
        "tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}],
        "usage": make_usage(7, 3),
    },
    make_completion(
        "",
        finish_reason="tool_calls",
        tool_calls=[
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome'}},
        ],
    ),
    make_completion('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'),
    make_completion("one STOP two", usage=make_usage(7, 3)),
    {"choices": [{"text": "completion", "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: json.dumps(result)[:60])
def test_messages_equal_those_of_invoke(service: MockService, call_method: str, result: Any) -> None:
    bound = make_model(model=SEA_LION).bind_tools([WEATHER_TOOL]).bind(stop=["STOP"])
    service.respond_with_results(result, make_queued_result(), make_finished_result(make_item(0, result)))
    single = bound.invoke("Hello")
    (message,) = queue_batch(bound, call_method, ["Hello"])
    assert summarize_message(message) == summarize_message(single)
    assert message.content == single.content
    assert [call["name"] for call in message.tool_calls] == [call["name"] for call in single.tool_calls]
    assert message.response_metadata["request_id"] == "batch-1"


def test_output_version_v1_is_applied(service: MockService) -> None:
    service.respond_with_results(
        make_reply("text"), make_queued_result(), make_finished_result(make_item(0, make_reply("text")))
    )
    llm = make_model(output_version="v1")
    single = llm.invoke("Hello")
    (message,) = llm.queue_batch(["Hello"])
    assert message.content == single.content == [{"type": "text", "text": "text"}]
    assert message.response_metadata["output_version"] == "v1"


def test_message_and_call_ids_are_unique(service: MockService) -> None:
    call = {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    native = {"tool_calls": [{"id": "call_0", "name": "get_weather", "arguments": {}}]}
    service.respond_with_results(
        make_queued_result(),
        make_finished_result(make_item(0, make_completion("", tool_calls=[call, call])), make_item(1, native)),
    )
    history = [
        HumanMessage("Weather?"),
        AIMessage("", tool_calls=[{"name": "get_weather", "args": {}, "id": "call_0"}]),
        ToolMessage("sunny", tool_call_id="call_0"),
    ]
    messages = make_model().bind_tools([WEATHER_TOOL]).queue_batch([history, history])  # type: ignore[attr-defined]
    ids = [call["id"] for message in messages for call in message.tool_calls]
    assert len(ids) >= 2
    assert len({"call_0", *ids}) == len(ids) + 1
    assert [message.id for message in messages] == ["batch-1-0", "batch-1-1"]


@pytest.mark.parametrize("ids", [[1, 0], ["1", "0"]])
def test_replies_are_matched_to_inputs_by_id(service: MockService, call_method: str, ids: list[Any]) -> None:
    service.respond_with_results(
        make_queued_result(),
        make_finished_result(make_item(ids[0], make_reply("second")), make_item(ids[1], make_reply("first"))),
    )
    assert [message.text for message in queue_batch(make_model(), call_method, ["1", "2"])] == ["first", "second"]


@pytest.mark.parametrize(
    ("responses", "why"),
    [
        ([], "the reply to input 0 is missing"),
        (None, "the reply to input 0 is missing"),
        ([make_item(0, make_reply("a")), make_item(0, make_reply("b"))], "two replies of the batch have the id 0"),
        ([make_item(0, make_reply("a")), make_item(2, make_reply("b"))], "has no id, or an id that no input has"),
        ([make_item(0, make_reply("a")), make_item(-1, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), make_item(None, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), make_item(True, make_reply("b"))], "has no id"),
        ([make_item(0, make_reply("a")), "b"], "has no id"),
    ],
)
def test_missing_and_duplicate_replies_raise(service: MockService, call_method: str, responses: Any, why: str) -> None:
    service.respond_with_results({"responses": responses})
    with pytest.raises(InternalServerError, match=why) as caught:
        fetch_batch(make_model(), call_method, JOB, return_exceptions=True)
    assert JOB.to_json() in caught.value.__notes__[0]


# --- Failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_input_raises(service: MockService, call_method: str) -> None:
    bad = make_failed_item(1, error="AiError: 5006: Bad input", code=5006)
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("one")), bad))
    with pytest.raises(BadRequestError, match="Bad input") as caught:
        queue_batch(make_model(), call_method, ["a", "b"])
    assert caught.value.code == 5006
    assert caught.value.request_id == "batch-1"
    assert str(caught.value) == "AiError: 5006: Bad input"
    notes = " ".join(caught.value.__notes__)
    assert "input 1" in notes
    assert JOB.to_json() in notes


FAILURES: list[tuple[dict[str, Any], type[Exception]]] = [
    (make_failed_item(0, error="Bad input", code=5006), BadRequestError),
    (make_failed_item(0, message="3040: Capacity temporarily exceeded"), CapacityError),
    ({"id": 0, "result": "AiError: 3040: Capacity temporarily exceeded", "success": False}, CapacityError),
    ({"id": 0, "success": False, "errors": [{"code": 3040, "message": "Capacity"}]}, CapacityError),
    ({"id": 0, "success": False, "error": "Something broke"}, InternalServerError),
    ({"id": 0, "error": "Something broke"}, InternalServerError),
    ({"id": 0, "success": False}, InternalServerError),
    ({"id": 0, "success": True}, InternalServerError),
    (make_item(0, None), InternalServerError),
    (make_item(0, {"unknown": 1}), InternalServerError),
]


@pytest.mark.parametrize(("response", "error_type"), FAILURES, ids=str)
def test_return_exceptions_returns_the_error_of_a_failed_input_in_its_place(
    service: MockService, call_method: str, response: Any, error_type: type[Exception]
) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(response, make_item(1, make_reply("two"))))
    error, message = queue_batch(make_model(), call_method, ["a", "b"], return_exceptions=True)
    assert isinstance(error, error_type)
    assert message.text == "two"


def test_a_missing_forced_call_is_the_error_of_its_input(service: MockService) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("I will not."))))
    bound = make_model().bind_tools([WEATHER_TOOL], tool_choice="any")
    (error,) = bound.queue_batch(["a"], return_exceptions=True)  # type: ignore[attr-defined]
    assert isinstance(error, ToolChoiceError)
    assert len(service.requests) == 2


def test_announced_calls_that_are_missing_are_not_requested_again(service: MockService) -> None:
    service.respond_with_results(
        make_queued_result(), make_finished_result(make_item(0, make_completion("Sure.", finish_reason="tool_calls")))
    )
    (message,) = make_model().bind_tools([WEATHER_TOOL]).queue_batch(["a"])  # type: ignore[attr-defined]
    assert message.content == "Sure."
    assert len(service.requests) == 2


def test_an_unsupported_input_raises_before_any_request(service: MockService, call_method: str) -> None:
    picture = [HumanMessage([{"type": "image_url", "image_url": {"url": PNG_DATA_URI}}])]
    llm = make_model(model=SEA_LION)
    service.respond_with_results(
        make_queued_result(), make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("three")))
    )
    with pytest.raises(ValueError, match="image") as caught:
        queue_batch(llm, call_method, ["1", picture, "3"])
    assert caught.value.__notes__ == ["This is the error of input 1."]
    assert service.requests == []
    one, error, three = queue_batch(llm, call_method, ["1", picture, "3"], return_exceptions=True)
    assert isinstance(error, ValueError)
    assert (one.text, three.text) == ("one", "three")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"model": GEMMA_3}, f"no asynchronous queue. Use model='{GEMMA_4}' or '{SEA_LION}'"),
        ({"host": "aimlapi"}, "host='aimlapi' has no asynchronous batch queue"),
        ({"host": "dataoorts"}, "host='dataoorts' has no asynchronous batch queue"),
    ],
)
def test_models_and_hosts_without_a_queue_raise(
    service: MockService, call_method: str, arguments: dict[str, Any], why: str
) -> None:
    llm = make_model(**arguments)
    for call in (queue_batch, submit_batch):
        with pytest.raises(ValueError, match=why):
            call(llm, call_method, ["a"])
    assert service.requests == []


def test_an_unknown_model_is_allowed(service: MockService) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("ok"))))
    assert make_model(model="@cf/google/gemma-5-1b-it").queue_batch(["a"])[0].text == "ok"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"poll_interval": -1}, "poll_interval=-1"),
        ({"max_wait": float("inf")}, "max_wait=inf"),
        ({"temprature": 1}, "Did you mean temperature"),
        ({"temperature": 9}, "out of range"),
    ],
)
def test_invalid_options_raise(service: MockService, call_method: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        queue_batch(make_model(), call_method, ["a"], **options)
    assert service.requests == []


def test_inputs_must_be_a_list(service: MockService, call_method: str) -> None:
    with pytest.raises(ValueError, match="takes a list of inputs"):
        queue_batch(make_model(), call_method, "Hello")


@pytest.mark.parametrize("result", [{}, {"status": "queued"}, {"request_id": ""}, {"request_id": 5}, [], None])
def test_a_submission_reply_without_an_id_raises(service: MockService, call_method: str, result: Any) -> None:
    service.respond_with_results(result)
    with pytest.raises(InternalServerError, match="no request_id"):
        submit_batch(make_model(), call_method, ["a"])


@pytest.mark.parametrize("result", [{}, {"status": None}, {"status": "failed"}, {"status": "Cancelled"}, [], "text"])
def test_an_unexpected_batch_status_raises(service: MockService, call_method: str, result: Any) -> None:
    service.respond_with_results(result)
    with pytest.raises(InternalServerError, match="its status is"):
        fetch_batch(make_model(), call_method, JOB)


def test_a_failed_submission_names_the_parts_that_were_submitted(service: MockService) -> None:
    service.respond_with(
        make_response({"result": make_queued_result("a")}),
        make_response({"success": False, "errors": [{"code": 5006, "message": "Bad"}]}, 400),
    )
    with pytest.raises(BadRequestError) as caught:
        make_model().submit_batch(["x" * 6_000_000, "y" * 6_000_000])
    assert BatchJob(GEMMA_4, (BatchPart("a", 1),)).to_json() in caught.value.__notes__[0]


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
    again = BatchJob.from_json(job.to_json())
    assert [message.text for message in fetch_batch(make_model(), call_method, again)] == ["one", "two"]
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


# --- Bounds -----------------------------------------------------------------------------------------------------------


def test_http_images_are_fetched_once_for_all_inputs(
    service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://example.com/a.png"
    fetched: list[list[str]] = []

    def fetch(urls: Any) -> dict[str, str]:
        fetched.append(list(urls))
        return dict.fromkeys(urls, PNG_DATA_URI)

    async def afetch(urls: Any) -> dict[str, str]:
        return fetch(urls)

    monkeypatch.setattr("langchain_workers_gemma.transport.driver.fetch_images", fetch)
    monkeypatch.setattr("langchain_workers_gemma.transport.driver.afetch_images", afetch)
    picture = [HumanMessage([{"type": "image_url", "image_url": {"url": url}}])]
    service.respond_with_results(make_queued_result())
    submit_batch(make_model(inline_image_urls=True), call_method, [picture, "text", picture])
    assert fetched == [[url]]
    sent = service.request_bodies[0]["requests"]
    assert [PNG_DATA_URI in json.dumps(one) for one in sent] == [True, False, True]


def test_an_oversized_reply_raises(service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_workers_gemma.batch.queue.MAX_BATCH_REPLY_BYTES", 50)
    service.respond_with_results(make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two"))))
    with pytest.raises(InternalServerError, match="larger than 50 bytes"):
        fetch_batch(make_model(), call_method, JOB)


# --- Partial results --------------------------------------------------------------------------------------------------


def test_a_missing_reply_fails_only_its_input(service: MockService, call_method: str) -> None:
    service.respond_with_results(
        make_queued_result(), make_finished_result(make_item(0, make_reply("one")), make_item(2, make_reply("three")))
    )
    first, second, third = queue_batch(make_model(), call_method, ["a", "b", "c"], return_exceptions=True)
    assert (first.text, third.text) == ("one", "three")
    assert isinstance(second, InternalServerError)
    assert "the reply to input 1 is missing" in str(second)


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
