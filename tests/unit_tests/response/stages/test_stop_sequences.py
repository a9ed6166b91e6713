"""Stop sequences on our side, for hosts and models that have none."""

from __future__ import annotations

import pytest

from tests.helpers.asking import (
    GEMMA_3,
    STREAMED,
    WAYS,
    Service,
    ask,
    gemma,
    usage,
)

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
@pytest.mark.parametrize("way", WAYS)
def test_stop_across_chunk_borders(service: Service, way: str, stops: list[str], text: str, left: str) -> None:
    llm = gemma(model=GEMMA_3, stop=stops)
    counts = usage(9, 8)
    cuts = [[text[:cut], text[cut:]] for cut in range(1, len(text))] if way in STREAMED else []
    for pieces in [*cuts, list(text), [text]]:
        if way in STREAMED:
            frames = [{"response": piece} for piece in pieces]
            service.streams(*frames, {"response": "", "usage": counts}, "[DONE]")
        else:
            service.replies({"response": text, "usage": counts})
        message = ask(llm, way)
        assert message.content == left
        assert message.usage_metadata == {"input_tokens": 9, "output_tokens": 8, "total_tokens": 17}
        assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("way", STREAMED)
def test_a_stop_of_ours_reads_the_stream_to_its_end(service: Service, way: str) -> None:
    frames = [
        {"response": "one END"},
        *({"response": " more"} for _ in range(50)),
        {"response": "", "usage": usage(1, 60)},
    ]
    service.streams(*frames, {"choices": [{"delta": {}, "finish_reason": "length"}]}, "[DONE]")
    message = ask(gemma(model=GEMMA_3, stop="END"), way)
    assert message.content == "one "
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 60
    assert message.response_metadata["finish_reason"] == "stop"
