"""Files that the architecture, the contributor's guide and the package's own comments name exist."""

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
BUILT = {line.strip("/") + "/" for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()}
NAMED = re.compile(r"`([\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml|txt|ipynb|yml|json))`|`([\w.-]+(?:/[\w.-]+)*/)`")
FOLDERS = "|".join(sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
CITED = re.compile(rf"(?<![\w/.@-])(?:tests|docs|benchmarks|notebooks|{FOLDERS})/[\w/.-]*\.(?:py|md)\b")


def exists(name: str) -> bool:
    """Return whether a path is that of a file or a folder, from the root, the package, or any folder in them."""
    if name.endswith("/"):
        return name in BUILT or any(f"/{name}" in f"/{path}" for path in FILES)
    return any(f"/{path}".endswith(f"/{name}") for path in FILES)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_guides_name_files_that_exist(guide: Path) -> None:
    named = ["".join(match) for match in NAMED.findall(guide.read_text(encoding="utf-8"))]
    assert len(named) > 20
    assert [name for name in named if not exists(name)] == []


def test_the_package_cites_files_that_exist() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in CITED.findall(path.read_text(encoding="utf-8"))
        if not exists(name)
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["request/novel.py", "novel/", "tests/unit_tests/planner.py"])
def test_a_file_that_is_not_there_is_noticed(name: str) -> None:
    assert not exists(name)
