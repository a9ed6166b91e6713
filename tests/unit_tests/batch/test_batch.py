"""Batches: `queue_batch`, `submit_batch` and `fetch_batch`, sync and async: the requests, and how they are split."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from langchain_workers_gemma.exchange.payload_chunks import split
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import ACCOUNT_ID, GEMMA_4, PNG_DATA_URI, WEATHER_TOOL, make_model
from tests.helpers.queue_calls import (
    RUNNING_RESULT,
    fetch_batch,
    make_finished_result,
    make_item,
    make_queued_result,
    make_reply,
    queue_batch,
    submit_batch,
)

URL = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT_ID}/ai/run/{GEMMA_4}?queueRequest=true"
pytestmark = pytest.mark.usefixtures("sleeps")


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
        make_queued_result(),
        make_finished_result(*(make_item(index, make_reply("ok")) for index in range(len(inputs)))),
    )
    make_model().queue_batch(inputs)
    sent = [request["messages"][-1]["content"] for request in service.request_bodies[0]["requests"]]
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
    texts = ["ü" * 2_000_000 + str(index) for index in range(5)]  # two bytes each
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
    ("sizes", "max_bytes", "max_count", "parts"),
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
def test_split_by_size_and_count(sizes: list[int], max_bytes: int, max_count: int | None, parts: list[int]) -> None:
    assert [len(sizes[part]) for part in split(sizes, max_bytes=max_bytes, max_count=max_count)] == parts


# --- Images -----------------------------------------------------------------------------------------------------------


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
    assert [PNG_DATA_URI in json.dumps(request) for request in sent] == [True, False, True]
