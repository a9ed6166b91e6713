"""All routes of docs/wire.md section 1."""

from __future__ import annotations

import re

import pytest

from langchain_workers_gemma.models import MODELS
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import (
    CHAT_MODELS,
    EMBEDDING,
    GEMMA_3,
    GEMMA_4,
    QUIET,
    Api,
    get_error,
    get_text,
    read_events,
    to_messages,
)

GREETING = "Hello!"


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_run(api: Api, model: str) -> None:
    assert GREETING in api.get_text(model, "Hello")


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_universal_run_is_run(api: Api, model: str) -> None:
    body = {"model": model, "input": {"messages": to_messages("Hello")}}
    reply = api.http.post(f"{api.account}/ai/run", json=body, headers=api.auth).json()
    assert get_text(reply["result"]) == api.get_text(model, "Hello")


@pytest.mark.parametrize("body", [{}, {"model": GEMMA_4}, {"input": {}}, {"model": GEMMA_4, "input": []}])
def test_universal_run_needs_a_model_and_an_input(api: Api, body: dict[str, object]) -> None:
    assert get_error(api.http.post(f"{api.account}/ai/run", json=body, headers=api.auth))[:2] == (400, 5006)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_chat_completions_return_bare_choices(api: Api, model: str) -> None:
    reply = api.send_chat({"model": model, "messages": to_messages("Hello")}).json()
    assert reply["object"] == "chat.completion"
    assert reply["model"] == model
    assert GREETING in get_text(reply)


def test_chat_completions_need_a_chat_model(api: Api) -> None:
    assert get_error(api.send_chat({"messages": to_messages("Hello")}))[:2] == (400, 5006)
    assert get_error(api.send_chat({"model": EMBEDDING, "messages": to_messages("Hello")}))[:2] == (400, 5006)


def test_the_id_of_a_model_may_be_escaped(api: Api) -> None:
    assert (
        api.run(GEMMA_3.replace("@", "%40").replace("/", "%2F"), {"messages": to_messages("Hello")}).status_code == 200
    )


def test_replies_have_the_headers_of_the_service(api: Api) -> None:
    first, second = api.send_text(GEMMA_4, "Hello"), api.send_text(GEMMA_4, "Hello")
    assert re.fullmatch(r"[0-9a-f]{16}-[A-Z]{3}", first.headers["cf-ray"])
    assert first.headers["cf-ray"] != second.headers["cf-ray"]
    assert first.headers["content-type"] == "application/json"
    assert float(first.headers["cf-ai-neurons"]) == first.json()["result"]["usage"]["neurons"]
    assert "cf-ray" in api.send_text("@cf/google/none", "Hello").headers
    assert api.send_text(GEMMA_4, "Hello", stream=True).headers["content-type"] == "text/event-stream"


# --- gateways ---------------------------------------------------------------------------------------------------------
def test_the_legacy_form_of_a_gateway(api: Api) -> None:
    url = api.sandbox.gateway_url
    native = api.http.post(f"{url}/{GEMMA_3}", json={"messages": to_messages("Hello")}, headers=api.auth)
    assert GREETING in native.json()["result"]["response"]
    assert native.headers["cf-aig-log-id"]
    body = {"model": GEMMA_4, "messages": to_messages("Hello")}
    openai = api.http.post(f"{url}/v1/chat/completions", json=body, headers=api.auth)
    assert GREETING in get_text(openai.json())
    embedded = api.http.post(f"{url}/v1/embeddings", json={"model": EMBEDDING, "input": "a"}, headers=api.auth)
    assert len(embedded.json()["data"]) == 1


