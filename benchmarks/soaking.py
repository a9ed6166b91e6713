"""What both soaks have in common: their options, retries in a hurry, and how much memory is in use."""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path

from langchain_workers_gemma.exchange import retries


def options_of(doc: str | None) -> argparse.Namespace:
    """The options of the command line, whose description is the first line of a module's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def hurry_retries() -> None:
    """Wait less between tries, so that a soak takes minutes."""
    vars(retries)["_FIRST_DELAY"] = 0.01  # seconds


def resident_mb() -> float:
    """This process's memory, after what can be collected has been."""
    gc.collect()
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if status.exists() else float("nan")
