"""Checks of other Python client libraries with the sandbox. `run.py` runs this script where they are installed.

Each check prints one line of JSON with its name and error. If a library itself cannot do something, its check asserts
what the library does instead, and fails when that changes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module as load  # the clients are not in the environment of the type checker
from typing import Any

from pydantic import BaseModel

BASE, ACCOUNT, TOKEN, OPENAI = (os.environ[name] for name in ("BASE", "ACCOUNT", "TOKEN", "OPENAI"))
ROUTE = f"{BASE}/accounts/{ACCOUNT}/ai/v1"
GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3 = "@cf/google/gemma-3-12b-it"
EMBEDDING = "@cf/google/embeddinggemma-300m"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = "What is the weather in Rome?"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}

CHECKS: list[Callable[[], Any]] = []


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    CHECKS.append(function)
    return function


# --- openai -----------------------------------------------------------------------------------------------------------
def make_openai_client() -> Any:
    return load("openai").OpenAI(base_url=ROUTE, api_key=TOKEN, max_retries=0)


@check
def openai_chat_and_stream() -> None:
    client = make_openai_client()
    for model in (GEMMA_4, GEMMA_3):
        whole = client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content
        assert whole.startswith("Hello!")
        chunks = client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole


@check
def openai_tools() -> None:
    client = make_openai_client()
    messages: list[Any] = [{"role": "user", "content": WEATHER}]
    first = client.chat.completions.create(model=GEMMA_4, messages=messages, tools=[TOOL]).choices[0].message
    (call,) = first.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    messages += [first, {"role": "tool", "tool_call_id": call.id, "content": "24 degrees"}]
    second = client.chat.completions.create(model=GEMMA_4, messages=messages, tools=[TOOL])
    assert "24 degrees" in second.choices[0].message.content


@check
def openai_structured_output_and_embeddings() -> None:
    client = make_openai_client()
    messages = [{"role": "user", "content": "Ann is 41"}]
    reply = client.chat.completions.create(model=GEMMA_4, messages=messages, response_format=FORMAT)
    assert json.loads(reply.choices[0].message.content) == {"name": "Ann", "age": 41}
    vectors = client.embeddings.create(model=EMBEDDING, input=["a", "b"]).data
    assert [len(one.embedding) for one in vectors] == [768, 768]


@check
def openai_on_the_compatible_route() -> None:
    client = load("openai").OpenAI(base_url=OPENAI, api_key="none", max_retries=0)
    reply = client.chat.completions.create(model="google/gemma-3-12b-it", messages=HELLO)
    assert reply.choices[0].message.content.startswith("Hello!")
    assert "google/gemma-3-12b-it" in [model.id for model in client.models.list()]


# --- cloudflare -------------------------------------------------------------------------------------------------------
@check
def cloudflare_run_models_and_tokens() -> None:
    client = load("cloudflare").Cloudflare(api_token=TOKEN, base_url=BASE, max_retries=0)
    reply: Any = client.ai.run(GEMMA_3, account_id=ACCOUNT, messages=HELLO)
    text = reply["response"] if isinstance(reply, dict) else reply.response
    assert text.startswith("Hello!")
    names = [model["name"] for model in client.ai.models.list(account_id=ACCOUNT, search="gemma")]
    assert GEMMA_4 in names
    assert client.ai.models.schema.get(account_id=ACCOUNT, model=GEMMA_4)
    assert client.user.tokens.verify().status == "active"


@check
def cloudflare_embeddings() -> None:
    client = load("cloudflare").Cloudflare(api_token=TOKEN, base_url=BASE, max_retries=0)
    reply: Any = client.ai.run(EMBEDDING, account_id=ACCOUNT, text=["a", "b"])
    shape = reply["shape"] if isinstance(reply, dict) else reply.shape
    assert [int(size) for size in shape] == [2, 768]


# --- litellm ----------------------------------------------------------------------------------------------------------
def load_litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it uses the network when imported
    module: Any = load("litellm")
    module.suppress_debug_info = True
    return module


@check
def litellm_provider_cloudflare() -> None:
    """LiteLLM's provider `cloudflare` sends chats to the OpenAI route, whatever the base URL is."""
    settings = {"api_base": f"{BASE}/accounts/{ACCOUNT}/ai/run/", "api_key": TOKEN, "num_retries": 0}
    reply = load_litellm().completion(model=f"cloudflare/{GEMMA_3}", messages=HELLO, **settings)
    assert reply.choices[0].message.content.startswith("Hello!")
    chunks = load_litellm().completion(model=f"cloudflare/{GEMMA_3}", messages=HELLO, stream=True, **settings)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == reply.choices[0].message.content


@check
def litellm_over_the_openai_route() -> None:
    settings = {"api_base": ROUTE, "api_key": TOKEN, "num_retries": 0}
    model = f"openai/{GEMMA_4}"
    reply = load_litellm().completion(model=model, messages=HELLO, **settings)
    assert reply.choices[0].message.content.startswith("Hello!")
    messages = [{"role": "user", "content": WEATHER}]
    (call,) = (
        load_litellm()
        .completion(model=model, messages=messages, tools=[TOOL], **settings)
        .choices[0]
        .message.tool_calls
    )
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    person = [{"role": "user", "content": "Ann is 41"}]
    reply = load_litellm().completion(model=model, messages=person, response_format=FORMAT, **settings)
    assert json.loads(reply.choices[0].message.content) == {"name": "Ann", "age": 41}
    vectors = (
        load_litellm().embedding(model=f"openai/{EMBEDDING}", input=["a"], encoding_format="float", **settings).data
    )
    assert len(vectors[0]["embedding"]) == 768


class Person(BaseModel):
    name: str
    age: int


# --- pydantic-ai ------------------------------------------------------------------------------------------------------
def make_agent(**settings: Any) -> Any:
    provider = load("pydantic_ai.providers.openai").OpenAIProvider(base_url=ROUTE, api_key=TOKEN)
    model = load("pydantic_ai.models.openai").OpenAIChatModel(GEMMA_4, provider=provider)
    return load("pydantic_ai").Agent(model, **settings)


@check
async def pydantic_ai_chat_and_stream() -> None:
    assistant = make_agent()
    whole = (await assistant.run("Hello")).output
    assert whole.startswith("Hello!")
    async with assistant.run_stream("Hello") as stream:
        assert await stream.get_output() == whole


@check
async def pydantic_ai_tools() -> None:
    def get_weather(city: str) -> str:
        """Get the current weather in a city."""
        return f"24 degrees in {city}"

    assistant = make_agent(tools=[get_weather])
    assert "24 degrees in Rome" in (await assistant.run(WEATHER)).output


@check
async def pydantic_ai_structured_output() -> None:
    for output in (Person, load("pydantic_ai").NativeOutput(Person)):
        assert (await make_agent(output_type=output).run("Ann is 41")).output == Person(name="Ann", age=41)


def main() -> int:
    """Run every check.

    Returns:
        The exit code.
    """
    failed = 0
    for one in CHECKS:
        error = None
        try:
            found = one()
            if asyncio.iscoroutine(found):
                asyncio.run(found)
        except Exception:  # noqa: BLE001 - run.py shows it
            failed += 1
            error = traceback.format_exc()
        print(json.dumps({"name": one.__name__.replace("_", " "), "error": error}), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
