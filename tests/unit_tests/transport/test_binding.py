"""A Workers AI binding in place of a connection; `tests/pyodide` and `tests/workerd` have the real ones."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_workers_gemma import (
    AIGateway,
    ChatWorkersGemma,
    InternalServerError,
)
from langchain_workers_gemma.embeddings import WorkersGemmaEmbeddings
from tests.helpers.asking import (
    CHAT_MODELS,
    GEMMA_4,
    WAYS,
    WEATHER,
    Service,
    ask,
    delta,
    gemma,
    merged,
    run,
    sse,
    told,
    usage,
)
from tests.helpers.bindings import HELLO, PIECES, Ai, Chunks, JsProxy, Reader, bound, generated

# --- What it is given -------------------------------------------------------------------------------------------------


def test_no_account_and_no_token() -> None:
    llm, ai = bound()
    assert (llm.account_id, llm.api_token) == (None, None)
    assert run(llm.ainvoke("Hi")).content == "Hello"
    assert ai.calls == [(GEMMA_4, {"messages": [{"role": "user", "content": "Hi"}]}, {})]


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({}, "Zürich 🏔 \ud800"),
        ({"temperature": 0, "seed": 9_999_999_999 - 7, "stop": ["END"]}, [("system", "Be brief."), ("human", "Hi")]),
        ({"max_tokens": 7, "model_kwargs": {"further": (1, None, {"deep": 1.5})}}, [("human", "a"), ("ai", "b")]),
    ],
)
def test_the_input_is_the_body_of_the_same_call_over_http(
    service: Service, model: str, arguments: dict[str, Any], asked: Any, way: str
) -> None:
    ask(gemma(model=model, **arguments), way, asked)
    ai = Ai()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        over_binding = ChatWorkersGemma(model=model, binding=ai, **arguments)
    ask(over_binding, way, asked)
    asked_model, given, options = ai.calls[0]
    written = json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()
    assert written == service.requests[0].content
    assert (asked_model, options) == (model, {})


def test_tools_are_the_body_of_the_same_call_over_http(service: Service) -> None:
    reply = {"response": "", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}
    service.replies(reply)
    ask(gemma().bind_tools([WEATHER], tool_choice="get_weather", parallel_tool_calls=False), "ainvoke")
    llm, ai = bound(reply)
    message = ask(llm.bind_tools([WEATHER], tool_choice="get_weather", parallel_tool_calls=False), "ainvoke")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]
    assert ai.calls[0][1] == json.loads(service.requests[0].content)


def test_options_hold_the_headers_and_body_options_of_http() -> None:
    gateway = AIGateway(
        "gw",
        cache_ttl=60,
        skip_cache=True,
        cache_key="k",
        metadata={"user": 1},
        collect_log=False,
        request_timeout=2.5,
        max_attempts=3,
        retry_delay=0.5,
        backoff="linear",
        token="never-sent-here",
    )
    llm, ai = bound(
        ai_gateway=gateway,
        session_affinity="s1",
        reject_if_busy=True,
        default_headers={"x-mine": "1", "cf-aig-event-id": "e"},
        model_kwargs={"options": {"further": True}},
    )
    run(llm.ainvoke("Hi"))
    ((_, given, options),) = ai.calls
    assert given == {"messages": [{"role": "user", "content": "Hi"}]}
    assert options == {
        "further": True,
        "rejectIfBusy": True,
        "gateway": {
            "id": "gw",
            "cacheTtl": 60,
            "skipCache": True,
            "cacheKey": "k",
            "metadata": {"user": 1},
            "collectLog": False,
            "requestTimeoutMs": 2500,
            "retries": {"maxAttempts": 3, "retryDelayMs": 500, "backoff": "linear"},
        },
        "extraHeaders": {"x-session-affinity": "s1", "x-mine": "1", "cf-aig-event-id": "e"},
    }


def test_a_stream_is_requested() -> None:
    llm, ai = bound(lambda: Reader(*PIECES))
    ask(llm, "astream", "Hi")
    assert ai.calls[0][1]["stream"] is True


# --- What it resolves to ----------------------------------------------------------------------------------------------

_WHOLE: dict[str, Callable[[], Any]] = {
    "plain": lambda: HELLO,
    "proxy": lambda: JsProxy(HELLO),
    "proxies within": lambda: {"response": "Hello", "usage": JsProxy(usage(3, 2)), "tool_calls": JsProxy([])},
    "openai": lambda: {
        "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": usage(3, 2),
    },
    "envelope": lambda: {"result": HELLO, "success": True, "errors": []},
    "bytes": lambda: json.dumps(HELLO).encode(),
    "stream of JSON": lambda: Reader(*(bytes([byte]) for byte in json.dumps(HELLO).encode())),
    "response": lambda: SimpleNamespace(status=200, headers={"CF-Ray": "r1"}, body=Reader(json.dumps(HELLO).encode())),
    "SDK response": lambda: SimpleNamespace(
        js_object=SimpleNamespace(status=200, headers={}, body=Reader(json.dumps(HELLO).encode()))
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", _WHOLE)
def test_whole_replies(kind: str, way: str) -> None:
    llm, _ = bound(_WHOLE[kind])
    message = ask(llm, way, "Hi")
    assert message.content == "Hello"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert message.response_metadata.get("request_id") == ("r1" if kind == "response" else None)


_STREAMS: dict[str, Callable[[], Any]] = {
    "reader of proxies": lambda: Reader(*PIECES),
    "reader of memory": lambda: Reader(*PIECES, wrap=memoryview),
    "reader of bytes": lambda: Reader(*PIECES, wrap=bytes),
    "reader of single bytes": lambda: Reader(*(bytes([byte]) for byte in b"".join(PIECES))),
    "reader of dicts": lambda: _DictReader(*PIECES),
    "async generator": lambda: generated(list(PIECES)),
    "async iterator of text": lambda: Chunks(b"".join(PIECES).decode()),
    "iterator": lambda: iter(PIECES),
    "generator": lambda: (piece for piece in PIECES),
    "bytes": lambda: b"".join(PIECES),
    "text": lambda: b"".join(PIECES).decode(),
    "response": lambda: SimpleNamespace(status=200, headers=Headers(), body=Reader(*PIECES)),
}


class _DictReader(Reader):
    async def read(self) -> Any:
        step = await super().read()
        return {"done": step.done, "value": step.value}


class Headers:
    """JavaScript's `Headers`, which have `entries`."""

    def entries(self) -> Iterator[list[str]]:
        return iter([["content-type", "text/event-stream"]])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", _STREAMS)
