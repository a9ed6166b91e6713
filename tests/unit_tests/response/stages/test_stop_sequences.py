"""Stop sequences that the client applies, for hosts and models without the parameter."""

from __future__ import annotations

import pytest

from tests.helpers.mock_service import MockService, make_usage
from tests.helpers.model_calls import CALL_METHODS, GEMMA_3, STREAM_METHODS, call_model, make_model

pytestmark = pytest.mark.lowest

STOPS: list[tuple[list[str], str, str]] = [
    (["END"], "one END two", "one "),
    (["END"], "one EN two", "one EN two"),
    (["END"], "one EN", "one EN"),
    (["END", "ND t"], "one END two", "one "),
    (["abc", "b"], "xabcx", "xa"),
    (["aab"], "xaaab", "xa"),
    (["\n\n"], "a\nb\n\nc", "a\nb"),
    (["END"], "END", ""),
    (["é👋"], "Zoé👋!", "Zo"),
]


@pytest.mark.parametrize(("stops", "text", "expected"), STOPS)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_stop_sequence_is_found_across_chunks(
    service: MockService, call_method: str, stops: list[str], text: str, expected: str
) -> None:
    llm = make_model(model=GEMMA_3, stop=stops)
    counts = make_usage(9, 8)
    splits = [[text[:cut], text[cut:]] for cut in range(1, len(text))] if call_method in STREAM_METHODS else []
    for pieces in [*splits, list(text), [text]]:
        if call_method in STREAM_METHODS:
            events = [{"response": piece} for piece in pieces]
            service.respond_with_events(*events, {"response": "", "usage": counts}, "[DONE]")
        else:
            service.respond_with_results({"response": text, "usage": counts})
        message = call_model(llm, call_method)
        assert message.content == expected
        assert message.usage_metadata == {"input_tokens": 9, "output_tokens": 8, "total_tokens": 17}
        assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stream_is_read_to_its_end_after_a_stop_sequence(service: MockService, call_method: str) -> None:
    events = [
        {"response": "one END"},
        *({"response": " more"} for _ in range(50)),
        {"response": "", "usage": make_usage(1, 60)},
    ]
    service.respond_with_events(*events, {"choices": [{"delta": {}, "finish_reason": "length"}]}, "[DONE]")
    message = call_model(make_model(model=GEMMA_3, stop="END"), call_method)
    assert message.content == "one "
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 60
    assert message.response_metadata["finish_reason"] == "stop"
