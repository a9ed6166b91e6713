"""Every Python block in README and docs runs, in order, against the sandbox; every docstring example is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import langchain_workers_gemma
from langchain_workers_gemma.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^(<!-- skip: next [^\n]*-->\n\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(langchain_workers_gemma.__path__, "langchain_workers_gemma.")
    if not module.name.endswith("__main__")
)


@pytest.fixture
def in_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a user has set: credentials in the environment, here those of the sandbox."""
    with Sandbox() as sandbox:
        monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", sandbox.account_id)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", sandbox.api_token)
        monkeypatch.chdir(ROOT)
        yield


@pytest.mark.usefixtures("in_sandbox")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_code_block_runs(page: Path) -> None:
    text = page.read_text()
    namespace: dict[str, object] = {"__name__": "__main__"}
    for skipped, code in _BLOCK.findall(text):
        if not skipped:
            line = text[: text.index(code)].count("\n")
            exec(compile("\n" * line + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
            assert anchor in slugs, target


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0
