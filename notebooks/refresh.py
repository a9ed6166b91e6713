"""Run the notebooks, two at a time, and save their outputs without parts that differ between machines or runs.

    python notebooks/refresh.py                 # run all, save the outputs
    python notebooks/refresh.py 01_quickstart   # run one
    python notebooks/refresh.py --check         # run all, save nothing, as `make notebooks` does

It fails if any output holds an error or a warning, even if Jupyter does not report it. The cells that install packages
have the tag `skip-execution`, so that they do not change the environment of this script.
"""

from __future__ import annotations

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
_PORT = re.compile(r"(127\.0\.0\.1|localhost):\d{4,5}")
_SITE = re.compile(r"/[^\s\"']*/(?=site-packages/|langchain_workers_gemma/)")


def run(path: Path, *, keep: bool) -> list[str]:
    """Run one notebook, and return its problems."""
    began = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(HERE)}}
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    except CellExecutionError as error:
        return [f"{path.name}: {error}"]
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode({"tags": cell.metadata.tags} if "tags" in cell.metadata else {})
        if cell.cell_type == "code":
            cell.outputs = [_clean_output(output) for output in _join_streams(cell.outputs)]
    problems = [
        f"{path.name}, cell {at}: {problem}"
        for at, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
        if (problem := _find_problem(output))
    ]
    notebook.metadata.language_info = {"name": "python"}
    if keep and not problems:
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
    print(f"{path.name}: {'failed' if problems else 'passed'} in {time.perf_counter() - began:.0f} s", flush=True)
    return problems


def _find_problem(output: Any) -> str | None:
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    warned = output.output_type == "stream" and re.search(r"^.*Warning: .*$", output.text, re.MULTILINE)
    return warned[0] if warned else None


def _join_streams(outputs: list[Any]) -> list[Any]:
    """Join the pieces of one stream, even if there is other output between them."""
    joined: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if output.output_type == "stream" and output.name in streams:
            streams[output.name].text += output.text
            continue
        if output.output_type == "stream":
            streams[output.name] = output
        joined.append(output)
    return joined


def _clean_output(output: Any) -> Any:
    """Return an output without overwritten lines, and with neutral ports and paths."""
    if output.output_type == "stream":
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in output.text.split("\n")]
        output.text = _replace_ports_and_paths("\n".join(lines))
    elif "text/plain" in output.get("data", {}):
        output.data["text/plain"] = _replace_ports_and_paths(output.data["text/plain"])
    return output


def _replace_ports_and_paths(text: str) -> str:
    return _SITE.sub("", _PORT.sub(r"\1:PORT", text)).replace(str(HERE.parent), ".")


def main(arguments: list[str]) -> int:
    """Run the notebooks that are named, or all."""
    keep = "--check" not in arguments
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    if keep:
        for variable in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"):
            os.environ.pop(variable, None)  # the saved outputs must come from the sandbox
    paths = [path for path in sorted(HERE.glob("*.ipynb")) if not wanted or path.stem in wanted]
    with ThreadPoolExecutor(2) as pool:
        problems = [problem for found in pool.map(partial(run, keep=keep), paths) for problem in found]
    for problem in problems:
        print(problem)
    failed = len({problem.partition(".ipynb")[0] for problem in problems})
    print(f"{len(paths) - failed} passed, {failed} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
