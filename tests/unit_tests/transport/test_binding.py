"""Models with a Workers AI binding instead of a connection. `tests/pyodide` and `tests/workerd` use real bindings."""

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
from tests.helpers.fake_bindings import (
    HELLO_RESULT,
    STREAM_PIECES,
    ClosableIterator,
    FakeBinding,
    FakeJsProxy,
    FakeReader,
    iterate_async,
    make_bound_model,
)
from tests.helpers.mock_service import MockService, encode_sse, make_delta, make_usage
from tests.helpers.model_calls import (
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_4,
    WEATHER_TOOL,
    call_model,
    get_tool_calls,
    make_model,
    merge_chunks,
    run_async,
    summarize_message,
)

# --- The input --------------------------------------------------------------------------------------------------------


def test_a_binding_needs_no_account_and_no_token() -> None:
    llm, ai = make_bound_model()
    assert (llm.account_id, llm.api_token) == (None, None)
    assert run_async(llm.ainvoke("Hi")).content == "Hello"
    assert ai.calls == [(GEMMA_4, {"messages": [{"role": "user", "content": "Hi"}]}, {})]


@pytest.mark.parametrize("call_method", ["ainvoke", "astream"])
@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize(
    ("arguments", "model_input"),
    [
        ({}, "Zürich 🏔 \ud800"),
        ({"temperature": 0, "seed": 9_999_999_999 - 7, "stop": ["END"]}, [("system", "Be brief."), ("human", "Hi")]),
        ({"max_tokens": 7, "model_kwargs": {"further": (1, None, {"deep": 1.5})}}, [("human", "a"), ("ai", "b")]),
    ],
)
def test_the_input_equals_the_body_of_the_same_call_over_http(
    service: MockService, model: str, arguments: dict[str, Any], model_input: Any, call_method: str
) -> None:
    call_model(make_model(model=model, **arguments), call_method, model_input)
    ai = FakeBinding()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        over_binding = ChatWorkersGemma(model=model, binding=ai, **arguments)
    call_model(over_binding, call_method, model_input)
    called_model, binding_input, options = ai.calls[0]
    encoded = json.dumps(binding_input, ensure_ascii=False, separators=(",", ":")).encode()
    assert encoded == service.requests[0].content
    assert (called_model, options) == (model, {})


def test_tools_equal_the_body_of_the_same_call_over_http(service: MockService) -> None:
    reply = {"response": "", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}
    service.respond_with_results(reply)
    call_model(make_model().bind_tools([WEATHER_TOOL], tool_choice="get_weather", parallel_tool_calls=False), "ainvoke")
    llm, ai = make_bound_model(reply)
    message = call_model(
        llm.bind_tools([WEATHER_TOOL], tool_choice="get_weather", parallel_tool_calls=False), "ainvoke"
    )
    assert get_tool_calls(message) == [("get_weather", {"city": "Rome"})]
    assert ai.calls[0][1] == json.loads(service.requests[0].content)


def test_options_have_the_headers_and_options_of_http() -> None:
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
    llm, ai = make_bound_model(
        ai_gateway=gateway,
        session_affinity="s1",
        reject_if_busy=True,
        default_headers={"x-mine": "1", "cf-aig-event-id": "e"},
        model_kwargs={"options": {"further": True}},
    )
    run_async(llm.ainvoke("Hi"))
    ((_, binding_input, options),) = ai.calls
    assert binding_input == {"messages": [{"role": "user", "content": "Hi"}]}
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


def test_a_stream_sets_stream_true() -> None:
    llm, ai = make_bound_model(lambda: FakeReader(*STREAM_PIECES))
    call_model(llm, "astream", "Hi")
    assert ai.calls[0][1]["stream"] is True


# --- The results ------------------------------------------------------------------------------------------------------

_WHOLE_RESULTS: dict[str, Callable[[], Any]] = {
    "plain": lambda: HELLO_RESULT,
    "proxy": lambda: FakeJsProxy(HELLO_RESULT),
    "proxies within": lambda: {
        "response": "Hello",
        "usage": FakeJsProxy(make_usage(3, 2)),
        "tool_calls": FakeJsProxy([]),
    },
    "openai": lambda: {
        "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": make_usage(3, 2),
    },
    "envelope": lambda: {"result": HELLO_RESULT, "success": True, "errors": []},
    "bytes": lambda: json.dumps(HELLO_RESULT).encode(),
    "stream of JSON": lambda: FakeReader(*(bytes([byte]) for byte in json.dumps(HELLO_RESULT).encode())),
    "response": lambda: SimpleNamespace(
        status=200, headers={"CF-Ray": "r1"}, body=FakeReader(json.dumps(HELLO_RESULT).encode())
    ),
    "SDK response": lambda: SimpleNamespace(
        js_object=SimpleNamespace(status=200, headers={}, body=FakeReader(json.dumps(HELLO_RESULT).encode()))
    ),
}


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("form", _WHOLE_RESULTS)
def test_every_form_of_whole_result_is_read(form: str, call_method: str) -> None:
    llm, _ = make_bound_model(_WHOLE_RESULTS[form])
    message = call_model(llm, call_method, "Hi")
    assert message.content == "Hello"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert message.response_metadata.get("request_id") == ("r1" if form == "response" else None)


