"""Label a file of reviews with a Gemma, on this machine or on a Dask cluster.

    pip install "langchain-workers-gemma[scale]"
    export CLOUDFLARE_ACCOUNT_ID=... CLOUDFLARE_API_TOKEN=...
    python examples/label_reviews.py reviews.jsonl labelled.jsonl
    python examples/label_reviews.py reviews.jsonl labelled.jsonl tcp://scheduler:8786

Each line of `reviews.jsonl` is an object with a `text`. Kill the program and run it again: it continues, and pays for
no finished row twice. Without an account, run `workers-gemma sandbox` and set the variables that it prints.
"""

from __future__ import annotations

import sys
from typing import Literal, TypedDict

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.scale import map_file

REQUESTS_A_MINUTE = 250
MAX_COST_USD = 5.0


class Label(TypedDict):
    """The label of a review."""

    sentiment: Literal["positive", "negative", "mixed"]
    dish: str


def main(source: str, target: str, scheduler: str | None = None) -> int:
    """Label a file of reviews.

    Args:
        source: The reviews, as JSON Lines.
        target: The file for the labelled reviews.
        scheduler: The address of a Dask scheduler; `None` to run in this process.

    Returns:
        The exit code: 0 if every row has its label.
    """
    report = map_file(
        source,
        target,
        ChatWorkersGemma(temperature=0, max_tokens=128, thinking=False),
        prompt="What does this review say?\n\n{text}",
        schema=Label,
        rate=REQUESTS_A_MINUTE,
        max_cost=MAX_COST_USD,
        scheduler=scheduler,
        show_progress=sys.stderr.isatty(),
    )
    print(report)
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
