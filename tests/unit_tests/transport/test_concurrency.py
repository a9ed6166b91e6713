"""One model object in threads, in several event loops, across fork and spawn, and in large batches."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
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
from langchain_workers_gemma.transport import client_pool as clients
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


def echo(request: ReceivedRequest) -> Script:
    """Echoes the prompt, so that no answer can be taken for another's."""
    words = f"echo {request.prompt}"
    if not request.wants_stream:
        return (make_http_response(200, make_envelope({"response": words})),)
    return (STREAM_HEAD, *(encode_event({"response": word}) for word in words), encode_event(b"[DONE]"), STREAM_END)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(echo) as playing:
        yield playing


@pytest.fixture
def llm(server: FaultServer) -> ChatWorkersGemma:
    return make_model(base_url=server.url, timeout=30)


def streamed(llm: ChatWorkersGemma, prompt: str) -> str:
    return str(reduce(add, llm.stream(prompt)).text)


async def astreamed(llm: ChatWorkersGemma, prompt: str) -> str:
    return str(merge_chunks(await acollect_chunks(llm, prompt)).text)


def test_threads_share_one_model(llm: ChatWorkersGemma, server: FaultServer) -> None:
    def ask(number: int) -> str:
        return streamed(llm, str(number)) if number % 2 else str(llm.invoke(str(number)).text)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(160))) == [f"echo {number}" for number in range(160)]
    assert server.max_open_connections <= 16 + 1


def test_threads_make_a_client_for_each_call_in_flight_and_no_more(
    llm: ChatWorkersGemma, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients._close_shared_clients()
    made: list[object] = []
    real = httpx.HTTPTransport.__init__

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        made.append(self)
        real(self, *arguments, **options)

    monkeypatch.setattr(httpx.HTTPTransport, "__init__", counted)
    barrier = threading.Barrier(8)

    def ask(number: int) -> str:
        barrier.wait()
        return str(llm.invoke(str(number)).text)

    with ThreadPoolExecutor(8) as pool:
        for wave in range(3):
            assert len(set(pool.map(ask, range(8 * wave, 8 * wave + 8)))) == 8
    assert len(made) <= 8, "one for each call in flight, and the same for later ones"


def test_event_loops_in_threads(llm: ChatWorkersGemma, server: FaultServer) -> None:
    async def ask(thread: int) -> list[str]:
        replies = await asyncio.gather(
            *(llm.ainvoke(f"{thread}/{number}") for number in range(10)),
            *(astreamed(llm, f"{thread}/{number}") for number in range(10)),
        )
        return [reply if isinstance(reply, str) else str(getattr(reply, "text", reply)) for reply in replies]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(6) as pool:
            told = list(pool.map(lambda thread: asyncio.run(ask(thread)), range(18)))
        gc.collect()
    for thread, replies in enumerate(told):
        assert replies == [f"echo {thread}/{number}" for number in range(10)] * 2
    assert server.wait_until_at_most_open(1) <= 1


def test_sync_calls_within_a_loop_and_beside_it(llm: ChatWorkersGemma) -> None:
    async def both() -> list[str]:
        beside = asyncio.to_thread(streamed, llm, "thread")
        return [str(llm.invoke("sync").text), await astreamed(llm, "async"), await beside]

    assert asyncio.run(both()) == ["echo sync", "echo async", "echo thread"]


def test_large_batches_are_not_throttled() -> None:
    """All 300 requests are in flight at once: the server answers none of them before the last has arrived."""
    everybody = 300
    arrived = threading.Barrier(everybody + 1)
    go = threading.Event()

    def meet(request: ReceivedRequest) -> Script:
        arrived.wait(20)
        return (Wait(go), *echo(request))

    async def ask(llm: ChatWorkersGemma) -> list[str]:
        return [str(reply.text) for reply in await llm.abatch([str(number) for number in range(everybody)])]

    with FaultServer(meet) as server:
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(asyncio.run, ask(make_model(base_url=server.url, timeout=60)))
            arrived.wait(20)
            assert server.open_connections >= everybody
            go.set()
            assert told.result() == [f"echo {number}" for number in range(everybody)]
        assert server.max_open_connections >= everybody
        assert server.wait_until_at_most_open(1) <= 1


def together(everybody: int) -> Callable[[ReceivedRequest], Script]:
    """Answers once a number of requests have arrived, and again for each such wave."""
    arrived = threading.Barrier(everybody)

    def meet(request: ReceivedRequest) -> Script:
        arrived.wait(20)
        return echo(request)

    return meet


def test_connections_of_a_wave_serve_the_next() -> None:
    """A connection is a TLS handshake: 60 calls in flight, three times over, take 60 of them and not 180."""

    async def three_waves(llm: ChatWorkersGemma) -> None:
        for _ in range(3):
            told = await asyncio.gather(*(astreamed(llm, str(number)) for number in range(60)))
            assert told == [f"echo {number}" for number in range(60)]

    with FaultServer(together(60)) as server:
        asyncio.run(three_waves(make_model(base_url=server.url, timeout=60)))
        assert server.accepted_connections == 60
        assert server.wait_until_at_most_open(0) == 0


def test_connections_of_threads_serve_the_next_ones() -> None:
    with FaultServer(together(30)) as server, ThreadPoolExecutor(30) as pool:
        llm = make_model(base_url=server.url, timeout=60)
        for _ in range(3):
            told = list(pool.map(lambda number: streamed(llm, str(number)), range(30)))
            assert told == [f"echo {number}" for number in range(30)]
        assert server.accepted_connections == 30


def test_idle_connections_are_limited() -> None:
    async def one_wave(llm: ChatWorkersGemma, server: FaultServer) -> int:
        await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(200)))
        return await asyncio.to_thread(server.wait_until_at_most_open, 64)

    with FaultServer(together(200)) as server:
        assert asyncio.run(one_wave(make_model(base_url=server.url, timeout=60), server)) <= 64


