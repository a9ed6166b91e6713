"""A soak: many calls of all kinds against a server that keeps failing, with every call accounted for.

    python benchmarks/soak.py --calls 20000 --in-flight 64 --seed 1

A server in a process of its own answers every call rightly, or with a reset, a cut, a stall, a 429, a 500, garbage and
so on, chosen by the seed, the call and the try. Each call must end in the right answer or in a typed error, and a
broken stream's `.partial` must be how the right answer begins. Waits between retries are shortened, so that it ends in
minutes.
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

from benchmarks.soaking import hurry_retries, options_of, resident_mb
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
TIMEOUT = 3.0  # seconds; each stall costs this much
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

# --- The server -------------------------------------------------------------------------------------------------------


def right_answer(call: str) -> str:
    """The model's text: long enough to be cut anywhere."""
    return " ".join(hashlib.sha256(f"{call}/{part}".encode()).hexdigest() for part in range(4))


def right(request: ReceivedRequest) -> list[bytes]:
    """The right answer as packets."""
    answer = right_answer(request.prompt)
    if not request.wants_stream:
        return [make_http_response(200, make_envelope({"response": answer, "usage": USAGE}))]
    pieces = [answer[at : at + 40] for at in range(0, len(answer), 40)]
    frames = [encode_event({"response": piece, "p": "x" * 9}) for piece in pieces]
    return [STREAM_HEAD, *frames, encode_event({"response": "", "usage": USAGE}) + encode_event(b"[DONE]") + STREAM_END]


BOMB = gzip.compress(b" " * 100_000_000)
SOMEBODY_ELSES = make_http_response(200, make_envelope({"response": "for somebody else"}))
CUT_CALL = {
    "choices": [
        {
            "message": {"tool_calls": [{"id": "1", "function": {"name": "run", "arguments": '{"path": "/"}'}}]},
            "finish_reason": "length",
        }
    ]
}


