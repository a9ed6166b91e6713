"""One model object in threads, in several event loops, across fork and spawn, and in large batches."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from operator import add
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from langchain_workers_gemma import BadRequestError, ChatWorkersGemma, WorkersGemmaError
from langchain_workers_gemma.transport import client_pool
from tests.helpers.fault_server import (
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    ReceivedRequest,
    Script,
    Stall,
    Wait,
    encode_event,
    make_envelope,
    make_http_response,
)
from tests.helpers.model_calls import acollect_chunks, make_model, merge_chunks


def choose_echo_script(request: ReceivedRequest) -> Script:
    """Return a script that echoes the prompt, so that replies cannot be confused."""
    text = f"echo {request.prompt}"
    if not request.wants_stream:
        return (make_http_response(200, make_envelope({"response": text})),)
    return (
        STREAM_HEAD,
        *(encode_event({"response": character}) for character in text),
        encode_event(b"[DONE]"),
        STREAM_END,
    )


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(choose_echo_script) as server:
        yield server


@pytest.fixture
def llm(server: FaultServer) -> ChatWorkersGemma:
    return make_model(base_url=server.url, timeout=30)


def collect_text(llm: ChatWorkersGemma, prompt: str) -> str:
    """Return the text of a stream."""
    return str(reduce(add, llm.stream(prompt)).text)


async def acollect_text(llm: ChatWorkersGemma, prompt: str) -> str:
    """Return the text of an async stream."""
    return str(merge_chunks(await acollect_chunks(llm, prompt)).text)


def test_threads_share_one_model(llm: ChatWorkersGemma, server: FaultServer) -> None:
    def call(number: int) -> str:
        return collect_text(llm, str(number)) if number % 2 else str(llm.invoke(str(number)).text)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(160))) == [f"echo {number}" for number in range(160)]
    assert server.max_open_connections <= 16 + 1


def test_threads_create_one_client_for_each_call_in_flight(
    llm: ChatWorkersGemma, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_pool._close_shared_clients()
    created: list[object] = []
    original = httpx.HTTPTransport.__init__

    def record_creation(self: Any, *arguments: Any, **options: Any) -> None:
        created.append(self)
        original(self, *arguments, **options)

    monkeypatch.setattr(httpx.HTTPTransport, "__init__", record_creation)
    barrier = threading.Barrier(8)

    def call(number: int) -> str:
        barrier.wait()
        return str(llm.invoke(str(number)).text)

    with ThreadPoolExecutor(8) as pool:
        for wave in range(3):
            assert len(set(pool.map(call, range(8 * wave, 8 * wave + 8)))) == 8
    assert len(created) <= 8, "one for each call in flight, which later calls reuse"


def test_event_loops_in_threads_share_one_model(llm: ChatWorkersGemma, server: FaultServer) -> None:
    async def call(thread: int) -> list[str]:
        replies = await asyncio.gather(
            *(llm.ainvoke(f"{thread}/{number}") for number in range(10)),
            *(acollect_text(llm, f"{thread}/{number}") for number in range(10)),
        )
        return [reply if isinstance(reply, str) else str(getattr(reply, "text", reply)) for reply in replies]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(lambda thread: asyncio.run(call(thread)), range(18)))
        gc.collect()
    for thread, texts in enumerate(replies):
        assert texts == [f"echo {thread}/{number}" for number in range(10)] * 2
    assert server.wait_until_at_most_open(1) <= 1


def test_sync_calls_inside_and_beside_an_event_loop(llm: ChatWorkersGemma) -> None:
    async def both() -> list[str]:
        beside = asyncio.to_thread(collect_text, llm, "thread")
        return [str(llm.invoke("sync").text), await acollect_text(llm, "async"), await beside]

    assert asyncio.run(both()) == ["echo sync", "echo async", "echo thread"]


def test_large_batches_are_not_throttled() -> None:
    """All 300 requests are in flight at once: the server answers none before the last has arrived."""
    count = 300
    arrived = threading.Barrier(count + 1)
    may_answer = threading.Event()

    def answer_together(request: ReceivedRequest) -> Script:
        arrived.wait(20)
        return (Wait(may_answer), *choose_echo_script(request))

    async def call(llm: ChatWorkersGemma) -> list[str]:
        return [str(reply.text) for reply in await llm.abatch([str(number) for number in range(count)])]

    with FaultServer(answer_together) as server:
        with ThreadPoolExecutor(1) as pool:
            replies = pool.submit(asyncio.run, call(make_model(base_url=server.url, timeout=60)))
            arrived.wait(20)
            assert server.open_connections >= count
            may_answer.set()
            assert replies.result() == [f"echo {number}" for number in range(count)]
        assert server.max_open_connections >= count
        assert server.wait_until_at_most_open(1) <= 1


def make_wave_server(count: int) -> Callable[[ReceivedRequest], Script]:
    """Return a function that answers each group of `count` requests when the last of them has arrived."""
    arrived = threading.Barrier(count)

    def answer_together(request: ReceivedRequest) -> Script:
        arrived.wait(20)
        return choose_echo_script(request)

    return answer_together


def test_connections_are_reused_by_the_next_async_calls() -> None:
    """Each connection needs a TLS handshake: three waves of 60 calls open 60 connections, not 180."""

    async def three_waves(llm: ChatWorkersGemma) -> None:
        for _ in range(3):
            replies = await asyncio.gather(*(acollect_text(llm, str(number)) for number in range(60)))
            assert replies == [f"echo {number}" for number in range(60)]

    with FaultServer(make_wave_server(60)) as server:
        asyncio.run(three_waves(make_model(base_url=server.url, timeout=60)))
        assert server.accepted_connections == 60
        assert server.wait_until_at_most_open(0) == 0


def test_connections_are_reused_by_the_next_threads() -> None:
    with FaultServer(make_wave_server(30)) as server, ThreadPoolExecutor(30) as pool:
        llm = make_model(base_url=server.url, timeout=60)
        for _ in range(3):
            replies = list(pool.map(lambda number: collect_text(llm, str(number)), range(30)))
            assert replies == [f"echo {number}" for number in range(30)]
        assert server.accepted_connections == 30


def test_idle_connections_are_limited() -> None:
    async def one_wave(llm: ChatWorkersGemma, server: FaultServer) -> int:
        await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(200)))
        return await asyncio.to_thread(server.wait_until_at_most_open, 64)

    with FaultServer(make_wave_server(200)) as server:
        assert asyncio.run(one_wave(make_model(base_url=server.url, timeout=60), server)) <= 64


def test_clients_that_are_idle_for_long_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(client_pool, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def one_wave_and_a_call(llm: ChatWorkersGemma, server: FaultServer) -> tuple[int, int]:
        await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(20)))
        after_the_wave = server.open_connections
        now[0] += 31
        server.choose_script = choose_echo_script
        await llm.ainvoke("later")
        return after_the_wave, await asyncio.to_thread(server.wait_until_at_most_open, 1)

    with FaultServer(make_wave_server(20)) as server:
        assert asyncio.run(one_wave_and_a_call(make_model(base_url=server.url, timeout=60), server)) == (20, 1)


def choose_stalled_script(request: ReceivedRequest) -> Script:
    return (STREAM_HEAD, encode_event({"response": "Hel"}), encode_event({"response": "lo"}), Stall())


@pytest.mark.parametrize("stream_count", [1, 5, 30])
def test_streams_that_are_open_when_the_loop_ends_are_closed(
    caplog: pytest.LogCaptureFixture, stream_count: int
) -> None:
    open_streams: list[object] = []

    async def leave_open(llm: ChatWorkersGemma) -> None:
        for _ in range(stream_count):
            stream = llm.astream("Hi")
            await anext(stream)
            open_streams.append(stream)

    with FaultServer(choose_stalled_script) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave_open(make_model(base_url=server.url, timeout=60)))
        assert server.wait_until_at_most_open(0) == 0
        open_streams.clear()
        gc.collect()
    assert caplog.messages == []


async def test_streams_that_are_garbage_collected_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(choose_stalled_script) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        llm = make_model(base_url=server.url, timeout=60)
        for _ in range(20):
            stream = llm.astream("Hi")
            await anext(stream)
            cycle: list[object] = [stream]
            cycle.append(cycle)
            del stream, cycle
        gc.collect()
        assert await asyncio.to_thread(server.wait_until_at_most_open, 0) == 0
    assert caplog.messages == []


def test_a_stream_that_is_garbage_collected_during_another_call_is_closed() -> None:
    """The garbage collector can run during any call: closing a stream must not wait for a lock of that call."""
    open_streams = []
    with FaultServer(choose_stalled_script) as server:
        llm = make_model(base_url=server.url, timeout=60)
        before = gc.get_threshold()
        gc.set_threshold(100)
        try:
            for _ in range(30):
                stream = llm.stream("Hi")
                next(stream)
                cycle: list[object] = [stream]
                cycle.append(cycle)
                del stream, cycle
                another = llm.stream("Hi")
                next(another)
                open_streams.append(another)
        finally:
            gc.set_threshold(*before)
        for another in open_streams:
            another.close()  # type: ignore[attr-defined]
        gc.collect()
        assert server.wait_until_at_most_open(0) == 0


async def test_calls_that_end_early_release_their_clients(server: FaultServer) -> None:
    """After errors, cancellation and abandoned streams, later calls reuse the same few clients."""

    def mixed(request: ReceivedRequest) -> Script:
        return (make_http_response(400, b""),) if request.prompt == "fail" else choose_echo_script(request)

    server.choose_script = mixed
    llm = make_model(base_url=server.url)

    async def end_early(number: int) -> None:
        if number % 3 == 0:
            with pytest.raises(BadRequestError):
                await llm.ainvoke("fail")
        elif number % 3 == 1:
            stream = llm.astream(str(number))
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
        else:
            task = asyncio.create_task(llm.ainvoke(str(number)))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    created: list[object] = []
    original = httpx.AsyncHTTPTransport.__init__

    def record_creation(self: Any, *arguments: Any, **options: Any) -> None:
        created.append(self)
        original(self, *arguments, **options)

    await llm.ainvoke("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.AsyncHTTPTransport, "__init__", record_creation)
        for number in range(30):
            await end_early(number)
    assert not created
    assert await acollect_text(llm, "after") == "echo after"


def test_max_concurrency_of_the_caller_is_kept(llm: ChatWorkersGemma, server: FaultServer) -> None:
    asyncio.run(llm.abatch([str(number) for number in range(40)], {"max_concurrency": 4}))
    assert server.max_open_connections <= 4 + 1


async def test_cancelling_some_calls_does_not_affect_the_others(llm: ChatWorkersGemma, server: FaultServer) -> None:
    tasks = [asyncio.create_task(acollect_text(llm, str(number))) for number in range(60)]
    await asyncio.sleep(0.02)
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert number % 3 == 0
        else:
            assert outcome == f"echo {number}"
    # Later calls work, and no task of the package remains.
    assert await acollect_text(llm, "after") == "echo after"
    assert len(asyncio.all_tasks()) == 1


async def test_a_failed_call_cancels_its_task_group(server: FaultServer) -> None:
    def some_fail(request: ReceivedRequest) -> Script:
        return (make_http_response(400, b""),) if request.prompt == "7" else choose_echo_script(request)

    server.choose_script = some_fail
    llm = make_model(base_url=server.url)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(llm.ainvoke(str(number)))

    with pytest.raises(ExceptionGroup) as raised:
        await all_of_them()
    assert [type(error).__name__ for error in raised.value.exceptions] == ["BadRequestError"]


# --- Processes --------------------------------------------------------------------------------------------------------


def _call_in_child(llm: ChatWorkersGemma, number: int, answers: Any) -> None:
    try:
        replies = [
            str(llm.invoke(f"sync {number}").text),
            collect_text(llm, f"stream {number}"),
            str(asyncio.run(llm.ainvoke(f"async {number}")).text),
        ]
    except Exception as error:  # noqa: BLE001 - the parent process reports it
        replies = [repr(error)]
    answers.put((number, replies))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_can_use_the_model(llm: ChatWorkersGemma, server: FaultServer, method: str) -> None:
    """Child processes open their own connections, and the parent continues to use its connections."""
    assert llm.invoke("before").text == "echo before"
    opened = server.accepted_connections
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    count = 3 if method == "fork" else 1
    children = [context.Process(target=_call_in_child, args=(llm, number, answers)) for number in range(count)]  # type: ignore[attr-defined]
    for child in children:
        child.start()
    replies = dict(answers.get() for _ in children)
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    for number in range(count):
        assert replies[number] == [f"echo sync {number}", f"echo stream {number}", f"echo async {number}"]
    assert server.accepted_connections >= opened + 2 * count
    assert llm.invoke("after").text == "echo after"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_during_a_stream(llm: ChatWorkersGemma, server: FaultServer) -> None:
    stream = llm.stream("parent")
    replies = [str(next(stream).text)]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_call_in_child, args=(llm, 0, answers))
    child.start()
    assert answers.get()[1][0] == "echo sync 0"
    child.join(20)
    assert "".join([*replies, *(str(chunk.text) for chunk in stream)]) == "echo parent"


def test_a_process_ends_without_warnings(server: FaultServer) -> None:
    """Connections that are open at the end of a program are closed properly."""
    program = f"""
import asyncio, warnings
from langchain_workers_gemma import ChatWorkersGemma
llm = ChatWorkersGemma(base_url={server.url!r}, account_id="a", api_token="t")
llm.invoke("one")
next(iter(llm.stream("two")))
abandoned = llm.stream("three")
next(abandoned)

async def ask():
    await llm.ainvoke("four")
    async for _ in llm.astream("five"):
        break

asyncio.run(ask())
asyncio.run(ask())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning" not in done.stderr
    assert "never" not in done.stderr
    assert server.wait_until_at_most_open(0) == 0


def test_errors_in_threads_are_independent(server: FaultServer) -> None:
    def choose(request: ReceivedRequest) -> Script:
        return (
            (make_http_response(400, {"error": request.prompt}),)
            if int(request.prompt) % 2
            else choose_echo_script(request)
        )

    server.choose_script = choose
    llm = make_model(base_url=server.url)
    outcomes: list[Any] = llm.batch([str(number) for number in range(60)], return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if number % 2:
            assert isinstance(outcome, WorkersGemmaError)
            assert str(outcome) == str(number)
        else:
            assert outcome.text == f"echo {number}"
