"""Soak test against the sandbox: many calls with random faults, and the outcome of each call is checked.

    python -m benchmarks.soak_sandbox --calls 20000 --in-flight 64 --seed 1

The mock model is deterministic, so a call without faults returns the right answer of each prompt. Each call must end in
that answer or in a typed error. `soak.py` does the same against a server on raw sockets, with more faults.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.soak_helpers import measure_memory_mb, parse_options, shorten_retry_delays
from langchain_workers_gemma import ChatWorkersGemma, WorkersGemmaError
from langchain_workers_gemma.sandbox import Fault, Sandbox

FAULT_RATE = 0.25
FAULTS = (
    "cut", "reset", "garbage", "html", "empty", "stream_error",
    Fault(kind="error", status=429, code=3040, message="Capacity temporarily exceeded"),
    Fault(kind="error", status=500, message="Internal server error"),
    Fault(kind="stall", seconds=5),
)  # fmt: skip
PROMPTS = [f"Tell me about number {i} in one sentence." for i in range(20)]


def serve(pipe: Any, seed: int) -> None:
    """Run a sandbox in this process, and obey the commands from the pipe: `faults`, `clear`, `count`, `stop`."""
    with Sandbox() as sandbox:
        pipe.send((sandbox.base_url, sandbox.account_id, sandbox.api_token))
        while (command := pipe.recv()) != "stop":
            sandbox.chaos(FAULT_RATE if command == "faults" else 0, seed=seed, kinds=FAULTS)
            if command == "clear":
                sandbox.clear()
            pipe.send(len(sandbox.requests))


def count_open_sockets() -> int:
    """Return how many sockets this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


async def make_call(llm: ChatWorkersGemma, prompt: str, expected: str, method: str, outcomes: Counter[str]) -> None:
    """Make one call and record its outcome."""
    try:
        if method == "ainvoke":
            text = (await llm.ainvoke(prompt)).text
        else:
            text = "".join([chunk.text async for chunk in llm.astream(prompt)])
    except WorkersGemmaError as error:
        outcomes[f"typed error: {type(error).__name__}"] += 1
    except Exception as error:  # noqa: BLE001 - a soak test must find these errors
        outcomes[f"WRONG: untyped {type(error).__name__}: {error}"[:100]] += 1
    else:
        outcomes["right answer" if text == expected else "WRONG: another answer"] += 1


async def make_calls(
    llm: ChatWorkersGemma, expected: dict[str, str], calls: int, in_flight: int, seed: int
) -> Counter[str]:
    """Make the calls, `in_flight` of them concurrently."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    left = iter(range(calls))

    async def make_next_calls() -> None:
        for _ in left:
            prompt = chance.choice(PROMPTS)
            await make_call(llm, prompt, expected[prompt], chance.choice(["ainvoke", "astream"]), outcomes)

    await asyncio.gather(*(make_next_calls() for _ in range(in_flight)))
    outcomes["tasks left"] = len(asyncio.all_tasks()) - 1
    return outcomes


def main() -> int:
    """Run the soak test and print the figures."""
    options = parse_options(__doc__)
    shorten_retry_delays()
    logging.getLogger("langchain_workers_gemma").setLevel(logging.ERROR)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.seed), daemon=True)
    server.start()
    base_url, account_id, api_token = here.recv()
    llm = ChatWorkersGemma(
        base_url=base_url, account_id=account_id, api_token=api_token, timeout=1.0, thinking=False, max_tokens=64
    )
    expected = {prompt: llm.invoke(prompt).text for prompt in PROMPTS}
    here.send("faults")
    here.recv()
    asyncio.run(make_calls(llm, expected, min(1_000, options.calls), options.in_flight, 0))  # warm-up
    memory, sockets = measure_memory_mb(), count_open_sockets()
    here.send("clear")
    here.recv()
    here.send("faults")
    here.recv()
    started = time.perf_counter()
    outcomes = asyncio.run(make_calls(llm, expected, options.calls, options.in_flight, options.seed))
    seconds = time.perf_counter() - started
    here.send("count")
    received = here.recv()
    here.send("stop")
    tasks_left = outcomes.pop("tasks left")
    for outcome, count in outcomes.most_common():
        print(f"{count:7,}  {outcome}")
    print(f"{outcomes.total():7,}  of {options.calls:,} calls accounted for, in {seconds:.0f} s; {received:,} requests")
    print(f"tasks left: {tasks_left}; sockets {sockets} -> {count_open_sockets()}", end="; ")
    print(f"memory {memory:.1f} -> {measure_memory_mb():.1f} MB")
    wrong = sum(count for outcome, count in outcomes.items() if outcome.startswith("WRONG"))
    return 1 if wrong or tasks_left or outcomes.total() != options.calls else 0


if __name__ == "__main__":
    raise SystemExit(main())
