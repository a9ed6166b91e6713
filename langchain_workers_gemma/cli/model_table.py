"""The table of `workers-gemma models`: what is published, and what the account's own list says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_workers_gemma.models import MODELS, GemmaModel

_UNKNOWN = "-"


def published_table() -> Iterator[str]:
    """The lines of the table of every Gemma with published facts.

    Example:
        >>> next(published_table()).split()
        ['host', 'model', 'context', '$/M', 'in', '$/M', 'out', 'features', 'state']
    """
    head = ("host", "model", "context", "$/M in", "$/M out", "features", "state")
    yield from _table(head, [_row(model) for model in MODELS.values()])


def live_table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the table of what `models/search` gave."""
    yield from _table(("model", "task", "context", "price", "state"), [_live_row(entry) for entry in entries])


def _row(model: GemmaModel) -> tuple[str, ...]:
    context = _tokens(model.context_window)
    if model.enforced_context is not None:
        context += f" ({_tokens(model.enforced_context)} enforced)"
    state = "" if model.retired is None else f"retired {model.retired.isoformat()}, use {model.replacement}"
    return (
        model.host,
        model.id,
        context,
        _price(model.input_price),
        _price(model.output_price),
        ", ".join(_features(model)) or _UNKNOWN,
        state,
    )


def _features(model: GemmaModel) -> Iterator[str]:
    tools = "tools" if model.function_calling else "tools (not trained)" if model.tools else ""
    constraint = {None: "", "guided_json": "guided_json"}.get(model.constraint, "response_format")
    named = {
        "embeddings": model.embeds,
        "images": model.images,
        tools: bool(tools),
        constraint: bool(constraint),
        "thinking": model.thinking,
        "LoRA": model.lora,
        "batch queue": model.async_queue,
    }
    return (name for name, has in named.items() if has)


def _live_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    task = entry.get("task")
    properties = {
        item.get("property_id"): item.get("value") for item in entry.get("properties") or () if isinstance(item, dict)
    }
    context = str(properties.get("context_window", ""))
    deprecated = properties.get("planned_deprecation_date")
    return (
        str(entry.get("name", _UNKNOWN)),
        str(task.get("name", _UNKNOWN)) if isinstance(task, dict) else _UNKNOWN,
        _tokens(int(context)) if context.isascii() and context.isdigit() else _UNKNOWN,
        _live_price(properties.get("price")),
        f"deprecated {deprecated}" if deprecated else "",
    )


def _live_price(prices: object) -> str:
    if not isinstance(prices, list):
        return _UNKNOWN
    told = (f"{item.get('price')} {item.get('unit', '')}".strip() for item in prices if isinstance(item, dict))
    return ", ".join(told) or _UNKNOWN


def _tokens(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _price(dollars: float | None) -> str:
    return _UNKNOWN if dollars is None else f"{dollars:.2f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