def halved(request: ReceivedRequest) -> list[bytes]:
    """The first half of the right answer."""
    packets = right(request)
    return packets[: len(packets) // 2 + 1] if request.wants_stream else [packets[0][: len(packets[0]) * 2 // 3]]


FAULTS: dict[str, Callable[[ReceivedRequest], Script]] = {
    "reset before the head": lambda _: (RESET,),
    "reset": lambda request: (*halved(request), RESET),
    "cut": lambda request: (*halved(request), CLOSE),
    "clean cut": lambda request: (*halved(request), STREAM_END if request.wants_stream else CLOSE),
    "429": lambda _: (make_http_response(429, make_error_envelope(971, "Too many requests")),),
    "429, at once": lambda _: (
        make_http_response(429, make_error_envelope(3040, "Capacity temporarily exceeded"), retry_after="0"),
    ),
    "quota": lambda _: (make_http_response(429, make_error_envelope(3036, "Used up")),),
    "400": lambda _: (make_http_response(400, make_error_envelope(5006, "Bad input")),),
    "500": lambda _: (make_http_response(500, make_error_envelope(3043, "Internal server error")),),
    "502 in HTML": lambda _: (make_http_response(502, b"<html>502 Bad Gateway</html>", content_type="text/html"),),
    "stall": lambda request: (*halved(request), STALL),
    "stall before the head": lambda _: (STALL,),
    "garbage": lambda _: (make_http_response(200, b"\x00\xff garbage"),),
    "bad frame": lambda request: (STREAM_HEAD, *halved(request)[1:], encode_chunk(b"data: {nope\n\n"), STREAM_END),
    "error under 200": lambda _: (make_http_response(200, make_error_envelope(3040, "Capacity temporarily exceeded")),),
    "nothing": lambda _: (make_http_response(200, b""),),
    "stacked codings": lambda _: (make_http_response(200, gzip.compress(BOMB), content_encoding="gzip, gzip"),),
    "a bomb": lambda _: (make_http_response(200, BOMB, content_encoding="gzip"),),
    "closed right after": lambda request: (*right(request), CLOSE),
    "a lone surrogate": lambda _: (make_http_response(200, b'{"result": {"response": "\\ud83d"}, "success": true}'),),
    "a cut call, closed": lambda _: (make_http_response(200, make_envelope(CUT_CALL)),),
    "bytes after the end": lambda request: (b"".join(right(request)) + SOMEBODY_ELSES,),
    "bytes after the end of an error": lambda _: (
        make_http_response(429, make_error_envelope(3040, "Busy"), retry_after="0") + SOMEBODY_ELSES,
    ),
    "half a head after the end": lambda request: (b"".join(right(request)) + SOMEBODY_ELSES[:40],),
    "a stream after the end": lambda request: (
        b"".join(right(request)) + STREAM_HEAD + encode_event({"response": "no"}),
    ),
    "held open after the end": lambda request: (
        (*right(request)[:-1], encode_event({"response": "", "usage": USAGE}) + encode_event(b"[DONE]"), STALL)
        if request.wants_stream
        else tuple(right(request))
    ),
}
WEIGHTS = [0.3 if name.startswith("stall") else 1.0 for name in FAULTS]


def serve(pipe: Connection, seed: int) -> None:
    """Run the server, answering questions on the pipe: `open`, `served`, `faults`, `stop`."""
    tries: dict[str, int] = defaultdict(int)
    faults: Counter[str] = Counter()
    lock = threading.Lock()

    def choose(request: ReceivedRequest) -> Script:
        with lock:
            tries[request.prompt] += 1
            chance = random.Random(f"{seed}/{request.prompt}/{tries[request.prompt]}")
            fault = chance.choices([*FAULTS], WEIGHTS)[0] if chance.random() < FAULT_RATE else None
            faults[fault or "none"] += 1
        return FAULTS[fault](request) if fault else right(request)

    with FaultServer(choose, keep_requests=False) as server:
        pipe.send(server.url)
        while (question := pipe.recv()) != "stop":
            with lock:
                pipe.send(
                    {
                        "open": server.open_connections,
                        "peak": server.max_open_connections,
                        "accepted": server.accepted_connections,
                        "faults": dict(faults),
                    }
                )
            del question


# --- The calls --------------------------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What became of each call."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def right_or_wrong(self, kind: str, call: str, reply: Any) -> None:
        text = str(reply.text)
        if reply.tool_calls:
            self.blame(kind, call, f"runs {reply.tool_calls}")
        elif reply.invalid_tool_calls:
            self.count(kind, "cut call refused")
        elif text == right_answer(call):
            self.count(kind, "right")
        elif text == "\ufffd":
            self.count(kind, "lone surrogate kept")
        else:
            self.blame(kind, call, f"said {text[:80]!r}")

    def failed(self, kind: str, call: str, error: Exception) -> None:
        if not isinstance(error, WorkersGemmaError):
            self.blame(kind, call, f"untyped {error!r}")
            return
        partial = error.partial if isinstance(error, StreamInterruptedError) else None
        if partial is not None and not right_answer(call).startswith(str(partial.text)):
            self.blame(kind, call, f"partial {partial.text!r}")
            return
        self.count(kind, type(error).__name__)

    def count(self, kind: str, outcome: str) -> None:
        with self.lock:
            self.outcomes[kind][outcome] += 1

    def blame(self, kind: str, call: str, why: str) -> None:
        with self.lock:
            self.wrong.append(f"{kind} {call}: {why}")

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.outcomes.values()) + len(self.wrong)


