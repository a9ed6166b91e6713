"""Requests: URL, headers and body, for each generation of Gemma, each host and each option."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_workers_gemma import AIGateway, __version__
from tests.helpers.mock_service import MockService, make_completion
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_4,
    GEMMA_7B_LORA,
    INVOKE_METHODS,
    PNG_DATA_URI,
    SEA_LION,
    STREAM_METHODS,
    WEATHER_TOOL,
    call_model,
    make_model,
    run_async,
)
from tests.helpers.request_calls import HELLO, OPENAI_URL, RUN_URL, respond_to_method

pytestmark = pytest.mark.lowest


# --- Each generation of Gemma -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_native_request(service: MockService, model: str, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(model=model), call_method)
    assert str(service.only_request.url) == RUN_URL + model
    assert service.only_request.method == "POST"
    expected: dict[str, Any] = {"messages": HELLO}
    if call_method in STREAM_METHODS:
        expected["stream"] = True
        if model == GEMMA_4:
            expected["stream_options"] = {"include_usage": True}
    assert service.request_body == expected


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_openai_request(service: MockService, model: str, call_method: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    respond_to_method(service, call_method)
    call_model(make_model(model=model, api="openai"), call_method)
    assert str(service.only_request.url) == OPENAI_URL
    expected: dict[str, Any] = {"model": model, "messages": HELLO}
    if call_method in STREAM_METHODS:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert service.request_body == expected


def test_the_body_is_compact_utf8_json(service: MockService) -> None:
    call_model(make_model(temperature=0, max_tokens=64, seed=7), "invoke", "Grüße aus Zürich 👋")
    assert (
        service.only_request.content
        == (
            '{"messages":[{"role":"user","content":"Grüße aus Zürich 👋"}],"temperature":0,"max_tokens":64,"seed":7}'
        ).encode()
    )


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_headers_of_a_request(service: MockService, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(), call_method)
    headers = service.only_request.headers
    assert headers["authorization"] == f"Bearer {API_TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == ("text/event-stream" if call_method in STREAM_METHODS else "application/json")
    assert headers["user-agent"].startswith(f"langchain-workers-gemma/{__version__} ")
    assert not [name for name in headers if name.startswith(("cf-", "x-"))]


def test_the_model_id_is_not_escaped_in_the_path(service: MockService) -> None:
    call_model(make_model(), "invoke")
    assert service.only_request.url.raw_path == f"/client/v4/accounts/{ACCOUNT_ID}/ai/run/{GEMMA_4}".encode()


ALL_SAMPLING = {
    "temperature": 0.5,
    "max_tokens": 100,
    "top_p": 0.9,
    "top_k": 20,
    "seed": 11,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.2,
    "presence_penalty": 0.3,
}
GEMMA_4_SAMPLING = {key: value for key, value in ALL_SAMPLING.items() if key not in ("top_k", "repetition_penalty")}


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_every_sampling_parameter_is_sent_under_its_own_name(service: MockService, model: str, api: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    sampling = GEMMA_4_SAMPLING if model == GEMMA_4 else ALL_SAMPLING
    call_model(make_model(model=model, api=api, **sampling), "invoke")
    assert {key: value for key, value in service.request_body.items() if key not in ("model", "messages")} == sampling


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_sampling_parameters_of_a_call_override_the_fields(service: MockService, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(temperature=1, max_tokens=10), call_method, temperature=0, top_p=0.5)
    assert (service.request_body["temperature"], service.request_body["max_tokens"], service.request_body["top_p"]) == (
        0,
        10,
        0.5,
    )


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_temperature_0_is_sent_as_0(service: MockService, model: str, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(model=model, temperature=0), call_method)
    assert service.request_body["temperature"] == 0


def test_zero_penalties_are_sent(service: MockService) -> None:
    call_model(make_model(frequency_penalty=0, presence_penalty=0, seed=0), "invoke")
    assert {**service.request_body, "messages": None} == {
        "messages": None,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "seed": 0,
    }


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", [*CHAT_MODELS, "@cf/google/gemma-5-1b-it"])
def test_max_tokens_is_sent_under_that_name_to_every_model(service: MockService, model: str, api: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    call_model(make_model(model=model, api=api, max_tokens=1), "invoke")
    assert service.request_body["max_tokens"] == 1
    assert "max_completion_tokens" not in service.request_body


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_stream_is_sent_only_when_true(service: MockService, api: str, call_method: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    call_model(make_model(api=api), call_method)
    assert "stream" not in service.request_body
    assert "stream_options" not in service.request_body


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
def test_streaming_makes_invoke_use_a_stream(service: MockService, call_method: str) -> None:
    service.respond_with_events({"response": "H"}, {"response": "i"}, "[DONE]")
    assert call_model(make_model(streaming=True), call_method).content == "Hi"
    assert service.request_body["stream"] is True


@pytest.mark.parametrize("model", ["@cf/google/gemma-5-1b-it", "@cf/somebody/something-else"])
def test_every_parameter_is_sent_to_an_unknown_model(service: MockService, model: str) -> None:
    call_model(make_model(model=model, temperature=9, top_k=500), "invoke")
    assert str(service.only_request.url) == RUN_URL + model
    assert service.request_body == {"messages": HELLO, "temperature": 9, "top_k": 500}


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        ("@cf/google/gemma-4-31b-it", ["system", "user"]),
        ("@cf/google/gemma-3-27b-it", ["system", "user"]),
        ("@cf/google/gemma-2-9b-it", ["user"]),
        ("@cf/google/gemma-2b-it", ["user"]),
    ],
)
def test_an_unknown_id_is_treated_like_its_family(service: MockService, model: str, roles: list[str]) -> None:
    call_model(make_model(model=model), "invoke", [("system", "Be brief."), ("human", "Hello")])
    assert [message["role"] for message in service.last_messages] == roles


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_model_of_a_call_overrides_the_field(service: MockService, call_method: str) -> None:
    respond_to_method(service, call_method)
    message = call_model(make_model(), call_method, model=SEA_LION)
    assert str(service.only_request.url) == RUN_URL + SEA_LION
    assert message.response_metadata["model_name"] == SEA_LION


# --- Hosts and URLs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", INVOKE_METHODS)
def test_dataoorts_request(service: MockService, call_method: str) -> None:
    message = call_model(make_model(host="dataoorts", temperature=0, top_k=5), call_method)
    assert str(service.only_request.url) == "https://cloud.dataoorts.com/api/v1"
    assert service.only_request.headers["authorization"] == f"Bearer {API_TOKEN}"
    data = {"messages": HELLO, "temperature": 0, "top_k": 5}
    assert service.request_body == {"model": "google/gemma-3-12b-it", "data": data}
    assert message.content == "Hi"


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_dataoorts_stream_request(service: MockService, call_method: str) -> None:
    service.respond_with_events({"response": "Hi"}, "[DONE]")
    call_model(make_model(host="dataoorts"), call_method)
    assert service.request_body == {"model": "google/gemma-3-12b-it", "data": {"messages": HELLO, "stream": True}}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", ["google/gemma-3-4b-it", "google/gemma-3-12b-it", "google/gemma-3-27b-it"])
def test_aimlapi_request(service: MockService, model: str, call_method: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    respond_to_method(service, call_method)
    call_model(make_model(host="aimlapi", model=model, top_k=3), call_method)
    assert str(service.only_request.url) == "https://api.aimlapi.com/v1/chat/completions"
    assert service.only_request.headers["authorization"] == f"Bearer {API_TOKEN}"
    expected: dict[str, Any] = {"model": model, "messages": HELLO, "top_k": 3}
    if call_method in STREAM_METHODS:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert service.request_body == expected


@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_the_default_model_of_each_host(service: MockService, host: str) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    call_model(make_model(host=host), "invoke")
    assert service.request_body["model"] == "google/gemma-3-12b-it"


def test_the_newest_gemma_is_the_default(service: MockService) -> None:
    call_model(make_model(), "invoke")
    assert str(service.only_request.url) == RUN_URL + GEMMA_4


LEGACY_GATEWAY_URL = f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT_ID}/my-gateway/workers-ai"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_legacy_gateway_native_request(service: MockService, call_method: str, slash: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(base_url=LEGACY_GATEWAY_URL + slash), call_method)
    assert str(service.only_request.url) == f"{LEGACY_GATEWAY_URL}/{GEMMA_4}"
    assert service.request_body["messages"] == HELLO
    assert "cf-aig-gateway-id" not in service.only_request.headers


def test_legacy_gateway_openai_request(service: MockService) -> None:
    service.respond_with_bodies(make_completion("Hi"))
    call_model(make_model(base_url=LEGACY_GATEWAY_URL, api="openai"), "invoke")
    assert str(service.only_request.url) == f"{LEGACY_GATEWAY_URL}/v1/chat/completions"
    assert service.request_body == {"model": GEMMA_4, "messages": HELLO}


def test_legacy_gateway_needs_no_account(service: MockService) -> None:
    call_model(make_model(base_url=LEGACY_GATEWAY_URL, account_id=None), "invoke")
    assert str(service.only_request.url) == f"{LEGACY_GATEWAY_URL}/{GEMMA_4}"


def test_legacy_gateway_with_a_token(service: MockService) -> None:
    call_model(
        make_model(base_url=LEGACY_GATEWAY_URL, ai_gateway=AIGateway("my-gateway", token="gateway-token", cache_ttl=5)),
        "invoke",
    )
    headers = service.only_request.headers
    assert headers["cf-aig-authorization"] == "Bearer gateway-token"
    assert headers["authorization"] == f"Bearer {API_TOKEN}"
    assert headers["cf-aig-cache-ttl"] == "5"
    assert "cf-aig-gateway-id" not in headers


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_base_url_with_or_without_a_slash(service: MockService, slashes: str) -> None:
    call_model(make_model(base_url="http://127.0.0.1:9/client/v4" + slashes), "invoke")
    assert str(service.only_request.url) == f"http://127.0.0.1:9/client/v4/accounts/{ACCOUNT_ID}/ai/run/{GEMMA_4}"


def test_an_image_is_sent(service: MockService) -> None:
    model_input = HumanMessage(
        [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_DATA_URI}}]
    )
    call_model(make_model(), "invoke", [model_input])
    assert service.request_body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG_DATA_URI}},
            ],
        }
    ]


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_native_tools_are_sent(service: MockService, model: str, call_method: str) -> None:
    respond_to_method(service, call_method)
    call_model(make_model(model=model, tool_calling="native").bind_tools([WEATHER_TOOL]), call_method)
    assert service.request_body["tools"] == [WEATHER_TOOL]
    assert "tool_choice" not in service.request_body


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_tools_are_sent_only_to_models_with_function_calling(service: MockService, model: str) -> None:
    call_model(make_model(model=model).bind_tools([WEATHER_TOOL]), "invoke")
    assert ("tools" in service.request_body) is (model == GEMMA_4)
    constraint = service.request_body.get("guided_json") or service.request_body.get("response_format")
    assert (constraint is not None) is (model not in (GEMMA_4, GEMMA_7B_LORA))
    assert ("get_weather" in service.request_body["messages"][0]["content"]) is (model != GEMMA_4)


@pytest.mark.parametrize("call_method", ["batch", "abatch"])
def test_batch_and_abatch_send_one_request_for_each_input(service: MockService, call_method: str) -> None:
    llm = make_model()
    messages = run_async(llm.abatch(["a", "b", "c"])) if call_method == "abatch" else llm.batch(["a", "b", "c"])
    assert [message.content for message in messages] == ["Hi"] * 3
    assert sorted(body["messages"][0]["content"] for body in service.request_bodies) == ["a", "b", "c"]
