"""The Markdown pages of the project: their code blocks, the output of these, and their links."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
MAX_COLUMNS = 88
"""The maximum width of code on a page, so that it fits on a narrow screen."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?:(?:<!-- skip: next (?P<skip>[^\n]*)|<!-- needs: (?P<needs>[\w, ]+)) -->\n\n(?P=indent))?"
    r"```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$"
    r"(?:\n\n(?P=indent)```text\n(?P<output>.*?)^(?P=indent)```$)?",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_ANY_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"(127\.0\.0\.1|localhost):\d{4,5}")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, with the output that the page shows for it.

    Attributes:
        language: The language after the opening fence.
        code: The text between the fences, without common indentation.
        output: The text block directly below, `None` if there is none.
        skipped: Whether the page marks it as not runnable, or it needs a package that is not installed.
        line: The line of the page on which the code begins, from 0.
        output_span: The position of the output in the page.
    """

    language: str
    code: str
    output: str | None
    skipped: bool
    line: int
    output_span: tuple[int, int]


def parse_blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        yield Block(
            language=match["language"],
            code=_dedent(match["code"], indent),
            output=None if match["output"] is None else _dedent(match["output"], indent),
            skipped=match["skip"] is not None or not _are_installed(match["needs"]),
            line=text.count("\n", 0, match.start("code")),
            output_span=match.span("output"),
        )


def run_blocks(page: Path) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page in one namespace, and yield each block with its output.

    Python blocks run unchanged. In shell blocks whose output is on the page, the lines that start with `workers-gemma`
    run.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in parse_blocks(page.read_text(encoding="utf-8")):
        if block.skipped:
            continue
        if block.language == "python":
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, namespace)
            yield block, normalize_output(printed.getvalue())
        elif block.language == "bash" and block.output is not None:
            yield block, normalize_output(_run_commands(block.code))


def normalize_output(text: str) -> str:
    """Return output without the parts that differ between runs: ports, and spaces at the ends of lines."""
    lines = (line.rstrip() for line in _PORT.sub(r"\1:8797", text).strip("\n").split("\n"))
    return "".join(f"{line}\n" for line in lines)


def refresh_outputs(page: Path) -> str:
    """Return the text of a page with the current outputs of its blocks."""
    text = page.read_text(encoding="utf-8")
    for block, printed in reversed(list(run_blocks(page))):
        if block.output is not None:
            start, end = block.output_span
            text = text[:start] + printed + text[end:]
    return text


def find_links(text: str) -> list[str]:
    """Return the targets of the links on a page, except for links in code."""
    return _LINK.findall(remove_code_blocks(text))


def remove_code_blocks(text: str) -> str:
    """Return the text of a page without its code blocks."""
    return _ANY_FENCE.sub("", text)


def find_anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = _HEADING.findall(remove_code_blocks(text))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def _are_installed(needs: str | None) -> bool:
    names = (needs or "").replace(",", " ").split()
    return all(importlib.util.find_spec(name) for name in names)


def _dedent(code: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))


def _run_commands(code: str) -> str:
    from langchain_workers_gemma.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith("workers-gemma "):
                main(shlex.split(line, comments=True)[1:])
    return printed.getvalue()
