"""What on the documentation's pages is generated: the tables of models, the outputs of code blocks, and `llms.txt`.

python -m tests.helpers.site  # writes all of it anew: `make docs-refresh`
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

from . import pages

DOCS = pages.ROOT / "docs"
MODELS_PAGE = DOCS / "models.md"
OWN_SERVER_PAGE = DOCS / "guides" / "own_server.md"
LLMS = DOCS / "llms.txt"
NOT_PUBLISHED = "\N{EN DASH}"
_GENERATED = re.compile(r"(<!-- generated: \w+ -->\n).*?(?=<!-- end of generated -->)", re.DOTALL)
_PICTURE = pages.ROOT / "tests" / "data" / "square.png"


@contextlib.contextmanager
def in_sandbox() -> Iterator[None]:
    """Give pages what their reader has: credentials in the environment, an empty folder, and in it a `photo.png`."""
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "photo.png").write_bytes(_PICTURE.read_bytes())
        credentials = {
            "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
            "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
            "CLOUDFLARE_API_TOKEN": sandbox.api_token,
        }
        with patch.dict(os.environ, credentials), contextlib.chdir(folder):
            yield


# --- The page of models ---


def models_page() -> str:
    """Return the page of models, with its tables made from `models.py`."""
    tables = "\n\n".join([*_tables_of_hosts(), _parameters_table()])
    return _with_generated(MODELS_PAGE, tables)


def _with_generated(page: Path, content: str) -> str:
    return _GENERATED.sub(lambda found: f"{found[1]}\n{content}\n\n", page.read_text(encoding="utf-8"))


def _tables_of_hosts() -> Iterator[str]:
    for host, group in itertools.groupby(MODELS.values(), key=lambda model: model.host):
        models = list(group)
        chat = [model for model in models if not model.embeds]
        yield f"## {HOSTS[host].label}"
        yield _table(
            ["model", "context window", "$ per M tokens, in / out", "state"],
            [[_id(model), _context(model), _price(model), _state(model)] for model in models],
        )
        yield _table(
            ["model", "images", "function calling", "structured output", "thinking", "LoRA", "queue"],
            [[_id(model), *_features(model)] for model in chat],
        )


def _id(model: GemmaModel) -> str:
    return f"`{model.id}`"


def _context(model: GemmaModel) -> str:
    documented = NOT_PUBLISHED if model.context_window is None else f"{model.context_window:,}"
    if model.enforced_context is None:
        return documented
    return f"{documented} documented, {model.enforced_context:,} enforced (reported)"


def _price(model: GemmaModel) -> str:
    if model.input_price is None or model.output_price is None:
        return NOT_PUBLISHED
    return f"{model.input_price:.2f} / {model.output_price:.2f}"


def _state(model: GemmaModel) -> str:
    if model.retired is None:
        return "embeddings" if model.embeds else "listed"
    return f"**retired {model.retired.isoformat()}**, use `{model.replacement}`"


def _features(model: GemmaModel) -> list[str]:
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


def _parameters_table() -> str:
    """Return one column for each set of ranges, so that models which share them are together."""
    sets: dict[tuple[tuple[str, str], ...], list[GemmaModel]] = {}
    for model in MODELS.values():
        if model.parameters is not None:
            ranges = tuple((name, str(allowed)) for name, allowed in model.parameters.items())
            sets.setdefault(ranges, []).append(model)
    names = list(dict.fromkeys(name for ranges in sets for name, _ in ranges))
    header = ["parameter", *(" and ".join(dict.fromkeys(model.name for model in models)) for models in sets.values())]
    rows = [[f"`{name}`", *(dict(ranges).get(name, "none") for ranges in sets)] for name in names]
    return "## Parameters\n\n" + _table(header, rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# --- The families, on the page of your own server ---

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
"""Ids as servers spell them, one row for those that are treated alike."""


def own_server_page() -> str:
    """Return the page of your own server, with what is known of the family that an id names."""
    header = ["an id such as", "family", "tools", "system role", "images", "thinking", "context window"]
    return _with_generated(OWN_SERVER_PAGE, _table(header, [_family(ids) for ids in _FAMILY_IDS]))


def _family(ids: tuple[str, ...]) -> list[str]:
    (facts,) = {_family_facts(model_id) for model_id in ids}  # alike, or the row would be wrong
    return [", ".join(f"`{model_id}`" for model_id in ids), *facts]


def _family_facts(model_id: str) -> tuple[str, ...]:
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


def llms_txt() -> str:
    """Return the index of the documentation for language models (llmstxt.org): each page with its first sentence."""
    settings = (pages.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    title, description = (_setting(settings, name) for name in ("site_name", "site_description"))
    lines = [f"# {title}", "", f"> {description}", "", "## Start", ""]
    for line in settings.partition("\nnav:\n")[2].partition("\n\n")[0].splitlines():
        name, _, path = line.strip(" -").partition(": ")
        if path:
            lines.append(f"- [{name}]({path}): {_summary(DOCS / path)}")
        else:
            lines += ["", f"## {name.rstrip(':')}", ""]
    return "\n".join(lines) + "\n"


def _setting(settings: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", settings, re.MULTILINE)
    assert found is not None, name
    return found[1]


def _summary(page: Path) -> str:
    """Return the first sentence of a page that begins with a text, else its headings."""
    text = pages.without_fences(page.read_text(encoding="utf-8"))
    opening = text.partition("\n## ")[0].partition("\n")[2].strip().partition("\n\n")[0]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(opening.split())).replace("**", "")
    sentence = re.match(r".*?[.:](?= |$)", plain)
    if sentence and not plain.startswith((":::", "<!--", "!", "|")):
        return sentence[0].rstrip(":.") + "."
    return ", ".join(re.findall(r"^## (.*)$", text, re.MULTILINE)) + "."


# --- All of it ---


def outdated() -> dict[Path, str]:
    """Return the generated files that differ from what is generated now, each with its new text."""
    texts: dict[Path, Any] = {MODELS_PAGE: models_page(), OWN_SERVER_PAGE: own_server_page(), LLMS: llms_txt()}
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text}


def main() -> int:
    """Write the generated parts of all pages anew."""
    for path, text in outdated().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(pages.ROOT)}")
    wanted = [Path(argument).resolve() for argument in sys.argv[1:]]
    failed = 0
    for page in wanted or pages.PAGES:
        try:
            with in_sandbox():
                text = pages.with_outputs(page)
        except Exception as error:  # noqa: BLE001 - the other pages are to be written all the same
            failed += 1
            print(f"{page.relative_to(pages.ROOT)}: {type(error).__name__}: {error}")
            continue
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(pages.ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