def test_the_header_form_of_a_gateway(api: Api) -> None:
    plain = api.send_text(GEMMA_4, "Hello")
    assert "cf-aig-log-id" not in plain.headers
    through = api.run(GEMMA_4, {"messages": to_messages("Hello")}, headers={"cf-aig-gateway-id": "default"})
    assert through.headers["cf-aig-cache-status"] == "MISS"
    assert through.headers["cf-aig-log-id"]
    unlogged = {"cf-aig-gateway-id": "default", "cf-aig-collect-log": "false"}
    assert "cf-aig-log-id" not in api.run(GEMMA_4, {"messages": to_messages("Hello")}, headers=unlogged).headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cf-aig-gateway-id", ""),
        ("cf-aig-cache-ttl", "soon"),
        ("cf-aig-cache-ttl", "-1"),
        ("cf-aig-cache-ttl", "1.5"),
        ("cf-aig-skip-cache", "yes"),
        ("cf-aig-collect-log", "1"),
        ("cf-aig-metadata", "user=1"),
        ("cf-aig-metadata", "[1]"),
        ("cf-aig-metadata", '{"a": {"b": 1}}'),
        ("cf-aig-request-timeout", "0"),
        ("cf-aig-request-timeout", "2s"),
        ("cf-aig-max-attempts", "6"),
        ("cf-aig-max-attempts", "0"),
        ("cf-aig-retry-delay", "5001"),
        ("cf-aig-backoff", "random"),
    ],
)
def test_an_invalid_gateway_header_is_refused(api: Api, name: str, value: str) -> None:
    headers = {"cf-aig-gateway-id": "default", name: value}
    status, code, message = get_error(api.run(GEMMA_4, {"messages": to_messages("Hello")}, headers=headers))
    assert (status, code) == (400, 8001)
    assert name in message


def test_valid_gateway_headers_are_accepted(api: Api) -> None:
    headers = {
        "cf-aig-gateway-id": "default",
        "cf-aig-cache-ttl": "60",
        "cf-aig-skip-cache": "true",
        "cf-aig-metadata": '{"team": "a", "n": 1, "ok": true}',
        "cf-aig-request-timeout": "1000",
        "cf-aig-max-attempts": "5",
        "cf-aig-retry-delay": "5000",
        "cf-aig-backoff": "exponential",
    }
    assert api.run(GEMMA_4, {"messages": to_messages("Hello")}, headers=headers).status_code == 200


def test_a_gateway_caches_a_reply_for_its_ttl() -> None:
    with Sandbox() as sandbox, Api(sandbox) as api:
        headers = {"cf-aig-gateway-id": "default", "cf-aig-cache-ttl": "60"}

        def send(text: str, **more: str) -> tuple[str, str]:
            response = api.run(GEMMA_4, {"messages": to_messages(text)}, headers={**headers, **more})
            return response.headers["cf-aig-cache-status"], response.text

        first, again = send("Hello"), send("Hello")
        assert (first[0], again[0]) == ("MISS", "HIT")
        assert first[1] == again[1]
        assert send("Good morning")[0] == "MISS"
        assert send("Hello", **{"cf-aig-skip-cache": "true"})[0] == "MISS"
        assert send("Hello", **{"cf-aig-gateway-id": "other"})[0] == "MISS"
        assert send("One", **{"cf-aig-cache-key": "mine"})[0] == "MISS"
        assert send("Two", **{"cf-aig-cache-key": "mine"}) == ("HIT", send("Two", **{"cf-aig-cache-key": "mine"})[1])


def test_a_gateway_caches_streams_too(api: Api) -> None:
    headers = {"cf-aig-gateway-id": "streams", "cf-aig-cache-ttl": "60"}
    replies = [api.run(GEMMA_3, {"messages": to_messages("Hello"), "stream": True}, headers=headers) for _ in "12"]
    assert [reply.headers["cf-aig-cache-status"] for reply in replies] == ["MISS", "HIT"]
    assert replies[0].text == replies[1].text
    assert replies[1].headers["content-type"] == "text/event-stream"


def test_a_gateway_does_not_cache_errors(api: Api) -> None:
    headers = {"cf-aig-gateway-id": "refusals", "cf-aig-cache-ttl": "60"}
    for _ in "12":
        assert api.run(GEMMA_3, {"messages": []}, headers=headers).status_code == 400


def test_a_gateway_times_out_when_the_first_byte_takes_too_long(api: Api) -> None:
    headers = {"cf-aig-gateway-id": "default", "cf-aig-request-timeout": "5"}
    api.sandbox.stall(30)
    assert get_error(api.run(GEMMA_4, {"messages": to_messages("Hello")}, headers=headers))[:2] == (408, 3007)


