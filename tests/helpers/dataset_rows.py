"""Helpers for tests of data sets: a runnable that counts its calls, and files of rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_workers_gemma import errors

COST = 0.001
USAGE = {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
CONNECTION_ERROR = errors.APIConnectionError("a glitch")
OVERFLOW_ERROR = errors.ContextOverflowError("too long", status_code=400)


def make_answer(text: str, cost: float | None = COST) -> AIMessage:
    metadata = {} if cost is None else {"cost_usd": cost}
    return AIMessage(text, usage_metadata=USAGE, response_metadata=metadata)


class ScriptedRunnable(Runnable[dict[str, Any], AIMessage]):
    """Returns the `text` of a row in capitals, after it has raised the `failures` for the `id` of the row."""

    def __init__(self, failures: dict[int, list[Exception]] | None = None, cost: float | None = COST) -> None:
        self.failures = failures or {}
        self.cost = cost
        self.call_counts: Counter[int] = Counter()

    # ruff: noqa: A002 - the argument's name is core's
    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        self.call_counts[input["id"]] += 1
        if planned := self.failures.get(input["id"]):
            raise planned.pop(0)
        return make_answer(input["text"].upper(), self.cost)

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        return self.invoke(input, config)


def make_rows(count: int) -> list[dict[str, Any]]:
    return [{"id": index, "text": f"row {index}"} for index in range(count)]


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_output_row(row: dict[str, Any], cost: float | None = COST) -> dict[str, Any]:
    """Return the output row that `ScriptedRunnable` produces for a row."""
    return {**row, "output": row["text"].upper(), "usage": USAGE, "cost_usd": cost}
