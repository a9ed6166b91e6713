"""Runs the package over Cloudflare's own `env.AI` client in workerd, whose backend is the sandbox.

    python -m tests.workerd.run

So what the binding is given, resolves to and throws is Cloudflare's and not our guess. A Python Worker cannot start
offline (its bundle is fetched), so a JavaScript one calls `env.AI.run` and reports the outcome, and a mock on
this side resolves to and throws the same. `tests/pyodide` has the other half: Python beside JavaScript.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel

from langchain_workers_gemma import (
    AIGateway,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    ChatWorkersGemma,
    InternalServerError,
    ModelDeprecatedError,
    ModelNotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    RequestTooLargeError,
    StreamInterruptedError,
)
from langchain_workers_gemma.embeddings import WorkersGemmaEmbeddings
from langchain_workers_gemma.sandbox import Sandbox
from tests.installing import BUILD, install_npm

HERE = Path(__file__).resolve().parent
GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3_LORA = "@cf/google/gemma-2b-it-lora"

CHECKS: list[Callable[[Bench], Awaitable[None]]] = []


# --- env.AI -----------------------------------------------------------------------------------------------------------
class JsError(Exception):
    """An `Error` as Pyodide returns it: with a name and a message."""

    def __init__(self, name: str, message: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.message = message


class Stream:
    """A `ReadableStream`, and its reader."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.aiter_raw()

    def getReader(self) -> Stream:  # noqa: N802 - JavaScript's name
        """Itself."""
        return self

    async def read(self) -> dict[str, Any]:
        """The next step."""
        try:
            chunk = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise JsError("Error", "Network connection lost.", "Error: Network connection lost.") from error
        return {"done": chunk is None, "value": chunk}

    async def cancel(self) -> None:
        """Let go."""
        await self._response.aclose()


@dataclass
class Response:
    """A JavaScript `Response`."""

    status: int
    headers: dict[str, str]
    body: Stream


@dataclass
class Ai:
    """`env.AI` of the worker: resolves to and throws what Cloudflare's client does there."""

    http: httpx.AsyncClient
    kinds: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, model: str, inputs: Any, options: Any) -> Any:
        """Have the worker call `env.AI.run`."""
        call = {"model": model, "inputs": inputs, "options": options}
        response = await self.http.send(self.http.build_request("POST", "/", json=call), stream=True)
        kind = response.headers["x-kind"]
        self.kinds.append(kind)
        if kind == "ReadableStream":
            return Stream(response)
        if kind == "Response":
            headers = dict(json.loads(response.headers["x-headers"]))
            return Response(int(response.headers["x-status"]), headers, Stream(response))
        body = await response.aread()
        if kind == "error":
            error = json.loads(body)
            self.errors.append(error)
            raise JsError(error["name"], error["message"], error["text"])
        return json.loads(body)


@dataclass
class Bench:
    """What a check works with."""

    sandbox: Sandbox
    ai: Ai

    def bound(self, **arguments: Any) -> ChatWorkersGemma:
        """A model over the binding."""
        return ChatWorkersGemma(binding=self.ai, **{"max_retries": 0, **arguments})

    def direct(self, **arguments: Any) -> ChatWorkersGemma:
        """The same model over HTTP."""
        where = {name: getattr(self.sandbox, name) for name in ("base_url", "account_id", "api_token")}
        return ChatWorkersGemma(**{"max_retries": 0, **where, **arguments})