def test_clients_that_were_idle_for_long_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def one_wave_and_a_call(llm: ChatWorkersGemma, server: FaultServer) -> tuple[int, int]:
        await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(20)))
        after_the_wave = server.open_connections
        now[0] += 31
        server.choose_script = echo
        await llm.ainvoke("later")
        return after_the_wave, await asyncio.to_thread(server.wait_until_at_most_open, 1)

    with FaultServer(together(20)) as server:
        assert asyncio.run(one_wave_and_a_call(make_model(base_url=server.url, timeout=60), server)) == (20, 1)


def endless(request: ReceivedRequest) -> Script:
    return (STREAM_HEAD, encode_event({"response": "Hel"}), encode_event({"response": "lo"}), Stall())


@pytest.mark.parametrize("streams", [1, 5, 30])
def test_streams_that_are_open_when_the_loop_ends(caplog: pytest.LogCaptureFixture, streams: int) -> None:
    kept: list[object] = []

    async def leave_open(llm: ChatWorkersGemma) -> None:
        for _ in range(streams):
            stream = llm.astream("Hi")
            await anext(stream)
            kept.append(stream)

    with FaultServer(endless) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(leave_open(make_model(base_url=server.url, timeout=60)))
        assert server.wait_until_at_most_open(0) == 0
        kept.clear()
        gc.collect()
    assert caplog.messages == []


async def test_streams_that_are_collected_as_garbage(caplog: pytest.LogCaptureFixture) -> None:
    with FaultServer(endless) as server, warnings.catch_warnings():
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


def test_a_stream_that_is_collected_in_the_middle_of_another_call() -> None:
    """The garbage collector runs wherever it likes: what it closes must not wait for what the call around it holds."""
    kept = []
    with FaultServer(endless) as server:
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
                kept.append(another)
        finally:
            gc.set_threshold(*before)
        for another in kept:
            another.close()  # type: ignore[attr-defined]
        gc.collect()
        assert server.wait_until_at_most_open(0) == 0


