"""Options of a call: timeouts, headers, log probabilities and aliases; and objects whose model changes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import httpx
import pytest
from langchain_core.runnables import ConfigurableField

from langchain_workers_gemma import ChatWorkersGemma, __version__
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    CALL_METHODS,
    GEMMA_3,
    GEMMA_4,
    STREAM_METHODS,
    WEATHER_TOOL,
    call_model,
    make_model,
)

TOKENS = [{"token": "Hel", "logprob": -0.25, "top_logprobs": []}, {"token": "lo", "logprob": -1.5, "top_logprobs": []}]


def make_choice(text: str, logprobs: Any, **more: Any) -> dict[str, Any]:
    """Return a choice of a stream event."""
    return {"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None, **more}


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_logprobs_are_returned(service: MockService, call_method: str) -> None:
    if call_method in STREAM_METHODS:
        service.respond_with_events(
            {"choices": [make_choice("Hel", {"content": TOKENS[:1]})]},
            {"choices": [make_choice("lo", {"content": TOKENS[1:]})]},
            {"choices": [make_choice("", None, finish_reason="stop")]},
        )
    else:
        message = {"role": "assistant", "content": "Hello"}
        service.respond_with_results(
            {"choices": [{"message": message, "logprobs": {"content": TOKENS}, "finish_reason": "stop"}]}
        )
    reply = call_model(make_model(logprobs=True, top_logprobs=2), call_method)
    assert reply.response_metadata["logprobs"] == {"content": TOKENS}
    assert (service.request_body["logprobs"], service.request_body["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_logprobs_are_omitted_unless_requested(service: MockService, call_method: str) -> None:
    message = {"role": "assistant", "content": "Hello"}
    service.respond_with_results(
        {"choices": [{"message": message, "logprobs": {"content": TOKENS}, "finish_reason": "stop"}]}
    )
    assert "logprobs" not in call_model(make_model(), call_method).response_metadata


def test_top_logprobs_need_logprobs() -> None:
    with pytest.raises(ValueError, match="top_logprobs needs logprobs=True"):
        make_model(top_logprobs=2)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_timeout_of_a_call_overrides_the_field(service: MockService, call_method: str) -> None:
    call_model(make_model(timeout=100).bind(timeout=7), call_method)
    assert service.only_request.extensions["timeout"]["read"] == 7


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_httpx_timeout_of_a_call_is_used(service: MockService, call_method: str) -> None:
    call_model(make_model().bind(timeout=httpx.Timeout(9, connect=3)), call_method)
    assert service.only_request.extensions["timeout"] == {"connect": 3, "read": 9, "write": 9, "pool": 9}


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_extra_headers_of_a_call_are_merged(service: MockService, call_method: str) -> None:
    call_model(
        make_model(default_headers={"x-a": "1", "x-b": "2"}).bind(extra_headers={"x-b": "3", "x-c": "4"}), call_method
    )
    sent = service.only_request.headers
    assert (sent["x-a"], sent["x-b"], sent["x-c"]) == ("1", "3", "4")


def test_max_completion_tokens_is_max_tokens(service: MockService) -> None:
    assert make_model(max_completion_tokens=7).max_tokens == 7
    make_model().invoke("Hi", max_completion_tokens=9)
    assert service.request_body["max_tokens"] == 9


def test_stop_sequences_of_a_call_are_appended(service: MockService) -> None:
    make_model(stop=["A"]).invoke("Hi", stop_sequences=["B"])
    assert service.request_body["stop"] == ["A", "B"]


@pytest.mark.parametrize("options", [{"n": 2}, {"model_kwargs": {"n": 3}}])
def test_n_raises_an_error_with_the_reason(service: MockService, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"n.* returns one answer"):
        make_model().invoke("Hi", **options)
    assert not service.requests


def test_n_of_one_is_allowed(service: MockService) -> None:
    make_model().invoke("Hi", n=1)
    assert "n" not in service.request_body


def test_numpy_scalars_are_accepted(service: MockService) -> None:
    numpy = pytest.importorskip("numpy")
    make_model().invoke("Hi", max_tokens=numpy.int64(5), temperature=numpy.float32(0.5))
    assert (service.request_body["max_tokens"], service.request_body["temperature"]) == (5, 0.5)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e308])
def test_timeouts_that_no_socket_accepts_raise(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        make_model(timeout=timeout)


@pytest.mark.parametrize("value", [object(), lambda: None])
def test_values_that_are_not_json_raise_before_a_request(service: MockService, value: Any) -> None:
    with pytest.raises(ValueError, match="model_kwargs cannot be sent as JSON"):
        make_model(model_kwargs={"x": value})
    with pytest.raises(ValueError, match="model_kwargs cannot be sent as JSON"):
        make_model().invoke("Hi", model_kwargs={"x": value})
    assert not service.requests


# --- The model changes ------------------------------------------------------------------------------------------------


def assign_model(llm: ChatWorkersGemma, model: str) -> Any:
    llm.model = model
    return llm


def configure_model(llm: ChatWorkersGemma, model: str) -> Any:
    field = llm.configurable_fields(model=ConfigurableField(id="model"))
    return field.with_config(configurable={"model": model})


CHANGES = {
    "assignment": assign_model,
    "model_copy": lambda llm, model: llm.model_copy(update={"model": model}),
    "configurable": configure_model,
    "after pickle": lambda llm, model: assign_model(pickle.loads(pickle.dumps(llm)), model),
    "after deepcopy": lambda llm, model: assign_model(copy.deepcopy(llm), model),
}


@pytest.mark.filterwarnings("ignore:.*was retired on")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model_has_its_own_capabilities(service: MockService, change: Any) -> None:
    llm = change(make_model(model=GEMMA_3), GEMMA_4)
    bound = llm.bind(tools=[WEATHER_TOOL])
    bound.invoke("Hi")
    sent = json.loads(service.requests[-1].content)
    assert "tools" in sent, "Gemma 4 supports native tools"
    assert "guided_json" not in sent
    if isinstance(llm, ChatWorkersGemma):
        assert llm.profile is not None
        assert llm.profile["name"] == "Gemma 4 26B A4B IT"
        assert llm.profile["max_input_tokens"] == 131_072


@pytest.mark.filterwarnings("ignore:.*was retired on")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_values_of_a_custom_profile_are_kept(change: Any) -> None:
    llm = change(make_model(model=GEMMA_3, profile={"max_input_tokens": 1_000}), GEMMA_4)
    if isinstance(llm, ChatWorkersGemma):
        assert llm.profile is not None
        assert llm.profile["max_input_tokens"] == 1_000
        assert llm.profile["tool_choice"] is True


def test_a_profile_changed_in_place_is_used() -> None:
    llm = make_model()
    assert llm.profile is not None
    llm.profile["max_input_tokens"] = 77
    llm.model = GEMMA_3
    assert llm.profile["max_input_tokens"] == 77


def test_traces_have_the_version_of_this_package() -> None:
    llm = make_model(metadata={"team": "a"})
    assert llm.metadata is not None
    assert llm.metadata["team"] == "a"
    assert llm.metadata["lc_versions"]["langchain-workers-gemma"] == __version__
    assert "langchain-core" in llm.metadata["lc_versions"]
