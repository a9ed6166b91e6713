"""Every block of the README runs in order, in an empty folder and a new environment with only the packages it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_workers_gemma.sandbox import Sandbox
from tests.helpers import markdown_pages
from tests.helpers.strict_warnings import STRICT_WARNINGS

README = markdown_pages.ROOT / "README.md"
_INSTALL = re.compile(r"^pip install (.*)$", re.MULTILINE)
_RELATIVE_LINK = re.compile(r"\]\((?!https?://|#)")


def _get_blocks(language: str) -> list[str]:
    found = [
        block for block in markdown_pages.parse_blocks(README.read_text(encoding="utf-8")) if block.language == language
    ]
    assert not any(block.skipped for block in found)
    return [block.code for block in found]


def test_links_work_on_a_package_index_too() -> None:
    assert not _RELATIVE_LINK.search(README.read_text(encoding="utf-8"))


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.slow
@pytest.mark.enable_socket
def test_every_block_runs_in_a_fresh_environment_and_an_empty_folder(tmp_path: Path) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "folder"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    shell = "\n".join(_get_blocks("bash"))
    assert _INSTALL.search(shell)
    for package in _INSTALL.findall(shell):  # in a clone of the repository, as in the README
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package.strip('"')],
            cwd=markdown_pages.ROOT,
            check=True,
        )
    with Sandbox() as sandbox:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDFLARE_", "CF_"))}
        variables |= {
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_API_TOKEN": sandbox.api_token,
            "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
        }
        for command in re.findall(r"^workers-gemma .*$", shell, re.MULTILINE):
            _run([str(scripts / "workers-gemma"), *command.split()[1:]], folder, variables)
        program = "\n".join(_get_blocks("python"))
        printed = _run([python, *STRICT_WARNINGS, "-c", program], folder, variables)
    assert "24 degrees and sunny in Paris" in printed
    assert "name='Ada Lovelace' age=36" in printed


def _run(command: list[str], folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command[:3]}\n{done.stdout}\n{done.stderr}"
    return done.stdout
