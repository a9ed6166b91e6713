"""Convert the usage that services report, whole or in pieces, to LangChain's `UsageMetadata`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata


class UsageTally:
    """Computes the usage of a reply from its reports.

    In a stream every event can have `usage`, with cumulative counts or with differences. Reports are differences if
    their `prompt_tokens` is 0 after the first one (`docs/wire.md` section 4). Cumulative reports replace one another.
    """

    __slots__ = ("_input", "_output", "_report", "_total", "neurons")

    def __init__(self) -> None:
        self._report: Mapping[str, Any] | None = None
        self._input = 0
        self._output = 0
        self._total = 0
        self.neurons: float | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens of the reply, as far as reported."""
        return self._output

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and reply together, as far as reported."""
        return max(self._total, self._input + self._output)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reply that went into reasoning, as far as reported."""
        return _get_detail(self._report or {}, "completion_tokens_details", "reasoning_tokens") or 0

    def add(self, report: Mapping[str, Any]) -> None:
        """Add one report: `prompt_tokens`, `completion_tokens`, `total_tokens`, details, `neurons`."""
        prompt, completion = _read_count(report, "prompt_tokens"), _read_count(report, "completion_tokens")
        total = _read_count(report, "total_tokens") or prompt + completion
        neurons = _to_number(report.get("neurons"))
        if self._input and not prompt:
            self._output += completion
            self._total += total
            self.neurons = neurons if self.neurons is None else self.neurons + (neurons or 0)
            self._report = _add_details(self._report or {}, report)
        else:
            self._input, self._output, self._total = prompt, completion, total
            self.neurons = self.neurons if neurons is None else neurons
            self._report = report

    def to_metadata(self) -> UsageMetadata | None:
        """Return the counts in LangChain's form; `None` if the service reported none."""
        if self._report is None:
            return None
        usage = UsageMetadata(
            input_tokens=self._input,
            output_tokens=self._output,
            total_tokens=self.total_tokens,
        )
        cached = _get_detail(self._report, "prompt_tokens_details", "cached_tokens")
        if cached is not None:
            usage["input_token_details"] = InputTokenDetails(cache_read=cached)
        reasoning = _get_detail(self._report, "completion_tokens_details", "reasoning_tokens")
        if reasoning is not None:
            usage["output_token_details"] = OutputTokenDetails(reasoning=reasoning)
        return usage


_MAX_COUNT = 2**53  # no real count is that large, and floats are exact below it
_DETAILS = (("prompt_tokens_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens"))


def _add_details(kept: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of the details of two reports."""
    merged: dict[str, Any] = {}
    for group, key in _DETAILS:
        counts = [count for report in (kept, added) if (count := _get_detail(report, group, key)) is not None]
        if counts:
            merged[group] = {key: sum(counts)}
    return merged


def _get_detail(report: Mapping[str, Any], group: str, key: str) -> int | None:
    details = report.get(group)
    return _read_count(details, key) if isinstance(details, dict) and _to_number(details.get(key)) is not None else None


def _read_count(report: Mapping[str, Any], key: str) -> int:
    return int(_to_number(report.get(key)) or 0)


def _to_number(value: object) -> float | None:
    """Return the value if it is a number that can be a count, else `None`."""
    if type(value) is not int and type(value) is not float:  # a bool is an int, too
        return None
    return value if 0 <= value < _MAX_COUNT else None
