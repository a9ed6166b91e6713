from __future__ import annotations

import asyncio
import io
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

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
from tests.helpers.asking import (
    ACCOUNT,
    GEMMA_3,
    GEMMA_4,
    PNG_URI,
    SEA_LION,
    WEATHER,
    Service,
    body,
    gemma,
    message_reply,
    run,
    told,
    usage,
)

URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/run/{GEMMA_4}?queueRequest=true"
JOB = BatchJob(GEMMA_4, (BatchPart("batch-1", 2),))


def queued(request_id: str = "batch-1") -> dict[str, Any]:
    return {"status": "queued", "request_id": request_id, "model": GEMMA_4}


RUNNING = {"status": "running", "request_id": "batch-1", "model": GEMMA_4}


def item(at: Any, result: Any, **more: Any) -> dict[str, Any]:
    return {"id": at, "result": result, "success": True, "external_reference": None, **more}


def failed(at: int, **result: Any) -> dict[str, Any]:
    return {"id": at, "result": result, "success": False, "external_reference": None}


def finished(*items: Any) -> dict[str, Any]:
    return {"responses": [*items], "usage": usage(1, 1)}


def says(text: str) -> dict[str, Any]:
    return message_reply(text, usage=usage(7, 3))


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(autouse=True)
def slept(naps: list[float]) -> list[float]:
    return naps


def queue_batch(llm: Any, way: str, inputs: Sequence[Any], **options: Any) -> list[Any]:
    messages = llm.queue_batch(inputs, **options) if way == "sync" else run(llm.aqueue_batch(inputs, **options))
    assert isinstance(messages, list)
    return messages


def submit_batch(llm: Any, way: str, inputs: Sequence[Any], **options: Any) -> BatchJob:
    job = llm.submit_batch(inputs, **options) if way == "sync" else run(llm.asubmit_batch(inputs, **options))
    assert isinstance(job, BatchJob)
    return job


def fetch_batch(llm: Any, way: str, job: BatchJob, **options: Any) -> list[Any]:
    messages = llm.fetch_batch(job, **options) if way == "sync" else run(llm.afetch_batch(job, **options))
    assert isinstance(messages, list)
    return messages


# --- What is sent -----------------------------------------------------------------------------------------------------


def test_submitted_polled_and_answered(service: Service, way: str, slept: list[float]) -> None:
    service.replies(queued(), queued(), RUNNING, finished(item(0, says("one")), item(1, says("two"))))
    messages = queue_batch(gemma(), way, ["Say one", "Say two"], poll_interval=4)
    assert [message.text for message in messages] == ["one", "two"]
    assert {str(request.url) for request in service.requests} == {URL}
    assert [request.content for request in service.requests] == [
        (
            b'{"requests":[{"messages":[{"role":"user","content":"Say one"}]},'
            b'{"messages":[{"role":"user","content":"Say two"}]}]}'
        ),
        *[b'{"request_id":"batch-1"}'] * 3,
    ]
    assert slept == [4, 6]


def test_any_input_that_invoke_takes(service: Service) -> None:
    inputs: list[Any] = [
        "text",
        [("system", "Be terse."), ("human", "pairs")],
        [HumanMessage("message")],
        StringPromptValue(text="prompt"),
        ChatPromptValue(messages=[HumanMessage("chat prompt")]),
        [{"role": "user", "content": "dict"}],
    ]
    service.replies(queued(), finished(*(item(at, says("ok")) for at in range(len(inputs)))))
    gemma().queue_batch(inputs)
    sent = [one["messages"][-1]["content"] for one in service.bodies[0]["requests"]]
    assert sent == ["text", "pairs", "message", "prompt", "chat prompt", "dict"]


def test_an_item_is_what_invoke_sends(service: Service) -> None:
    llm = gemma(temperature=0.5, max_tokens=64, thinking=False, stop=["END"], model_kwargs={"logprobs": True})
    bound = llm.bind_tools([WEATHER]).bind(stop=["STOP"], seed=7)
    service.replies(says("ok"), queued(), finished(item(0, says("ok"))))
    bound.invoke("Hello")
    assert queue_batch(bound, "sync", ["Hello"])[0].text == "ok"
    alone, batch, _ = service.bodies
    assert batch == {"requests": [alone]}
    assert alone["stop"] == ["END", "STOP"]


