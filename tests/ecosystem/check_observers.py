"""Libraries that mock or trace httpx see the requests, although these go to httpx's transports without a client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpx import HTTPXMock

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox

MODEL = "@cf/google/gemma-4-26b-a4b-it"
TOKEN = "secret-token"
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
METHODS = ("invoke", "ainvoke", "stream", "astream")


async def call(llm: ChatWorkersGemma, method: str) -> str:
    match method:
        case "invoke":
            return str(llm.invoke("Hi").text)
        case "ainvoke":
            return str((await llm.ainvoke("Hi")).text)
        case "stream":
            return "".join(str(chunk.text) for chunk in llm.stream("Hi"))
        case _:
            return "".join([str(chunk.text) async for chunk in llm.astream("Hi")])


@pytest.mark.parametrize("method", METHODS)
async def test_pytest_httpx_mocks_the_response(httpx_mock: HTTPXMock, method: str) -> None:
    if "stream" in method:
        delta = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}
        httpx_mock.add_response(
            content=b"data: " + json.dumps(delta).encode() + b"\n\ndata: [DONE]\n\n",
            headers={"content-type": "text/event-stream"},
        )
    else:
        httpx_mock.add_response(json={"result": REPLY, "success": True})
    llm = ChatWorkersGemma(model=MODEL, account_id="account", api_token=TOKEN)
    assert await call(llm, method) == "Hello"
    request = httpx_mock.get_request()
    assert request is not None
    assert str(request.url) == f"https://api.cloudflare.com/client/v4/accounts/account/ai/run/{MODEL}"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(request.content)["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield exporter
    finally:
        instrumentor.uninstrument()


@pytest.mark.parametrize("method", METHODS)
async def test_opentelemetry_traces(spans: InMemorySpanExporter, method: str) -> None:
    with Sandbox() as sandbox:
        llm = ChatWorkersGemma(
            model=MODEL, base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token
        )
        assert await call(llm, method)
        (span,) = spans.get_finished_spans()
        (request,) = sandbox.requests
    assert isinstance(span, ReadableSpan)
    attributes = dict(span.attributes or {})
    assert span.name == "POST"
    assert MODEL in str(attributes.get("http.url") or attributes.get("url.full"))
    assert 200 in (attributes.get("http.status_code"), attributes.get("http.response.status_code"))
    assert sandbox.api_token not in span.to_json()
    assert span.context is not None
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert f"{span.context.trace_id:032x}" in headers["traceparent"]
