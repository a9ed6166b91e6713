"""The files that `architecture.md`, `CONTRIBUTING.md` and the package's comments name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .helpers.markdown_pages import ROOT

PACKAGE = ROOT / "langchain_workers_gemma"
GUIDES = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("langchain_workers_gemma", "tests", "docs", "benchmarks", "examples", "notebooks", "llms.txt", ".")
    for path in ((ROOT / folder).rglob("*") if folder != "." else ROOT.glob("*"))
    if path.is_file()
]
IGNORED_FOLDERS = {line.strip("/") + "/" for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()}
NAMED_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|txt|ipynb|yml|json))`|`([\w.-]+(?:/[\w.-]+)*/)`")
FOLDERS = "|".join(sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
CITED_PATH = re.compile(rf"(?<![\w/.@-])(?:tests|docs|benchmarks|notebooks|{FOLDERS})/[\w/.-]*\.(?:py|md)\b")


def path_exists(name: str) -> bool:
    """Return whether a path of a file or folder exists, relative to any folder of the repository."""
    if name.endswith("/"):
        return name in IGNORED_FOLDERS or any(f"/{name}" in f"/{path}" for path in FILES)
    return any(f"/{path}".endswith(f"/{name}") for path in FILES)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_guides_name_files_that_exist(guide: Path) -> None:
    named = ["".join(match) for match in NAMED_PATH.findall(guide.read_text(encoding="utf-8"))]
    assert len(named) > 20
    assert [name for name in named if not path_exists(name)] == []


def test_the_package_cites_files_that_exist() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in CITED_PATH.findall(path.read_text(encoding="utf-8"))
        if not path_exists(name)
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["request/novel.py", "novel/", "tests/unit_tests/planner.py"])
def test_missing_files_are_found(name: str) -> None:
    assert not path_exists(name)
