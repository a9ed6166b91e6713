"""What a trace of a call shows: provider, model, settings, versions, usage, and never the token."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_workers_gemma import AuthenticationError
from langchain_workers_gemma.version import __version__
from tests.helpers.asking import (
    GEMMA_3,
    GEMMA_4,
    TOKEN,
    WAYS,
    WEATHER,
    WHOLE,
    Service,
    ask,
    body,
    delta,
    gemma,
    message_reply,
    usage,
)

pytestmark = pytest.mark.lowest


TRACED = (*WAYS, "stream_events")


class Tracer(BaseTracer):
    """Keeps what a tracer such as LangSmith's would send."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


def answer(service: Service, way: str) -> None:
    named = {"model": "google/gemma-4-26B-A4B-it"}
    if way in WHOLE:
        service.replies({**message_reply("Hi", usage=usage(7, 2)), **named})
    else:
        end = {"choices": [], "usage": usage(7, 2)}
        service.streams({**delta("Hi"), **named}, delta(finish_reason="stop"), end, "[DONE]")


def trace(llm: Any, way: str, **options: Any) -> Run:
    tracer = Tracer()
    ask(llm, way, config={"callbacks": [tracer]}, **options)
    [run] = tracer.runs
    return run


@pytest.mark.parametrize("way", TRACED)
def test_metadata_of_a_run(service: Service, way: str) -> None:
    answer(service, way)
    run = trace(gemma(temperature=0.5, max_tokens=99, stop=["END"]), way)
    assert run.run_type in ("llm", "chat_model")
    metadata = run.extra["metadata"]
    assert metadata["ls_provider"] == "workers_gemma"
    assert metadata["ls_model_name"] == GEMMA_4
    assert metadata["ls_model_type"] == "chat"
    assert (metadata["ls_temperature"], metadata["ls_max_tokens"], metadata["ls_stop"]) == (0.5, 99, ["END"])
    assert metadata["lc_versions"]["langchain-workers-gemma"] == __version__


@pytest.mark.parametrize("way", TRACED)
def test_arguments_of_a_call_count(service: Service, way: str) -> None:
    answer(service, way)
    run = trace(
        gemma(temperature=0.5), way, model=GEMMA_3, temperature=0.1, max_completion_tokens=9, stop_sequences=["E"]
    )
    metadata = run.extra["metadata"]
    assert metadata["ls_model_name"] == GEMMA_3
    assert (metadata["ls_temperature"], metadata["ls_max_tokens"]) == (0.1, 9)
    assert metadata["ls_stop"] == ["E"]


@pytest.mark.parametrize("way", TRACED)
def test_output_of_a_run(service: Service, way: str) -> None:
    answer(service, way)
    run = trace(gemma(), way)
    assert run.outputs is not None
    output = str(run.outputs)
    assert "google/gemma-4-26B-A4B-it" in output
    assert "'input_tokens': 7" in output
    assert "cost_usd" in output


@pytest.mark.parametrize("way", WAYS)
def test_a_run_shows_bound_tools(service: Service, way: str) -> None:
    answer(service, way)
    run = trace(gemma().bind_tools([WEATHER]), way)
    assert "get_weather" in str(run.extra["invocation_params"])


@pytest.mark.parametrize("way", WAYS)
def test_no_token_in_a_run(service: Service, way: str) -> None:
    answer(service, way)
    run = trace(gemma(), way)
    assert TOKEN not in repr(vars(run))
    service.answers(body({"success": False, "errors": [{"code": 10000, "message": f"no {TOKEN}"}]}, status=401))
    tracer = Tracer()
    with pytest.raises(AuthenticationError):
        ask(gemma(), way, config={"callbacks": [tracer]})
    assert tracer.runs[0].error
    assert TOKEN not in tracer.runs[0].error
