"""Helpers of both soak tests: options, shorter delays of retries, and memory use."""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path

from langchain_workers_gemma.exchange import retries


def parse_options(doc: str | None) -> argparse.Namespace:
    """Parse the command line. The description is the first line of a module's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def shorten_retry_delays() -> None:
    """Shorten the delays between attempts, so that a soak test takes minutes."""
    if "_INITIAL_DELAY" not in vars(retries):
        raise AttributeError("exchange.retries has no _INITIAL_DELAY. Adapt shorten_retry_delays.")
    vars(retries)["_INITIAL_DELAY"] = 0.01  # seconds


def measure_memory_mb() -> float:
    """Return the resident memory of this process in MB, after a garbage collection."""
    gc.collect()
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if status.exists() else float("nan")
