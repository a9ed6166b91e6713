"""Options of a request: the headers and the keys of the body in which each is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_workers_gemma import AIGateway
from tests.helpers.mock_service import MockService, make_completion
from tests.helpers.model_calls import (
    API_TOKEN,
    CALL_METHODS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    SEA_LION,
    STREAM_METHODS,
    call_model,
    get_construction_error,
    make_model,
)
from tests.helpers.request_calls import HELLO, OPENAI_URL, RUN_URL, respond_to_method

pytestmark = pytest.mark.lowest


# --- The AI Gateway and other headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_ai_gateway_given_by_its_id(service: MockService, api: str, call_method: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    respond_to_method(service, call_method)
    call_model(make_model(api=api, ai_gateway="default"), call_method)
    assert service.only_request.headers["cf-aig-gateway-id"] == "default"
    assert str(service.only_request.url) == (RUN_URL + GEMMA_4 if api == "native" else OPENAI_URL)
    assert [name for name in service.only_request.headers if name.startswith("cf-aig-")] == ["cf-aig-gateway-id"]


def test_ai_gateway_options_in_the_units_of_each_header(service: MockService) -> None:
    options = AIGateway(
        "gw",
        cache_ttl=3600.0,
        skip_cache=True,
        cache_key="my key",
        metadata={"team": "a", "n": 1, "ok": True},
        collect_log=False,
        request_timeout=2.5,
        max_attempts=3,
        retry_delay=0.25,
        backoff="exponential",
        token="gateway-token",
    )
    call_model(make_model(ai_gateway=options), "invoke")
    sent = {name: value for name, value in service.only_request.headers.items() if name.startswith("cf-aig-")}
    assert json.loads(sent.pop("cf-aig-metadata")) == {"team": "a", "n": 1, "ok": True}
    assert sent == {
        "cf-aig-gateway-id": "gw",
        "cf-aig-cache-ttl": "3600",
        "cf-aig-skip-cache": "true",
        "cf-aig-cache-key": "my key",
        "cf-aig-collect-log": "false",
        "cf-aig-request-timeout": "2500",
        "cf-aig-max-attempts": "3",
        "cf-aig-retry-delay": "250",
        "cf-aig-backoff": "exponential",
        "cf-aig-authorization": "Bearer gateway-token",
    }


def test_ai_gateway_metadata_outside_ascii_is_escaped(service: MockService) -> None:
    call_model(make_model(ai_gateway=AIGateway("gw", metadata={"who": "Zoë\r\nx-evil: 1"})), "invoke")
    header = service.only_request.headers["cf-aig-metadata"]
    assert header.isascii()
    assert header.isprintable()
    assert json.loads(header) == {"who": "Zoë\r\nx-evil: 1"}
    assert "x-evil" not in service.only_request.headers


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_session_affinity_is_sent(service: MockService, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(session_affinity="session-1"), call_method)
    assert service.only_request.headers["x-session-affinity"] == "session-1"


def test_session_affinity_of_a_call_overrides_the_field(service: MockService) -> None:
    call_model(make_model(session_affinity="session-1"), "invoke", session_affinity="session-2")
    assert service.only_request.headers["x-session-affinity"] == "session-2"


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_reject_if_busy_is_sent_in_both_dialects(service: MockService, api: str, call_method: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    respond_to_method(service, call_method)
    call_model(make_model(api=api, reject_if_busy=True), call_method)
    assert service.request_body["options"] == {"rejectIfBusy": True}


def test_default_headers_are_sent_with_every_request(service: MockService) -> None:
    llm = make_model(default_headers={"X-Team": "a", "cf-aig-cache-ttl": "9"}, ai_gateway=AIGateway("gw", cache_ttl=1))
    call_model(llm, "invoke")
    call_model(llm, "ainvoke")
    for request in service.requests:
        assert request.headers["x-team"] == "a"
        assert request.headers["cf-aig-cache-ttl"] == "9"
        assert request.headers["authorization"] == f"Bearer {API_TOKEN}"


@pytest.mark.parametrize("name", ["Authorization", "User-Agent", "Accept", "Content-Type"])
def test_default_headers_override_other_headers_in_any_case(service: MockService, name: str) -> None:
    call_model(make_model(default_headers={name: "mine"}), "invoke")
    assert service.only_request.headers.get_list(name) == ["mine"]


# --- Options in the body ----------------------------------------------------------------------------------------------


def test_model_kwargs_are_sent_unchanged(service: MockService) -> None:
    call_model(make_model(model_kwargs={"logprobs": True, "n": 1, "clear": {"a": [None]}}), "invoke")
    assert service.request_body == {"messages": HELLO, "logprobs": True, "n": 1, "clear": {"a": [None]}}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_is_sent(service: MockService, call_method: str, thinking: bool) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(thinking=thinking), call_method)
    assert service.request_body["chat_template_kwargs"] == {"enable_thinking": thinking}


def test_thinking_is_not_sent_if_it_is_not_set(service: MockService) -> None:
    call_model(make_model(), "invoke")
    assert "chat_template_kwargs" not in service.request_body


def test_thinking_is_merged_with_template_kwargs_of_model_kwargs(service: MockService) -> None:
    call_model(make_model(thinking=False, model_kwargs={"chat_template_kwargs": {"clear_thinking": True}}), "invoke")
    assert service.request_body["chat_template_kwargs"] == {"enable_thinking": False, "clear_thinking": True}


def test_reasoning_effort_is_sent_to_a_host_that_lists_it(service: MockService) -> None:
    call_model(make_model(host="aimlapi", model="google/gemma-4-31b-it", reasoning_effort="low"), "invoke")
    assert service.request_body["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in service.request_body


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("low", True), ("high", True)])
@pytest.mark.parametrize("model", [GEMMA_4, "@cf/google/gemma-5-1b-it"])
def test_reasoning_effort_sets_thinking(service: MockService, model: str, effort: str, thinks: bool) -> None:
    call_model(make_model(model=model, reasoning_effort=effort), "invoke")
    assert service.request_body["chat_template_kwargs"] == {"enable_thinking": thinks}
    assert "reasoning_effort" not in service.request_body


def test_reasoning_effort_that_contradicts_thinking_raises() -> None:
    assert "disagree" in get_construction_error(reasoning_effort="none", thinking=True)
    assert "disagree" in get_construction_error(reasoning_effort="high", thinking=False)
    make_model(reasoning_effort="none", thinking=False)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION])
def test_lora_is_sent(service: MockService, model: str, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(model=model, lora="my-adapter"), call_method)
    assert service.request_body["lora"] == "my-adapter"


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model_input", ["<start_of_turn>user\nHello", [HumanMessage("<start_of_turn>user\nHello")]])
def test_a_raw_prompt_is_sent(service: MockService, call_method: str, model_input: Any) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(model=GEMMA_7B, raw=True, temperature=0), call_method, model_input)
    expected = {"prompt": "<start_of_turn>user\nHello", "raw": True, "temperature": 0}
    assert {key: value for key, value in service.request_body.items() if key != "stream"} == expected
    assert str(service.only_request.url) == RUN_URL + GEMMA_7B


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_stop_is_sent_to_gemma_4(service: MockService, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(stop=["END", "STOP"]), call_method, stop=["HALT", "END"])
    assert service.request_body["stop"] == ["END", "STOP", "HALT"]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_more_than_four_stop_sequences_are_applied_by_the_client(service: MockService, call_method: str) -> None:
    service.respond_with_results({"response": "one 5 two"})
    if call_method in STREAM_METHODS:
        service.respond_with_events({"response": "one 5 two"}, "[DONE]")
    message = call_model(make_model(stop=list("12345")), call_method)
    assert "stop" not in service.request_body
    assert message.content == "one "


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION])
def test_stop_is_applied_by_the_client_for_older_models(
    service: MockService, model: str, api: str, call_method: str
) -> None:
    service.respond_with_results({"response": "one END two"})
    if call_method in STREAM_METHODS:
        service.respond_with_events({"response": "one E"}, {"response": "ND two"}, "[DONE]")
    message = call_model(make_model(model=model, api=api, stop="END"), call_method)
    assert "stop" not in service.request_body
    assert message.content == "one "
    assert message.response_metadata["finish_reason"] == "stop"
