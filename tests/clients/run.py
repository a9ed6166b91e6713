"""Run other client libraries against the sandbox: JavaScript libraries from npm, and Python libraries from PyPI.

    python -m tests.clients.run

It checks chat, streams, tools, structured output, embeddings and errors. The libraries are installed into separate
environments in `build/`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from langchain_workers_gemma.sandbox import Sandbox
from tests.installation import BUILD, compute_digest, find_node, install_npm, print_step, run_command

HERE = Path(__file__).resolve().parent
CACHE = BUILD / "clients"
_TIMEOUT = 300.0
"""Seconds for all checks of one language."""


def main() -> int:
    """Install the clients, start the sandbox, run the checks.

    Returns:
        The exit code.
    """
    modules = install_npm(HERE / "package.json", CACHE)
    python = _install_python()
    script = modules.parent / "checks.mjs"  # next to its modules, where node finds them
    shutil.copy(HERE / "checks.mjs", script)
    node, _ = find_node()
    failed = 0
    with Sandbox() as sandbox:
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
            "BASE": sandbox.base_url,
            "ACCOUNT": sandbox.account_id,
            "TOKEN": sandbox.api_token,
            "OPENAI": sandbox.openai_url,
        }
        print_step("running the JavaScript clients")
        failed += _run_checks([*node, str(script)], environment)
        print_step("running the Python clients")
        failed += _run_checks([str(python), str(HERE / "checks.py")], environment)
    return int(failed > 0)


def _install_python() -> Path:
    """Install the Python clients in a separate environment, and return its interpreter."""
    home = CACHE / "venv"
    python = home / "bin" / "python"
    stamp = home / ".installed"
    wanted = HERE / "requirements.txt"
    state = compute_digest([wanted])
    if not stamp.exists() or stamp.read_text() != state:
        print_step(f"installing the PyPI packages of {wanted.name} (once)")
        run_command([sys.executable, "-m", "venv", str(home)])
        run_command([str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "-r", str(wanted)])
        stamp.write_text(state)
    return python


def _run_checks(command: list[str], environment: dict[str, str]) -> int:
    """Run a script of checks, show each outcome, and return how many failed."""
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for result in results:
        print(f"{'FAILED' if result['error'] else 'passed'}  {result['name']}")
        if result["error"]:
            print(result["error"])
    failed = sum(1 for result in results if result["error"])
    if done.returncode and not failed:  # the script itself failed
        print(done.stdout, done.stderr, sep="\n")
        return 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
