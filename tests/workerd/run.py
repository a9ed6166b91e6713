"""Run the package with Cloudflare's own `env.AI` client in workerd, with the sandbox as its backend.

    python -m tests.workerd.run

So the arguments, results and errors of the binding are those of Cloudflare's code, not a guess. A Python Worker cannot
start offline, because its bundle is downloaded. So a JavaScript Worker calls `env.AI.run` and reports the outcome, and
the class `Ai` below returns or raises the same in Python. `tests/pyodide` checks Python inside JavaScript.
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
from tests.installation import BUILD, install_npm

HERE = Path(__file__).resolve().parent
GEMMA_4 = "@cf/google/gemma-4-26b-a4b-it"
GEMMA_3_LORA = "@cf/google/gemma-2b-it-lora"

CHECKS: list[Callable[[Setup], Awaitable[None]]] = []


# --- env.AI -----------------------------------------------------------------------------------------------------------
class JsError(Exception):
    """An `Error` as Pyodide returns it: with a name and a message."""

    def __init__(self, name: str, message: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.message = message


class ReadableStream:
    """A JavaScript `ReadableStream`, which is also its own reader."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.aiter_raw()

    def getReader(self) -> ReadableStream:  # noqa: N802 - JavaScript's name
        """Return the reader."""
        return self

    async def read(self) -> dict[str, Any]:
        """Return the next chunk, or `done`."""
        try:
            chunk = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise JsError("Error", "Network connection lost.", "Error: Network connection lost.") from error
        return {"done": chunk is None, "value": chunk}

    async def cancel(self) -> None:
        """Close the response."""
        await self._response.aclose()


@dataclass
class Response:
    """A JavaScript `Response`."""

    status: int
    headers: dict[str, str]
    body: ReadableStream


@dataclass
class Ai:
    """The `env.AI` of the Worker. It returns or raises what Cloudflare's client returns or throws there."""

    http: httpx.AsyncClient
    kinds: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, model: str, inputs: Any, options: Any) -> Any:
        """Call `env.AI.run` in the Worker."""
        call = {"model": model, "inputs": inputs, "options": options}
        response = await self.http.send(self.http.build_request("POST", "/", json=call), stream=True)
        kind = response.headers["x-kind"]
        self.kinds.append(kind)
        if kind == "ReadableStream":
            return ReadableStream(response)
        if kind == "Response":
            headers = dict(json.loads(response.headers["x-headers"]))
            return Response(int(response.headers["x-status"]), headers, ReadableStream(response))
        body = await response.aread()
        if kind == "error":
            error = json.loads(body)
            self.errors.append(error)
            raise JsError(error["name"], error["message"], error["text"])
        return json.loads(body)


@dataclass
class Setup:
    """The sandbox and the binding that a check uses."""

    sandbox: Sandbox
    ai: Ai

    def make_bound_llm(self, **arguments: Any) -> ChatWorkersGemma:
        """Return a model object with the binding."""
        return ChatWorkersGemma(binding=self.ai, **{"max_retries": 0, **arguments})

    def make_http_llm(self, **arguments: Any) -> ChatWorkersGemma:
        """Return the same model object over HTTP."""
        access = {name: getattr(self.sandbox, name) for name in ("base_url", "account_id", "api_token")}
        return ChatWorkersGemma(**{"max_retries": 0, **access, **arguments})


def check(function: Callable[[Setup], Awaitable[None]]) -> Callable[[Setup], Awaitable[None]]:
    CHECKS.append(function)
    return function


async def collect(chunks: AsyncIterator[Any]) -> Any:
    return reduce(add, [chunk async for chunk in chunks])


async def catch(kind: type[Exception], awaited: Awaitable[Any]) -> Any:
    try:
        await awaited
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def assert_same(one: Any, other: Any) -> None:
    """Assert that two messages are equal, except for the metadata that only HTTP has."""
    for name in ("content", "tool_calls", "usage_metadata", "additional_kwargs"):
        ours, theirs = [_remove_ids(getattr(message, name)) for message in (one, other)]
        assert ours == theirs, (name, ours, theirs)
    metadata = [
        {key: value for key, value in message.response_metadata.items() if key not in ("request_id", "neurons")}
        for message in (one, other)
    ]
    assert metadata[0] == metadata[1], metadata


def _remove_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [{key: item for key, item in call.items() if key != "id"} for call in value]
    return value


# --- checks -----------------------------------------------------------------------------------------------------------
@check
async def requests_of_the_client(setup: Setup) -> None:
    llm = setup.make_bound_llm(temperature=0, session_affinity="s1", reject_if_busy=True)
    await llm.ainvoke("Hello")
    received = setup.sandbox.requests[-1]
    assert (received.method, received.path, dict(received.query)) == ("POST", "/run", {"version": "3"})
    assert received.headers["cf-consn-model-id"] == GEMMA_4
    assert received.headers["x-session-affinity"] == "s1"
    inputs = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
    assert received.json == {"inputs": inputs, "options": {"rejectIfBusy": True}}, received.json