_STREAM_RESULTS: dict[str, Callable[[], Any]] = {
    "reader of proxies": lambda: FakeReader(*STREAM_PIECES),
    "reader of memory": lambda: FakeReader(*STREAM_PIECES, wrap=memoryview),
    "reader of bytes": lambda: FakeReader(*STREAM_PIECES, wrap=bytes),
    "reader of single bytes": lambda: FakeReader(*(bytes([byte]) for byte in b"".join(STREAM_PIECES))),
    "reader of dicts": lambda: _DictReader(*STREAM_PIECES),
    "async generator": lambda: iterate_async(list(STREAM_PIECES)),
    "async iterator of text": lambda: ClosableIterator(b"".join(STREAM_PIECES).decode()),
    "iterator": lambda: iter(STREAM_PIECES),
    "generator": lambda: (piece for piece in STREAM_PIECES),
    "bytes": lambda: b"".join(STREAM_PIECES),
    "text": lambda: b"".join(STREAM_PIECES).decode(),
    "response": lambda: SimpleNamespace(status=200, headers=FakeHeaders(), body=FakeReader(*STREAM_PIECES)),
}


class _DictReader(FakeReader):
    async def read(self) -> Any:
        step = await super().read()
        return {"done": step.done, "value": step.value}


class FakeHeaders:
    """JavaScript's `Headers`, which have a method `entries`."""

    def entries(self) -> Iterator[list[str]]:
        return iter([["content-type", "text/event-stream"]])


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("form", _STREAM_RESULTS)
def test_every_form_of_stream_is_read(form: str, call_method: str) -> None:
    llm, _ = make_bound_model(_STREAM_RESULTS[form])
    if call_method in ("invoke", "ainvoke"):
        llm = ChatWorkersGemma(binding=llm.binding, streaming=True)
    message = call_model(llm, call_method, "Hi")
    assert message.content == "Hello Zü"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_every_method_returns_the_same_message() -> None:
    replies = [
        _WHOLE_RESULTS["openai"] if call_method in ("invoke", "ainvoke") else lambda: FakeReader(*_hello_events())
        for call_method in CALL_METHODS
    ]
    messages = [
        summarize_message(call_model(make_bound_model(reply)[0], call_method))
        for reply, call_method in zip(replies, CALL_METHODS, strict=True)
    ]
    assert all(message == messages[0] for message in messages)


def _hello_events() -> list[bytes]:
    return [encode_sse(make_delta("Hello", finish_reason="stop"), {"choices": [], "usage": make_usage(3, 2)}, "[DONE]")]


def test_chunks_are_emitted_as_they_arrive() -> None:
    reader = FakeReader(encode_sse(make_delta("Hel")), endless=True)

    async def first() -> str:
        async for chunk in make_bound_model(lambda: reader)[0].astream("Hi"):
            return str(chunk.content)
        return ""

    assert run_async(first()) == "Hel"


@pytest.mark.parametrize("form", [None, lambda: None, lambda: "", dict])
def test_an_empty_stream_is_requested_again_without_stream(form: Any) -> None:
    empty = (lambda: FakeReader()) if form is None else form
    llm, ai = make_bound_model(empty, HELLO_RESULT)
    assert call_model(llm, "astream", "Hi").content == "Hello"
    assert ["stream" in binding_input for _, binding_input, _ in ai.calls] == [True, False]


@pytest.mark.parametrize("result", [None, {}, object(), {"response": object()}, 7, SimpleNamespace(a=1)])
def test_an_unreadable_result_raises(result: Any) -> None:
    llm, _ = make_bound_model(lambda: result)
    with pytest.raises(InternalServerError, match="cannot be read") as caught:
        call_model(llm, "ainvoke", "Hi")
    assert caught.value.status_code == 200


def test_a_stream_of_other_objects_raises() -> None:
    with pytest.raises(InternalServerError, match="holds dict instead of bytes"):
        call_model(make_bound_model(lambda: iterate_async([{"response": "Hi"}]))[0], "astream", "Hi")


def test_a_result_may_be_text() -> None:
    assert call_model(make_bound_model("Hello")[0], "ainvoke", "Hi").content == "Hello"


