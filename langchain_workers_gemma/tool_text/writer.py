"""Tool calls written as a Gemma writes them, in each of the notations that `notation` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from langchain_workers_gemma.tool_text.blocks import IDENTIFIER
from langchain_workers_gemma.tool_text.gemma_fields import KEY
from langchain_workers_gemma.tool_text.tokens import CALL_TOKENS, QUOTE_TOKENS

Notation: TypeAlias = Literal["json", "python", "functiongemma", "gemma4"]
"""A way in which a Gemma writes a call."""


_TOKENS: Mapping[str, tuple[str, str, str]] = {
    notation: (*tokens, quote)
    for notation, tokens, quote in zip(("gemma4", "functiongemma"), CALL_TOKENS.items(), QUOTE_TOKENS, strict=True)
}


def render_call(name: str, arguments: Mapping[str, Any], notation: Notation = "json") -> str:
    """Write a call as a Gemma would, on one line.

    Args:
        name: The tool's name.
        arguments: Its arguments, JSON values.
        notation: The way to write it. A string that holds the quotes of a notation is written in plain quotes, so that
            each can express every JSON value.
    """
    if notation == "json":
        return json.dumps({"name": name, "parameters": arguments}, ensure_ascii=False)
    if notation == "python":
        named = {key: value for key, value in arguments.items() if IDENTIFIER.fullmatch(key)}
        others = {key: value for key, value in arguments.items() if key not in named}
        written = [f"{key}={value!r}" for key, value in named.items()] + ([f"**{others!r}"] if others else [])
        return f"{name}({', '.join(written)})"
    opening, closing, quote = _TOKENS[notation]
    return f"{opening}call:{name}{_gemma_value(arguments, quote)}{closing}"


def _gemma_value(value: Any, quote: str) -> str:
    if isinstance(value, str) and quote not in value:
        return f"{quote}{value}{quote}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_gemma_value(item, quote) for item in value)}]"
    if isinstance(value, Mapping):
        fields = (f"{_gemma_key(key, quote)}:{_gemma_value(item, quote)}" for key, item in value.items())
        return f"{{{','.join(fields)}}}"
    return json.dumps(value, ensure_ascii=False)


def _gemma_key(key: str, quote: str) -> str:
    return key if KEY.fullmatch(key) else _gemma_value(key, quote)


def render_calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Write calls in the notation that our own prompt teaches: Gemma's JSON form, a list of it for several calls.

    Args:
        calls: Each tool's name and arguments.
    """
    written = [render_call(name, arguments) for name, arguments in calls]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]" if written else ""