@check
async def whole_replies(setup: Setup) -> None:
    for model in (GEMMA_4, GEMMA_3_LORA):
        message = await setup.make_bound_llm(model=model).ainvoke("Hello, 🏔 and Zürich")
        assert setup.ai.kinds[-1] == "[object Object]", setup.ai.kinds
        assert_same(message, await setup.make_http_llm(model=model).ainvoke("Hello, 🏔 and Zürich"))
        assert message.usage_metadata


@check
async def streams(setup: Setup) -> None:
    for model in (GEMMA_4, GEMMA_3_LORA):
        message = await collect(setup.make_bound_llm(model=model).astream("Hello, 🏔 and Zürich"))
        assert setup.ai.kinds[-1] == "ReadableStream", setup.ai.kinds
        assert_same(message, await collect(setup.make_http_llm(model=model).astream("Hello, 🏔 and Zürich")))


_DIALECTS = (
    *("native", "choices", "text_choices", "numbers", "null_response", "generated_text", "reasoning_key"),
    *("usage_on_every_event", "usage_deltas", "no_usage", "several_finishes", "two_dones", "no_done"),
    *("json_for_stream", "empty_stream", "crlf", "comments", "event_lines", "joined_packets", "split_packets"),
)


@check
async def dialects(setup: Setup) -> None:
    for name in _DIALECTS:
        with setup.sandbox.using_dialect(name):
            assert_same(
                await collect(setup.make_bound_llm().astream("Hello")),
                await collect(setup.make_http_llm().astream("Hello")),
            )
            assert_same(await setup.make_bound_llm().ainvoke("Hello"), await setup.make_http_llm().ainvoke("Hello"))


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


class City(BaseModel):
    """A city."""

    name: str
    people: int


@check
async def tools(setup: Setup) -> None:
    messages = [
        await llm.bind_tools([get_weather], tool_choice="get_weather").ainvoke("What is the weather in Paris?")
        for llm in (setup.make_bound_llm(), setup.make_http_llm())
    ]
    assert_same(*messages)
    assert [call["name"] for call in messages[0].tool_calls] == ["get_weather"]
    streamed = await collect(
        setup.make_bound_llm().bind_tools([get_weather], tool_choice="any").astream("Weather in Paris?")
    )
    assert [call["name"] for call in streamed.tool_calls] == ["get_weather"]


@check
async def structured_output(setup: Setup) -> None:
    ours, theirs = [
        await llm.with_structured_output(City).ainvoke("A city?")
        for llm in (setup.make_bound_llm(), setup.make_http_llm())
    ]
    assert isinstance(ours, City)
    assert ours == theirs


@check
async def embeddings(setup: Setup) -> None:
    access = {name: getattr(setup.sandbox, name) for name in ("base_url", "account_id", "api_token")}
    direct = WorkersGemmaEmbeddings(**access)
    ours = WorkersGemmaEmbeddings(binding=setup.ai)
    assert await ours.aembed_documents(["a", "b"]) == await direct.aembed_documents(["a", "b"])
    assert await ours.aembed_query("a") == await direct.aembed_query("a")


@check
async def batches(setup: Setup) -> None:
    messages = await setup.make_bound_llm().aqueue_batch(["one", "two", "three"], poll_interval=0.01)
    assert len(messages) == 3
    for message, question in zip(messages, ("one", "two", "three"), strict=True):
        assert message.content == (await setup.make_http_llm().ainvoke(question)).content
    assert all(request.json["options"] == {"queueRequest": True} for request in setup.sandbox.requests[:1])


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
async def errors_of_every_code(setup: Setup) -> None:
    for code, (status, kind) in _CODES.items():
        for streamed in (False, True):
            setup.sandbox.fail(status=status, code=code, message="Something is wrong")
            llm = setup.make_bound_llm()
            error = await catch(APIStatusError, collect(llm.astream("Hi")) if streamed else llm.ainvoke("Hi"))
            assert type(error) is kind, (code, error)
            assert (error.code, error.status_code) == (code, 0)
            js_error = setup.ai.errors[-1]
            assert js_error["message"] == f"{code}: Something is wrong" == error.message, js_error


@check
async def errors_in_other_bodies(setup: Setup) -> None:
    """If the client does not know the body's format, it throws the whole body, or the first error of an envelope."""
    for status, body, kind in (
        (429, {"errors": [{"code": 3040, "message": "full"}], "success": False}, CapacityError),
        (429, {"httpCode": 429, "message": "slow down"}, RateLimitError),
        (502, "<html>502 Bad Gateway</html>", InternalServerError),
        (500, "", InternalServerError),
    ):
        setup.sandbox.script(body, status=status)
        error = await catch(APIStatusError, setup.make_bound_llm().ainvoke("Hi"))
        assert type(error) is kind, (body, error, setup.ai.errors[-1])
        assert error.message, setup.ai.errors[-1]
    assert setup.ai.errors[-4]["message"] == "3040: full"
    assert json.loads(setup.ai.errors[-3]["message"]) == {"httpCode": 429, "message": "slow down"}


