"""What is really sent: URL, headers and body, for each generation of Gemma, each host and each option."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_workers_gemma import AIGateway, __version__
from tests.helpers.asking import (
    ACCOUNT,
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    PNG_URI,
    SEA_LION,
    STREAMED,
    TOKEN,
    WAYS,
    WEATHER,
    WHOLE,
    Service,
    ask,
    gemma,
    message_reply,
    refused,
    run,
    sse,
    stream,
)

pytestmark = pytest.mark.lowest

RUN = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/run/"
OPENAI = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def answered(service: Service, way: str) -> None:
    if way in STREAMED:
        service.answers(stream(sse({"response": "Hi"}, "[DONE]")))


# --- Each generation of Gemma -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_native_run_route(service: Service, model: str, way: str) -> None:
    answered(service, way)
    ask(gemma(model=model), way)
    assert str(service.request.url) == RUN + model
    assert service.request.method == "POST"
    expected: dict[str, Any] = {"messages": HELLO}
    if way in STREAMED:
        expected["stream"] = True
        if model == GEMMA_4:
            expected["stream_options"] = {"include_usage": True}
    assert service.sent == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_openai_route(service: Service, model: str, way: str) -> None:
    service.says(message_reply("Hi"))
    answered(service, way)
    ask(gemma(model=model, api="openai"), way)
    assert str(service.request.url) == OPENAI
    expected: dict[str, Any] = {"model": model, "messages": HELLO}
    if way in STREAMED:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert service.sent == expected


def test_exact_bytes(service: Service) -> None:
    ask(gemma(temperature=0, max_tokens=64, seed=7), "invoke", "Grüße aus Zürich 👋")
    assert (
        service.request.content
        == (
            '{"messages":[{"role":"user","content":"Grüße aus Zürich 👋"}],"temperature":0,"max_tokens":64,"seed":7}'
        ).encode()
    )


@pytest.mark.parametrize("way", WAYS)
def test_headers(service: Service, way: str) -> None:
    answered(service, way)
    ask(gemma(), way)
    headers = service.request.headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == ("text/event-stream" if way in STREAMED else "application/json")
    assert headers["user-agent"].startswith(f"langchain-workers-gemma/{__version__} ")
    assert not [name for name in headers if name.startswith(("cf-", "x-"))]


def test_the_model_keeps_its_at_and_slashes_in_the_path(service: Service) -> None:
    ask(gemma(), "invoke")
    assert service.request.url.raw_path == f"/client/v4/accounts/{ACCOUNT}/ai/run/{GEMMA_4}".encode()


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
OF_GEMMA_4 = {key: value for key, value in ALL_SAMPLING.items() if key not in ("top_k", "repetition_penalty")}


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_every_sampling_parameter_under_its_own_name(service: Service, model: str, api: str) -> None:
    service.says(message_reply("Hi"))
    sampling = OF_GEMMA_4 if model == GEMMA_4 else ALL_SAMPLING
    ask(gemma(model=model, api=api, **sampling), "invoke")
    assert {key: value for key, value in service.sent.items() if key not in ("model", "messages")} == sampling


@pytest.mark.parametrize("way", WAYS)
def test_sampling_parameters_of_a_call_overrule_the_fields(service: Service, way: str) -> None:
    answered(service, way)
    ask(gemma(temperature=1, max_tokens=10), way, temperature=0, top_p=0.5)
    assert (service.sent["temperature"], service.sent["max_tokens"], service.sent["top_p"]) == (0, 10, 0.5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_temperature_0_is_sent_as_0(service: Service, model: str, way: str) -> None:
    answered(service, way)
    ask(gemma(model=model, temperature=0), way)
    assert service.sent["temperature"] == 0


def test_zero_penalties_are_sent(service: Service) -> None:
    ask(gemma(frequency_penalty=0, presence_penalty=0, seed=0), "invoke")
    assert {**service.sent, "messages": None} == {
        "messages": None,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "seed": 0,
    }


@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", [*CHAT_MODELS, "@cf/google/gemma-5-1b-it"])
def test_max_tokens_goes_under_that_name_on_every_model(service: Service, model: str, api: str) -> None:
    service.says(message_reply("Hi"))
    ask(gemma(model=model, api=api, max_tokens=1), "invoke")
    assert service.sent["max_tokens"] == 1
    assert "max_completion_tokens" not in service.sent


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_stream_is_sent_only_when_true(service: Service, api: str, way: str) -> None:
    service.says(message_reply("Hi"))
    ask(gemma(api=api), way)
    assert "stream" not in service.sent
    assert "stream_options" not in service.sent


@pytest.mark.parametrize("way", WHOLE)
def test_streaming_makes_invoke_use_a_stream(service: Service, way: str) -> None:
    service.streams({"response": "H"}, {"response": "i"}, "[DONE]")
    assert ask(gemma(streaming=True), way).content == "Hi"
    assert service.sent["stream"] is True


@pytest.mark.parametrize("model", ["@cf/google/gemma-5-1b-it", "@cf/somebody/something-else"])
def test_an_unknown_id_gets_every_parameter_that_is_set(service: Service, model: str) -> None:
    ask(gemma(model=model, temperature=9, top_k=500), "invoke")
    assert str(service.request.url) == RUN + model
    assert service.sent == {"messages": HELLO, "temperature": 9, "top_k": 500}


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        ("@cf/google/gemma-4-31b-it", ["system", "user"]),
        ("@cf/google/gemma-3-27b-it", ["system", "user"]),
        ("@cf/google/gemma-2-9b-it", ["user"]),
        ("@cf/google/gemma-2b-it", ["user"]),
    ],
)
def test_an_unknown_id_is_treated_as_its_family(service: Service, model: str, roles: list[str]) -> None:
    ask(gemma(model=model), "invoke", [("system", "Be brief."), ("human", "Hello")])
    assert [message["role"] for message in service.messages] == roles


@pytest.mark.parametrize("way", WAYS)
def test_the_model_of_a_call(service: Service, way: str) -> None:
    answered(service, way)
    message = ask(gemma(), way, model=SEA_LION)
    assert str(service.request.url) == RUN + SEA_LION
    assert message.response_metadata["model_name"] == SEA_LION


# --- Hosts and bases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WHOLE)
def test_dataoorts(service: Service, way: str) -> None:
    message = ask(gemma(host="dataoorts", temperature=0, top_k=5), way)
    assert str(service.request.url) == "https://cloud.dataoorts.com/api/v1"
    assert service.request.headers["authorization"] == f"Bearer {TOKEN}"
    data = {"messages": HELLO, "temperature": 0, "top_k": 5}
    assert service.sent == {"model": "google/gemma-3-12b-it", "data": data}
    assert message.content == "Hi"


@pytest.mark.parametrize("way", STREAMED)
def test_dataoorts_stream(service: Service, way: str) -> None:
    service.streams({"response": "Hi"}, "[DONE]")
    ask(gemma(host="dataoorts"), way)
    assert service.sent == {"model": "google/gemma-3-12b-it", "data": {"messages": HELLO, "stream": True}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["google/gemma-3-4b-it", "google/gemma-3-12b-it", "google/gemma-3-27b-it"])
def test_aimlapi(service: Service, model: str, way: str) -> None:
    service.says(message_reply("Hi"))
    answered(service, way)
    ask(gemma(host="aimlapi", model=model, top_k=3), way)
    assert str(service.request.url) == "https://api.aimlapi.com/v1/chat/completions"
    assert service.request.headers["authorization"] == f"Bearer {TOKEN}"
    expected: dict[str, Any] = {"model": model, "messages": HELLO, "top_k": 3}
    if way in STREAMED:
        expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert service.sent == expected


@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_the_default_model_of_each_host(service: Service, host: str) -> None:
    service.says(message_reply("Hi"))
    ask(gemma(host=host), "invoke")
    assert service.sent["model"] == "google/gemma-3-12b-it"


def test_the_newest_gemma_is_the_default(service: Service) -> None:
    ask(gemma(), "invoke")
    assert str(service.request.url) == RUN + GEMMA_4


LEGACY = f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/my-gateway/workers-ai"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("way", WAYS)
def test_legacy_gateway_native(service: Service, way: str, slash: str) -> None:
    answered(service, way)
    ask(gemma(base_url=LEGACY + slash), way)
    assert str(service.request.url) == f"{LEGACY}/{GEMMA_4}"
    assert service.sent["messages"] == HELLO
    assert "cf-aig-gateway-id" not in service.request.headers


def test_legacy_gateway_openai(service: Service) -> None:
    service.says(message_reply("Hi"))
    ask(gemma(base_url=LEGACY, api="openai"), "invoke")
    assert str(service.request.url) == f"{LEGACY}/v1/chat/completions"
    assert service.sent == {"model": GEMMA_4, "messages": HELLO}


def test_legacy_gateway_needs_no_account(service: Service) -> None:
    ask(gemma(base_url=LEGACY, account_id=None), "invoke")
    assert str(service.request.url) == f"{LEGACY}/{GEMMA_4}"


def test_legacy_gateway_authenticated(service: Service) -> None:
    ask(gemma(base_url=LEGACY, ai_gateway=AIGateway("my-gateway", token="gateway-token", cache_ttl=5)), "invoke")
    headers = service.request.headers
    assert headers["cf-aig-authorization"] == "Bearer gateway-token"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["cf-aig-cache-ttl"] == "5"
    assert "cf-aig-gateway-id" not in headers


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_base_url_with_or_without_a_slash(service: Service, slashes: str) -> None:
    ask(gemma(base_url="http://127.0.0.1:9/client/v4" + slashes), "invoke")
    assert str(service.request.url) == f"http://127.0.0.1:9/client/v4/accounts/{ACCOUNT}/ai/run/{GEMMA_4}"


# --- The AI Gateway and other headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_ai_gateway_by_its_id(service: Service, api: str, way: str) -> None:
    service.says(message_reply("Hi"))
    answered(service, way)
    ask(gemma(api=api, ai_gateway="default"), way)
    assert service.request.headers["cf-aig-gateway-id"] == "default"
    assert str(service.request.url) == (RUN + GEMMA_4 if api == "native" else OPENAI)
    assert [name for name in service.request.headers if name.startswith("cf-aig-")] == ["cf-aig-gateway-id"]


def test_ai_gateway_options_in_the_units_of_each_header(service: Service) -> None:
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
    ask(gemma(ai_gateway=options), "invoke")
    sent = {name: value for name, value in service.request.headers.items() if name.startswith("cf-aig-")}
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


def test_ai_gateway_metadata_outside_ascii_stays_a_header(service: Service) -> None:
    ask(gemma(ai_gateway=AIGateway("gw", metadata={"who": "Zoë\r\nx-evil: 1"})), "invoke")
    header = service.request.headers["cf-aig-metadata"]
    assert header.isascii()
    assert header.isprintable()
    assert json.loads(header) == {"who": "Zoë\r\nx-evil: 1"}
    assert "x-evil" not in service.request.headers


@pytest.mark.parametrize("way", WAYS)
def test_session_affinity(service: Service, way: str) -> None:
    answered(service, way)
    ask(gemma(session_affinity="session-1"), way)
    assert service.request.headers["x-session-affinity"] == "session-1"


def test_session_affinity_of_a_call(service: Service) -> None:
    ask(gemma(session_affinity="session-1"), "invoke", session_affinity="session-2")
    assert service.request.headers["x-session-affinity"] == "session-2"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", ["native", "openai"])
def test_reject_if_busy_in_both_dialects(service: Service, api: str, way: str) -> None:
    service.says(message_reply("Hi"))
    answered(service, way)
    ask(gemma(api=api, reject_if_busy=True), way)
    assert service.sent["options"] == {"rejectIfBusy": True}


def test_default_headers_go_with_every_request(service: Service) -> None:
    llm = gemma(default_headers={"X-Team": "a", "cf-aig-cache-ttl": "9"}, ai_gateway=AIGateway("gw", cache_ttl=1))
    ask(llm, "invoke")
    ask(llm, "ainvoke")
    for request in service.requests:
        assert request.headers["x-team"] == "a"
        assert request.headers["cf-aig-cache-ttl"] == "9"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("name", ["Authorization", "User-Agent", "Accept", "Content-Type"])
def test_default_headers_overrule_ours_in_any_case(service: Service, name: str) -> None:
    ask(gemma(default_headers={name: "mine"}), "invoke")
    assert service.request.headers.get_list(name) == ["mine"]


# --- Options of the input ---------------------------------------------------------------------------------------------


def test_model_kwargs_are_sent_as_they_are(service: Service) -> None:
    ask(gemma(model_kwargs={"logprobs": True, "n": 1, "clear": {"a": [None]}}), "invoke")
    assert service.sent == {"messages": HELLO, "logprobs": True, "n": 1, "clear": {"a": [None]}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("thinking", [True, False])
def test_thinking(service: Service, way: str, thinking: bool) -> None:
    answered(service, way)
    ask(gemma(thinking=thinking), way)
    assert service.sent["chat_template_kwargs"] == {"enable_thinking": thinking}


def test_thinking_left_out_is_not_sent(service: Service) -> None:
    ask(gemma(), "invoke")
    assert "chat_template_kwargs" not in service.sent


def test_thinking_and_model_kwargs_of_the_template(service: Service) -> None:
    ask(gemma(thinking=False, model_kwargs={"chat_template_kwargs": {"clear_thinking": True}}), "invoke")
    assert service.sent["chat_template_kwargs"] == {"enable_thinking": False, "clear_thinking": True}


def test_reasoning_effort_where_the_host_lists_it(service: Service) -> None:
    ask(gemma(host="aimlapi", model="google/gemma-4-31b-it", reasoning_effort="low"), "invoke")
    assert service.sent["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in service.sent


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("low", True), ("high", True)])
@pytest.mark.parametrize("model", [GEMMA_4, "@cf/google/gemma-5-1b-it"])
def test_reasoning_effort_is_a_switch_of_thinking(service: Service, model: str, effort: str, thinks: bool) -> None:
    ask(gemma(model=model, reasoning_effort=effort), "invoke")
    assert service.sent["chat_template_kwargs"] == {"enable_thinking": thinks}
    assert "reasoning_effort" not in service.sent


def test_reasoning_effort_that_disagrees_with_thinking() -> None:
    assert "disagree" in refused(reasoning_effort="none", thinking=True)
    assert "disagree" in refused(reasoning_effort="high", thinking=False)
    gemma(reasoning_effort="none", thinking=False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION])
def test_lora(service: Service, model: str, way: str) -> None:
    answered(service, way)
    ask(gemma(model=model, lora="my-adapter"), way)
    assert service.sent["lora"] == "my-adapter"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", ["<start_of_turn>user\nHello", [HumanMessage("<start_of_turn>user\nHello")]])
def test_raw_prompt(service: Service, way: str, asked: Any) -> None:
    answered(service, way)
    ask(gemma(model=GEMMA_7B, raw=True, temperature=0), way, asked)
    expected = {"prompt": "<start_of_turn>user\nHello", "raw": True, "temperature": 0}
    assert {key: value for key, value in service.sent.items() if key != "stream"} == expected
    assert str(service.request.url) == RUN + GEMMA_7B


@pytest.mark.parametrize("way", WAYS)
def test_stop_of_gemma_4_is_native(service: Service, way: str) -> None:
    answered(service, way)
    ask(gemma(stop=["END", "STOP"]), way, stop=["HALT", "END"])
    assert service.sent["stop"] == ["END", "STOP", "HALT"]


@pytest.mark.parametrize("way", WAYS)
def test_more_than_four_stops_are_applied_on_our_side(service: Service, way: str) -> None:
    service.replies({"response": "one 5 two"})
    if way in STREAMED:
        service.streams({"response": "one 5 two"}, "[DONE]")
    message = ask(gemma(stop=list("12345")), way)
    assert "stop" not in service.sent
    assert message.content == "one "


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", ["native", "openai"])
@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA, SEA_LION])
def test_stop_of_older_models_is_applied_on_our_side(service: Service, model: str, api: str, way: str) -> None:
    service.replies({"response": "one END two"})
    if way in STREAMED:
        service.streams({"response": "one E"}, {"response": "ND two"}, "[DONE]")
    message = ask(gemma(model=model, api=api, stop="END"), way)
    assert "stop" not in service.sent
    assert message.content == "one "
    assert message.response_metadata["finish_reason"] == "stop"


def test_an_image_in_the_body(service: Service) -> None:
    asked = HumanMessage(
        [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_URI}}]
    )
    ask(gemma(), "invoke", [asked])
    assert service.sent["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG_URI}},
            ],
        }
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_tools_in_the_body(service: Service, model: str, way: str) -> None:
    answered(service, way)
    ask(gemma(model=model, tool_calling="native").bind_tools([WEATHER]), way)
    assert service.sent["tools"] == [WEATHER]
    assert "tool_choice" not in service.sent


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_tools_reach_only_models_that_are_flagged_for_them(service: Service, model: str) -> None:
    ask(gemma(model=model).bind_tools([WEATHER]), "invoke")
    assert ("tools" in service.sent) is (model == GEMMA_4)
    constraint = service.sent.get("guided_json") or service.sent.get("response_format")
    assert (constraint is not None) is (model not in (GEMMA_4, GEMMA_7B_LORA))
    assert ("get_weather" in service.sent["messages"][0]["content"]) is (model != GEMMA_4)


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_batch_and_abatch(service: Service, way: str) -> None:
    llm = gemma()
    messages = run(llm.abatch(["a", "b", "c"])) if way == "abatch" else llm.batch(["a", "b", "c"])
    assert [message.content for message in messages] == ["Hi"] * 3
    assert sorted(sent["messages"][0]["content"] for sent in service.bodies) == ["a", "b", "c"]