def check(function: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
    CHECKS.append(function)
    return function


async def merged(chunks: AsyncIterator[Any]) -> Any:
    return reduce(add, [chunk async for chunk in chunks])


async def raises(kind: type[Exception], awaited: Awaitable[Any]) -> Any:
    try:
        await awaited
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def same(one: Any, other: Any) -> None:
    """Check that two messages are equal, except for metadata of HTTP."""
    for name in ("content", "tool_calls", "usage_metadata", "additional_kwargs"):
        ours, theirs = [_without_ids(getattr(message, name)) for message in (one, other)]
        assert ours == theirs, (name, ours, theirs)
    known = [
        {key: value for key, value in message.response_metadata.items() if key not in ("request_id", "neurons")}
        for message in (one, other)
    ]
    assert known[0] == known[1], known


def _without_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [{key: item for key, item in call.items() if key != "id"} for call in value]
    return value


# --- checks -----------------------------------------------------------------------------------------------------------
@check
async def what_the_client_sends(bench: Bench) -> None:
    llm = bench.bound(temperature=0, session_affinity="s1", reject_if_busy=True)
    await llm.ainvoke("Hello")
    received = bench.sandbox.requests[-1]
    assert (received.method, received.path, dict(received.query)) == ("POST", "/run", {"version": "3"})
    assert received.headers["cf-consn-model-id"] == GEMMA_4
    assert received.headers["x-session-affinity"] == "s1"
    inputs = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
    assert received.json == {"inputs": inputs, "options": {"rejectIfBusy": True}}, received.json


@check
async def whole_replies(bench: Bench) -> None:
    for model in (GEMMA_4, GEMMA_3_LORA):
        message = await bench.bound(model=model).ainvoke("Hello, 🏔 and Zürich")
        assert bench.ai.kinds[-1] == "[object Object]", bench.ai.kinds
        same(message, await bench.direct(model=model).ainvoke("Hello, 🏔 and Zürich"))
        assert message.usage_metadata


@check
async def streams(bench: Bench) -> None:
    for model in (GEMMA_4, GEMMA_3_LORA):
        message = await merged(bench.bound(model=model).astream("Hello, 🏔 and Zürich"))
        assert bench.ai.kinds[-1] == "ReadableStream", bench.ai.kinds
        same(message, await merged(bench.direct(model=model).astream("Hello, 🏔 and Zürich")))


_DIALECTS = (
    *("native", "choices", "text_choices", "numbers", "null_response", "generated_text", "reasoning_key"),
    *("usage_on_every_event", "usage_deltas", "no_usage", "several_finishes", "two_dones", "no_done"),
    *("json_for_stream", "empty_stream", "crlf", "comments", "event_lines", "joined_packets", "split_packets"),
)


@check
async def dialects(bench: Bench) -> None:
    for name in _DIALECTS:
        with bench.sandbox.using_dialect(name):
            same(await merged(bench.bound().astream("Hello")), await merged(bench.direct().astream("Hello")))
            same(await bench.bound().ainvoke("Hello"), await bench.direct().ainvoke("Hello"))


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


class City(BaseModel):
    """A city."""

    name: str
    people: int


@check
async def tools(bench: Bench) -> None:
    messages = [
        await llm.bind_tools([get_weather], tool_choice="get_weather").ainvoke("What is the weather in Paris?")
        for llm in (bench.bound(), bench.direct())
    ]
    same(*messages)
    assert [call["name"] for call in messages[0].tool_calls] == ["get_weather"]
    streamed = await merged(bench.bound().bind_tools([get_weather], tool_choice="any").astream("Weather in Paris?"))
    assert [call["name"] for call in streamed.tool_calls] == ["get_weather"]


@check
async def structured_output(bench: Bench) -> None:
    ours, theirs = [
        await llm.with_structured_output(City).ainvoke("A city?") for llm in (bench.bound(), bench.direct())
    ]
    assert isinstance(ours, City)
    assert ours == theirs


@check
async def embeddings(bench: Bench) -> None:
    where = {name: getattr(bench.sandbox, name) for name in ("base_url", "account_id", "api_token")}
    direct = WorkersGemmaEmbeddings(**where)
    ours = WorkersGemmaEmbeddings(binding=bench.ai)
    assert await ours.aembed_documents(["a", "b"]) == await direct.aembed_documents(["a", "b"])
    assert await ours.aembed_query("a") == await direct.aembed_query("a")


@check
async def batches(bench: Bench) -> None:
    messages = await bench.bound().aqueue_batch(["one", "two", "three"], poll_interval=0.01)
    assert len(messages) == 3
    for message, asked in zip(messages, ("one", "two", "three"), strict=True):
        assert message.content == (await bench.direct().ainvoke(asked)).content
    assert all(request.json["options"] == {"queueRequest": True} for request in bench.sandbox.requests[:1])


_CODES: dict[int, tuple[int, type[APIStatusError]]] = {
    **dict.fromkeys((5004, 5006, 3003, 3039, 8001, 8006), (400, BadRequestError)),
    **dict.fromkeys((5005, 5019), (405, BadRequestError)),
    10000: (401, AuthenticationError),
    **dict.fromkeys((5018, 3041, 5016, 3023, 5035), (403, PermissionDeniedError)),
    5007: (400, ModelNotFoundError),
    **dict.fromkeys((3042, 3037), (404, ModelNotFoundError)),
    5028: (410, ModelDeprecatedError),
    **dict.fromkeys((3007, 3008), (408, RequestTimeoutError)),
    3006: (413, RequestTooLargeError),
    3040: (429, CapacityError),
    3036: (429, QuotaExceededError),
    7009: (500, InternalServerError),
}


@check
async def errors_of_every_code(bench: Bench) -> None:
    for code, (status, kind) in _CODES.items():
        for streamed in (False, True):
            bench.sandbox.fail(status=status, code=code, message="Something is wrong")
            llm = bench.bound()
            error = await raises(APIStatusError, merged(llm.astream("Hi")) if streamed else llm.ainvoke("Hi"))
            assert type(error) is kind, (code, error)
            assert (error.code, error.status_code) == (code, 0)
            thrown = bench.ai.errors[-1]
            assert thrown["message"] == f"{code}: Something is wrong" == error.message, thrown


@check
async def errors_in_other_bodies(bench: Bench) -> None:
    """What the client throws where the body is not the one it knows: all of the body, or the envelope's first error."""
    for status, body, kind in (
        (429, {"errors": [{"code": 3040, "message": "full"}], "success": False}, CapacityError),
        (429, {"httpCode": 429, "message": "slow down"}, RateLimitError),
        (502, "<html>502 Bad Gateway</html>", InternalServerError),
        (500, "", InternalServerError),
    ):
        bench.sandbox.script(body, status=status)
        error = await raises(APIStatusError, bench.bound().ainvoke("Hi"))
        assert type(error) is kind, (body, error, bench.ai.errors[-1])
        assert error.message, bench.ai.errors[-1]
    assert bench.ai.errors[-4]["message"] == "3040: full"
    assert json.loads(bench.ai.errors[-3]["message"]) == {"httpCode": 429, "message": "slow down"}


@check
async def bad_input(bench: Bench) -> None:
    llm = bench.bound(model_kwargs={"messages": 1})
    error = await raises(BadRequestError, llm.ainvoke("Hi"))
    assert error.code == 5006


@check
async def retries(bench: Bench) -> None:
    bench.sandbox.fail(status=429, code=3040)
    assert (await bench.bound(max_retries=1).ainvoke("Hello")).content
    assert len(bench.sandbox.requests) == 2


@check
async def success_of_another_content_type(bench: Bench) -> None:
    """The client returns a stream for everything whose type is not exactly `application/json`."""
    reply = {"response": "Hello"}
    bench.sandbox.script(reply, content_type="application/json; charset=utf-8")
    assert (await bench.bound().ainvoke("Hi")).content == "Hello"
    assert bench.ai.kinds[-1] == "ReadableStream"
    bench.sandbox.script(reply, content_type="application/json")
    assert (await merged(bench.bound().astream("Hi"))).content == "Hello"
    assert bench.ai.kinds[-1] == "[object Object]"


@check
async def replies_that_cannot_be_read(bench: Bench) -> None:
    bench.sandbox.script("<html>", content_type="text/html")
    error = await raises(InternalServerError, bench.bound().ainvoke("Hi"))
    assert error.status_code == 200
    bench.sandbox.garbage()
    await raises(APIStatusError, bench.bound().ainvoke("Hi"))


@check
async def streams_that_break(bench: Bench) -> None:
    bench.sandbox.cut(4)
    error = await raises(StreamInterruptedError, merged(bench.bound(thinking=False).astream("Hello")))
    assert error.partial.content
    bench.sandbox.stream_error(2, code=3040, message="full", status=429)
    error = await raises(CapacityError, merged(bench.bound().astream("Hello")))
    assert error.code == 3040


@check
async def an_abandoned_stream(bench: Bench) -> None:
    bench.sandbox.stall(3600, after_events=2)
    stream = bench.bound().astream("Hello")
    assert (await anext(stream)) is not None
    await stream.aclose()  # type: ignore[attr-defined]


@check
async def raw_responses(bench: Bench) -> None:
    llm = bench.bound(model_kwargs={"options": {"returnRawResponse": True}})
    message = await llm.ainvoke("Hello")
    assert bench.ai.kinds[-1] == "Response"
    assert message.response_metadata["request_id"].endswith("-LHR")
    same(message, await bench.direct().ainvoke("Hello"))
    bench.sandbox.fail(status=429, code=3040, retry_after=7)
    error = await raises(CapacityError, llm.ainvoke("Hello"))
    assert (error.status_code, error.retry_after) == (429, 7.0)


@check
async def gateways(bench: Bench) -> None:
    gateway = AIGateway("default", cache_ttl=60, metadata={"user": 1}, max_attempts=2)
    await bench.bound(ai_gateway=gateway).ainvoke("Hello")
    received = bench.sandbox.requests[-1]
    assert received.path == "/ai-gateway/run"
    options = {"id": "default", "cacheTtl": 60, "metadata": {"user": 1}, "retries": {"maxAttempts": 2}}
    assert received.json["options"] == {"gateway": options}
    assert not any(name.startswith("cf-aig-") for name in received.headers)


# --- running ----------------------------------------------------------------------------------------------------------
@contextmanager
def workerd(sandbox: Sandbox) -> Iterator[str]:
    """Run workerd with the sandbox behind `env.AI`. Gives its URL."""
    modules = install_npm(HERE / "package.json", BUILD / "workerd")
    binary = next(modules.glob("@cloudflare/workerd-*/bin/workerd*"))
    reports, told = os.pipe()
    command = [str(binary), "serve", str(HERE / "config.capnp"), f"--control-fd={told}"]
    places = ["--socket-addr", "http=127.0.0.1:0", "--external-addr", f"sandbox=127.0.0.1:{sandbox.port}"]
    process = subprocess.Popen([*command, *places], pass_fds=[told])
    os.close(told)
    try:
        with os.fdopen(reports) as lines:
            for line in lines:
                event = json.loads(line)
                if event.get("event") == "listen":
                    yield f"http://127.0.0.1:{event['port']}"
                    return
        sys.exit(f"workerd did not start: exit code {process.wait()}")
    finally:
        process.kill()  # SIGTERM would wait for abandoned streams
        process.wait()


async def run_checks(sandbox: Sandbox, url: str) -> int:
    failed = 0
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        for function in CHECKS:
            sandbox.clear()
            try:
                async with asyncio.timeout(30):
                    await function(Bench(sandbox, Ai(http)))
            except Exception:  # noqa: BLE001 - whatever it is, the other checks continue
                failed += 1
                print(f"FAILED {function.__name__}")
                traceback.print_exc(file=sys.stdout)
            else:
                print(f"passed {function.__name__}")
    return failed


def main() -> int:
    """Run every check. Gives how many failed."""
    began = time.monotonic()
    with Sandbox() as sandbox, workerd(sandbox) as url:
        failed = asyncio.run(run_checks(sandbox, url))
    print(f"Cloudflare's env.AI client in workerd over the sandbox, {time.monotonic() - began:.1f} s")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
