"""The generated parts of the documentation: the tables of models, the outputs of code blocks, and `llms.txt`.

python -m tests.helpers.generated_docs  # updates all of it: `make docs-refresh`
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import MODELS, GemmaModel, resolve_model
from langchain_workers_gemma.sandbox import Sandbox

from . import markdown_pages

DOCS = markdown_pages.ROOT / "docs"
MODELS_PAGE = DOCS / "models.md"
OWN_SERVER_PAGE = DOCS / "guides" / "own_server.md"
LLMS_TXT = DOCS / "llms.txt"
NOT_PUBLISHED = "\N{EN DASH}"
_GENERATED = re.compile(r"(<!-- generated: \w+ -->\n).*?(?=<!-- end of generated -->)", re.DOTALL)
_PICTURE = markdown_pages.ROOT / "tests" / "data" / "square.png"


@contextlib.contextmanager
def sandbox_environment() -> Iterator[None]:
    """Set up what the code on pages needs: credentials in the environment, and a folder with a `photo.png`."""
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photo.png").write_bytes(_PICTURE.read_bytes())
        credentials = {
            "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_API_TOKEN": sandbox.api_token,
        }
        with patch.dict(os.environ, credentials), contextlib.chdir(folder):
            yield


# --- The models page ---


def render_models_page() -> str:
    """Return the models page, with its tables generated from `models.py`."""
    tables = "\n\n".join([*_format_host_tables(), _format_parameters_table()])
    return _replace_generated(MODELS_PAGE, tables)


def _replace_generated(page: Path, content: str) -> str:
    return _GENERATED.sub(lambda found: f"{found[1]}\n{content}\n\n", page.read_text(encoding="utf-8"))


def _format_host_tables() -> Iterator[str]:
    for host, group in itertools.groupby(MODELS.values(), key=lambda model: model.host):
        models = list(group)
        chat = [model for model in models if not model.embeds]
        yield f"## {HOSTS[host].label}"
        yield _format_table(
            ["model", "context window", "$ per M tokens, in / out", "state"],
            [
                [_format_id(model), _format_context(model), _format_price(model), _format_state(model)]
                for model in models
            ],
        )
        yield _format_table(
            ["model", "images", "function calling", "structured output", "thinking", "LoRA", "queue"],
            [[_format_id(model), *_format_features(model)] for model in chat],
        )


def _format_id(model: GemmaModel) -> str:
    return f"`{model.id}`"


def _format_context(model: GemmaModel) -> str:
    documented = NOT_PUBLISHED if model.context_window is None else f"{model.context_window:,}"
    if model.enforced_context is None:
        return documented
    return f"{documented} documented, {model.enforced_context:,} enforced (reported)"


def _format_price(model: GemmaModel) -> str:
    if model.input_price is None or model.output_price is None:
        return NOT_PUBLISHED
    return f"{model.input_price:.2f} / {model.output_price:.2f}"


def _format_state(model: GemmaModel) -> str:
    if model.retired is None:
        return "embeddings" if model.embeds else "listed"
    return f"**retired {model.retired.isoformat()}**, use `{model.replacement}`"


def _format_features(model: GemmaModel) -> list[str]:
    constraint = {
        None: "in the prompt",
        "guided_json": "`guided_json`",
        "bare_schema": "`response_format`",
        "openai_schema": "`response_format`",
    }[model.constraint]
    guided = "guided" if model.constraint else "in the prompt"
    return [
        "yes" if model.images else "no",
        "native" if model.function_calling else guided,
        constraint,
        "yes" if model.thinking else "no",
        "yes" if model.lora else "no",
        "yes" if model.async_queue else "no",
    ]


def _format_parameters_table() -> str:
    """Return a table with one column for each set of ranges. Models with the same ranges share a column."""
    sets: dict[tuple[tuple[str, str], ...], list[GemmaModel]] = {}
    for model in MODELS.values():
        if model.parameters is not None:
            ranges = tuple((name, str(allowed)) for name, allowed in model.parameters.items())
            sets.setdefault(ranges, []).append(model)
    names = list(dict.fromkeys(name for ranges in sets for name, _ in ranges))
    header = ["parameter", *(" and ".join(dict.fromkeys(model.name for model in models)) for models in sets.values())]
    rows = [[f"`{name}`", *(dict(ranges).get(name, "none") for ranges in sets)] for name in names]
    return "## Parameters\n\n" + _format_table(header, rows)


def _format_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# --- The families, on the page about your own server ---

_FAMILY_IDS = (
    ("google/gemma-4-26b-a4b-it", "gemma-4-31b-it"),
    ("gemma3:12b", "google/gemma-3-27b-it", "medgemma-27b-it"),
    ("gemma3:1b", "gemma-3-270m-it"),
    ("medgemma-27b-text-it",),
    ("gemma-3n-e4b-it", "gemma3n:e2b"),
    ("functiongemma",),
    ("gemma-2-9b-it", "gemma2:9b"),
    ("gemma:7b", "codegemma", "shieldgemma-9b"),
)
"""Ids as servers spell them. Ids in one row are treated alike."""


def render_own_server_page() -> str:
    """Return the page about your own server, with the table of model families."""
    header = ["an id such as", "family", "tools", "system role", "images", "thinking", "context window"]
    return _replace_generated(OWN_SERVER_PAGE, _format_table(header, [_format_family_row(ids) for ids in _FAMILY_IDS]))


def _format_family_row(ids: tuple[str, ...]) -> list[str]:
    (cells,) = {_format_family(model_id) for model_id in ids}  # fails if the ids are not treated equally
    return [", ".join(f"`{model_id}`" for model_id in ids), *cells]


def _format_family(model_id: str) -> tuple[str, ...]:
    model = resolve_model(model_id, "openai_compatible")
    return (
        model.family,
        "native" if model.function_calling else "guided",
        "yes" if model.system_role else "no",
        "yes" if model.images else "no",
        "yes" if model.thinking else "no",
        f"{model.family_context:,}" if model.family_context else NOT_PUBLISHED,
    )


# --- llms.txt ---


def render_llms_txt() -> str:
    """Return the index of the documentation for language models (llmstxt.org): each page with its first sentence."""
    settings = (markdown_pages.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    title, description = (_read_setting(settings, name) for name in ("site_name", "site_description"))
    lines = [f"# {title}", "", f"> {description}", "", "## Start", ""]
    for line in settings.partition("\nnav:\n")[2].partition("\n\n")[0].splitlines():
        name, _, path = line.strip(" -").partition(": ")
        if path:
            lines.append(f"- [{name}]({path}): {_summarize_page(DOCS / path)}")
        else:
            lines += ["", f"## {name.rstrip(':')}", ""]
    return "\n".join(lines) + "\n"


def _read_setting(settings: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", settings, re.MULTILINE)
    assert found is not None, name
    return found[1]


def _summarize_page(page: Path) -> str:
    """Return the first sentence of a page, or its headings if it does not begin with text."""
    text = markdown_pages.remove_code_blocks(page.read_text(encoding="utf-8"))
    opening = text.partition("\n## ")[0].partition("\n")[2].strip().partition("\n\n")[0]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(opening.split())).replace("**", "")
    sentence = re.match(r".*?[.:](?= |$)", plain)
    if sentence and not plain.startswith((":::", "<!--", "!", "|")):
        return sentence[0].rstrip(":.") + "."
    return ", ".join(re.findall(r"^## (.*)$", text, re.MULTILINE)) + "."


# --- All pages ---


def find_outdated() -> dict[Path, str]:
    """Return the generated files that are out of date, each with its new text."""
    texts: dict[Path, Any] = {
        MODELS_PAGE: render_models_page(),
        OWN_SERVER_PAGE: render_own_server_page(),
        LLMS_TXT: render_llms_txt(),
    }
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text}


def main() -> int:
    """Update the generated parts of all pages."""
    for path, text in find_outdated().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(markdown_pages.ROOT)}")
    selected = [Path(argument).resolve() for argument in sys.argv[1:]]
    failed = 0
    for page in selected or markdown_pages.PAGES:
        try:
            with sandbox_environment():
                text = markdown_pages.refresh_outputs(page)
        except Exception as error:  # noqa: BLE001 - the other pages are still written
            failed += 1
            print(f"{page.relative_to(markdown_pages.ROOT)}: {type(error).__name__}: {error}")
            continue
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(markdown_pages.ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
