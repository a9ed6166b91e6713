"""What `run.mjs` runs in Pyodide: the package over a JavaScript binding, with no threads, sockets or `ssl`."""

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


def bound(*replies: dict[str, Any], **arguments: Any) -> tuple[ChatWorkersGemma, Any]:
    ai = newAi()
    ai.order(json.dumps(replies))
    return ChatWorkersGemma(binding=ai, **{"max_retries": 0, **arguments}), ai


def calls(ai: Any) -> list[dict[str, Any]]:
    return [json.loads(call) for call in ai.calls]


async def merged(llm: Runnable[Any, Any], asked: Any = "Hi") -> AIMessageChunk:
    message = AIMessageChunk(content="")
    async for chunk in llm.astream(asked):
        message += chunk
    return message


async def later(function: Callable[[], Any]) -> Any:
    return function()


async def raises(kind: type[Exception], awaited: Awaitable[Any]) -> Any:
    try:
        await awaited
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


# --- chats ------------------------------------------------------------------------------------------------------------
@check
async def ainvoke() -> None:
    llm, ai = bound(HELLO)
    message = await llm.ainvoke("Zürich 🏔")
    assert message.content == "Hello", message
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert message.response_metadata["finish_reason"] == "stop"
    model = "@cf/google/gemma-4-26b-a4b-it"
    messages = [{"role": "user", "content": "Zürich 🏔"}]
    assert calls(ai) == [{"model": model, "inputs": {"messages": messages}, "options": {}}], calls(ai)


@check
async def astream() -> None:
    llm, ai = bound(STREAM)
    message = await merged(llm)
    assert message.content == "Hello 🏔", message
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert calls(ai)[0]["inputs"]["stream"] is True
    assert ai.cancelled == 0


@check
async def the_same_message_either_way() -> None:
    choice = {"message": {"role": "assistant", "content": "Hello 🏔"}, "finish_reason": "stop"}
    whole = await bound({"result": {"choices": [choice], "usage": USAGE}})[0].ainvoke("Hi")
    streamed = await merged(bound(STREAM)[0])
    for name in ("content", "usage_metadata", "response_metadata", "tool_calls"):
        assert getattr(whole, name) == getattr(streamed, name), name


@check
async def a_chain() -> None:
    llm, ai = bound(HELLO)
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{asked}")]) | llm
    assert (await chain.ainvoke({"asked": "Hi"})).content == "Hello"
    assert [message["role"] for message in calls(ai)[0]["inputs"]["messages"]] == ["system", "user"]


@check
async def abatch() -> None:
    llm, ai = bound({**HELLO, "delay": 1})
    assert [message.content for message in await llm.abatch(["a", "b", "c"])] == ["Hello"] * 3
    assert len(ai.calls) == 3


@check
async def events_of_core() -> None:
    llm, _ = bound(STREAM)
    kinds = {event["event"] async for event in llm.astream_events("Hi", version="v2")}
    assert kinds >= {"on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"}, kinds


@check
async def numbers_and_null_arrive_as_over_http() -> None:
    further = {"null": None, "large": 2**60, "deep": [{"a": 1.5, "b": (1, 2)}], "yes": True}
    llm, ai = bound(HELLO, seed=9_999_999_999, temperature=0, model_kwargs=further)
    await llm.ainvoke("Hi")
    given = calls(ai)[0]["inputs"]
    assert given["null"] is None
    assert float(given["large"]) == 2**60
    assert given["deep"] == [{"a": 1.5, "b": [1, 2]}]
    assert (given["seed"], given["temperature"]) == (9_999_999_999, 0)


@check
async def options() -> None:
    gateway = AIGateway("gw", cache_ttl=60, metadata={"user": 1}, request_timeout=2.5)
    llm, ai = bound(HELLO, ai_gateway=gateway, session_affinity="s", reject_if_busy=True)
    await llm.ainvoke("Hi")
    assert calls(ai)[0]["options"] == {
        "rejectIfBusy": True,
        "gateway": {"id": "gw", "cacheTtl": 60, "metadata": {"user": 1}, "requestTimeoutMs": 2500},
        "extraHeaders": {"x-session-affinity": "s"},
    }
    assert "options" not in calls(ai)[0]["inputs"]


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
    llm, ai = bound({"result": {"response": None, "tool_calls": [call]}})
    message = await llm.bind_tools([get_weather], tool_choice="any").ainvoke("Rome?")
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]
    assert calls(ai)[0]["inputs"]["tools"][0]["function"]["name"] == "get_weather"
    assert calls(ai)[0]["inputs"]["tool_choice"] == "required"


