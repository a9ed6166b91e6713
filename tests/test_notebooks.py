"""The notebooks in the repository were run in order, and their outputs are complete and contain no local paths.

`make notebooks` runs them. These tests need neither Jupyter nor matplotlib.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_LINK = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")
_LOCAL_PATH = re.compile(r"/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\|site-packages|(?:127\.0\.0\.1|localhost):\d")
MAX_BYTES = 250_000
INSTALL = '%pip install --quiet "..[notebooks]"'

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read_notebook(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def get_code_cells(path: Path) -> list[dict[str, Any]]:
    """Return the code cells except the first, which installs the package."""
    return [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"][1:]


def get_source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def get_output_text(output: dict[str, Any]) -> str:
    """Return the text of an output."""
    return "".join(output.get("text", ())) + "".join(output.get("data", {}).get("text/plain", ()))


def test_all_notebooks_exist() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_quickstart",
        "02_tools_and_agents",
        "03_structured_output",
        "04_retrieval",
        "05_batch_and_cost",
        "06_middleware_and_mcp",
    ]


@notebooks
def test_notebooks_have_the_right_format_and_size(path: Path) -> None:
    notebook = read_notebook(path)
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert path.stat().st_size < MAX_BYTES


@notebooks
def test_cells_were_run_in_order_and_without_an_error(path: Path) -> None:
    cells = get_code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if "Warning:" in get_output_text(output)]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@notebooks
def test_outputs_contain_no_local_paths_or_ports(path: Path) -> None:
    for cell in get_code_cells(path):
        for output in cell["outputs"]:
            assert not _LOCAL_PATH.search(get_output_text(output)), get_output_text(output)


@notebooks
def test_the_first_cell_installs_and_is_not_run_by_the_tests(path: Path) -> None:
    first = next(cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code")
    assert get_source(first) == INSTALL
    assert first["metadata"] == {"tags": ["skip-execution"]}
    assert not first["outputs"]


@notebooks
def test_the_second_cell_finds_a_service(path: Path) -> None:
    cell = get_code_cells(path)[0]
    assert "find_service(" in get_source(cell)
    assert get_output_text(cell["outputs"][0]) == "The sandbox answers, with a mock model in place of Gemma.\n"


@notebooks
def test_code_compiles(path: Path) -> None:
    for cell in get_code_cells(path):
        compile(get_source(cell), str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@notebooks
def test_links_have_targets(path: Path) -> None:
    text = "\n".join(get_source(cell) for cell in read_notebook(path)["cells"] if cell["cell_type"] == "markdown")
    for target in _LINK.findall(text):
        assert (FOLDER / target).exists(), target