def test_headers_go_with_every_request(service: Service) -> None:
    service.replies(queued(), finished(item(0, says("ok"))))
    gemma(ai_gateway="gate", session_affinity="s", default_headers={"x-team": "blue"}).queue_batch(["Hello"])
    for request in service.requests:
        assert request.headers["cf-aig-gateway-id"] == "gate"
        assert request.headers["x-session-affinity"] == "s"
        assert request.headers["x-team"] == "blue"


def test_the_queue_uses_the_native_dialect_on_every_model(service: Service) -> None:
    service.replies(queued(), finished(item(0, says("ok"))))
    gemma(api="openai", reject_if_busy=True).queue_batch(["Hello"])
    assert str(service.requests[0].url) == URL
    assert service.bodies[0] == {"requests": [{"messages": [{"role": "user", "content": "Hello"}]}]}


def test_no_inputs_no_request(service: Service, way: str) -> None:
    assert queue_batch(gemma(), way, []) == []
    job = submit_batch(gemma(), way, [])
    assert job.parts == ()
    assert job
    assert fetch_batch(gemma(), way, job) == []
    assert service.requests == []


# --- Splitting --------------------------------------------------------------------------------------------------------


def test_payloads_are_split_under_10_mb(service: Service, way: str, slept: list[float]) -> None:
    texts = ["ü" * 2_000_000 + str(at) for at in range(5)]  # two bytes each
    service.replies(
        queued("a"),
        queued("b"),
        queued("c"),
        queued("a"),
        finished(item(1, says("3")), item(0, says("2"))),
        queued("c"),
        finished(item(0, says("0")), item(1, says("1"))),
        finished(item(0, says("4"))),
    )
    messages = queue_batch(gemma(), way, texts)
    assert [message.text for message in messages] == list("01234")
    submitted, polled = service.requests[:3], service.bodies[3:]
    assert all(len(request.content) < 10_000_000 for request in submitted)
    assert [len(sent["requests"]) for sent in service.bodies[:3]] == [2, 2, 1]
    assert [sent["request_id"] for sent in polled] == ["a", "b", "c", "a", "c"]
    assert len(slept) == 1


def test_a_payload_may_have_9_999_999_bytes_and_no_more(service: Service) -> None:
    empty = len(b'{"requests":[{"messages":[{"role":"user","content":""}]}]}')
    service.replies(queued())
    gemma().submit_batch(["x" * (9_999_999 - empty)])
    assert len(service.request.content) == 9_999_999
    with pytest.raises(ValueError, match="must stay under 10,000,000"):
        gemma().submit_batch(["x" * (10_000_000 - empty)])


def test_half_a_surrogate_pair_does_not_break_the_count(service: Service) -> None:
    service.replies(queued())
    gemma().submit_batch(["a\ud800b"])
    assert service.bodies[0]["requests"][0]["messages"][0]["content"] == "a\ufffdb"


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
def test_split(sizes: list[int], room: int, most: int | None, parts: list[int]) -> None:
    assert [len(sizes[part]) for part in split(sizes, room=room, most=most)] == parts


# --- What comes back --------------------------------------------------------------------------------------------------