@check
async def streamed_tools() -> None:
    first = {"id": "c1", "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"city"'}}
    rest = {"index": 0, "function": {"arguments": ': "Rome"}'}}
    events = [json.dumps({"tool_calls": [piece]}) for piece in (first, rest)]
    llm, _ = bound({"stream": [f"data: {event}\n\n" for event in (*events, "[DONE]")]})
    message = await merged(llm.bind_tools([get_weather]))
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Rome"})]


@check
async def structured_output() -> None:
    for reply in ('{"name": "Rome", "people": 3}', {"name": "Rome", "people": 3}):
        llm, ai = bound({"result": {"response": reply}})
        assert await llm.with_structured_output(City).ainvoke("Rome?") == City(name="Rome", people=3)
        assert "response_format" in calls(ai)[0]["inputs"]
    llm, _ = bound({"result": {"response": '{"name": "Rome", "people": 3}'}})
    both = await llm.with_structured_output(City, include_raw=True).ainvoke("Rome?")
    assert (both["parsed"], both["parsing_error"]) == (City(name="Rome", people=3), None)


@check
async def streamed_structured_output() -> None:
    pieces = ['{"name": "Ro', 'me", "people', '": 3}']
    events = [json.dumps({"response": piece}) for piece in pieces]
    llm, _ = bound({"stream": [f"data: {event}\n\n" for event in (*events, "[DONE]")]})
    grown = [value async for value in llm.with_structured_output(CityDict).astream("Rome?")]
    assert grown[-1] == {"name": "Rome", "people": 3}
    assert len(grown) > 1


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
            llm, _ = bound({"error": text, "name": name})
            error = await raises(APIStatusError, merged(llm) if streamed else llm.ainvoke("Hi"))
            assert type(error) is kind, (text, error)
            assert (error.code, error.status_code) == (code, 0)
            assert error.message in (text, "slow down"), error.message


@check
async def errors_without_an_answer() -> None:
    error = await raises(APIConnectionError, bound({"error": "Network connection lost."})[0].ainvoke("Hi"))
    assert "Network connection lost." in str(error)


@check
async def retries() -> None:
    llm, ai = bound({"error": "3040: Capacity temporarily exceeded"}, HELLO, max_retries=1)
    assert (await llm.ainvoke("Hi")).content == "Hello"
    assert len(ai.calls) == 2


@check
async def raw_responses() -> None:
    headers = {"content-type": "application/json", "CF-Ray": "r1"}
    llm, _ = bound({"status": 200, "body": json.dumps(HELLO["result"]), "headers": headers})
    assert (await llm.ainvoke("Hi")).response_metadata["request_id"] == "r1"
    llm, _ = bound({"status": 429, "body": '{"internalCode": 3040, "description": "full"}', "headers": {}})
    assert (await raises(CapacityError, llm.ainvoke("Hi"))).status_code == 429


@check
async def replies_that_cannot_be_read() -> None:
    for result in (None, {}, 7, {"other": 1}):
        await raises(InternalServerError, bound({"result": result})[0].ainvoke("Hi"))


@check
async def a_stream_that_breaks() -> None:
    llm, _ = bound({"stream": EVENTS[:1], "breaks": "Network connection lost."})
    error = await raises(StreamInterruptedError, merged(llm))
    assert error.partial.content == "Hel"


# --- time and letting go ----------------------------------------------------------------------------------------------
@check
async def timeouts() -> None:
    llm, _ = bound({**HELLO, "delay": 300}, timeout=0.05)
    await raises(APITimeoutError, llm.ainvoke("Hi"))
    llm, ai = bound({"stream": EVENTS[:1], "endless": True}, timeout=0.05)
    await raises(StreamInterruptedError, merged(llm))
    assert ai.cancelled == 1


@check
async def an_abandoned_stream_is_cancelled() -> None:
    llm, ai = bound({"stream": EVENTS[:1], "endless": True})
    stream = llm.astream("Hi")
    assert (await anext(stream)).content == "Hel"
    await stream.aclose()  # type: ignore[attr-defined]
    assert ai.cancelled == 1


@check
async def a_stream_collected_as_garbage_is_cancelled() -> None:
    llm, ai = bound({"stream": EVENTS[:1], "endless": True})
    async for _ in llm.astream("Hi"):
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert ai.cancelled == 1


@check
async def a_cancelled_task_cancels_the_stream() -> None:
    llm, ai = bound({"stream": EVENTS[:1], "endless": True})
    task = asyncio.ensure_future(merged(llm))
    await asyncio.sleep(0.05)
    task.cancel()
    await raises(asyncio.CancelledError, task)  # type: ignore[arg-type]
    assert ai.cancelled == 1


@check
async def a_stream_that_comes_too_late_is_cancelled() -> None:
    llm, ai = bound({**STREAM, "delay": 60})
    task = asyncio.ensure_future(merged(llm))
    await asyncio.sleep(0.02)
    task.cancel()
    await raises(asyncio.CancelledError, task)  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert (ai.waiting, ai.cancelled) == (0, 1)


@check
async def sync_calls_say_what_to_use() -> None:
    llm, ai = bound(HELLO)
    for ask in (lambda: llm.invoke("Hi"), lambda: list(llm.stream("Hi"))):
        error = await raises(RuntimeError, later(ask))
        assert "await llm.ainvoke" in str(error)
    assert not len(ai.calls)


@check
async def images_are_not_fetched() -> None:
    llm, _ = bound(HELLO, inline_image_urls=True)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert "data: URI" in str(await raises(ValueError, llm.ainvoke([("human", [image])])))


# --- other forms of the binding ---------------------------------------------------------------------------------------
class Wrapped:
    """Does what the wrapper of Cloudflare's Python SDK does: takes and returns Python data, except streams."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    async def run(self, *given: Any) -> Any:
        result = await self._binding.run(*(to_js(one, dict_converter=Object.fromEntries) for one in given))
        return result.to_py() if isinstance(result, JsProxy) and not hasattr(result, "getReader") else result


@check
async def the_wrapper_of_the_python_sdk() -> None:
    llm, ai = bound(HELLO, reject_if_busy=True)
    wrapped = ChatWorkersGemma(binding=Wrapped(ai), reject_if_busy=True, max_retries=0)
    for one in (llm, wrapped):
        assert (await one.ainvoke("Hi")).content == "Hello"
    assert calls(ai)[0] == calls(ai)[1]
    ai.order(json.dumps([STREAM]))
    assert (await merged(wrapped)).content == "Hello 🏔"
    ai.order(json.dumps([{"error": "3040: full", "name": "AiError"}]))
    assert (await raises(CapacityError, wrapped.ainvoke("Hi"))).message == "3040: full"


@check
async def a_binding_in_python() -> None:
    class Own:
        async def run(self, model: str, inputs: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
            assert isinstance(inputs, dict)
            return {"response": f"{model} {options}"}

    assert (await ChatWorkersGemma(binding=Own()).ainvoke("Hi")).content == "@cf/google/gemma-4-26b-a4b-it {}"


# --- embeddings and batches -------------------------------------------------------------------------------------------
@check
async def embeddings() -> None:
    from langchain_workers_gemma.embeddings import WorkersGemmaEmbeddings

    _, ai = bound({"result": {"data": [[1, 0.5], [0.25, 2]], "shape": [2, 2]}})
    vectors = await WorkersGemmaEmbeddings(binding=ai).aembed_documents(["a", "b"])
    assert vectors == [[1.0, 0.5], [0.25, 2.0]]
    assert all(isinstance(number, float) for vector in vectors for number in vector)
    assert calls(ai)[0]["inputs"] == {"text": ["a", "b"]}


@check
async def batches() -> None:
    done = [{"id": at, "result": {"response": text}, "success": True} for at, text in enumerate("ab")]
    llm, ai = bound({"result": {"status": "queued", "request_id": "b1"}}, {"result": {"responses": done}})
    messages = await llm.aqueue_batch(["1", "2"], poll_interval=0.01)
    assert [message.content for message in messages] == ["a", "b"]
    assert all(call["options"] == {"queueRequest": True} for call in calls(ai))


async def main() -> int:
    """Run every check. Gives how many failed."""
    began = time.monotonic()
    failed = 0
    for function in CHECKS:
        try:
            await asyncio.wait_for(function(), 20)
        except Exception:  # noqa: BLE001 - whatever it is, the other checks continue
            failed += 1
            print(f"FAILED {function.__name__}")
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"passed {function.__name__}")
    version = f"langchain_workers_gemma {langchain_workers_gemma.__version__}, Python {sys.version.split()[0]}"
    print(f"{version} on {sys.platform}, {time.monotonic() - began:.1f} s")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed
