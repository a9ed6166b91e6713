"""Soak test: many calls of all kinds against a server that often fails, and the outcome of each call is checked.

    python -m benchmarks.soak --calls 20000 --in-flight 64 --seed 1

A server in a separate process answers correctly or with a fault, such as a reset, a truncated response, a stall, a 429,
a 500 or garbage. The seed, the call and the attempt determine which. Each call must end in the right answer or in a
typed error, and the `.partial` of an interrupted stream must be the start of the right answer. The delays between
retries are shortened, so that the test takes minutes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import multiprocessing
import queue
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.soak_helpers import measure_memory_mb, parse_options, shorten_retry_delays
from langchain_workers_gemma import ChatWorkersGemma, StreamInterruptedError, WorkersGemmaError
from langchain_workers_gemma.transport import client_pool as clients
from tests.helpers.fault_server import (
    CLOSE,
    RESET,
    STALL,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    ReceivedRequest,
    Script,
    encode_chunk,
    encode_event,
    make_envelope,
    make_error_envelope,
    make_http_response,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

KINDS = ("invoke", "ainvoke", "stream", "astream")
FAULT_RATE = 0.25
TIMEOUT = 3.0  # seconds; each stall takes this long
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

# --- The server -------------------------------------------------------------------------------------------------------


def make_expected_text(call: str) -> str:
    """Return the right answer of a call, which is long enough to be truncated in many places."""
    return " ".join(hashlib.sha256(f"{call}/{part}".encode()).hexdigest() for part in range(4))


def respond_correctly(request: ReceivedRequest) -> list[bytes]:
    """Return the packets of a response with the right answer."""
    answer = make_expected_text(request.prompt)
    if not request.wants_stream:
        return [make_http_response(200, make_envelope({"response": answer, "usage": USAGE}))]
    pieces = [answer[at : at + 40] for at in range(0, len(answer), 40)]
    events = [encode_event({"response": piece, "p": "x" * 9}) for piece in pieces]
    return [STREAM_HEAD, *events, encode_event({"response": "", "usage": USAGE}) + encode_event(b"[DONE]") + STREAM_END]


BOMB = gzip.compress(b" " * 100_000_000)
FOREIGN_RESPONSE = make_http_response(200, make_envelope({"response": "for somebody else"}))
TRUNCATED_CALL = {
    "choices": [
        {
            "message": {"tool_calls": [{"id": "1", "function": {"name": "run", "arguments": '{"path": "/"}'}}]},
            "finish_reason": "length",
        }
    ]
}


def respond_with_half(request: ReceivedRequest) -> list[bytes]:
    """Return the packets of the first half of the right answer."""
    packets = respond_correctly(request)
    return packets[: len(packets) // 2 + 1] if request.wants_stream else [packets[0][: len(packets[0]) * 2 // 3]]


FAULTS: dict[str, Callable[[ReceivedRequest], Script]] = {
    "reset before the headers": lambda _: (RESET,),
    "reset": lambda request: (*respond_with_half(request), RESET),
    "closed early": lambda request: (*respond_with_half(request), CLOSE),
    "ended early": lambda request: (*respond_with_half(request), STREAM_END if request.wants_stream else CLOSE),
    "429": lambda _: (make_http_response(429, make_error_envelope(971, "Too many requests")),),
    "429, retry at once": lambda _: (
        make_http_response(429, make_error_envelope(3040, "Capacity temporarily exceeded"), retry_after="0"),
    ),
    "quota": lambda _: (make_http_response(429, make_error_envelope(3036, "Used up")),),
    "400": lambda _: (make_http_response(400, make_error_envelope(5006, "Bad input")),),
    "500": lambda _: (make_http_response(500, make_error_envelope(3043, "Internal server error")),),
    "502 in HTML": lambda _: (make_http_response(502, b"<html>502 Bad Gateway</html>", content_type="text/html"),),
    "stall": lambda request: (*respond_with_half(request), STALL),
    "stall before the headers": lambda _: (STALL,),
    "garbage": lambda _: (make_http_response(200, b"\x00\xff garbage"),),
    "bad event": lambda request: (
        STREAM_HEAD,
        *respond_with_half(request)[1:],
        encode_chunk(b"data: {nope\n\n"),
        STREAM_END,
    ),
    "error with status 200": lambda _: (
        make_http_response(200, make_error_envelope(3040, "Capacity temporarily exceeded")),
    ),
    "empty body": lambda _: (make_http_response(200, b""),),
    "two content codings": lambda _: (make_http_response(200, gzip.compress(BOMB), content_encoding="gzip, gzip"),),
    "decompression bomb": lambda _: (make_http_response(200, BOMB, content_encoding="gzip"),),
    "closed after the response": lambda request: (*respond_correctly(request), CLOSE),
    "lone surrogate": lambda _: (make_http_response(200, b'{"result": {"response": "\\ud83d"}, "success": true}'),),
    "truncated tool call": lambda _: (make_http_response(200, make_envelope(TRUNCATED_CALL)),),
    "bytes after the end": lambda request: (b"".join(respond_correctly(request)) + FOREIGN_RESPONSE,),
    "bytes after the end of an error": lambda _: (
        make_http_response(429, make_error_envelope(3040, "Busy"), retry_after="0") + FOREIGN_RESPONSE,
    ),
    "incomplete headers after the end": lambda request: (b"".join(respond_correctly(request)) + FOREIGN_RESPONSE[:40],),
    "stream after the end": lambda request: (
        b"".join(respond_correctly(request)) + STREAM_HEAD + encode_event({"response": "no"}),
    ),
    "held open after the end": lambda request: (
        (
            *respond_correctly(request)[:-1],
            encode_event({"response": "", "usage": USAGE}) + encode_event(b"[DONE]"),
            STALL,
        )
        if request.wants_stream
        else tuple(respond_correctly(request))
    ),
}
WEIGHTS = [0.3 if name.startswith("stall") else 1.0 for name in FAULTS]


def serve(pipe: Connection, seed: int) -> None:
    """Run the server. Each message from the pipe asks for the counts, except `stop`, which ends it."""
    attempts: dict[str, int] = defaultdict(int)
    faults: Counter[str] = Counter()
    lock = threading.Lock()

    def choose(request: ReceivedRequest) -> Script:
        with lock:
            attempts[request.prompt] += 1
            chance = random.Random(f"{seed}/{request.prompt}/{attempts[request.prompt]}")
            fault = chance.choices([*FAULTS], WEIGHTS)[0] if chance.random() < FAULT_RATE else None
            faults[fault or "none"] += 1
        return FAULTS[fault](request) if fault else respond_correctly(request)

    with FaultServer(choose, keep_requests=False) as server:
        pipe.send(server.url)
        while pipe.recv() != "stop":
            with lock:
                pipe.send(
                    {
                        "open": server.open_connections,
                        "peak": server.max_open_connections,
                        "accepted": server.accepted_connections,
                        "faults": dict(faults),
                    }
                )


# --- The calls --------------------------------------------------------------------------------------------------------


@dataclass
class Outcomes:
    """The outcomes of all calls."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record_reply(self, kind: str, call: str, reply: Any) -> None:
        text = str(reply.text)
        if reply.tool_calls:
            self.record_wrong(kind, call, f"called tools: {reply.tool_calls}")
        elif reply.invalid_tool_calls:
            self.count(kind, "truncated call refused")
        elif text == make_expected_text(call):
            self.count(kind, "right")
        elif text == "\ufffd":
            self.count(kind, "lone surrogate kept")
        else:
            self.record_wrong(kind, call, f"another text: {text[:80]!r}")

    def record_error(self, kind: str, call: str, error: Exception) -> None:
        if not isinstance(error, WorkersGemmaError):
            self.record_wrong(kind, call, f"untyped error: {error!r}")
            return
        partial = error.partial if isinstance(error, StreamInterruptedError) else None
        if partial is not None and not make_expected_text(call).startswith(str(partial.text)):
            self.record_wrong(kind, call, f"wrong partial text: {partial.text!r}")
            return
        self.count(kind, type(error).__name__)

    def count(self, kind: str, outcome: str) -> None:
        with self.lock:
            self.counts[kind][outcome] += 1

    def record_wrong(self, kind: str, call: str, why: str) -> None:
        with self.lock:
            self.wrong.append(f"{kind} {call}: {why}")

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.counts.values()) + len(self.wrong)


