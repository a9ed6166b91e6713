"""Runs of `workers-gemma map` and of Dask in processes of their own, which can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma.cli.main import main
from tests.helpers.map_service import USAGE, MapService

ROOT = Path(__file__).parents[2]
COST = (USAGE["prompt_tokens"] * 0.10 + USAGE["completion_tokens"] * 0.30) / 1e6
"""What an answer of the service costs, in US dollars."""

_START_TIMEOUT = 300.0  # seconds


def _obey_ctrl_c() -> None:
    """Undo what a shell does to jobs in the background: they ignore Ctrl-C, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Job:
    """A data set, its files and the service that answers it."""

    def __init__(self, folder: Path, service: MapService, rows: int) -> None:
        self.service = service
        self.rows = [{"id": index, "text": f"this is row {index}"} for index in range(rows)]
        self.source, self.target = folder / "in.jsonl", folder / "out.jsonl"
        self.journal = folder / "out.jsonl.journal"
        self.source.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        self.environment = {
            **os.environ,
            "WORKERS_GEMMA_BASE_URL": service.base_url,
            "CLOUDFLARE_ACCOUNT_ID": "0123456789abcdef",
            "CLOUDFLARE_API_TOKEN": "a-token-that-nobody-may-see",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the command."""
        command = [sys.executable, "-m", "langchain_workers_gemma.cli.main", "map", str(self.source), str(self.target)]
        return subprocess.Popen(
            [*command, "--prompt", "Label: {text}", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_obey_ctrl_c,
        )

    def run(self, *options: str, timeout: float = 400.0) -> tuple[int, str]:
        """Run the command to its end; return its exit code and what it wrote to standard error."""
        with self.start(*options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            finally:
                process.kill()
        assert out == ""
        assert "a-token-that-nobody-may-see" not in err
        return process.returncode, err

    def run_here(self, *options: str) -> int:
        """Run the command in this process, which is quicker, and return its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return main(["map", str(self.source), str(self.target), "--prompt", "Label: {text}", *options])

    def answered(self) -> dict[int, Any]:
        """What the journal has of each row that was answered."""
        if not self.journal.exists():
            return {}
        whole = self.journal.read_bytes().rpartition(b"\n")[0]
        records = [json.loads(line) for line in whole.splitlines()]
        return {record["row"]: record["output"] for record in records if "output" in record}

    def output(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.target.read_text(encoding="utf-8").splitlines()]

    def check_complete(self) -> None:
        """Check that every row is in the output once, in order, with its own answer."""
        output = self.output()
        assert [{"id": row["id"], "text": row["text"]} for row in output] == self.rows
        assert [row["output"] for row in output] == [f"answer {index}" for index in range(len(self.rows))]
        assert all(row["usage"]["total_tokens"] == USAGE["total_tokens"] for row in output)
        assert all(row["cost_usd"] > 0 for row in output)
        assert not any("error" in row for row in output)


def kill(process: subprocess.Popen[str]) -> None:
    """`kill -9`."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


class Cluster:
    """A Dask scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self._folder = folder
        self._environment = environment
        self._stack = stack
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
        )
        self.address: str = ""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self.address:
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
            if file.exists() and (text := file.read_text()).endswith("}"):
                self.address = json.loads(text)["address"]

    def add_worker(self, threads: int = 8) -> subprocess.Popen[bytes]:
        """Start a worker. The cluster uses it as soon as it is there."""
        return self._start(
            "dask_worker",
            self.address,
            "--host",
            "127.0.0.1",
            "--no-nanny",
            "--nthreads",
            str(threads),
            "--local-directory",
            str(self._folder),
        )

    def _start(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            f"distributed.cli.{module}",
            *options,
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        log = self._stack.enter_context((self._folder / f"{module}.log").open("ab"))
        process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@contextmanager
def running_cluster(folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A cluster without workers."""
    with ExitStack() as stack:
        yield Cluster(folder, environment, stack)