def test_streams(kind: str, way: str) -> None:
    llm, _ = bound(_STREAMS[kind])
    if way in ("invoke", "ainvoke"):
        llm = ChatWorkersGemma(binding=llm.binding, streaming=True)
    message = ask(llm, way, "Hi")
    assert message.content == "Hello Zü"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_every_method_returns_the_same_message() -> None:
    replies = [_WHOLE["openai"] if way in ("invoke", "ainvoke") else lambda: Reader(*_hello_events()) for way in WAYS]
    messages = [told(ask(bound(reply)[0], way)) for reply, way in zip(replies, WAYS, strict=True)]
    assert all(message == messages[0] for message in messages)


def _hello_events() -> list[bytes]:
    return [sse(delta("Hello", finish_reason="stop"), {"choices": [], "usage": usage(3, 2)}, "[DONE]")]


def test_chunks_are_yielded_as_they_arrive() -> None:
    reader = Reader(sse(delta("Hel")), endless=True)

    async def first() -> str:
        async for chunk in bound(lambda: reader)[0].astream("Hi"):
            return str(chunk.content)
        return ""

    assert run(first()) == "Hel"


@pytest.mark.parametrize("kind", [None, lambda: None, lambda: "", dict])
def test_an_empty_stream_is_requested_again_as_a_whole(kind: Any) -> None:
    empty = (lambda: Reader()) if kind is None else kind
    llm, ai = bound(empty, HELLO)
    assert ask(llm, "astream", "Hi").content == "Hello"
    assert ["stream" in given for _, given, _ in ai.calls] == [True, False]


@pytest.mark.parametrize("result", [None, {}, object(), {"response": object()}, 7, SimpleNamespace(a=1)])
def test_a_result_that_cannot_be_read(result: Any) -> None:
    llm, _ = bound(lambda: result)
    with pytest.raises(InternalServerError, match="cannot be read") as caught:
        ask(llm, "ainvoke", "Hi")
    assert caught.value.status_code == 200


def test_a_stream_of_something_else() -> None:
    with pytest.raises(InternalServerError, match="holds dict where bytes should be"):
        ask(bound(lambda: generated([{"response": "Hi"}]))[0], "astream", "Hi")