def test_structured_output_over_a_binding() -> None:
    class City(BaseModel):
        name: str
        people: int

    for reply in ({"response": '{"name": "Rome", "people": 3}'}, {"response": {"name": "Rome", "people": 3}}):
        llm, ai = make_bound_model(reply)
        assert run_async(llm.with_structured_output(City).ainvoke("Rome?")) == City(name="Rome", people=3)
        assert ai.calls[0][1]["response_format"]["type"] == "json_schema"


def test_streamed_tool_calls_over_a_binding() -> None:
    call = {"id": "c1", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"city":'}}
    rest = {"index": 0, "function": {"arguments": '"Rome"}'}}
    events = [
        encode_sse(make_delta(tool_calls=[call])),
        encode_sse(make_delta(tool_calls=[rest], finish_reason="tool_calls")),
        encode_sse("[DONE]"),
    ]
    llm, _ = make_bound_model(lambda: FakeReader(*events))
    message = call_model(llm.bind_tools([WEATHER_TOOL]), "astream", "Hi")
    assert get_tool_calls(message) == [("get_weather", {"city": "Rome"})]


def test_embeddings_over_a_binding() -> None:
    ai = FakeBinding({"data": [[1.0, 2.0], [3.0, 4.0]], "shape": [2, 2]})
    embeddings = WorkersGemmaEmbeddings(binding=ai)
    assert run_async(embeddings.aembed_documents(["a", "b"])) == [[1.0, 2.0], [3.0, 4.0]]
    assert embeddings.embed_documents(["a", "b"]) == [[1.0, 2.0], [3.0, 4.0]]
    assert ai.calls[0] == ("@cf/google/embeddinggemma-300m", {"text": ["a", "b"]}, {})


def test_batches_over_a_binding() -> None:
    replies = [
        {"status": "queued", "request_id": "b1", "model": GEMMA_4},
        {
            "responses": [
                {"id": index, "result": {"response": text}, "success": True} for index, text in enumerate("ab")
            ]
        },
    ]
    llm, ai = make_bound_model(*replies)
    messages = run_async(llm.aqueue_batch(["1", "2"], poll_interval=0.01))
    assert [message.content for message in messages] == ["a", "b"]
    assert [options for _, _, options in ai.calls] == [{"queueRequest": True}] * 2
    assert ai.calls[1][1] == {"request_id": "b1"}


# --- Sync calls and limitations ---------------------------------------------------------------------------------------


def test_sync_calls_inside_a_running_loop_raise() -> None:
    llm, ai = make_bound_model()
    embeddings = WorkersGemmaEmbeddings(binding=ai)

    async def try_all() -> None:
        with pytest.raises(RuntimeError, match=r"await llm\.ainvoke"):
            llm.invoke("Hi")
        with pytest.raises(RuntimeError, match=r"llm\.astream"):
            list(llm.stream("Hi"))
        with pytest.raises(RuntimeError, match="aembed_query"):
            embeddings.embed_query("Hi")

    run_async(try_all())
    assert not ai.calls


def test_sync_calls_outside_a_loop() -> None:
    llm, _ = make_bound_model(lambda: FakeReader(*STREAM_PIECES))
    assert merge_chunks(list(llm.stream("Hi"))).content == "Hello Zü"
    assert [message.content for message in make_bound_model()[0].batch(["a", "b"])] == ["Hello", "Hello"]


def test_a_synchronous_binding_is_accepted() -> None:
    class Sync:
        def run(self, model: str, input: Any, options: Any) -> Any:  # noqa: A002
            return HELLO_RESULT

    assert call_model(ChatWorkersGemma(binding=Sync()), "ainvoke", "Hi").content == "Hello"


def test_an_invalid_binding_raises() -> None:
    with pytest.raises(ValueError, match=r"binding must be a Workers AI binding such as env\.AI, not str"):
        ChatWorkersGemma(binding="AI")


def test_a_binding_supports_only_the_native_api() -> None:
    with pytest.raises(ValueError, match="native"):
        ChatWorkersGemma(binding=FakeBinding(), api="openai")


@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_a_binding_supports_only_cloudflare(host: Any) -> None:
    with pytest.raises(ValueError, match="binding is a feature of Cloudflare"):
        ChatWorkersGemma(binding=FakeBinding(), host=host)


def test_copies_share_the_binding_and_pickles_omit_it() -> None:
    llm, ai = make_bound_model()
    assert copy.deepcopy(llm).binding is ai
    unpickled = pickle.loads(pickle.dumps(llm))
    assert unpickled.binding is None
    with pytest.raises(ValueError, match="binding is missing"):
        unpickled.invoke("Hi")
    unpickled.binding = ai
    assert unpickled.invoke("Hi").content == "Hello"
    assert "Ai object" not in repr(llm)
