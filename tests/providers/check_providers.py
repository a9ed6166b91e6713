"""A Gemma continues conversations that another provider's package started."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial, reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import add
from threading import Thread
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI

from langchain_workers_gemma import ChatWorkersGemma
from tests.helpers.model_calls import CHAT_MODELS, GEMMA_4, WEATHER_TOOL, make_model
from tests.providers.replies import ANTHROPIC, GOOGLE, OPENAI_CHAT, OPENAI_RESPONSES, TEXT
from tests.providers.streams import write_events

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of the other packages


class ProviderServer(ThreadingHTTPServer):
    """A server with every provider's API: Workers AI replies with "Hi", and the others with `reply`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: dict[str, Any] = {}
        self.status = 200
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def make_gemma(self, **options: Any) -> ChatWorkersGemma:
        return make_model(base_url=self.url, **options)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ProviderServer)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, reply = server.status, server.reply if server.status == 200 else {"error": {"message": "no"}}
        is_gemma = self.path.startswith("/accounts/")
        if is_gemma:
            server.bodies.append(body)
            status, reply = 200, {"result": {"response": "Hi"}, "success": True}
        is_stream = status == 200 and not is_gemma and (body.get("stream") or "streamGenerateContent" in self.path)
        content = write_events(reply) if is_stream else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _make_openai(url: str, **options: Any) -> BaseChatModel:
    return ChatOpenAI(model="gpt-5", api_key="x", base_url=url, max_retries=0, **options)


def _make_anthropic(url: str, **options: Any) -> BaseChatModel:
    model: BaseChatModel = ChatAnthropic(model="claude-sonnet-4-5", api_key="x", base_url=url, max_retries=0, **options)
    return model


def _make_google(url: str, **options: Any) -> BaseChatModel:
    model: BaseChatModel = ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", google_api_key="x", base_url=url, max_retries=1, **options
    )
    return model


# In the v1 format an image from OpenAI has no media type. Core itself raises an error for it when it traces a call.
OPENAI_WITHOUT_IMAGE = {
    **OPENAI_RESPONSES,
    "output": [item for item in OPENAI_RESPONSES["output"] if item["type"] != "image_generation_call"],
}

PROVIDERS: dict[str, tuple[Callable[[str], BaseChatModel], dict[str, Any]]] = {
    "openai": (_make_openai, OPENAI_CHAT),
    "openai responses": (partial(_make_openai, use_responses_api=True), OPENAI_RESPONSES),
    "openai responses/v1": (
        partial(_make_openai, use_responses_api=True, output_version="responses/v1"),
        OPENAI_RESPONSES,
    ),
    "openai v1": (partial(_make_openai, use_responses_api=True, output_version="v1"), OPENAI_WITHOUT_IMAGE),
    "anthropic": (_make_anthropic, ANTHROPIC),
    "anthropic v1": (partial(_make_anthropic, output_version="v1"), ANTHROPIC),
    "google": (_make_google, GOOGLE),
    "google v1": (partial(_make_google, output_version="v1"), GOOGLE),
}


@pytest.fixture(params=["whole", "streamed"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_provider_message(server: ProviderServer, provider: str, method: str) -> AIMessage:
    """Return the message that a provider's own package makes of a reply, whole or merged from chunks."""
    make, server.reply = PROVIDERS[provider]
    question = "Weather in Bonn?"
    message = make(server.url).invoke(question) if method == "whole" else reduce(add, make(server.url).stream(question))
    assert isinstance(message, AIMessage)
    assert [call["name"] for call in message.tool_calls] == ["get_weather"]
    return message


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_gemma_continues_the_conversation(server: ProviderServer, provider: str, model: str, method: str) -> None:
    foreign = make_provider_message(server, provider, method)
    result = ToolMessage("7 degrees", tool_call_id=foreign.tool_calls[0]["id"] or "")
    server.make_gemma(model=model).invoke([HumanMessage("Weather in Bonn?"), foreign, result])
    sent_text = json.dumps(server.bodies[-1]["messages"], ensure_ascii=False)
    assert sent_text.count("get_weather") >= 1
    assert "Bonn" in sent_text
    assert "7 degrees" in sent_text
    assert "example.org" not in sent_text, "citations and searches must not be sent"
    assert "print(1)" not in sent_text
    if model == GEMMA_4:
        assert TEXT in server.bodies[-1]["messages"][1]["reasoning"]
    else:
        assert sent_text.count(TEXT) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_final_message_is_kept_as_text(server: ProviderServer, provider: str, method: str) -> None:
    foreign = make_provider_message(server, provider, method).model_copy(update={"tool_calls": []})
    server.make_gemma().invoke([HumanMessage("Weather in Bonn?"), foreign, HumanMessage("Thanks.")])
    assert server.bodies[-1]["messages"][1] == {"role": "assistant", "content": TEXT}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chain_with_fallbacks(server: ProviderServer, provider: str, method: str) -> None:
    foreign = make_provider_message(server, provider, method)
    history: list[BaseMessage] = [
        HumanMessage("Weather in Bonn?"),
        foreign,
        ToolMessage("7 degrees", tool_call_id=foreign.tool_calls[0]["id"] or ""),
    ]
    make, _ = PROVIDERS[provider]
    server.status = 500
    chain = make(server.url).bind_tools([WEATHER_TOOL]).with_fallbacks([server.make_gemma().bind_tools([WEATHER_TOOL])])
    assert chain.invoke(history).text == "Hi"
    assert [message["role"] for message in server.bodies[-1]["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_agent_with_fallbacks(server: ProviderServer, provider: str, method: str) -> None:
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        server.status = 500  # now the first model fails
        return f"7 degrees in {city}"

    make, server.reply = PROVIDERS[provider]
    agent: Any = create_agent(
        make(server.url), [get_weather], middleware=[ModelFallbackMiddleware(server.make_gemma())]
    )
    question: Any = {"messages": [HumanMessage("Weather in Bonn?")]}
    if method == "whole":
        state = agent.invoke(question)
    else:  # with the stream mode "messages", an agent streams its models and merges the chunks
        parts = list(agent.stream(question, stream_mode=["messages", "values"]))
        state = [value for mode, value in parts if mode == "values"][-1]
    assert state["messages"][-1].text == "Hi"
    messages = server.bodies[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[-1]["content"] == "7 degrees in Bonn"