async def test_calls_that_end_early_release_their_clients(server: FaultServer) -> None:
    """Errors, cancellation, and streams that are left: the same few clients serve all that follows."""

    def mixed(request: ReceivedRequest) -> Script:
        return (make_http_response(400, b""),) if request.prompt == "fail" else echo(request)

    server.choose_script = mixed
    llm = make_model(base_url=server.url)

    async def leave(call_method: int) -> None:
        if call_method % 3 == 0:
            with pytest.raises(BadRequestError):
                await llm.ainvoke("fail")
        elif call_method % 3 == 1:
            stream = llm.astream(str(call_method))
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
        else:
            task = asyncio.create_task(llm.ainvoke(str(call_method)))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    made: list[object] = []
    real = httpx.AsyncHTTPTransport.__init__

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        made.append(self)
        real(self, *arguments, **options)

    await llm.ainvoke("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.AsyncHTTPTransport, "__init__", counted)
        for call_method in range(30):
            await leave(call_method)
    assert not made
    assert await astreamed(llm, "after") == "echo after"


def test_max_concurrency_is_the_callers(llm: ChatWorkersGemma, server: FaultServer) -> None:
    asyncio.run(llm.abatch([str(number) for number in range(40)], {"max_concurrency": 4}))
    assert server.max_open_connections <= 4 + 1


async def test_cancelling_some_of_many(llm: ChatWorkersGemma, server: FaultServer) -> None:
    tasks = [asyncio.create_task(astreamed(llm, str(number))) for number in range(60)]
    await asyncio.sleep(0.02)
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert number % 3 == 0
        else:
            assert outcome == f"echo {number}"
    # What is left works on, and no task of ours is left behind.
    assert await astreamed(llm, "after") == "echo after"
    assert len(asyncio.all_tasks()) == 1


async def test_task_groups_fail_together(server: FaultServer) -> None:
    def some_fail(request: ReceivedRequest) -> Script:
        return (make_http_response(400, b""),) if request.prompt == "7" else echo(request)

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


def _ask_in_child(llm: ChatWorkersGemma, number: int, answers: Any) -> None:
    try:
        told = [
            str(llm.invoke(f"sync {number}").text),
            streamed(llm, f"stream {number}"),
            str(asyncio.run(llm.ainvoke(f"async {number}")).text),
        ]
    except Exception as error:  # noqa: BLE001 - the parent is to see it
        told = [repr(error)]
    answers.put((number, told))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(llm: ChatWorkersGemma, server: FaultServer, method: str) -> None:
    """Children use connections of their own, whatever the parent has open, and the parent continues with its own."""
    assert llm.invoke("before").text == "echo before"
    opened = server.accepted_connections
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    count = 3 if method == "fork" else 1
    children = [context.Process(target=_ask_in_child, args=(llm, number, answers)) for number in range(count)]  # type: ignore[attr-defined]
    for child in children:
        child.start()
    told = dict(answers.get() for _ in children)
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    for number in range(count):
        assert told[number] == [f"echo sync {number}", f"echo stream {number}", f"echo async {number}"]
    assert server.accepted_connections >= opened + 2 * count
    assert llm.invoke("after").text == "echo after"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_in_the_middle_of_a_stream(llm: ChatWorkersGemma, server: FaultServer) -> None:
    stream = llm.stream("parent")
    told = [str(next(stream).text)]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_ask_in_child, args=(llm, 0, answers))
    child.start()
    assert answers.get()[1][0] == "echo sync 0"
    child.join(20)
    assert "".join([*told, *(str(chunk.text) for chunk in stream)]) == "echo parent"


def test_a_process_ends_without_complaint(server: FaultServer) -> None:
    """Connections that are open at the end of a program are closed in order."""
    import subprocess

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
        return (make_http_response(400, {"error": request.prompt}),) if int(request.prompt) % 2 else echo(request)

    server.choose_script = choose
    llm = make_model(base_url=server.url)
    outcomes: list[Any] = llm.batch([str(number) for number in range(60)], return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if number % 2:
            assert isinstance(outcome, WorkersGemmaError)
            assert str(outcome) == str(number)
        else:
            assert outcome.text == f"echo {number}"
