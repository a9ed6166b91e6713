"""`workers-gemma models`: the published facts about each Gemma, and the live list of the account."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

from langchain_workers_gemma.cli.command import CommandError, add_command
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.models import MODELS, GemmaModel, Range

MAX_COLUMNS = 80
_UNKNOWN = "-"
_INDENT = "    "
_ROW = "{:<50} {:>9} {:>8} {:>8}"
_EXAMPLES = """
workers-gemma models
workers-gemma models --json | jq '.published[] | select(.function_calling) | .id'
"""


def add_models_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    models = add_command(
        commands,
        "models",
        "list the models with context windows, prices and features",
        description=(
            "List the published facts about each Gemma. '-' means not published. With credentials for Cloudflare, it\n"
            "also prints the live list of your account."
        ),
        examples=_EXAMPLES,
    )
    models.add_argument("--json", action="store_true", help="print both lists as JSON")
    models.set_defaults(command=_run_models)


def _run_models(options: argparse.Namespace) -> int:
    if options.json:
        live = _fetch_live_entries() if _has_credentials() else None
        listed = {"published": [to_facts(model) for model in MODELS.values()], "live": live}
        print(json.dumps(listed, indent=2, ensure_ascii=False))
        return 0
    print(*format_published_table(), sep="\n")
    if not _has_credentials():
        print("\nFor the live list of your account, set:\nCLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN")
        return 0
    entries = _fetch_live_entries()
    print("\nListed for your account:")
    print(*format_live_table(entries), sep="\n")
    return 0


def _has_credentials() -> bool:
    host = HOSTS["cloudflare"]
    return all(any(map(os.environ.get, names)) for names in (host.account_variables, host.token_variables))


def _fetch_live_entries() -> list[dict[str, Any]]:
    """Request the models that the account can use.

    Raises:
        CommandError: If the credentials are not valid, or the request fails.
    """
    from langchain_workers_gemma import WorkersGemmaError
    from langchain_workers_gemma.cli.account import search_models
    from langchain_workers_gemma.cli.diagnosis import make_model
    from langchain_workers_gemma.cli.findings import FailedError, explain
    from langchain_workers_gemma.client import connection
    from langchain_workers_gemma.transport.driver import run

    try:
        llm = make_model("cloudflare", "")
        return run(connection.build_transport(llm), search_models(llm, "gemma"))
    except FailedError as error:
        raise CommandError(error) from error
    except WorkersGemmaError as error:
        raise CommandError(f"The live list cannot be read.\n{explain(error)}") from error


def to_facts(model: GemmaModel) -> dict[str, Any]:
    """Return the published facts about a model as JSON values. `null` means not published.

    Example:
        >>> from langchain_workers_gemma.models import get_model
        >>> to_facts(get_model("@cf/google/gemma-3-12b-it"))["parameters"]["top_k"]
        {'low': 1, 'high': 50, 'integer': True}
    """
    return {field.name: _to_json_value(getattr(model, field.name)) for field in fields(model)}


def _to_json_value(value: Any) -> Any:
    if isinstance(value, Range):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json_value(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | None) else str(value)


def format_published_table() -> Iterator[str]:
    """Yield the lines of the table of all published models. No line is wider than a terminal.

    Example:
        >>> next(format_published_table()).split()
        ['cloudflare', 'context', '$/M', 'in', '$/M', 'out']
    """
    hosts = list(dict.fromkeys(model.host for model in MODELS.values()))
    for host in hosts:
        yield _ROW.format(host, "context", "$/M in", "$/M out")
        for model in MODELS.values():
            if model.host == host:
                yield from _format_published(model)


def _format_published(model: GemmaModel) -> Iterator[str]:
    context = _format_tokens(model.context_window)
    yield _ROW.format(f"  {model.id}", context, _format_price(model.input_price), _format_price(model.output_price))
    yield from _wrap(", ".join(_list_features(model)))
    if model.enforced_context is not None:
        yield from _wrap(f"enforced context: {_format_tokens(model.enforced_context)} tokens")
    if model.retired is not None:
        yield from _wrap(f"retired {model.retired.isoformat()}, use {model.replacement}")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, MAX_COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False)


def _list_features(model: GemmaModel) -> Iterator[str]:
    tools = "tools" if model.function_calling else "tools (not trained)" if model.tools else ""
    constraint = {None: "", "guided_json": "guided_json"}.get(model.constraint, "response_format")
    features = {
        "embeddings": model.embeds,
        "images": model.images,
        tools: bool(tools),
        constraint: bool(constraint),
        "thinking": model.thinking,
        "LoRA": model.lora,
        "batch queue": model.async_queue,
    }
    return (name for name, is_supported in features.items() if is_supported)


def format_live_table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of the models that `models/search` returned."""
    for entry in entries:
        properties = {
            item.get("property_id"): item.get("value")
            for item in entry.get("properties") or ()
            if isinstance(item, dict)
        }
        context = str(properties.get("context_window", ""))
        tokens = _format_tokens(int(context)) if context.isascii() and context.isdigit() else _UNKNOWN
        yield f"  {_to_printable(entry.get('name')):<58} {tokens:>9}"
        task, deprecated = entry.get("task"), properties.get("planned_deprecation_date")
        details = [
            _to_printable(task.get("name")) if isinstance(task, dict) else "",
            _format_live_price(properties.get("price")),
            f"deprecated {_to_printable(deprecated)}" if deprecated else "",
        ]
        yield from _wrap("; ".join(filter(None, details)))


def _format_live_price(prices: object) -> str:
    if not isinstance(prices, list):
        return ""
    return ", ".join(
        _to_printable(f"{item.get('price')} {item.get('unit', '')}".strip())
        for item in prices
        if isinstance(item, dict)
    )


def _to_printable(value: object) -> str:
    """Return a value from the service without control characters."""
    text = str(value if value is not None else _UNKNOWN)
    return "".join(character for character in text if character.isprintable())


def _format_tokens(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _format_price(dollars: float | None) -> str:
    return _UNKNOWN if dollars is None else f"{dollars:.2f}"
