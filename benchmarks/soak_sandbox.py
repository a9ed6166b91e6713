"""The soak against the sandbox: its faults mixed in at random, every call accounted for.

    python -m benchmarks.soak_sandbox --calls 20000 --in-flight 64 --seed 1

The mock model is deterministic, so the right answer of each prompt is known from one call without faults. A call must
end in that answer or in a typed error. `soak.py` does the same against a server of raw sockets, with more faults.
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

from benchmarks.soaking import hurry_retries, options_of, resident_mb
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
    """A sandbox in a process of its own; each word that comes over the pipe changes what it does."""
    with Sandbox() as sandbox:
        pipe.send((sandbox.base_url, sandbox.account_id, sandbox.api_token))
        while (word := pipe.recv()) != "stop":
            sandbox.chaos(FAULT_RATE if word == "faults" else 0, seed=seed, kinds=FAULTS)
            sandbox.clear() if word == "clear" else None
            pipe.send(len(sandbox.requests))


def open_sockets() -> int:
    """Sockets that this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


async def one(llm: ChatWorkersGemma, prompt: str, right: str, way: str, outcomes: Counter[str]) -> None:
    """Make one call and note how it ended."""
    try:
        if way == "ainvoke":
            text = (await llm.ainvoke(prompt)).text
        else:
            text = "".join([chunk.text async for chunk in llm.astream(prompt)])
    except WorkersGemmaError as error:
        outcomes[f"typed error: {type(error).__name__}"] += 1
    except Exception as error:  # noqa: BLE001 - what a soak is there to find
        outcomes[f"WRONG: untyped {type(error).__name__}: {error}"[:100]] += 1
    else:
        outcomes["right answer" if text == right else "WRONG: another answer"] += 1


async def run(llm: ChatWorkersGemma, right: dict[str, str], calls: int, in_flight: int, seed: int) -> Counter[str]:
    """Make the calls, so many at a time."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            prompt = chance.choice(PROMPTS)
            await one(llm, prompt, right[prompt], chance.choice(["ainvoke", "astream"]), outcomes)

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    outcomes["tasks left"] = len(asyncio.all_tasks()) - 1
    return outcomes


def main() -> int:
    """Run it and print the figures."""
    options = options_of(__doc__)
    hurry_retries()
    logging.getLogger("langchain_workers_gemma").setLevel(logging.ERROR)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.seed), daemon=True)
    server.start()
    base_url, account_id, api_token = here.recv()
    llm = ChatWorkersGemma(
        base_url=base_url, account_id=account_id, api_token=api_token, timeout=1.0, thinking=False, max_tokens=64
    )
    right = {prompt: llm.invoke(prompt).text for prompt in PROMPTS}
    here.send("faults")
    here.recv()
    asyncio.run(run(llm, right, min(1_000, options.calls), options.in_flight, 0))  # warm-up
    memory, sockets = resident_mb(), open_sockets()
    here.send("clear")
    here.recv()
    here.send("faults")
    here.recv()
    began = time.perf_counter()
    outcomes = asyncio.run(run(llm, right, options.calls, options.in_flight, options.seed))
    took = time.perf_counter() - began
    here.send("count")
    received = here.recv()
    here.send("stop")
    tasks_left = outcomes.pop("tasks left")
    for outcome, count in outcomes.most_common():
        print(f"{count:7,}  {outcome}")
    print(f"{outcomes.total():7,}  of {options.calls:,} calls accounted for, in {took:.0f} s; {received:,} requests")
    print(f"tasks left: {tasks_left}; sockets {sockets} -> {open_sockets()}", end="; ")
    print(f"memory {memory:.1f} -> {resident_mb():.1f} MB")
    wrong = sum(count for outcome, count in outcomes.items() if outcome.startswith("WRONG"))
    return 1 if wrong or tasks_left or outcomes.total() != options.calls else 0


if __name__ == "__main__":
    raise SystemExit(main())
