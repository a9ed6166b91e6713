from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import langchain_workers_gemma
from tests.helpers.strict_warnings import STRICT_WARNINGS

ROOT = Path(langchain_workers_gemma.__file__).parent.parent
TEST = """
def test_fixture(workers_gemma_sandbox):
    import httpx
    headers = {"Authorization": f"Bearer {workers_gemma_sandbox.api_token}"}
    url = f"{workers_gemma_sandbox.base_url}/user/tokens/verify"
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    assert len(workers_gemma_sandbox.requests) == 1

def test_fresh(workers_gemma_sandbox):
    assert workers_gemma_sandbox.requests == []
"""


def run_pytest(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TEST)
    program = [*before, "import sys, pytest", "sys.exit(pytest.main(sys.argv[1:]))"]
    plugin = "langchain_workers_gemma.sandbox.pytest_plugin"
    return subprocess.run(
        [sys.executable, "-c", "\n".join(program), "-q", *STRICT_WARNINGS, "-p", plugin, str(folder)],
        capture_output=True,
        check=False,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def test_the_fixture_is_a_fresh_running_sandbox(tmp_path: Path) -> None:
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_without_the_extra_the_fixture_names_it(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "import sys; sys.modules['uvicorn'] = None")
    assert done.returncode != 0
    assert 'pip install "langchain-workers-gemma[sandbox]"' in done.stdout


def test_the_plugin_imports_nothing_heavy() -> None:
    program = (
        "import sys, langchain_workers_gemma, pytest; before = set(sys.modules)\n"
        "import langchain_workers_gemma.sandbox.pytest_plugin\n"
        "heavy = {'starlette', 'uvicorn', 'llguidance', 'numpy', 'jsonschema', 'httpx'}\n"
        "print(sorted((set(sys.modules) - before) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_package_registers_the_plugin() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        entries = tomllib.load(file)["project"]["entry-points"]["pytest11"]
    assert entries == {"workers_gemma": "langchain_workers_gemma.sandbox.pytest_plugin"}