# --- other hosts ------------------------------------------------------------------------------------------------------
def test_dataoorts_wraps_the_native_input(api: Api) -> None:
    body = {"model": "google/gemma-3-12b-it", "data": {"messages": to_messages("Hello"), "max_tokens": 5}}
    reply = api.http.post(api.sandbox.dataoorts_url, json=body, headers=api.auth).json()
    assert set(reply) == {"errors", "messages", "result", "success"}
    assert reply["result"]["tool_calls"] == []
    assert reply["result"]["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"model": GEMMA_3, "data": {"messages": to_messages("Hello")}}, 5007),
        ({"model": "google/gemma-3-12b-it", "messages": to_messages("Hello")}, 5006),
        ({"data": {"messages": to_messages("Hello")}}, 5006),
        ({"model": "google/gemma-3-12b-it", "data": {"messages": to_messages("Hello"), "max_tokens": "x"}}, 5006),
    ],
)
def test_dataoorts_refuses_invalid_bodies(api: Api, body: dict[str, object], code: int) -> None:
    assert get_error(api.http.post(api.sandbox.dataoorts_url, json=body, headers=api.auth))[:2] == (400, code)


def test_dataoorts_enforces_the_published_ranges(api: Api) -> None:
    for name, allowed in (MODELS["dataoorts", "google/gemma-3-12b-it"].parameters or {}).items():
        data = {"messages": to_messages("Hello"), name: -1 if allowed.low is not None else "x"}
        body = {"model": "google/gemma-3-12b-it", "data": data}
        assert get_error(api.http.post(api.sandbox.dataoorts_url, json=body, headers=api.auth))[:2] == (400, 5006)


AIMLAPI_MODEL = "google/gemma-3-4b-it"


def test_aimlapi_replies_in_openais_form_with_its_own_fields(api: Api) -> None:
    url = f"{api.sandbox.aimlapi_url}/chat/completions"
    response = api.http.post(url, json={"model": AIMLAPI_MODEL, "messages": to_messages("Hello")}, headers=api.auth)
    reply = response.json()
    assert reply["id"].startswith("gen-")
    assert reply["choices"][0]["native_finish_reason"] == "STOP"
    assert reply["choices"][0]["message"]["refusal"] is None
    assert "cost" in reply["usage"]
    assert "cf-ray" not in response.headers


def test_aimlapi_streams_usage_on_request(api: Api) -> None:
    url = f"{api.sandbox.aimlapi_url}/chat/completions"
    body = {"model": AIMLAPI_MODEL, "messages": to_messages("Hello"), "stream": True}
    without = read_events(api.http.post(url, json=body, headers=api.auth).text)
    assert all("usage" not in event for event in without[:-1])
    options = {"stream_options": {"include_usage": True}}
    events = read_events(api.http.post(url, json={**body, **options}, headers=api.auth).text)
    assert events[-2]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({"model": GEMMA_3}, 400, "No such model"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 404, "No endpoints found that support tool use"),
        ({"response_format": {"type": "json_object"}}, 400, "JSON mode is not enabled"),
        ({"messages": "Hello"}, 400, "/messages"),
    ],
)
def test_aimlapi_refuses_invalid_bodies(api: Api, more: dict[str, object], status: int, message: str) -> None:
    url = f"{api.sandbox.aimlapi_url}/chat/completions"
    response = api.http.post(
        url, json={"model": AIMLAPI_MODEL, "messages": to_messages("Hello"), **more}, headers=api.auth
    )
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


# --- the binding ------------------------------------------------------------------------------------------------------
def run_binding(api: Api, model: str, inputs: object, **options: object) -> tuple[int, str]:
    response = api.http.post(
        f"{api.sandbox.binding_url}/run?version=3",
        json={"inputs": inputs, "options": options},
        headers={"cf-consn-model-id": model},
    )
    return response.status_code, response.text


