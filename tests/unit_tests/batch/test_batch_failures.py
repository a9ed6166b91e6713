"""Batches that fail: invalid inputs, arguments and replies, and the messages of the errors."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_workers_gemma import BadRequestError, BatchJob, CapacityError, InternalServerError, ToolChoiceError
from langchain_workers_gemma.batch.job import BatchPart
from tests.helpers.mock_service import MockService, make_completion, make_response
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, PNG_DATA_URI, SEA_LION, WEATHER_TOOL, make_model
from tests.helpers.queue_calls import (
    JOB,
    fetch_batch,
    make_finished_result,
    make_item,
    make_queued_result,
    make_reply,
    queue_batch,
    submit_batch,
)

pytestmark = pytest.mark.usefixtures("sleeps")


def make_failed_item(index: int, **result: Any) -> dict[str, Any]:
    return {"id": index, "result": result, "success": False, "external_reference": None}


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
    ("arguments", "message"),
    [
        ({"model": GEMMA_3}, f"no asynchronous queue. Use model='{GEMMA_4}' or '{SEA_LION}'"),
        ({"host": "aimlapi"}, "host='aimlapi' has no asynchronous batch queue"),
        ({"host": "dataoorts"}, "host='dataoorts' has no asynchronous batch queue"),
    ],
)
def test_models_and_hosts_without_a_queue_raise(
    service: MockService, call_method: str, arguments: dict[str, Any], message: str
) -> None:
    llm = make_model(**arguments)
    for call in (queue_batch, submit_batch):
        with pytest.raises(ValueError, match=message):
            call(llm, call_method, ["a"])
    assert service.requests == []


def test_an_unknown_model_is_allowed(service: MockService) -> None:
    service.respond_with_results(make_queued_result(), make_finished_result(make_item(0, make_reply("ok"))))
    assert make_model(model="@cf/google/gemma-5-1b-it").queue_batch(["a"])[0].text == "ok"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"poll_interval": -1}, "poll_interval=-1"),
        ({"max_wait": float("inf")}, "max_wait=inf"),
        ({"temprature": 1}, "Did you mean temperature"),
        ({"temperature": 9}, "out of range"),
    ],
)
def test_invalid_options_raise(service: MockService, call_method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
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


def test_an_oversized_reply_raises(service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_workers_gemma.batch.queue.MAX_BATCH_REPLY_BYTES", 50)
    service.respond_with_results(make_finished_result(make_item(0, make_reply("one")), make_item(1, make_reply("two"))))
    with pytest.raises(InternalServerError, match="larger than 50 bytes"):
        fetch_batch(make_model(), call_method, JOB)
