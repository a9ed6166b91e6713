from __future__ import annotations

from typing import Any

import pytest

from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import GEMMA_3, GEMMA_4, SEA_LION, Api, get_error, get_text, to_messages


def send_to_queue(api: Api, model: str, body: dict[str, Any]) -> dict[str, Any]:
    response = api.run(model, body, queueRequest="true")
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["result"]
    return result


@pytest.mark.parametrize("model", [GEMMA_4, SEA_LION])
def test_a_batch_is_submitted_polled_and_answered(api: Api, model: str) -> None:
    requests = [{"messages": to_messages(f"Say {n}"), "external_reference": f"r{n}"} for n in range(3)]
    submitted = send_to_queue(api, model, {"requests": requests})
    assert submitted["status"] == "queued"
    assert submitted["model"] == model
    poll = {"request_id": submitted["request_id"]}
    assert send_to_queue(api, model, poll)["status"] == "queued"
    done = send_to_queue(api, model, poll)
    assert [one["id"] for one in done["responses"]] == [0, 1, 2]
    assert [one["external_reference"] for one in done["responses"]] == ["r0", "r1", "r2"]
    assert [get_text(one["result"]) for one in done["responses"]] == ["0", "1", "2"]
    assert done["usage"]["total_tokens"] == sum(one["result"]["usage"]["total_tokens"] for one in done["responses"])


def test_a_failed_item_fails_alone(api: Api) -> None:
    submitted = send_to_queue(api, GEMMA_4, {"requests": [{"messages": to_messages("Hello")}, {"messages": []}]})
    poll = {"request_id": submitted["request_id"]}
    send_to_queue(api, GEMMA_4, poll)
    good, bad = send_to_queue(api, GEMMA_4, poll)["responses"]
    assert good["success"] is True
    assert bad["success"] is False
    assert bad["result"]["code"] == 5006


def test_the_number_of_unfinished_polls_is_configurable() -> None:
    with Sandbox(queue_polls=3) as sandbox, Api(sandbox) as api:
        poll = {
            "request_id": send_to_queue(api, GEMMA_4, {"requests": [{"messages": to_messages("Hello")}]})["request_id"]
        }
        assert [send_to_queue(api, GEMMA_4, poll).get("status") for _ in range(4)] == [
            "queued",
            "running",
            "running",
            None,
        ]


@pytest.mark.parametrize(
    "body", [{}, {"requests": []}, {"requests": "Hello"}, {"requests": [5]}, {"request_id": "none"}]
)
def test_the_queue_refuses_invalid_bodies(api: Api, body: dict[str, Any]) -> None:
    assert get_error(api.run(GEMMA_4, body, queueRequest="true"))[:2] == (400, 5006)


def test_a_model_without_a_queue(api: Api) -> None:
    body = {"requests": [{"messages": to_messages("Hello")}]}
    assert get_error(api.run(GEMMA_3, body, queueRequest="true"))[:2] == (400, 8001)


def test_a_payload_of_10_mb_is_too_large(api: Api) -> None:
    body = {"requests": [{"messages": to_messages("x" * 10_000_000)}]}
    assert get_error(api.run(GEMMA_4, body, queueRequest="true"))[:2] == (413, 3006)