RESULTS: list[Any] = [
    {"response": "text", "usage": usage(7, 3)},
    {"response": {"a": 1}},
    message_reply("text", reasoning_content="thought", usage=usage(7, 3, neurons=1.5)),
    message_reply("cut", finish_reason="length", usage=usage(7, 3)),
    {"response": None, "tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}], "usage": usage(7, 3)},
    message_reply(
        "",
        finish_reason="tool_calls",
        tool_calls=[
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome'}},
        ],
    ),
    message_reply('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'),
    message_reply("one STOP two", usage=usage(7, 3)),
    {"choices": [{"text": "completion", "finish_reason": "stop"}]},
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: json.dumps(result)[:60])
def test_messages_are_those_of_invoke(service: Service, way: str, result: Any) -> None:
    bound = gemma(model=SEA_LION).bind_tools([WEATHER]).bind(stop=["STOP"])
    service.replies(result, queued(), finished(item(0, result)))
    alone = bound.invoke("Hello")
    (message,) = queue_batch(bound, way, ["Hello"])
    assert told(message) == told(alone)
    assert message.content == alone.content
    assert [call["name"] for call in message.tool_calls] == [call["name"] for call in alone.tool_calls]
    assert message.response_metadata["request_id"] == "batch-1"


def test_output_version_v1(service: Service) -> None:
    service.replies(says("text"), queued(), finished(item(0, says("text"))))
    llm = gemma(output_version="v1")
    alone = llm.invoke("Hello")
    (message,) = llm.queue_batch(["Hello"])
    assert message.content == alone.content == [{"type": "text", "text": "text"}]
    assert message.response_metadata["output_version"] == "v1"


def test_ids_are_unique(service: Service) -> None:
    call = {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    native = {"tool_calls": [{"id": "call_0", "name": "get_weather", "arguments": {}}]}
    service.replies(queued(), finished(item(0, message_reply("", tool_calls=[call, call])), item(1, native)))
    history = [
        HumanMessage("Weather?"),
        AIMessage("", tool_calls=[{"name": "get_weather", "args": {}, "id": "call_0"}]),
        ToolMessage("sunny", tool_call_id="call_0"),
    ]
    messages = gemma().bind_tools([WEATHER]).queue_batch([history, history])  # type: ignore[attr-defined]
    ids = [call["id"] for message in messages for call in message.tool_calls]
    assert len(ids) >= 2
    assert len({"call_0", *ids}) == len(ids) + 1
    assert [message.id for message in messages] == ["batch-1-0", "batch-1-1"]


@pytest.mark.parametrize("ids", [[1, 0], ["1", "0"]])
def test_answers_are_matched_by_id(service: Service, way: str, ids: list[Any]) -> None:
    service.replies(queued(), finished(item(ids[0], says("second")), item(ids[1], says("first"))))
    assert [message.text for message in queue_batch(gemma(), way, ["1", "2"])] == ["first", "second"]


@pytest.mark.parametrize(
    ("responses", "why"),
    [
        ([], "the reply to input 0 is missing"),
        (None, "the reply to input 0 is missing"),
        ([item(0, says("a")), item(0, says("b"))], "two replies of the batch have the id 0"),
        ([item(0, says("a")), item(2, says("b"))], "has no id, or an id that no input has"),
        ([item(0, says("a")), item(-1, says("b"))], "has no id"),
        ([item(0, says("a")), item(None, says("b"))], "has no id"),
        ([item(0, says("a")), item(True, says("b"))], "has no id"),
        ([item(0, says("a")), "b"], "has no id"),
    ],
)
def test_lost_and_doubled_answers_are_refused(service: Service, way: str, responses: Any, why: str) -> None:
    service.replies({"responses": responses})
    with pytest.raises(InternalServerError, match=why) as caught:
        fetch_batch(gemma(), way, JOB, return_exceptions=True)
    assert JOB.to_json() in caught.value.__notes__[0]


# --- What fails -------------------------------------------------------------------------------------------------------


def test_a_failed_input_raises(service: Service, way: str) -> None:
    bad = failed(1, error="AiError: 5006: Bad input", code=5006)
    service.replies(queued(), finished(item(0, says("one")), bad))
    with pytest.raises(BadRequestError, match="Bad input") as caught:
        queue_batch(gemma(), way, ["a", "b"])
    assert caught.value.code == 5006
    assert caught.value.request_id == "batch-1"
    assert str(caught.value) == "AiError: 5006: Bad input"
    notes = " ".join(caught.value.__notes__)
    assert "input 1" in notes
    assert JOB.to_json() in notes


FAILURES: list[tuple[dict[str, Any], type[Exception]]] = [
    (failed(0, error="Bad input", code=5006), BadRequestError),
    (failed(0, message="3040: Capacity temporarily exceeded"), CapacityError),
    ({"id": 0, "result": "AiError: 3040: Capacity temporarily exceeded", "success": False}, CapacityError),
    ({"id": 0, "success": False, "errors": [{"code": 3040, "message": "Capacity"}]}, CapacityError),
    ({"id": 0, "success": False, "error": "Something broke"}, InternalServerError),
    ({"id": 0, "error": "Something broke"}, InternalServerError),
    ({"id": 0, "success": False}, InternalServerError),
    ({"id": 0, "success": True}, InternalServerError),
    (item(0, None), InternalServerError),
    (item(0, {"unknown": 1}), InternalServerError),
]


@pytest.mark.parametrize(("response", "kind"), FAILURES, ids=str)
def test_a_failed_input_keeps_its_place(service: Service, way: str, response: Any, kind: type[Exception]) -> None:
    service.replies(queued(), finished(response, item(1, says("two"))))
    error, message = queue_batch(gemma(), way, ["a", "b"], return_exceptions=True)
    assert isinstance(error, kind)
    assert message.text == "two"


def test_a_missing_forced_call_is_an_error_of_its_input(service: Service) -> None:
    service.replies(queued(), finished(item(0, says("I will not."))))
    bound = gemma().bind_tools([WEATHER], tool_choice="any")
    (error,) = bound.queue_batch(["a"], return_exceptions=True)  # type: ignore[attr-defined]
    assert isinstance(error, ToolChoiceError)
    assert len(service.requests) == 2


def test_announced_calls_that_are_missing_are_not_requested_again(service: Service) -> None:
    service.replies(queued(), finished(item(0, message_reply("Sure.", finish_reason="tool_calls"))))
    (message,) = gemma().bind_tools([WEATHER]).queue_batch(["a"])  # type: ignore[attr-defined]
    assert message.content == "Sure."
    assert len(service.requests) == 2


def test_inputs_that_cannot_be_taken(service: Service, way: str) -> None:
    picture = [HumanMessage([{"type": "image_url", "image_url": {"url": PNG_URI}}])]
    llm = gemma(model=SEA_LION)
    service.replies(queued(), finished(item(0, says("one")), item(1, says("three"))))
    with pytest.raises(ValueError, match="image") as caught:
        queue_batch(llm, way, ["1", picture, "3"])
    assert caught.value.__notes__ == ["This is the error of input 1."]
    assert service.requests == []
    one, error, three = queue_batch(llm, way, ["1", picture, "3"], return_exceptions=True)
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
def test_models_and_hosts_without_a_queue(service: Service, way: str, arguments: dict[str, Any], why: str) -> None:
    llm = gemma(**arguments)
    for call in (queue_batch, submit_batch):
        with pytest.raises(ValueError, match=why):
            call(llm, way, ["a"])
    assert service.requests == []


def test_an_unknown_model_is_allowed(service: Service) -> None:
    service.replies(queued(), finished(item(0, says("ok"))))
    assert gemma(model="@cf/google/gemma-5-1b-it").queue_batch(["a"])[0].text == "ok"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"poll_interval": -1}, "poll_interval=-1"),
        ({"max_wait": float("inf")}, "max_wait=inf"),
        ({"temprature": 1}, "Did you mean temperature"),
        ({"temperature": 9}, "out of range"),
    ],
)
def test_options_that_are_refused(service: Service, way: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        queue_batch(gemma(), way, ["a"], **options)
    assert service.requests == []


def test_one_input_is_no_list(service: Service, way: str) -> None:
    with pytest.raises(ValueError, match="takes a list of inputs"):
        queue_batch(gemma(), way, "Hello")


@pytest.mark.parametrize("result", [{}, {"status": "queued"}, {"request_id": ""}, {"request_id": 5}, [], None])
def test_a_submission_without_an_id(service: Service, way: str, result: Any) -> None:
    service.replies(result)
    with pytest.raises(InternalServerError, match="no request_id"):
        submit_batch(gemma(), way, ["a"])


@pytest.mark.parametrize("result", [{}, {"status": None}, {"status": "failed"}, {"status": "Cancelled"}, [], "text"])
def test_a_batch_that_never_finishes(service: Service, way: str, result: Any) -> None:
    service.replies(result)
    with pytest.raises(InternalServerError, match="its status is"):
        fetch_batch(gemma(), way, JOB)


def test_what_was_submitted_before_a_failure_can_be_fetched(service: Service) -> None:
    service.answers(
        body({"result": queued("a")}), body({"success": False, "errors": [{"code": 5006, "message": "Bad"}]}, 400)
    )
    with pytest.raises(BadRequestError) as caught:
        gemma().submit_batch(["x" * 6_000_000, "y" * 6_000_000])
    assert BatchJob(GEMMA_4, (BatchPart("a", 1),)).to_json() in caught.value.__notes__[0]


# --- Waiting ----------------------------------------------------------------------------------------------------------


def test_waits_grow_and_are_bounded() -> None:
    waiting = PollPolicy(poll_interval=2)
    assert [waiting.get_delay(polls, 0) for polls in (0, 1, 2, 3)] == [2, 3, 4.5, 6.75]
    assert waiting.get_delay(10_000, 0) == 30
    assert PollPolicy(poll_interval=120).get_delay(3, 0) == 120
    assert PollPolicy(poll_interval=0).get_delay(50, 0) == 0


def test_retry_after_is_obeyed_within_a_minute(service: Service, way: str, slept: list[float]) -> None:
    done = body({"result": finished(item(0, says("a")), item(1, says("b")))})
    service.answers(
        body({"result": RUNNING}, headers={"retry-after": "20"}),
        body({"result": RUNNING}, headers={"retry-after": "900"}),
        body({"success": False, "errors": [{"code": 3040, "message": "Capacity"}]}, 429, {"retry-after": "9"}),
        done,
    )
    assert len(fetch_batch(gemma(max_retries=1), way, JOB)) == 2
    assert slept == [20, 60, 9]


def test_a_poll_is_retried_as_a_call_is(service: Service, way: str, slept: list[float]) -> None:
    service.answers(
        body(b"oops", 502), body(b"oops", 503), body({"result": finished(item(0, says("a")), item(1, says("b")))})
    )
    assert len(fetch_batch(gemma(max_retries=2), way, JOB)) == 2
    assert len(slept) == 2


def test_max_wait(service: Service, way: str, slept: list[float]) -> None:
    service.replies(RUNNING)
    with pytest.raises(APITimeoutError, match="within max_wait=10 seconds") as caught:
        fetch_batch(gemma(), way, JOB, max_wait=10)
    assert slept == [2, 3, 4.5]
    assert JOB.to_json() in caught.value.__notes__[0]
    with pytest.raises(APITimeoutError):
        fetch_batch(gemma(), way, JOB, max_wait=0)


def test_a_lost_connection_keeps_the_job(service: Service, way: str) -> None:
    import httpx

    def lost() -> httpx.Response:
        raise httpx.ConnectError("refused")

    service.answers(body({"result": queued()}), lost)
    with pytest.raises(APIConnectionError) as caught:
        queue_batch(gemma(), way, ["a", "b"])
    assert JOB.to_json() in caught.value.__notes__[0]


# --- The job ----------------------------------------------------------------------------------------------------------


def test_a_job_is_small_and_travels() -> None:
    assert json.loads(JOB.to_json()) == json.loads(json.dumps(asdict(JOB)))
    assert BatchJob.from_json(JOB.to_json()) == JOB == pickle.loads(pickle.dumps(JOB))
    assert hash(JOB) == hash(BatchJob.from_json(JOB.to_json()))
    assert len(JOB) == 2
    with pytest.raises(AttributeError):
        JOB.model = "another"  # type: ignore[misc]


def test_a_job_is_fetched_by_another_object(service: Service, way: str) -> None:
    service.replies(queued(), finished(item(0, says("one")), item(1, says("two"))))
    job = submit_batch(gemma(), way, ["1", "2"])
    assert job == JOB
    again = BatchJob.from_json(job.to_json())
    assert [message.text for message in fetch_batch(gemma(), way, again)] == ["one", "two"]
    assert service.bodies[1] == {"request_id": "batch-1"}


def test_a_job_of_another_model(service: Service, way: str) -> None:
    service.replies(finished(item(0, says("one")), item(1, says("two"))))
    with pytest.raises(ValueError, match=f"pass model='{GEMMA_4}'"):
        fetch_batch(gemma(model=SEA_LION), way, JOB)
    assert len(fetch_batch(gemma(model=SEA_LION), way, JOB, model=GEMMA_4)) == 2


def test_a_bound_model_fetches_with_what_is_bound(service: Service, way: str) -> None:
    written = message_reply('<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>')
    service.replies(queued(), finished(item(0, written)))
    bound = gemma().bind_tools([WEATHER])
    (message,) = fetch_batch(bound, way, submit_batch(bound, way, ["Weather?"]))
    assert message.tool_calls[0]["args"] == {"city": "Paris"}


def test_what_bind_makes_is_cores_class_to_everyone_else() -> None:
    bound = gemma().bind(stop=["x"])
    assert isinstance(bound, RunnableBinding)
    assert type(bound).lc_id() == RunnableBinding.lc_id()
    further: Any = bound.bind(seed=1)
    assert further.kwargs == {"stop": ["x"], "seed": 1}
    assert hasattr(further, "queue_batch")


# --- The progress bar -------------------------------------------------------------------------------------------------


def test_progress_is_drawn(service: Service, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)
    service.replies(queued(), RUNNING, finished(item(0, says("one")), item(1, says("two"))))
    queue_batch(gemma(), way, ["1", "2"], show_progress=True)
    assert "running" in drawn.getvalue()
    assert "2/2" in drawn.getvalue()


@pytest.mark.parametrize("call", [queue_batch, fetch_batch])
def test_a_missing_tqdm_is_reported_before_anything_is_sent(
    service: Service, way: str, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "langchain-workers-gemma\[progress\]"'):
        call(gemma(), way, JOB if call is fetch_batch else ["a"], show_progress=True)
    assert service.requests == []


# --- Bounds -----------------------------------------------------------------------------------------------------------


def test_http_images_are_fetched_once_for_all_inputs(
    service: Service, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://example.com/a.png"
    fetched: list[list[str]] = []

    def fetch(urls: Any) -> dict[str, str]:
        fetched.append(list(urls))
        return dict.fromkeys(urls, PNG_URI)

    async def afetch(urls: Any) -> dict[str, str]:
        return fetch(urls)

    monkeypatch.setattr("langchain_workers_gemma.transport.driver.fetch_images", fetch)
    monkeypatch.setattr("langchain_workers_gemma.transport.driver.afetch_images", afetch)
    picture = [HumanMessage([{"type": "image_url", "image_url": {"url": url}}])]
    service.replies(queued())
    submit_batch(gemma(inline_image_urls=True), way, [picture, "text", picture])
    assert fetched == [[url]]
    sent = service.bodies[0]["requests"]
    assert [PNG_URI in json.dumps(one) for one in sent] == [True, False, True]


def test_a_reply_without_end_is_refused(service: Service, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_workers_gemma.batch.queue.MAX_BATCH_REPLY_BYTES", 50)
    service.replies(finished(item(0, says("one")), item(1, says("two"))))
    with pytest.raises(InternalServerError, match="larger than 50 bytes"):
        fetch_batch(gemma(), way, JOB)


# --- What is not lost -------------------------------------------------------------------------------------------------


def test_one_missing_answer_fails_its_input_alone(service: Service, way: str) -> None:
    service.replies(queued(), finished(item(0, says("one")), item(2, says("three"))))
    first, second, third = queue_batch(gemma(), way, ["a", "b", "c"], return_exceptions=True)
    assert (first.text, third.text) == ("one", "three")
    assert isinstance(second, InternalServerError)
    assert "the reply to input 1 is missing" in str(second)


@pytest.mark.parametrize("responses", [None, []])
@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_poll_that_is_still_running_may_hold_responses(
    service: Service, way: str, status: str, responses: Any
) -> None:
    service.replies(queued(), {"status": status, "responses": responses}, finished(item(0, says("one"))))
    assert [message.text for message in queue_batch(gemma(), way, ["a"])] == ["one"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError])
def test_an_interrupt_names_the_job(
    service: Service,
    way: str,
    interrupt: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service.replies(queued(), {"status": "running"})

    def stop(_seconds: float) -> None:
        raise interrupt

    async def astop(_seconds: float) -> None:
        raise interrupt

    monkeypatch.setattr("langchain_workers_gemma.transport.driver.time.sleep", stop)
    monkeypatch.setattr("langchain_workers_gemma.transport.driver.asyncio.sleep", astop)
    with pytest.raises(interrupt):
        gemma().queue_batch(["a"]) if way == "sync" else asyncio.run(gemma().aqueue_batch(["a"]))
    assert "BatchJob.from_json(" in caplog.text
    assert "batch-1" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "nope", "[]", "{}", '{"model": 3, "parts": []}', '{"model": "m", "parts": [{"request_id": "", "count": 1}]}',
     '{"model": "m", "parts": [{"request_id": "r", "count": "1"}]}', '{"model": "m", "parts": 5}'],
)  # fmt: skip
def test_a_damaged_job_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a BatchJob that to_json wrote"):
        BatchJob.from_json(text)