def test_the_backend_of_a_binding_returns_the_bare_result(api: Api) -> None:
    status, text = run_binding(api, GEMMA_3, {"messages": to_messages("Hello")})
    assert status == 200
    assert text.startswith('{"response":')
    assert read_events(run_binding(api, GEMMA_3, {"messages": to_messages("Hello"), "stream": True})[1])[-1] == "[DONE]"


def test_the_backend_of_a_binding_sends_errors_in_the_form_of_its_client(api: Api) -> None:
    status, text = run_binding(api, GEMMA_3, {"messages": []})
    assert status == 400
    assert '"internalCode":5006' in text
    assert '"httpCode":400' in text
    assert run_binding(api, "@cf/google/none", {"messages": to_messages("Hello")})[1].count("5007") == 1
    assert run_binding(api, GEMMA_3, "Hello")[0] == 400


def test_the_client_of_a_binding_has_its_own_path_for_gateways(api: Api) -> None:
    response = api.http.post(
        f"{api.sandbox.binding_url}/ai-gateway/run?version=3",
        json={"inputs": {"messages": to_messages("Hello")}, "options": {"gateway": {"id": "default"}}},
        headers={"cf-consn-model-id": GEMMA_3},
    )
    assert response.headers["cf-aig-cache-status"] == "MISS"


def test_the_backend_of_a_binding_uses_a_gateway(api: Api) -> None:
    retries = {"maxAttempts": 5, "retryDelayMs": 10, "backoff": "linear"}
    fine = {"id": "default", "cacheTtl": 60, "skipCache": True, "metadata": {"a": 1}, "retries": retries}
    assert run_binding(api, GEMMA_3, {"messages": to_messages("Hello")}, gateway=fine)[0] == 200
    assert (
        run_binding(api, GEMMA_3, {"messages": to_messages("Hello")}, gateway={"id": "default", "cacheTtl": "soon"})[0]
        == 400
    )


def test_the_backend_of_a_binding_queues(api: Api) -> None:
    status, text = run_binding(api, GEMMA_4, {"requests": [{"messages": to_messages("Hello")}]}, queueRequest=True)
    assert status == 200
    assert '"status":"queued"' in text


# --- other routes -----------------------------------------------------------------------------------------------------
def test_the_model_search(api: Api) -> None:
    reply = api.http.get(f"{api.account}/ai/models/search", headers=api.auth).json()
    assert {model["name"] for model in reply["result"]} == {name for host, name in MODELS if host == "cloudflare"}
    gemma_3 = next(model for model in reply["result"] if model["name"] == GEMMA_3)
    properties = {one["property_id"]: one["value"] for one in gemma_3["properties"]}
    assert properties["context_window"] == "80000"
    assert properties["planned_deprecation_date"] == "2026-05-30"
    assert properties["price"][0]["price"] == 0.35


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"search": "gemma-4"}, [GEMMA_4]),
        ({"task": "Text Embeddings"}, [EMBEDDING]),
        ({"per_page": "1", "page": "2"}, [GEMMA_3]),
        ({"search": "llama"}, []),
    ],
)
def test_the_model_search_is_filtered(api: Api, query: dict[str, str], names: list[str]) -> None:
    reply = api.http.get(f"{api.account}/ai/models/search", params=query, headers=api.auth).json()
    assert [model["name"] for model in reply["result"]] == names


def test_the_model_search_needs_whole_numbers(api: Api) -> None:
    reply = api.http.get(f"{api.account}/ai/models/search", params={"page": "x"}, headers=api.auth)
    assert get_error(reply)[:2] == (400, 5006)


@pytest.mark.parametrize("path", ["/client", "/client/v4/zones", "/client/v4/accounts/a/ai/finetunes"])
def test_other_paths_have_no_route(api: Api, path: str) -> None:
    root = api.sandbox.base_url.removesuffix("/client/v4")
    assert get_error(api.http.get(f"{root}{path}", headers=api.auth))[:2] == (404, 7003)


def test_thinking_can_be_switched_off(api: Api) -> None:
    assert api.get_result(GEMMA_4, "Hello")["choices"][0]["message"]["reasoning_content"]
    assert "reasoning_content" not in api.get_result(GEMMA_4, "Hello", **QUIET)["choices"][0]["message"]
