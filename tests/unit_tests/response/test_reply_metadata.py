"""Usage, cost and other metadata of whole replies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.mock_service import MockService, make_completion, make_usage
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, GEMMA_7B, SEA_LION, call_model, make_model
from tests.helpers.reply_calls import ALL_CALL_METHODS, get_reply_message

pytestmark = pytest.mark.lowest


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_usage_details_are_read(service: MockService, call_method: str) -> None:
    report = make_usage(
        100,
        20,
        prompt_tokens_details={"cached_tokens": 64, "audio_tokens": 0},
        completion_tokens_details={"reasoning_tokens": 7},
    )
    assert get_reply_message(service, {"response": "Hi", "usage": report}, call_method).usage_metadata == {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_token_details": {"cache_read": 64},
        "output_token_details": {"reasoning": 7},
    }


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("report", [None, {}, "none", []])
def test_a_reply_without_usage_has_no_usage_metadata(service: MockService, report: Any, call_method: str) -> None:
    for result in ({"response": "Hi", "usage": report}, {"response": "Hi"}):
        message = get_reply_message(service, result, call_method)
        assert message.usage_metadata is None
        assert "cost_usd" not in message.response_metadata


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": None, "completion_tokens_details": None},
        {"prompt_tokens_details": {"cached_tokens": None}},
        {"prompt_tokens_details": []},
    ],
)
def test_empty_usage_details_are_ignored(service: MockService, details: Any, call_method: str) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": make_usage(3, 2, **details)}, call_method)
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_a_missing_total_of_tokens_is_calculated(service: MockService) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        ({"model": GEMMA_4}, (1000 * 0.10 + 500 * 0.30) / 1e6),
        ({"model": GEMMA_3}, (1000 * 0.35 + 500 * 0.56) / 1e6),
        ({"model": SEA_LION}, (1000 * 0.35 + 500 * 0.56) / 1e6),
        ({"host": "dataoorts"}, (1000 * 0.11 + 500 * 0.12) / 1e6),
        ({"model": GEMMA_7B}, None),
        ({"host": "aimlapi"}, None),
        ({"model": "@cf/google/gemma-5"}, None),
    ],
    ids=str,
)
def test_cost_is_calculated_from_published_prices(
    service: MockService, arguments: Any, cost: float | None, call_method: str
) -> None:
    message = get_reply_message(service, {"response": "Hi", "usage": make_usage(1000, 500)}, call_method, **arguments)
    if cost is None:
        assert "cost_usd" not in message.response_metadata
    else:
        assert message.response_metadata["cost_usd"] == pytest.approx(cost)


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize(
    ("report", "header", "neurons"),
    [({"neurons": 1.25}, None, 1.25), ({}, "2.5", 2.5), ({"neurons": 1.25}, "2.5", 1.25), ({}, "many", None)],
)
def test_neurons_are_read_from_body_or_header(
    service: MockService, report: Any, header: str | None, neurons: float | None, call_method: str
) -> None:
    headers = {} if header is None else {"cf-ai-neurons": header}
    service.respond_with_results({"response": "Hi", "usage": make_usage(1, 1, **report)}, headers=headers)
    assert call_model(make_model(), call_method).response_metadata.get("neurons") == neurons


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
def test_request_id_is_read_from_the_header(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "Hi"}, headers={"CF-Ray": "8f-ZRH"})
    assert call_model(make_model(), call_method).response_metadata["request_id"] == "8f-ZRH"
    service.respond_with_results({"response": "Hi"})
    assert "request_id" not in call_model(make_model(), call_method).response_metadata


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_the_finish_reason_of_the_service_is_kept(service: MockService, reason: str, call_method: str) -> None:
    result = make_completion("Hi", finish_reason=reason)
    result["choices"][0]["stop_reason"] = 106
    assert get_reply_message(service, result, call_method).response_metadata["finish_reason"] == reason


@pytest.mark.parametrize("call_method", ALL_CALL_METHODS)
@pytest.mark.parametrize("reason", [None, ""])
def test_a_missing_finish_reason_is_inferred(service: MockService, reason: Any, call_method: str) -> None:
    assert (
        get_reply_message(service, make_completion("Hi", finish_reason=reason), call_method).response_metadata[
            "finish_reason"
        ]
        == "stop"
    )
    call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    message = get_reply_message(service, make_completion(None, tool_calls=[call], finish_reason=reason), call_method)
    assert message.response_metadata["finish_reason"] == "tool_calls"
