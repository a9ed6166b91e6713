"""Find the tools that an assistant turn calls, as data or in one of the notations of `notation`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .json_text import find_json_spans

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Turn

_ARGUMENTS_KEYS = ("parameters", "arguments", "args", "input")
_BRACED = re.compile(r"\bcall:\s*([\w.-]+)\s*[{(]")
_PYTHON = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)\(")
_CODE = re.compile(r"```tool_code\s*\n(.*?)(?:```|\Z)|\A\s*+\[?+(\s*+[A-Za-z_]\w*+\(.*\))\s*\]?\s*\Z", re.DOTALL)


def find_called_names(turn: Turn, tools: frozenset[str]) -> list[str]:
    """Return the names of the tools that a turn calls.

    Args:
        turn: A turn of any role. Only assistant turns contain calls.
        tools: The names of the known tools. A call in JSON or in Gemma's markup counts with any name, because the tool
            may belong to another agent. A call in Python counts only with one of these names, because plain text has
            parentheses too.
    """
    if turn.role != "assistant":
        return []
    names = [call.name for call in turn.calls]
    names += [name for value, _, _ in find_json_spans(turn.text) for name in _iterate_names(value)]
    names += _BRACED.findall(turn.text)
    for fenced, bare in _CODE.findall(turn.text):
        names += [name for name in _PYTHON.findall(fenced or bare) if name in tools]
    return list(dict.fromkeys(names))


def _iterate_names(value: Any) -> Iterator[str]:
    """Yield the names in a call, in a list of calls, or in an object that contains lists of calls."""
    if isinstance(value, list):
        for item in value:
            yield from _iterate_names(item)
    elif isinstance(value, Mapping):
        name = value.get("name", value.get("function"))
        if isinstance(name, str) and any(isinstance(value.get(key), Mapping) for key in _ARGUMENTS_KEYS):
            yield name
        for inner in value.values():
            if isinstance(inner, list):
                yield from _iterate_names(inner)
