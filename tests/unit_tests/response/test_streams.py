"""Streams in every form and with every quirk of docs/wire.md section 4 produce the message of a whole reply."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.mock_service import (
    MockService,
    PiecewiseBody,
    encode_sse,
    make_response,
    make_stream_response,
    make_usage,
)
from tests.helpers.model_calls import GEMMA_4, STREAM_METHODS, call_model, make_model, summarize_message
from tests.unit_tests.response.stream_forms import ALL_STREAM_METHODS, STREAMS

pytestmark = pytest.mark.lowest


def expected_summary(case: str) -> dict[str, Any]:
    """Return the expected summary of the message of a stream."""
    _, text, reasoning, calls, tokens = STREAMS[case]
    metadata: dict[str, Any] = {
        "model_name": GEMMA_4,
        "model_provider": "workers_gemma",
        "finish_reason": "tool_calls" if calls else "stop",
    }
    counts = None
    if tokens:
        counts = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
        metadata["cost_usd"] = pytest.approx((tokens[0] * 0.10 + tokens[1] * 0.30) / 1e6)
    return {
        "text": text,
        "reasoning": reasoning,
        "tool_calls": calls,
        "invalid": [],
        "usage": counts,
        "metadata": metadata,
    }


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("case", STREAMS)
def test_every_form_of_stream_is_read(service: MockService, case: str, call_method: str) -> None:
    service.respond_with_pieces(STREAMS[case][0])
    assert summarize_message(call_model(make_model(), call_method)) == expected_summary(case)
    assert len(service.requests) == 1


@pytest.mark.parametrize("call_method", STREAM_METHODS)
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_arrives_byte_by_byte_is_read(service: MockService, case: str, call_method: str) -> None:
    service.respond_with_pieces(*(bytes([byte]) for byte in STREAMS[case][0]))
    assert summarize_message(call_model(make_model(), call_method)) == expected_summary(case)


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_in_two_pieces_returns_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        expected = expected_summary(case)
        for cut in range(1, len(data), 1 if len(data) < 130 else 4):
            pieces[:] = [data[:cut], data[cut:]]
            assert summarize_message(call_model(llm, "stream")) == expected, pieces


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_in_random_pieces_returns_the_same_message(case: str) -> None:
    data = STREAMS[case][0]
    pieces: list[bytes] = []
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=PiecewiseBody(pieces)))
    ) as client:
        llm = make_model(http_client=client)
        expected = expected_summary(case)

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sets(st.integers(1, len(data) - 1)))
        def check_cuts(cuts: set[int]) -> None:
            ends = sorted(cuts)
            pieces[:] = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
            assert summarize_message(call_model(llm, "stream")) == expected

        check_cuts()


def test_stream_sends_stream_true(service: MockService) -> None:
    service.respond_with_pieces(STREAMS["openai"][0])
    call_model(make_model(), "stream")
    assert service.request_body["stream"] is True


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_json_body_instead_of_a_stream_is_read(service: MockService, content_type: str, call_method: str) -> None:
    service.respond_with_bodies(
        {"result": {"response": "Hi", "usage": make_usage(2, 1)}}, headers={"content-type": content_type}
    )
    message = call_model(make_model(), call_method)
    assert (message.text, message.usage_metadata is not None) == ("Hi", True)
    assert len(service.requests) == 1


EMPTY_BODIES: dict[str, bytes] = {
    "empty body": b"",
    "white space": b" \r\n\n",
    "null result": b'{"result": null, "success": true, "errors": [], "messages": []}',
    "empty result": b'{"result": {}, "success": true}',
    "empty text as result": b'{"result": "", "success": true}',
    "empty response": b'{"result": {"response": ""}, "success": true}',
    "null response": b'{"result": {"response": null, "tool_calls": []}, "success": true}',
    "only [DONE]": b"data: [DONE]\n\n",
    "only comments": b": nothing\n\n",
    "empty events": encode_sse({"response": ""}, {"response": None}, "[DONE]"),
    "null": b"null",
}


@pytest.mark.parametrize("call_method", ALL_STREAM_METHODS)
@pytest.mark.parametrize("nothing", EMPTY_BODIES)
def test_an_empty_stream_is_requested_again_without_stream(
    service: MockService, nothing: str, call_method: str
) -> None:
    service.respond_with(
        make_stream_response(EMPTY_BODIES[nothing]),
        make_response({"result": {"response": "Hi", "usage": make_usage(2, 1)}}),
    )
    message = call_model(make_model(), call_method)
    assert message.text == "Hi"
    first, second = service.request_bodies
    assert first.pop("stream") is True
    assert first.pop("stream_options") == {"include_usage": True}
    assert first == second
