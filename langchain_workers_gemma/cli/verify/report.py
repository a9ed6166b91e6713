"""The report of `verify`: Markdown to paste into an issue, and JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langchain_workers_gemma.cli.verify.result import Result

_MARKS = {"holds": "✓", "differs": "✗", "observed": "·", "inconclusive": "?"}
_COUNT_LABELS = {
    "holds": "as expected",
    "differs": "different",
    "observed": "only observed",
    "inconclusive": "inconclusive",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all checks.

    Attributes:
        host: The host that was called.
        model: The model that was called.
        base_url: The base URL of the service.
        versions: Versions of this package and of its dependencies.
        started: The start time in ISO format.
        calls: The number of requests sent.
        results: The results, one for each fact.
        skipped: Names of the checks that do not apply to this model or host.
    """

    host: str
    model: str
    base_url: str
    versions: Mapping[str, str]
    started: str
    calls: int
    results: tuple[Result, ...]
    skipped: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no fact differs and no check was inconclusive."""
        return not any(result.status in ("differs", "inconclusive") for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """The number of results with each status."""
        counter: Counter[str] = Counter(result.status for result in self.results)
        return {status: counter[status] for status in _MARKS}

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        results = [asdict(result) for result in self.results]
        summary = {"ok": self.ok, "counts": self.counts}
        return {**summary, **asdict(self), "versions": dict(self.versions), "results": results}

    def to_markdown(self) -> str:
        """Return the report as Markdown, with the JSON in a collapsed section."""
        counts = ", ".join(f"{count} {_COUNT_LABELS[status]}" for status, count in self.counts.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"# Verification of `{self.model}` on {self.host}",
            "",
            f"Facts: {counts}. Calls: {self.calls} to `{self.base_url}`, from {self.started}.",
            f"Versions: {versions}.",
            "",
        ]
        differing = [result for result in self.results if result.status in ("differs", "inconclusive")]
        lines += _format_table("Different or inconclusive", differing)
        lines += _format_table("All facts", self.results)
        if self.skipped:
            lines += [f"Checks that do not apply: {', '.join(self.skipped)}.", ""]
        body = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        fence = "`" * max(3, 1 + _find_longest_run(body))
        lines += ["<details><summary>JSON</summary>", "", f"{fence}json", body, fence, "", "</details>"]
        return "\n".join(lines)


def _format_table(title: str, results: Iterable[Result]) -> list[str]:
    rows = [
        f"| {_MARKS[result.status]} | {result.fact} | {_format_code(result.expected)} | {_format_code(result.observed)}"
        f"{' (reported before)' if result.known else ''} | {result.source} |"
        for result in results
    ]
    if not rows:
        return []
    return [
        f"## {title}",
        "",
        "| | fact | expected | observed | source |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _format_code(text: str) -> str:
    """Return a text as Markdown code, so that it contains no markup, mentions or cell separators."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    escaped = printable.replace("`", "'").replace("|", "\\|")
    return f"`{escaped}`" if escaped.strip() else ""


def _find_longest_run(text: str) -> int:
    """Return the length of the longest run of backticks in a text."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
