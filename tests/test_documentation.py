"""Code blocks of the pages run with the sandbox and print the documented output. Links and docstrings are valid."""

from __future__ import annotations

import doctest
import html
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import langchain_workers_gemma

from .helpers import generated_docs, markdown_pages
from .helpers.markdown_pages import PAGES, ROOT

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(langchain_workers_gemma.__path__, "langchain_workers_gemma.")
    if not module.name.endswith("__main__")
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_every_code_block_runs_and_prints_the_output_on_the_page(page: Path) -> None:
    with generated_docs.sandbox_environment():
        for block, printed in markdown_pages.run_blocks(page):
            if block.output is not None:
                assert printed == block.output, f"{page}, line {block.line}: run `make docs-refresh`"


@every_page
def test_code_is_not_too_wide_for_a_narrow_screen(page: Path) -> None:
    for block in markdown_pages.parse_blocks(page.read_text(encoding="utf-8")):
        if block.language != "text":
            too_wide = [line for line in block.code.splitlines() if len(line) > markdown_pages.MAX_COLUMNS]
            assert not too_wide


@every_page
def test_links_within_the_repository_have_targets(page: Path) -> None:
    for target in markdown_pages.find_links(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in markdown_pages.find_anchors(linked.read_text(encoding="utf-8")), target


def test_generated_parts_are_up_to_date() -> None:
    assert not generated_docs.find_outdated(), "run `make docs-refresh`"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_print_the_documented_output(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0


REFERENCE = ROOT / "site" / "reference"


@pytest.mark.skipif(not REFERENCE.exists(), reason="`make docs` builds the site")
@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("chat_models", "temperature: int | float | None = None"),  # a field with its default
        ("chat_models", "max_retries: int = 2"),  # inherited, with a default in a `Field`
        ("chat_models", "queue_batch( inputs: Sequence[LanguageModelInput], *, poll_interval: float"),  # inherited
        ("chat_models", "with_structured_output("),
        ("embeddings", "batch_size: int ="),
        ("embeddings", "aembed_documents(texts: list[str]) -> list[list[float]]"),
        ("models", "GemmaModel( *, id: str, host: HostName ="),  # a dataclass: its fields are its signature
        ("batch", "BatchJob(model: str, parts: tuple[BatchPart, ...] = ())"),
        ("scale", "MapReport( rows: int = 0, total: int | None = None,"),
        ("scale", "-> MapReport"),
        ("sandbox", "Dialect( *, shape:"),
        ("gateway", "AIGateway(id: str"),
    ],
)
def test_generated_reference_shows_signatures_defaults_and_inherited_members(page: str, shown: str) -> None:
    source = (REFERENCE / f"{page}.html").read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", source)).split())
    assert shown in text
