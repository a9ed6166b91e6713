"""Stop sequences on our side, for hosts and models that have none."""

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


@pytest.mark.parametrize(("stops", "text", "left"), STOPS)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_stop_across_chunk_borders(
    service: MockService, call_method: str, stops: list[str], text: str, left: str
) -> None:
    llm = make_model(model=GEMMA_3, stop=stops)
    counts = make_usage(9, 8)
    cuts = [[text[:cut], text[cut:]] for cut in range(1, len(text))] if call_method in STREAM_METHODS else []
    for pieces in [*cuts, list(text), [text]]:
        if call_method in STREAM_METHODS:
            frames = [{"response": piece} for piece in pieces]
            service.respond_with_events(*frames, {"response": "", "usage": counts}, "[DONE]")
        else:
            service.respond_with_results({"response": text, "usage": counts})
        message = call_model(llm, call_method)
        assert message.content == left
        assert message.usage_metadata == {"input_tokens": 9, "output_tokens": 8, "total_tokens": 17}
        assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stop_of_ours_reads_the_stream_to_its_end(service: MockService, call_method: str) -> None:
    frames = [
        {"response": "one END"},
        *({"response": " more"} for _ in range(50)),
        {"response": "", "usage": make_usage(1, 60)},
    ]
    service.respond_with_events(*frames, {"choices": [{"delta": {}, "finish_reason": "length"}]}, "[DONE]")
    message = call_model(make_model(model=GEMMA_3, stop="END"), call_method)
    assert message.content == "one "
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 60
    assert message.response_metadata["finish_reason"] == "stop"
