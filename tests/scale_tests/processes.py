"""Run `workers-gemma map` and Dask in separate processes, which can be killed."""

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
"""The cost of one answer of the service in US dollars."""

_START_TIMEOUT = 300.0  # seconds


def _restore_ctrl_c() -> None:
    """Restore the default handler of Ctrl-C. Background jobs of a shell ignore it, and so would the child process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Job:
    """A data set with its files, and the service for it."""

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
            preexec_fn=_restore_ctrl_c,
        )

    def run(self, *options: str, timeout: float = 400.0) -> tuple[int, str]:
        """Run the command, and return its exit code and standard error."""
        with self.start(*options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            finally:
                process.kill()
        assert out == ""
        assert "a-token-that-nobody-may-see" not in err
        return process.returncode, err

    def run_in_process(self, *options: str) -> int:
        """Run the command in this process, which is faster, and return its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return main(["map", str(self.source), str(self.target), "--prompt", "Label: {text}", *options])

    def read_outputs(self) -> dict[int, Any]:
        """Return the output of each finished row in the journal."""
        if not self.journal.exists():
            return {}
        whole = self.journal.read_bytes().rpartition(b"\n")[0]
        records = [json.loads(line) for line in whole.splitlines()]
        return {record["row"]: record["output"] for record in records if "output" in record}

    def read_target(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.target.read_text(encoding="utf-8").splitlines()]

    def assert_complete(self) -> None:
        """Assert that the target contains each row once, in order, with its own answer."""
        output = self.read_target()
        assert [{"id": row["id"], "text": row["text"]} for row in output] == self.rows
        assert [row["output"] for row in output] == [f"answer {index}" for index in range(len(self.rows))]
        assert all(row["usage"]["total_tokens"] == USAGE["total_tokens"] for row in output)
        assert all(row["cost_usd"] > 0 for row in output)
        assert not any("error" in row for row in output)


def kill_process(process: subprocess.Popen[str]) -> None:
    """Kill a process with SIGKILL, and wait for its end."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


class Cluster:
    """A Dask scheduler and its workers, each in a separate process."""

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
        """Start a worker. The cluster uses it as soon as it is connected."""
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
def run_cluster(folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """Run a cluster without workers, and yield it."""
    with ExitStack() as stack:
        yield Cluster(folder, environment, stack)
