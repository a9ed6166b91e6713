"""Maps a data set through a Gemma with dask.distributed: in parallel, with retries, and without losing a row.

The model object pickles into the workers of any cluster, and each worker process keeps its own connections. Run it:

    pip install langchain-workers-gemma distributed
    export CLOUDFLARE_ACCOUNT_ID=... CLOUDFLARE_API_TOKEN=...
    python examples/dask_map.py reviews.jsonl labelled.jsonl

Each line of `reviews.jsonl` is an object with a `text`. Without an account, `workers-gemma sandbox` prints the
variables that lead to a local stand-in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

from distributed import Client, LocalCluster
from langchain_core.exceptions import ModelError

from langchain_workers_gemma import ChatWorkersGemma

Row: TypeAlias = dict[str, Any]

WORKERS = 2
CALLS_AT_ONCE = 8  # of one worker: calls wait for the service, so threads cost little
RETRIES = 5  # of one row, after those that the model object makes itself


def label(row: Row, llm: ChatWorkersGemma) -> Row:
    """One row with its label; what trying again cannot mend is told in the row instead.

    Raises:
        ModelError: What may pass: Dask tries the row again, on any worker.
    """
    question = f"Is this review positive or negative? Answer with one word.\n\n{row['text']}"
    try:
        message = llm.invoke(question)
    except ModelError as error:
        if error.is_retryable:
            raise
        return {**row, "error": str(error)}
    usage = message.usage_metadata
    return {**row, "label": message.text.strip(), "tokens": usage["total_tokens"] if usage else None}


def label_all(client: Client, llm: ChatWorkersGemma, rows: list[Row]) -> list[Row]:
    """Every row, in order, with its label or with the error that was left after all retries."""
    futures = client.map(label, rows, llm=llm, retries=RETRIES, pure=False)
    return [
        future.result() if (error := future.exception()) is None else {**row, "error": str(error)}
        for row, future in zip(rows, futures, strict=True)
    ]


def main(source: str, target: str) -> int:
    """Label a file of rows.

    Returns:
        The exit code: 0 if every row has its label.
    """
    rows = [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines() if line.strip()]
    llm = ChatWorkersGemma(temperature=0, max_tokens=64, thinking=False)
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=CALLS_AT_ONCE, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        labelled = label_all(client, llm, rows)
    lines = [json.dumps(row, ensure_ascii=False) for row in labelled]
    Path(target).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    failed = sum("error" in row for row in labelled)
    sys.stdout.write(f"{len(labelled)} rows, {failed} of them failed\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
