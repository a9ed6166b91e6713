"""`examples/dask_map.py`, run as its users run it: a cluster of two processes against the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from langchain_workers_gemma.sandbox import Fault, Sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "dask_map.py"
ROWS = 60


def test_a_data_set_goes_through_dask_without_losing_a_row(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "reviews.jsonl", tmp_path / "labelled.jsonl"
    rows = [{"id": at, "text": f"Review number {at}: grün"} for at in range(ROWS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    # What the model object tries again itself, at once, and what only Dask does.
    sandbox.chaos(0.2, seed=7, kinds=[Fault(status=429, code=3040, retry_after=0), Fault(kind="garbage")])
    environment = {
        **os.environ,
        "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_API_TOKEN": sandbox.api_token,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(source), str(target)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == f"{ROWS} rows, 0 of them failed"
    labelled = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [{"id": row["id"], "text": row["text"]} for row in labelled] == rows
    assert all(row["label"] and row["tokens"] for row in labelled)
    asked = [str(request.json["messages"][-1]["content"]) for request in sandbox.requests]
    assert all(any(row["text"] in question for question in asked) for row in labelled)
    assert len(asked) > ROWS  # faults did happen
    sandbox.chaos(0)
