"""The examples on the documentation pages of the services, one test each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import respx

from langchain_workers_gemma import ChatWorkersGemma

CLOUDFLARE = "https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai/run"
pytestmark = pytest.mark.filterwarnings("ignore:.*was retired:UserWarning")


@pytest.fixture
def mock() -> Iterator[respx.MockRouter]:
    with respx.mock() as router:
        yield router


def make_cloudflare_model(model: str, **fields: Any) -> ChatWorkersGemma:
    return ChatWorkersGemma(model=model, account_id="ACCOUNT", api_token="TOKEN", **fields)


def get_body(route: respx.Route) -> dict[str, Any]:
    request = route.calls.last.request
    assert request.headers["content-type"] == "application/json"
    parsed: dict[str, Any] = json.loads(request.content)
    return parsed


def test_cloudflare_curl_example_of_gemma_3_12b(mock: respx.MockRouter) -> None:
    route = mock.post(f"{CLOUDFLARE}/@cf/google/gemma-3-12b-it").respond(json={"result": {"response": "Spooky."}})
    message = make_cloudflare_model("@cf/google/gemma-3-12b-it").invoke(
        [
            ("system", "You are a helpful assistant."),
            ("user", "Explain quantum entanglement in one sentence."),
        ]
    )
    assert message.content == "Spooky."
    assert route.calls.last.request.headers["authorization"] == "Bearer TOKEN"
    assert get_body(route) == {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Explain quantum entanglement in one sentence."},
        ]
    }


def test_cloudflare_python_example_with_cloudflare_auth_token(
    mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_AUTH_TOKEN", "FROM-THE-ENVIRONMENT")
    route = mock.post(f"{CLOUDFLARE}/@cf/google/gemma-3-12b-it").respond(json={"result": {"response": "Style."}})
    llm = ChatWorkersGemma(model="@cf/google/gemma-3-12b-it", account_id="ACCOUNT")
    llm.invoke([("system", "You are a friendly assistant"), ("user", "Tell me all about PEP-8")])
    assert route.calls.last.request.headers["authorization"] == "Bearer FROM-THE-ENVIRONMENT"
    assert get_body(route)["messages"][1] == {"role": "user", "content": "Tell me all about PEP-8"}


def test_cloudflare_worker_streaming_example(mock: respx.MockRouter) -> None:
    events = 'data: {"response":"Hello"}\n\ndata: {"response":", World"}\n\ndata: [DONE]\n\n'
    route = mock.post(f"{CLOUDFLARE}/@cf/google/gemma-3-12b-it").respond(
        content=events.encode(), headers={"content-type": "text/event-stream"}
    )
    question = "What is the origin of the phrase Hello, World"
    chunks = make_cloudflare_model("@cf/google/gemma-3-12b-it").stream(
        [("system", "You are a friendly assistant"), ("user", question)]
    )
    assert "".join(chunk.text for chunk in chunks) == "Hello, World"
    assert get_body(route)["stream"] is True


def test_dataoorts_example(mock: respx.MockRouter) -> None:
    reply = {
        "errors": [],
        "messages": [],
        "result": {
            "response": "Okay, let's break down Deep Learning.",
            "tool_calls": [],
            "usage": {"completion_tokens": 512, "prompt_tokens": 21, "total_tokens": 533},
        },
        "success": True,
    }
    route = mock.post("https://cloud.dataoorts.com/api/v1").respond(json=reply)
    llm = ChatWorkersGemma(host="dataoorts", api_token="KEY", temperature=0.1, top_p=0.9, top_k=40, max_tokens=512)
    message = llm.invoke([("system", "You are an expert deep learning engineer"), ("user", "What is Deep Learning")])
    assert route.calls.last.request.headers["authorization"] == "Bearer KEY"
    assert get_body(route) == {
        "model": "google/gemma-3-12b-it",
        "data": {
            "messages": [
                {"role": "system", "content": "You are an expert deep learning engineer"},
                {"role": "user", "content": "What is Deep Learning"},
            ],
            "temperature": 0.1,
            "top_p": 0.9,
            "top_k": 40,
            "max_tokens": 512,
        },
    }
    assert message.content == "Okay, let's break down Deep Learning."
    assert message.usage_metadata == {"input_tokens": 21, "output_tokens": 512, "total_tokens": 533}
    assert message.response_metadata["cost_usd"] == pytest.approx((21 * 0.11 + 512 * 0.12) / 1_000_000)


def test_aimlapi_example(mock: respx.MockRouter) -> None:
    reply = {
        "id": "gen-1766960801-He9SRGgNx5QLMBSZW06F",
        "provider": "Google AI Studio",
        "model": "google/gemma-3-4b-it:free",
        "object": "chat.completion",
        "created": 1766960802,
        "choices": [
            {
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Okay, this is a *huge* question",
                    "refusal": None,
                    "reasoning": None,
                },
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 0,
            "total_tokens": 10,
            "cost": 0,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "video_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 0},
        },
    }
    route = mock.post("https://api.aimlapi.com/v1/chat/completions").respond(json=reply)
    llm = ChatWorkersGemma(host="aimlapi", model="google/gemma-3-27b-it", api_token="KEY")
    message = llm.invoke("Hi! What do you think about mankind?")
    assert route.calls.last.request.headers["authorization"] == "Bearer KEY"
    assert get_body(route) == {
        "model": "google/gemma-3-27b-it",
        "messages": [{"role": "user", "content": "Hi! What do you think about mankind?"}],
    }
    assert message.content == "Okay, this is a *huge* question"
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.usage_metadata == {
        "input_tokens": 10,
        "output_tokens": 0,
        "total_tokens": 10,
        "input_token_details": {"cache_read": 0},
        "output_token_details": {"reasoning": 0},
    }


def test_cloudflare_example_of_gemma_7b_without_a_system_role(mock: respx.MockRouter) -> None:
    route = mock.post(f"{CLOUDFLARE}/@hf/google/gemma-7b-it").respond(json={"result": {"response": "So good."}})
    make_cloudflare_model("@hf/google/gemma-7b-it", top_p=0.001, frequency_penalty=-2, presence_penalty=2).invoke(
        [
            ("system", "You are a friendly assistant"),
            ("user", "Why is pizza so good"),
        ]
    )
    assert get_body(route) == {
        "messages": [{"role": "user", "content": "You are a friendly assistant\n\nWhy is pizza so good"}],
        "top_p": 0.001,
        "frequency_penalty": -2,
        "presence_penalty": 2,
    }