class RetryCounter(logging.Handler):
    """Counts the log lines of retries."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage().startswith("retry ")


def ask_sync(llm: ChatWorkersGemma, kind: str, call: str, ledger: Ledger) -> None:
    try:
        reply: Any = llm.invoke(call) if kind == "invoke" else reduce(add, llm.stream(call))
        ledger.right_or_wrong(kind, call, reply)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is accounted for
        ledger.failed(kind, call, error)


async def ask_async(llm: ChatWorkersGemma, kind: str, call: str, ledger: Ledger) -> None:
    try:
        if kind == "ainvoke":
            reply: Any = await llm.ainvoke(call)
        else:
            reply = reduce(add, [piece async for piece in llm.astream(call)])
        ledger.right_or_wrong(kind, call, reply)
    except Exception as error:  # noqa: BLE001
        ledger.failed(kind, call, error)


async def run_async(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], workers: int, ledger: Ledger) -> int:
    """Make the calls on one loop. Gives how many tasks are left."""
    pending = iter(calls)

    async def work() -> None:
        for kind, call in pending:
            await ask_async(llm, kind, call, ledger)

    await asyncio.gather(*(work() for _ in range(workers)))
    return len(asyncio.all_tasks()) - 1


def run_sync(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], workers: int, ledger: Ledger) -> None:
    """Make the calls in threads."""
    pending: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
    for call in (*calls, *[None] * workers):
        pending.put(call)

    def work() -> None:
        while (taken := pending.get()) is not None:
            ask_sync(llm, *taken, ledger)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(llm: ChatWorkersGemma, calls: Sequence[tuple[str, str]], in_flight: int, ledger: Ledger) -> int:
    """Make all calls, half of those in flight in threads and half on a loop. Gives how many tasks are left."""
    left: list[int] = []
    sync = [call for call in calls if call[0] in ("invoke", "stream")]
    others = [call for call in calls if call[0] in ("ainvoke", "astream")]
    thread = threading.Thread(target=lambda: left.append(asyncio.run(run_async(llm, others, in_flight // 2, ledger))))
    thread.start()
    run_sync(llm, sync, in_flight - in_flight // 2, ledger)
    thread.join()
    return left[0]


def drawn(count: int, chance: random.Random, name: str) -> list[tuple[str, str]]:
    return [(chance.choice(KINDS), f"{name} {number}") for number in range(count)]


# --- The report -------------------------------------------------------------------------------------------------------


def table(ledger: Ledger) -> str:
    names = sorted(
        {name for counts in ledger.outcomes.values() for name in counts}, key=lambda name: (name != "right", name)
    )
    width = max(map(len, names))
    lines = [f"{'outcome':{width}}" + "".join(f"{kind:>10}" for kind in KINDS) + f"{'all':>10}"]
    for name in names:
        counts = [ledger.outcomes[kind][name] for kind in KINDS]
        lines.append(f"{name:{width}}" + "".join(f"{count:>10,}" for count in counts) + f"{sum(counts):>10,}")
    return "\n".join(lines)


def main() -> int:
    options = options_of(__doc__)
    hurry_retries()
    counter = RetryCounter()
    log = logging.getLogger("langchain_workers_gemma.exchange.attempts")
    log.addHandler(counter)
    log.setLevel(logging.INFO)
    log.propagate = False

    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.seed), daemon=True)
    server.start()
    url = here.recv()

    def state() -> dict[str, Any]:
        here.send("state")
        answer: dict[str, Any] = here.recv()
        return answer

    llm = ChatWorkersGemma(
        max_tokens=512, base_url=url, account_id="soak", api_token="soak-token", timeout=TIMEOUT, max_retries=2
    )
    chance = random.Random(options.seed)
    run(llm, drawn(min(2_000, options.calls), chance, "warm-up"), options.in_flight, Ledger())
    vars(clients)["_close_shared_clients"]()
    time.sleep(0.2)

    ledger = Ledger()
    calls = drawn(options.calls, chance, "call")  # before the memory is looked at: it is not what is to be measured
    warm, memory, threads, retried = state(), resident_mb(), threading.active_count(), counter.count
    began = time.perf_counter()
    tasks_left = run(llm, calls, options.in_flight, ledger)
    took = time.perf_counter() - began
    idle = state()["open"]
    vars(clients)["_close_shared_clients"]()  # as at the end of the process; the loop's client went with its loop
    time.sleep(0.2)
    after, memory_after = state(), resident_mb()
    here.send("stop")
    server.join(30)

    faults = sum(after["faults"].values()) - sum(warm["faults"].values())
    faults -= after["faults"]["none"] - warm["faults"]["none"]
    opened = f"at most {after['peak']}; idle at the end {idle}; after {after['open']}"
    print(table(ledger))
    print(f"\ncalls             {options.calls:>10,}   accounted for {ledger.total:,}, wrong {len(ledger.wrong)}")
    print(f"in flight         {options.in_flight:>10,}   in {took:.0f} s, {options.calls / took:.0f} calls/s")
    print(f"faults served     {faults:>10,}")
    print(f"retries           {counter.count - retried:>10,}")
    print(f"open connections  {warm['open']:>10,}   before; {opened}")
    print(f"memory, MB        {memory:>10.1f}   before; after {memory_after:.1f}")
    print(f"threads           {threads:>10,}   before; after {threading.active_count()}")
    print(f"tasks left        {tasks_left:>10,}")
    for line in ledger.wrong[:20]:
        print("WRONG", line)
    lost = ledger.total != options.calls or ledger.wrong or tasks_left or after["open"] > warm["open"]
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