def test_a_result_is_text() -> None:
    assert ask(bound("Hello")[0], "ainvoke", "Hi").content == "Hello"


def test_structured_output() -> None:
    class City(BaseModel):
        name: str
        people: int

    for reply in ({"response": '{"name": "Rome", "people": 3}'}, {"response": {"name": "Rome", "people": 3}}):
        llm, ai = bound(reply)
        assert run(llm.with_structured_output(City).ainvoke("Rome?")) == City(name="Rome", people=3)
        assert ai.calls[0][1]["response_format"]["type"] == "json_schema"


def test_streamed_tool_calls() -> None:
    call = {"id": "c1", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"city":'}}
    rest = {"index": 0, "function": {"arguments": '"Rome"}'}}
    frames = [sse(delta(tool_calls=[call])), sse(delta(tool_calls=[rest], finish_reason="tool_calls")), sse("[DONE]")]
    llm, _ = bound(lambda: Reader(*frames))
    message = ask(llm.bind_tools([WEATHER]), "astream", "Hi")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]


def test_embeddings() -> None:
    ai = Ai({"data": [[1.0, 2.0], [3.0, 4.0]], "shape": [2, 2]})
    embeddings = WorkersGemmaEmbeddings(binding=ai)
    assert run(embeddings.aembed_documents(["a", "b"])) == [[1.0, 2.0], [3.0, 4.0]]
    assert embeddings.embed_documents(["a", "b"]) == [[1.0, 2.0], [3.0, 4.0]]
    assert ai.calls[0] == ("@cf/google/embeddinggemma-300m", {"text": ["a", "b"]}, {})


def test_batches() -> None:
    replies = [
        {"status": "queued", "request_id": "b1", "model": GEMMA_4},
        {"responses": [{"id": at, "result": {"response": text}, "success": True} for at, text in enumerate("ab")]},
    ]
    llm, ai = bound(*replies)
    messages = run(llm.aqueue_batch(["1", "2"], poll_interval=0.01))
    assert [message.content for message in messages] == ["a", "b"]
    assert [options for _, _, options in ai.calls] == [{"queueRequest": True}] * 2
    assert ai.calls[1][1] == {"request_id": "b1"}


# --- Sync calls, and what a binding cannot do -------------------------------------------------------------------------


def test_sync_calls_inside_a_running_loop() -> None:
    llm, ai = bound()
    embeddings = WorkersGemmaEmbeddings(binding=ai)

    async def try_all() -> None:
        with pytest.raises(RuntimeError, match=r"await llm\.ainvoke"):
            llm.invoke("Hi")
        with pytest.raises(RuntimeError, match=r"llm\.astream"):
            list(llm.stream("Hi"))
        with pytest.raises(RuntimeError, match="aembed_query"):
            embeddings.embed_query("Hi")

    run(try_all())
    assert not ai.calls


def test_sync_calls_outside() -> None:
    llm, _ = bound(lambda: Reader(*PIECES))
    assert merged(list(llm.stream("Hi"))).content == "Hello Zü"
    assert [message.content for message in bound()[0].batch(["a", "b"])] == ["Hello", "Hello"]


def test_a_binding_that_answers_at_once() -> None:
    class Sync:
        def run(self, model: str, input: Any, options: Any) -> Any:  # noqa: A002
            return HELLO

    assert ask(ChatWorkersGemma(binding=Sync()), "ainvoke", "Hi").content == "Hello"


def test_what_is_no_binding() -> None:
    with pytest.raises(ValueError, match=r"binding must be a Workers AI binding such as env\.AI, not str"):
        ChatWorkersGemma(binding="AI")


def test_a_binding_has_one_api() -> None:
    with pytest.raises(ValueError, match="native"):
        ChatWorkersGemma(binding=Ai(), api="openai")


@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_a_binding_is_cloudflares(host: Any) -> None:
    with pytest.raises(ValueError, match="binding is of Cloudflare"):
        ChatWorkersGemma(binding=Ai(), host=host)


def test_copies() -> None:
    llm, ai = bound()
    assert copy.deepcopy(llm).binding is ai
    elsewhere = pickle.loads(pickle.dumps(llm))
    assert elsewhere.binding is None
    with pytest.raises(ValueError, match="binding is missing"):
        elsewhere.invoke("Hi")
    elsewhere.binding = ai
    assert elsewhere.invoke("Hi").content == "Hello"
    assert "Ai object" not in repr(llm)
