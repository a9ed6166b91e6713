"""Checks that `run.mjs` runs in Pyodide: the package with a JavaScript binding, without threads, sockets or `ssl`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from js import Object  # type: ignore[import-not-found]
from langchain_core.messages import AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from pydantic import BaseModel
from pyodide.ffi import JsProxy, to_js  # type: ignore[import-not-found]
from worker import newAi  # type: ignore[import-not-found]

import langchain_workers_gemma
from langchain_workers_gemma import (
    AIGateway,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    CapacityError,
    ChatWorkersGemma,
    InternalServerError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
)

CHECKS: list[Callable[[], Awaitable[None]]] = []

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
HELLO = {"result": {"response": "Hello", "usage": USAGE}}
EVENTS = [
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}\n\n',
    'data: {"choices":[{"index":0,"delta":{"content":"lo 🏔"},"finish_reason":"stop"}]}\n\ndata: {"choices":[],',
    f'"usage":{json.dumps(USAGE)}}}\n\ndata: [DONE]\n\n',
]
STREAM = {"stream": EVENTS}


def check(function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    CHECKS.append(function)
    return function


def make_llm(*replies: dict[str, Any], **arguments: Any) -> tuple[ChatWorkersGemma, Any]:
    ai = newAi()
    ai.setReplies(json.dumps(replies))
    return ChatWorkersGemma(binding=ai, **{"max_retries": 0, **arguments}), ai


def get_calls(ai: Any) -> list[dict[str, Any]]:
    return [json.loads(call) for call in ai.calls]


async def collect(llm: Runnable[Any, Any], question: Any = "Hi") -> AIMessageChunk:
    message = AIMessageChunk(content="")
    async for chunk in llm.astream(question):
        message += chunk
    return message


async def run_later(function: Callable[[], Any]) -> Any:
    return function()


async def catch(kind: type[Exception], awaited: Awaitable[Any]) -> Any:
    try:
        await awaited
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


# --- chats ------------------------------------------------------------------------------------------------------------
@check
async def ainvoke() -> None:
    llm, ai = make_llm(HELLO)
    message = await llm.ainvoke("Zürich 🏔")
    assert message.content == "Hello", message
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert message.response_metadata["finish_reason"] == "stop"
    model = "@cf/google/gemma-4-26b-a4b-it"
    messages = [{"role": "user", "content": "Zürich 🏔"}]
    assert get_calls(ai) == [{"model": model, "inputs": {"messages": messages}, "options": {}}], get_calls(ai)


@check
async def astream() -> None:
    llm, ai = make_llm(STREAM)
    message = await collect(llm)
    assert message.content == "Hello 🏔", message
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert get_calls(ai)[0]["inputs"]["stream"] is True
    assert ai.cancelled == 0


@check
async def streams_and_whole_replies_give_the_same_message() -> None:
    choice = {"message": {"role": "assistant", "content": "Hello 🏔"}, "finish_reason": "stop"}
    whole = await make_llm({"result": {"choices": [choice], "usage": USAGE}})[0].ainvoke("Hi")
    streamed = await collect(make_llm(STREAM)[0])
    for name in ("content", "usage_metadata", "response_metadata", "tool_calls"):
        assert getattr(whole, name) == getattr(streamed, name), name


@check
async def chains() -> None:
    llm, ai = make_llm(HELLO)
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")]) | llm
    assert (await chain.ainvoke({"question": "Hi"})).content == "Hello"
    assert [message["role"] for message in get_calls(ai)[0]["inputs"]["messages"]] == ["system", "user"]


@check
async def abatch() -> None:
    llm, ai = make_llm({**HELLO, "delay": 1})
    assert [message.content for message in await llm.abatch(["a", "b", "c"])] == ["Hello"] * 3
    assert len(ai.calls) == 3


@check
async def events_of_core() -> None:
    llm, _ = make_llm(STREAM)
    kinds = {event["event"] async for event in llm.astream_events("Hi", version="v2")}
    assert kinds >= {"on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"}, kinds


@check
async def numbers_and_null_arrive_as_over_http() -> None:
    extra = {"null": None, "large": 2**60, "deep": [{"a": 1.5, "b": (1, 2)}], "yes": True}
    llm, ai = make_llm(HELLO, seed=9_999_999_999, temperature=0, model_kwargs=extra)
    await llm.ainvoke("Hi")
    inputs = get_calls(ai)[0]["inputs"]
    assert inputs["null"] is None
    assert float(inputs["large"]) == 2**60
    assert inputs["deep"] == [{"a": 1.5, "b": [1, 2]}]
    assert (inputs["seed"], inputs["temperature"]) == (9_999_999_999, 0)


@check
async def options() -> None:
    gateway = AIGateway("gw", cache_ttl=60, metadata={"user": 1}, request_timeout=2.5)
    llm, ai = make_llm(HELLO, ai_gateway=gateway, session_affinity="s", reject_if_busy=True)
    await llm.ainvoke("Hi")
    assert get_calls(ai)[0]["options"] == {
        "rejectIfBusy": True,
        "gateway": {"id": "gw", "cacheTtl": 60, "metadata": {"user": 1}, "requestTimeoutMs": 2500},
        "extraHeaders": {"x-session-affinity": "s"},
    }
    assert "options" not in get_calls(ai)[0]["inputs"]


# --- tools and structured output --------------------------------------------------------------------------------------
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


class City(BaseModel):
    """A city."""

    name: str
    people: int


class CityDict(TypedDict):
    """A city."""

    name: str
    people: int


@check
async def tools() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Rome"}}
    llm, ai = make_llm({"result": {"response": None, "tool_calls": [call]}})
    message = await llm.bind_tools([get_weather], tool_choice="any").ainvoke("Rome?")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]
    assert get_calls(ai)[0]["inputs"]["tools"][0]["function"]["name"] == "get_weather"
    assert get_calls(ai)[0]["inputs"]["tool_choice"] == "required"


@check
async def streamed_tools() -> None:
    first = {"id": "c1", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"city"'}}
    rest = {"index": 0, "function": {"arguments": ': "Rome"}'}}
    events = [json.dumps({"tool_calls": [piece]}) for piece in (first, rest)]
    llm, _ = make_llm({"stream": [f"data: {event}\n\n" for event in (*events, "[DONE]")]})
    message = await collect(llm.bind_tools([get_weather]))
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]


@check
async def structured_output() -> None:
    for reply in ('{"name": "Rome", "people": 3}', {"name": "Rome", "people": 3}):
        llm, ai = make_llm({"result": {"response": reply}})
        assert await llm.with_structured_output(City).ainvoke("Rome?") == City(name="Rome", people=3)
        assert "response_format" in get_calls(ai)[0]["inputs"]
    llm, _ = make_llm({"result": {"response": '{"name": "Rome", "people": 3}'}})
    both = await llm.with_structured_output(City, include_raw=True).ainvoke("Rome?")
    assert (both["parsed"], both["parsing_error"]) == (City(name="Rome", people=3), None)


@check
async def streamed_structured_output() -> None:
    pieces = ['{"name": "Ro', 'me", "people', '": 3}']
    events = [json.dumps({"response": piece}) for piece in pieces]
    llm, _ = make_llm({"stream": [f"data: {event}\n\n" for event in (*events, "[DONE]")]})
    values = [value async for value in llm.with_structured_output(CityDict).astream("Rome?")]
    assert values[-1] == {"name": "Rome", "people": 3}
    assert len(values) > 1


# --- errors -----------------------------------------------------------------------------------------------------------
@check
async def errors_are_typed() -> None:
    for text, name, kind, code in (
        ("3040: Capacity temporarily exceeded", "AiError", CapacityError, 3040),
        ("3036: you have used up your daily free allocation", "InferenceUpstreamError", QuotaExceededError, 3036),
        ("5007: No such model", "InferenceUpstreamError", ModelNotFoundError, 5007),
        ("5006: AiError: Bad input: Error: oops", "AiError", BadRequestError, 5006),
        ('{"httpCode": 429, "message": "slow down"}', "InferenceUpstreamError", RateLimitError, None),
        ("<html>502 Bad Gateway</html>", "InferenceUpstreamError", InternalServerError, None),
    ):
        for streamed in (False, True):
            llm, _ = make_llm({"error": text, "name": name})
            error = await catch(APIStatusError, collect(llm) if streamed else llm.ainvoke("Hi"))
            assert type(error) is kind, (text, error)
            assert (error.code, error.status_code) == (code, 0)
            assert error.message in (text, "slow down"), error.message


@check
async def connection_errors() -> None:
    error = await catch(APIConnectionError, make_llm({"error": "Network connection lost."})[0].ainvoke("Hi"))
    assert "Network connection lost." in str(error)


@check
async def retries() -> None:
    llm, ai = make_llm({"error": "3040: Capacity temporarily exceeded"}, HELLO, max_retries=1)
    assert (await llm.ainvoke("Hi")).content == "Hello"
    assert len(ai.calls) == 2


@check
async def raw_responses() -> None:
    headers = {"content-type": "application/json", "CF-Ray": "r1"}
    llm, _ = make_llm({"status": 200, "body": json.dumps(HELLO["result"]), "headers": headers})
    assert (await llm.ainvoke("Hi")).response_metadata["request_id"] == "r1"
    llm, _ = make_llm({"status": 429, "body": '{"internalCode": 3040, "description": "full"}', "headers": {}})
    assert (await catch(CapacityError, llm.ainvoke("Hi"))).status_code == 429


@check
async def unreadable_replies() -> None:
    for result in (None, {}, 7, {"other": 1}):
        await catch(InternalServerError, make_llm({"result": result})[0].ainvoke("Hi"))


@check
async def interrupted_streams() -> None:
    llm, _ = make_llm({"stream": EVENTS[:1], "breaks": "Network connection lost."})
    error = await catch(StreamInterruptedError, collect(llm))
    assert error.partial.content == "Hel"


# --- timeouts and cancellation ----------------------------------------------------------------------------------------
@check
async def timeouts() -> None:
    llm, _ = make_llm({**HELLO, "delay": 300}, timeout=0.05)
    await catch(APITimeoutError, llm.ainvoke("Hi"))
    llm, ai = make_llm({"stream": EVENTS[:1], "endless": True}, timeout=0.05)
    await catch(StreamInterruptedError, collect(llm))
    assert ai.cancelled == 1


@check
async def an_abandoned_stream_is_cancelled() -> None:
    llm, ai = make_llm({"stream": EVENTS[:1], "endless": True})
    stream = llm.astream("Hi")
    assert (await anext(stream)).content == "Hel"
    await stream.aclose()  # type: ignore[attr-defined]
    assert ai.cancelled == 1


@check
async def a_stream_collected_as_garbage_is_cancelled() -> None:
    llm, ai = make_llm({"stream": EVENTS[:1], "endless": True})
    async for _ in llm.astream("Hi"):
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert ai.cancelled == 1


@check
async def a_cancelled_task_cancels_the_stream() -> None:
    llm, ai = make_llm({"stream": EVENTS[:1], "endless": True})
    task = asyncio.ensure_future(collect(llm))
    await asyncio.sleep(0.05)
    task.cancel()
    await catch(asyncio.CancelledError, task)  # type: ignore[arg-type]
    assert ai.cancelled == 1


@check
async def a_stream_that_starts_after_cancellation_is_cancelled() -> None:
    llm, ai = make_llm({**STREAM, "delay": 60})
    task = asyncio.ensure_future(collect(llm))
    await asyncio.sleep(0.02)
    task.cancel()
    await catch(asyncio.CancelledError, task)  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert (ai.waiting, ai.cancelled) == (0, 1)


@check
async def errors_of_sync_calls_name_the_async_method() -> None:
    llm, ai = make_llm(HELLO)
    for call in (lambda: llm.invoke("Hi"), lambda: list(llm.stream("Hi"))):
        error = await catch(RuntimeError, run_later(call))
        assert "await llm.ainvoke" in str(error)
    assert not len(ai.calls)


@check
async def images_are_not_fetched() -> None:
    llm, _ = make_llm(HELLO, inline_image_urls=True)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert "data: URI" in str(await catch(ValueError, llm.ainvoke([("human", [image])])))


# --- other forms of the binding ---------------------------------------------------------------------------------------
class SdkWrapper:
    """Imitates the wrapper of Cloudflare's Python SDK, which takes and returns Python data, except for streams."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def run(self, *arguments: Any) -> Any:
        result = await self._binding.run(*(to_js(one, dict_converter=Object.fromEntries) for one in arguments))
        return result.to_py() if isinstance(result, JsProxy) and not hasattr(result, "getReader") else result