class RetryCounter(logging.Handler):
    """Counts the log messages about retries."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage().startswith("retry ")


def call_sync(llm: ChatWorkersGemma, kind: str, call: str, outcomes: Outcomes) -> None:
    try:
        reply: Any = llm.invoke(call) if kind == "invoke" else reduce(add, llm.stream(call))
        outcomes.record_reply(kind, call, reply)
    except Exception as error:  # noqa: BLE001 - every error is recorded
        outcomes.record_error(kind, call, error)


async def call_async(llm: ChatWorkersGemma, kind: str, call: str, outcomes: Outcomes) -> None:
    try:
        if kind == "ainvoke":
            reply: Any = await llm.ainvoke(call)
        else:
            reply = reduce(add, [piece async for piece in llm.astream(call)])
        outcomes.record_reply(kind, call, reply)
    except Exception as error:  # noqa: BLE001
        outcomes.record_error(kind, call, error)


async def run_async(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], workers: int, outcomes: Outcomes) -> int:
    """Make the calls on one event loop, and return how many tasks are left."""
    pending = iter(calls)

    async def work() -> None:
        for kind, call in pending:
            await call_async(llm, kind, call, outcomes)

    await asyncio.gather(*(work() for _ in range(workers)))
    return len(asyncio.all_tasks()) - 1


def run_sync(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], workers: int, outcomes: Outcomes) -> None:
    """Make the calls in threads."""
    pending: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
    for call in (*calls, *[None] * workers):
        pending.put(call)

    def work() -> None:
        while (taken := pending.get()) is not None:
            call_sync(llm, *taken, outcomes)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], in_flight: int, outcomes: Outcomes) -> int:
    """Make all calls and return how many tasks are left. Half of the concurrency is threads, half an event loop."""
    left: list[int] = []
    sync = [call for call in calls if call[0] in ("invoke", "stream")]
    others = [call for call in calls if call[0] in ("ainvoke", "astream")]
    thread = threading.Thread(target=lambda: left.append(asyncio.run(run_async(llm, others, in_flight // 2, outcomes))))
    thread.start()
    run_sync(llm, sync, in_flight - in_flight // 2, outcomes)
    thread.join()
    return left[0]


def choose_calls(count: int, chance: random.Random, name: str) -> list[tuple[str, str]]:
    return [(chance.choice(KINDS), f"{name} {number}") for number in range(count)]


# --- The report -------------------------------------------------------------------------------------------------------


def format_table(outcomes: Outcomes) -> str:
    names = sorted(
        {name for counts in outcomes.counts.values() for name in counts}, key=lambda name: (name != "right", name)
    )
    width = max(map(len, names))
    lines = [f"{'outcome':{width}}" + "".join(f"{kind:>10}" for kind in KINDS) + f"{'all':>10}"]
    for name in names:
        counts = [outcomes.counts[kind][name] for kind in KINDS]
        lines.append(f"{name:{width}}" + "".join(f"{count:>10,}" for count in counts) + f"{sum(counts):>10,}")
    return "\n".join(lines)


def main() -> int:
    options = parse_options(__doc__)
    shorten_retry_delays()
    counter = RetryCounter()
    log = logging.getLogger("langchain_workers_gemma.exchange.attempts")
    log.addHandler(counter)
    log.setLevel(logging.INFO)
    log.propagate = False

    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.seed), daemon=True)
    server.start()
    url = here.recv()

    def get_server_state() -> dict[str, Any]:
        here.send("state")
        state: dict[str, Any] = here.recv()
        return state

    llm = ChatWorkersGemma(
        max_tokens=512, base_url=url, account_id="soak", api_token="soak-token", timeout=TIMEOUT, max_retries=2
    )
    chance = random.Random(options.seed)
    run(llm, choose_calls(min(2_000, options.calls), chance, "warm-up"), options.in_flight, Outcomes())
    vars(clients)["_close_shared_clients"]()
    time.sleep(0.2)

    outcomes = Outcomes()
    calls = choose_calls(options.calls, chance, "call")  # before the memory is measured, which must not include them
    warm, memory, threads, retried = get_server_state(), measure_memory_mb(), threading.active_count(), counter.count
    started = time.perf_counter()
    tasks_left = run(llm, calls, options.in_flight, outcomes)
    seconds = time.perf_counter() - started
    idle = get_server_state()["open"]
    vars(clients)[
        "_close_shared_clients"
    ]()  # as at the end of the process; the client of the event loop was closed with it
    time.sleep(0.2)
    after, memory_after = get_server_state(), measure_memory_mb()
    here.send("stop")
    server.join(30)

    faults = sum(after["faults"].values()) - sum(warm["faults"].values())
    faults -= after["faults"]["none"] - warm["faults"]["none"]
    opened = f"at most {after['peak']}; idle at the end {idle}; after {after['open']}"
    print(format_table(outcomes))
    print(f"\ncalls             {options.calls:>10,}   accounted for {outcomes.total:,}, wrong {len(outcomes.wrong)}")
    print(f"in flight         {options.in_flight:>10,}   in {seconds:.0f} s, {options.calls / seconds:.0f} calls/s")
    print(f"faults served     {faults:>10,}")
    print(f"retries           {counter.count - retried:>10,}")
    print(f"open connections  {warm['open']:>10,}   before; {opened}")
    print(f"memory, MB        {memory:>10.1f}   before; after {memory_after:.1f}")
    print(f"threads           {threads:>10,}   before; after {threading.active_count()}")
    print(f"tasks left        {tasks_left:>10,}")
    for line in outcomes.wrong[:20]:
        print("WRONG", line)
    failed = outcomes.total != options.calls or outcomes.wrong or tasks_left or after["open"] > warm["open"]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
