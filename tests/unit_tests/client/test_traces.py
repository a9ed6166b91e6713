"""Traces of calls: provider, model, settings, versions and usage, without the token."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_workers_gemma import AuthenticationError
from langchain_workers_gemma.version import __version__
from tests.helpers.mock_service import MockService, make_completion, make_delta, make_response, make_usage
from tests.helpers.model_calls import (
    API_TOKEN,
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    INVOKE_METHODS,
    WEATHER_TOOL,
    call_model,
    make_model,
)

pytestmark = pytest.mark.lowest


TRACED_METHODS = (*CALL_METHODS, "stream_events")


class RecordingTracer(BaseTracer):
    """Keeps the runs that a tracer such as LangSmith's would send."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


def respond_with_model_name(service: MockService, call_method: str) -> None:
    """Make the service send a reply that names its model."""
    model_field = {"model": "google/gemma-4-26B-A4B-it"}
    if call_method in INVOKE_METHODS:
        service.respond_with_results({**make_completion("Hi", usage=make_usage(7, 2)), **model_field})
    else:
        end = {"choices": [], "usage": make_usage(7, 2)}
        service.respond_with_events(
            {**make_delta("Hi"), **model_field}, make_delta(finish_reason="stop"), end, "[DONE]"
        )


def trace_call(llm: Any, call_method: str, **options: Any) -> Run:
    """Call a model and return the traced run."""
    tracer = RecordingTracer()
    call_model(llm, call_method, config={"callbacks": [tracer]}, **options)
    [run] = tracer.runs
    return run


@pytest.mark.parametrize("call_method", TRACED_METHODS)
def test_a_run_has_metadata(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    run = trace_call(make_model(temperature=0.5, max_tokens=99, stop=["END"]), call_method)
    assert run.run_type in ("llm", "chat_model")
    metadata = run.extra["metadata"]
    assert metadata["ls_provider"] == "workers_gemma"
    assert metadata["ls_model_name"] == GEMMA_4
    assert metadata["ls_model_type"] == "chat"
    assert (metadata["ls_temperature"], metadata["ls_max_tokens"], metadata["ls_stop"]) == (0.5, 99, ["END"])
    assert metadata["lc_versions"]["langchain-workers-gemma"] == __version__


@pytest.mark.parametrize("call_method", TRACED_METHODS)
def test_metadata_has_the_arguments_of_the_call(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    run = trace_call(
        make_model(temperature=0.5),
        call_method,
        model=GEMMA_3,
        temperature=0.1,
        max_completion_tokens=9,
        stop_sequences=["E"],
    )
    metadata = run.extra["metadata"]
    assert metadata["ls_model_name"] == GEMMA_3
    assert (metadata["ls_temperature"], metadata["ls_max_tokens"]) == (0.1, 9)
    assert metadata["ls_stop"] == ["E"]


@pytest.mark.parametrize("call_method", TRACED_METHODS)
def test_a_run_has_the_output(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    run = trace_call(make_model(), call_method)
    assert run.outputs is not None
    output = str(run.outputs)
    assert "google/gemma-4-26B-A4B-it" in output
    assert "'input_tokens': 7" in output
    assert "cost_usd" in output


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_run_has_the_bound_tools(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    run = trace_call(make_model().bind_tools([WEATHER_TOOL]), call_method)
    assert "get_weather" in str(run.extra["invocation_params"])


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_run_does_not_have_the_token(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    run = trace_call(make_model(), call_method)
    assert API_TOKEN not in repr(vars(run))
    service.respond_with(
        make_response({"success": False, "errors": [{"code": 10000, "message": f"no {API_TOKEN}"}]}, status=401)
    )
    tracer = RecordingTracer()
    with pytest.raises(AuthenticationError):
        call_model(make_model(), call_method, config={"callbacks": [tracer]})
    assert tracer.runs[0].error
    assert API_TOKEN not in tracer.runs[0].error


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_run_does_not_have_the_credentials_in_the_headers_of_a_call(service: MockService, call_method: str) -> None:
    respond_with_model_name(service, call_method)
    headers = {"cf-aig-authorization": "Bearer a-gateways-token", "x-team": "search"}
    run = trace_call(make_model().bind(extra_headers=headers), call_method)
    assert run.extra["invocation_params"]["extra_headers"] == {"cf-aig-authorization": "*" * 10, "x-team": "search"}
    assert "a-gateways-token" not in repr(vars(run))
    assert service.only_request.headers["cf-aig-authorization"] == "Bearer a-gateways-token"


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
def test_a_key_of_a_cache_does_not_have_the_credentials_in_the_headers_of_a_call(
    service: MockService, call_method: str
) -> None:
    """A cache such as SQLite's writes its keys to a file."""
    respond_with_model_name(service, call_method)
    cache = InMemoryCache()
    headers = {"cf-aig-authorization": "Bearer a-gateways-token", "x-team": "search"}
    for team in ("search", "search", "sales"):
        call_model(make_model(cache=cache), call_method, extra_headers={**headers, "x-team": team})
    assert len(cache._cache) == 2
    assert "a-gateways-token" not in repr(cache._cache)
