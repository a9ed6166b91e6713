"""The report of `verify`: Markdown that can be pasted into an issue, and JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langchain_workers_gemma.cli.verify.result import Result

_MARKS = {"holds": "✓", "differs": "✗", "observed": "·", "inconclusive": "?"}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found.

    Attributes:
        host: The host that was called.
        model: The model.
        base_url: Where the service is.
        versions: Versions of this package and of its dependencies.
        started: When it began, in ISO form.
        calls: How many requests were sent.
        results: The facts.
        skipped: Checks that do not apply to this model or host.
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
        """Whether every fact that could be compared holds, and each could be tried."""
        return not any(result.status in ("differs", "inconclusive") for result in self.results)

    @property
    def counts(self) -> dict[str, int]:
        """How many results have each status."""
        found: Counter[str] = Counter(result.status for result in self.results)
        return {status: found[status] for status in _MARKS}

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        head = {"ok": self.ok, "counts": self.counts}
        rest = asdict(self)
        return {**head, **rest, "versions": dict(self.versions), "results": [asdict(one) for one in self.results]}

    def to_markdown(self) -> str:
        """Return the report as Markdown, the JSON folded into it."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"# Verification of `{self.model}` on {self.host}",
            "",
            f"{counts}. {self.calls} calls to `{self.base_url}`, {self.started}.",
            f"{versions}.",
            "",
        ]
        differing = [result for result in self.results if result.status in ("differs", "inconclusive")]
        lines += _write_table("Facts that do not hold", differing)
        lines += _write_table("All facts", self.results)
        if self.skipped:
            lines += [f"Not applicable: {', '.join(self.skipped)}.", ""]
        body = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        fence = "`" * max(3, 1 + _find_longest_run(body))
        lines += ["<details><summary>JSON</summary>", "", f"{fence}json", body, fence, "", "</details>"]
        return "\n".join(lines)


def _write_table(title: str, results: Iterable[Result]) -> list[str]:
    rows = [
        f"| {_MARKS[one.status]} | {one.fact} | {_write_code(one.expected)} | {_write_code(one.observed)}"
        f"{' (reported before)' if one.known else ''} | {one.source} |"
        for one in results
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


def _write_code(text: str) -> str:
    """Return a text as code, so that it is no markup, no mention and no end of its cell."""
    plain = "".join(one if one.isprintable() else " " for one in text).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain.strip() else ""


def _find_longest_run(text: str) -> int:
    longest = run = 0
    for one in text:
        run = run + 1 if one == "`" else 0
        longest = max(longest, run)
    return longest