@check
async def bad_input(setup: Setup) -> None:
    llm = setup.make_bound_llm(model_kwargs={"messages": 1})
    error = await catch(BadRequestError, llm.ainvoke("Hi"))
    assert error.code == 5006


@check
async def retries(setup: Setup) -> None:
    setup.sandbox.fail(status=429, code=3040)
    assert (await setup.make_bound_llm(max_retries=1).ainvoke("Hello")).content
    assert len(setup.sandbox.requests) == 2


@check
async def success_of_another_content_type(setup: Setup) -> None:
    """The client returns a stream unless the content type is exactly `application/json`."""
    reply = {"response": "Hello"}
    setup.sandbox.script(reply, content_type="application/json; charset=utf-8")
    assert (await setup.make_bound_llm().ainvoke("Hi")).content == "Hello"
    assert setup.ai.kinds[-1] == "ReadableStream"
    setup.sandbox.script(reply, content_type="application/json")
    assert (await collect(setup.make_bound_llm().astream("Hi"))).content == "Hello"
    assert setup.ai.kinds[-1] == "[object Object]"


@check
async def unreadable_replies(setup: Setup) -> None:
    setup.sandbox.script("<html>", content_type="text/html")
    error = await catch(InternalServerError, setup.make_bound_llm().ainvoke("Hi"))
    assert error.status_code == 200
    setup.sandbox.garbage()
    await catch(APIStatusError, setup.make_bound_llm().ainvoke("Hi"))


@check
async def interrupted_streams(setup: Setup) -> None:
    setup.sandbox.cut(4)
    error = await catch(StreamInterruptedError, collect(setup.make_bound_llm(thinking=False).astream("Hello")))
    assert error.partial.content
    setup.sandbox.stream_error(2, code=3040, message="full", status=429)
    error = await catch(CapacityError, collect(setup.make_bound_llm().astream("Hello")))
    assert error.code == 3040


@check
async def abandoned_streams(setup: Setup) -> None:
    setup.sandbox.stall(3600, after_events=2)
    stream = setup.make_bound_llm().astream("Hello")
    assert (await anext(stream)) is not None
    await stream.aclose()  # type: ignore[attr-defined]


@check
async def raw_responses(setup: Setup) -> None:
    llm = setup.make_bound_llm(model_kwargs={"options": {"returnRawResponse": True}})
    message = await llm.ainvoke("Hello")
    assert setup.ai.kinds[-1] == "Response"
    assert message.response_metadata["request_id"].endswith("-LHR")
    assert_same(message, await setup.make_http_llm().ainvoke("Hello"))
    setup.sandbox.fail(status=429, code=3040, retry_after=7)
    error = await catch(CapacityError, llm.ainvoke("Hello"))
    assert (error.status_code, error.retry_after) == (429, 7.0)


@check
async def gateways(setup: Setup) -> None:
    gateway = AIGateway("default", cache_ttl=60, metadata={"user": 1}, max_attempts=2)
    await setup.make_bound_llm(ai_gateway=gateway).ainvoke("Hello")
    received = setup.sandbox.requests[-1]
    assert received.path == "/ai-gateway/run"
    options = {"id": "default", "cacheTtl": 60, "metadata": {"user": 1}, "retries": {"maxAttempts": 2}}
    assert received.json["options"] == {"gateway": options}
    assert not any(name.startswith("cf-aig-") for name in received.headers)


# --- running ----------------------------------------------------------------------------------------------------------
@contextmanager
def run_workerd(sandbox: Sandbox) -> Iterator[str]:
    """Run workerd with the sandbox as the backend of `env.AI`, and yield its URL."""
    modules = install_npm(HERE / "package.json", BUILD / "workerd")
    binary = next(modules.glob("@cloudflare/workerd-*/bin/workerd*"))
    reports, control = os.pipe()
    command = [str(binary), "serve", str(HERE / "config.capnp"), f"--control-fd={control}"]
    addresses = ["--socket-addr", "http=127.0.0.1:0", "--external-addr", f"sandbox=127.0.0.1:{sandbox.port}"]
    process = subprocess.Popen([*command, *addresses], pass_fds=[control])
    os.close(control)
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
                    await function(Setup(sandbox, Ai(http)))
            except Exception:  # noqa: BLE001 - the other checks must run after any error
                failed += 1
                print(f"FAILED {function.__name__}")
                traceback.print_exc(file=sys.stdout)
            else:
                print(f"passed {function.__name__}")
    return failed


def main() -> int:
    """Run every check, and return how many failed."""
    started = time.monotonic()
    with Sandbox() as sandbox, run_workerd(sandbox) as url:
        failed = asyncio.run(run_checks(sandbox, url))
    print(f"Cloudflare's env.AI client in workerd with the sandbox, {time.monotonic() - started:.1f} s")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
