"""What Gemmas were reported to write, read through the public API: whole and streamed, both dialects, any cuts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.asking import Service, ask, delta, gemma, message_reply, told, usage
from tests.unit_tests.tool_text.reported import TOOLS, Sample, samples

_SAMPLES = dict(samples())
_LLM = {api: gemma(api=api).bind_tools(TOOLS) for api in ("native", "openai")}


def cuts(text: str) -> Iterator[list[str]]:
    """The text by character, and in pieces of random length."""
    yield list(text)
    chance = random.Random(text)
    for _ in range(3):
        at = sorted(chance.sample(range(1, len(text)), min(4, len(text) - 1)))
        yield [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]


def readings(service: Service, reply: str, api: str) -> Iterator[AIMessage]:
    """The message that a reply becomes, whole and in each of its cuts."""
    llm = _LLM[api]
    if api == "native":
        service.replies({"response": reply})
    else:
        service.says(message_reply(reply))
    yield ask(llm, "invoke")
    for pieces in cuts(reply):
        if api == "native":
            service.streams(
                *({"response": piece} for piece in pieces), {"response": "", "usage": usage(1, 1)}, "[DONE]"
            )
        else:
            service.streams(*map(delta, pieces), delta(finish_reason="stop"), "[DONE]")
        yield ask(llm, "stream")


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("sample", _SAMPLES.values(), ids=_SAMPLES)
def test_reported_texts_are_read_as_intended(service: Service, sample: Sample, api: str) -> None:
    for message in readings(service, sample.reply, api):
        read: dict[str, Any] = told(message)
        assert (read["text"], read["reasoning"].rstrip()) == (sample.text, sample.reasoning.rstrip())
        assert read["tool_calls"] == sample.calls
        assert read["invalid"] == list(sample.invalid)
