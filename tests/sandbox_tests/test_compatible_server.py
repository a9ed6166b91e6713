"""The sandbox as an OpenAI-compatible server: no account, no token, and models by the names of other servers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import (
    EMBEDDING,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    WEATHER,
    Api,
    get_error,
    read_events,
    to_messages,
)

MODELS = ("google/gemma-3-12b-it", "google/gemma-4-31b-it", "gemma-2-9b-it", GEMMA_4)


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"24 degrees in {city}"


class Forecast(BaseModel):
    """A forecast for a city."""

    city: str
    degrees: int


def post(api: Api, body: dict[str, Any], **headers: str) -> httpx.Response:
    return api.http.post(f"{api.sandbox.openai_url}/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer anything"}])
def test_chat(api: Api, model: str, headers: dict[str, str]) -> None:
    reply = post(api, {"model": model, "messages": to_messages("Hello")}, **headers)
    body = reply.json()
    assert (body["object"], body["model"]) == ("chat.completion", model)
    assert body["choices"][0]["message"]["content"].startswith("Hello!")
    assert body["usage"]["total_tokens"] > 0
    assert "cf-ray" not in reply.headers
    events = read_events(post(api, {"model": model, "messages": to_messages("Hello"), "stream": True}).text)
    assert events[-1] == "[DONE]"
    text = "".join(choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"])
    assert text == body["choices"][0]["message"]["content"]


def test_errors_have_openais_form(api: Api) -> None:
    unknown = post(api, {"model": "llama-3", "messages": to_messages("Hello")})
    assert unknown.status_code == 404
    assert "llama-3" in unknown.json()["error"]["message"]
    for body in (
        {"messages": to_messages("Hello")},
        {"model": MODELS[0]},
        {"model": EMBEDDING, "messages": to_messages("Hello")},
    ):
        refused = post(api, body)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"]
    late = post(api, {"model": "google/gemma-3-12b-it", "messages": [*to_messages("a"), *to_messages("b")]})
    assert "must alternate" in late.json()["error"]["message"]


def test_tools_and_constraints(api: Api) -> None:
    messages = to_messages("What is the weather in Rome?")
    called = post(api, {"model": "gemma-4-31b-it", "messages": messages, "tools": [WEATHER]}).json()
    (call,) = called["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Rome"})
    assert post(api, {"model": "gemma-3-12b-it", "messages": messages, "tools": [WEATHER]}).status_code == 404
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for model in MODELS:
        reply = post(api, {"model": model, "messages": to_messages("Ann is 41"), "response_format": form}).json()
        assert json.loads(reply["choices"][0]["message"]["content"]) == {"age": 41}


def test_embeddings_and_models(api: Api) -> None:
    url = api.sandbox.openai_url
    reply = api.http.post(f"{url}/embeddings", json={"model": "google/embeddinggemma-300m", "input": ["a", "b"]})
    assert len(reply.json()["data"]) == 2
    names = [one["id"] for one in api.http.get(f"{url}/models").json()["data"]]
    assert "google/gemma-3-12b-it" in names
    assert not any(name.startswith("@") for name in names)


@pytest.mark.parametrize("model", ["google/gemma-3-12b-it", "google/gemma-4-31b-it", "google/gemma-2-9b-it"])
def test_the_client_runs_an_agent_and_a_structured_answer(sandbox: Sandbox, model: str) -> None:
    llm = ChatWorkersGemma(host="openai_compatible", base_url=sandbox.openai_url, model=model, max_tokens=1024)
    agent: Any = create_agent(llm, [get_weather], system_prompt="You are a helpful assistant.")
    messages = agent.invoke({"messages": to_messages("What is the weather in Paris?")}, {"recursion_limit": 12})[
        "messages"
    ]
    assert "24 degrees in Paris" in messages[-1].text
    forecast = llm.with_structured_output(Forecast).invoke("In Paris it has 24 degrees")
    assert forecast == Forecast(city="Paris", degrees=24)
    assert "".join(chunk.text for chunk in llm.stream("Hello")).startswith("Hello!")


# --- other features that clients use ----------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer ", "bEARER"])
def test_the_name_of_the_scheme_may_be_in_any_case(api: Api, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {api.sandbox.api_token}"}
    body = {"messages": to_messages("Hello")}
    assert api.http.post(f"{api.account}/ai/run/{GEMMA_3}", json=body, headers=headers).status_code == 200
    wrong = {"authorization": f"{scheme} {api.sandbox.api_token}x"}
    assert api.http.post(f"{api.account}/ai/run/{GEMMA_3}", json=body, headers=wrong).status_code == 401


def test_the_schema_of_a_models_parameters(api: Api) -> None:
    def fetch_schema(model: str) -> dict[str, Any]:
        reply = api.http.get(f"{api.account}/ai/models/schema", params={"model": model}, headers=api.auth)
        found: dict[str, Any] = reply.json()["result"]["input"]
        return found

    newest = fetch_schema(GEMMA_4)["properties"]
    assert newest["temperature"] == {"type": "number", "minimum": 0, "maximum": 2}
    assert {"tools", "tool_choice", "response_format", "chat_template_kwargs", "messages"} <= newest.keys()
    prompt, messages = fetch_schema(GEMMA_3)["oneOf"]
    assert (prompt["required"], messages["required"]) == (["prompt"], ["messages"])
    assert messages["properties"]["max_tokens"] == {"type": "integer", "minimum": 1, "default": 256}
    assert "guided_json" in messages["properties"]
    assert "response_format" in fetch_schema(GEMMA_7B)["oneOf"][1]["properties"]
    assert fetch_schema(EMBEDDING)["required"] == ["text"]
    unknown = api.http.get(f"{api.account}/ai/models/schema", params={"model": "@cf/none"}, headers=api.auth)
    assert get_error(unknown)[:2] == (400, 5007)


def test_the_list_of_tasks(api: Api) -> None:
    reply = api.http.get(f"{api.account}/ai/tasks/search", headers=api.auth).json()
    assert [task["name"] for task in reply["result"]] == ["Text Generation", "Text Embeddings"]
    assert api.http.get(f"{api.account}/ai/tasks/search").status_code == 401