@check
async def wrapper_of_the_python_sdk() -> None:
    llm, ai = make_llm(HELLO, reject_if_busy=True)
    wrapped = ChatWorkersGemma(binding=SdkWrapper(ai), reject_if_busy=True, max_retries=0)
    for one in (llm, wrapped):
        assert (await one.ainvoke("Hi")).content == "Hello"
    assert get_calls(ai)[0] == get_calls(ai)[1]
    ai.setReplies(json.dumps([STREAM]))
    assert (await collect(wrapped)).content == "Hello 🏔"
    ai.setReplies(json.dumps([{"error": "3040: full", "name": "AiError"}]))
    assert (await catch(CapacityError, wrapped.ainvoke("Hi"))).message == "3040: full"


@check
async def binding_in_python() -> None:
    class PythonBinding:
        async def run(self, model: str, inputs: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
            assert isinstance(inputs, dict)
            return {"response": f"{model} {options}"}

    assert (await ChatWorkersGemma(binding=PythonBinding()).ainvoke("Hi")).content == "@cf/google/gemma-4-26b-a4b-it {}"


# --- embeddings and batches -------------------------------------------------------------------------------------------
@check
async def embeddings() -> None:
    from langchain_workers_gemma.embeddings import WorkersGemmaEmbeddings

    _, ai = make_llm({"result": {"data": [[1, 0.5], [0.25, 2]], "shape": [2, 2]}})
    vectors = await WorkersGemmaEmbeddings(binding=ai).aembed_documents(["a", "b"])
    assert vectors == [[1.0, 0.5], [0.25, 2.0]]
    assert all(isinstance(number, float) for vector in vectors for number in vector)
    assert get_calls(ai)[0]["inputs"] == {"text": ["a", "b"]}


@check
async def batches() -> None:
    done = [{"id": at, "result": {"response": text}, "success": True} for at, text in enumerate("ab")]
    llm, ai = make_llm({"result": {"status": "queued", "request_id": "b1"}}, {"result": {"responses": done}})
    messages = await llm.aqueue_batch(["1", "2"], poll_interval=0.01)
    assert [message.content for message in messages] == ["a", "b"]
    assert all(call["options"] == {"queueRequest": True} for call in get_calls(ai))


async def main() -> int:
    """Run every check, and return how many failed."""
    started = time.monotonic()
    failed = 0
    for function in CHECKS:
        try:
            await asyncio.wait_for(function(), 20)
        except Exception:  # noqa: BLE001 - the other checks must run after any error
            failed += 1
            print(f"FAILED {function.__name__}")
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"passed {function.__name__}")
    version = f"langchain_workers_gemma {langchain_workers_gemma.__version__}, Python {sys.version.split()[0]}"
    print(f"{version} on {sys.platform}, {time.monotonic() - started:.1f} s")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed
