"""`examples/label_reviews.py`, run as a program against the sandbox, as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from langchain_workers_gemma.sandbox import Fault, Sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "label_reviews.py"
ROWS = 40


def run_example(source: Path, target: Path, sandbox: Sandbox) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_API_TOKEN": sandbox.api_token,
        "NO_PROXY": "127.0.0.1",
    }
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r}); import {EXAMPLE.stem} as example\n"
        "example.REQUESTS_A_MINUTE = 60_000\n"  # so that the test does not wait
        f"sys.exit(example.main({str(source)!r}, {str(target)!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_review_is_labelled_once_despite_faults(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "reviews.jsonl", tmp_path / "labelled.jsonl"
    rows = [{"id": at, "text": f"Review number {at}: the soup was grün"} for at in range(ROWS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sandbox.chaos(0.2, seed=7, kinds=[Fault(status=429, code=3040, retry_after=0)])
    done = run_example(source, target, sandbox)
    sandbox.chaos(0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{ROWS} of {ROWS} rows have their output, $")
    labelled = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [{"id": row["id"], "text": row["text"]} for row in labelled] == rows
    assert all(row["output"]["sentiment"] in {"positive", "negative", "mixed"} for row in labelled)
    assert len(sandbox.requests) > ROWS  # some requests failed and were sent again


def test_a_second_run_sends_no_requests(sandbox: Sandbox, tmp_path: Path) -> None:
    source, target = tmp_path / "reviews.jsonl", tmp_path / "labelled.jsonl"
    source.write_text('{"text": "The soup was cold."}\n', encoding="utf-8")
    assert run_example(source, target, sandbox).returncode == 0
    first = target.read_bytes()
    sandbox.clear()
    assert run_example(source, target, sandbox).returncode == 0
    assert (target.read_bytes(), sandbox.requests) == (first, [])
