"""Reported replies of Gemma models, through the public API: whole and streamed, in both dialects, split anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.mock_service import MockService, make_completion, make_delta, make_usage
from tests.helpers.model_calls import call_model, make_model, summarize_message
from tests.unit_tests.tool_text.reported import iterate_samples
from tests.unit_tests.tool_text.sample_calls import TOOLS, Sample

_SAMPLES = dict(iterate_samples())
_LLM = {api: make_model(api=api).bind_tools(TOOLS) for api in ("native", "openai")}


def split_text(text: str) -> Iterator[list[str]]:
    """Yield the characters of a text, and several splits into random pieces."""
    yield list(text)
    generator = random.Random(text)
    for _ in range(3):
        places = sorted(generator.sample(range(1, len(text)), min(4, len(text) - 1)))
        yield [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def iterate_messages(service: MockService, reply: str, api: str) -> Iterator[AIMessage]:
    """Yield the message of a reply, whole and in each split."""
    llm = _LLM[api]
    if api == "native":
        service.respond_with_results({"response": reply})
    else:
        service.respond_with_bodies(make_completion(reply))
    yield call_model(llm, "invoke")
    for pieces in split_text(reply):
        if api == "native":
            service.respond_with_events(
                *({"response": piece} for piece in pieces), {"response": "", "usage": make_usage(1, 1)}, "[DONE]"
            )
        else:
            service.respond_with_events(*map(make_delta, pieces), make_delta(finish_reason="stop"), "[DONE]")
        yield call_model(llm, "stream")


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("sample", _SAMPLES.values(), ids=_SAMPLES)
def test_reported_replies_are_parsed(service: MockService, sample: Sample, api: str) -> None:
    for message in iterate_messages(service, sample.reply, api):
        summary: dict[str, Any] = summarize_message(message)
        assert (summary["text"], summary["reasoning"].rstrip()) == (sample.text, sample.reasoning.rstrip())
        assert summary["tool_calls"] == sample.calls
        assert summary["invalid"] == list(sample.invalid)
