"""What Gemmas were reported to write, read through the public API: whole and streamed, both dialects, any cuts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.mock_service import MockService, make_completion, make_delta, make_usage
from tests.helpers.model_calls import call_model, make_model, summarize_message
from tests.unit_tests.tool_text.reported import TOOLS, Sample, list_samples

_SAMPLES = dict(list_samples())
_LLM = {api: make_model(api=api).bind_tools(TOOLS) for api in ("native", "openai")}


def cuts(text: str) -> Iterator[list[str]]:
    """The text by character, and in pieces of random length."""
    yield list(text)
    chance = random.Random(text)
    for _ in range(3):
        at = sorted(chance.sample(range(1, len(text)), min(4, len(text) - 1)))
        yield [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]


def readings(service: MockService, reply: str, api: str) -> Iterator[AIMessage]:
    """The message that a reply becomes, whole and in each of its cuts."""
    llm = _LLM[api]
    if api == "native":
        service.respond_with_results({"response": reply})
    else:
        service.respond_with_bodies(make_completion(reply))
    yield call_model(llm, "invoke")
    for pieces in cuts(reply):
        if api == "native":
            service.respond_with_events(
                *({"response": piece} for piece in pieces), {"response": "", "usage": make_usage(1, 1)}, "[DONE]"
            )
        else:
            service.respond_with_events(*map(make_delta, pieces), make_delta(finish_reason="stop"), "[DONE]")
        yield call_model(llm, "stream")


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("sample", _SAMPLES.values(), ids=_SAMPLES)
def test_reported_texts_are_read_as_intended(service: MockService, sample: Sample, api: str) -> None:
    for message in readings(service, sample.reply, api):
        read: dict[str, Any] = summarize_message(message)
        assert (read["text"], read["reasoning"].rstrip()) == (sample.text, sample.reasoning.rstrip())
        assert read["tool_calls"] == sample.calls
        assert read["invalid"] == list(sample.invalid)
