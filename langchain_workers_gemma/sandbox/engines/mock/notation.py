"""Write tool calls as text, as each generation of Gemma does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .prompt_tools import remove_definitions

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Call

_QUOTE = '<|"|>'
_MARKS = (
    ("<|tool_call>", "gemma_4"),
    ("<start_function_call>", "function_gemma"),
    ("tool_code", "tool_code"),
    ("```tool_call", "tool_call"),
    ("```json", "json"),
)
_FAMILY_NOTATIONS = {"gemma-4": "gemma_4", "gemma-3": "tool_code", "sea-lion-v4": "tool_code"}


def find_taught_notation(family: str, prompt: str) -> tuple[str, str]:
    """Return the notation that a prompt teaches, or that of the family; and the key of the arguments."""
    taught = remove_definitions(prompt)
    key = "arguments" if '"arguments"' in taught and '"parameters"' not in taught else "parameters"
    for mark, notation in _MARKS:
        if mark in taught:
            return notation, key
    return "bare_json" if '"name"' in taught else _FAMILY_NOTATIONS.get(family, "json"), key


def write_calls(calls: tuple[Call, ...], notation: str, key: str = "parameters") -> str:
    """Write calls as text.

    Args:
        calls: The calls.
        notation: One of `NOTATIONS`.
        key: The key of the arguments in the JSON notations.
    """
    parsed = [(call.name, json.loads(call.arguments)) for call in calls]
    return NOTATIONS[notation](parsed, key)


_ParsedCalls = list[tuple[str, dict[str, Any]]]


def _write_python_call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _write_python_list(calls: _ParsedCalls, _key: str) -> str:
    return f"[{', '.join(_write_python_call(*call) for call in calls)}]"


def _write_tool_code(calls: _ParsedCalls, key: str) -> str:
    return f"```tool_code\n{_write_python_list(calls, key)}\n```"


def _write_tool_code_print(calls: _ParsedCalls, _key: str) -> str:
    lines = "\n".join(f"print({_write_python_call(*call)})" for call in calls)
    return f"```tool_code\n{lines}\n```"


def _write_bare_json(calls: _ParsedCalls, key: str) -> str:
    objects = [{"name": name, key: arguments} for name, arguments in calls]
    return json.dumps(objects[0] if len(objects) == 1 else objects, ensure_ascii=False)


def _write_json(calls: _ParsedCalls, key: str) -> str:
    return f"```json\n{_write_bare_json(calls, key)}\n```"


def _write_tool_call(calls: _ParsedCalls, key: str) -> str:
    return f"```tool_call\n{_write_bare_json(calls, key)}\n```"


def _write_function_gemma(calls: _ParsedCalls, _key: str) -> str:
    return "".join(
        f"<start_function_call>call:{name}{_write_braced(arguments, '<escape>')}<end_function_call>"
        for name, arguments in calls
    )


def _write_gemma_4(calls: _ParsedCalls, _key: str) -> str:
    return "".join(
        f"<|tool_call>call:{name}{_write_braced(arguments, _QUOTE)}<tool_call|>" for name, arguments in calls
    )


def _write_gemma_4_unclosed(calls: _ParsedCalls, _key: str) -> str:
    return "".join(f"<|tool_call>call:{name}{_write_braced(arguments, _QUOTE)}" for name, arguments in calls)


def _write_gemma_4_json(calls: _ParsedCalls, _key: str) -> str:
    return "".join(f"<|tool_call>call:{name}{json.dumps(arguments)}<tool_call|>" for name, arguments in calls)


def _write_gemma_4_response(calls: _ParsedCalls, key: str) -> str:
    return f"{_write_gemma_4(calls, key)}<|tool_response>"


def _write_gemma_4_stripped(calls: _ParsedCalls, _key: str) -> str:
    return "".join(f"call:{name}{_write_braced(arguments, '')}" for name, arguments in calls)


def _write_braced(value: object, quote: str) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_write_braced(inner, quote)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write_braced(inner, quote) for inner in value) + "]"
    return f"{quote}{value}{quote}" if isinstance(value, str) else json.dumps(value)


NOTATIONS: Mapping[str, Callable[[_ParsedCalls, str], str]] = {
    "tool_code": _write_tool_code,
    "tool_code_print": _write_tool_code_print,
    "python": _write_python_list,
    "json": _write_json,
    "bare_json": _write_bare_json,
    "tool_call": _write_tool_call,
    "function_gemma": _write_function_gemma,
    "gemma_4": _write_gemma_4,
    "gemma_4_unclosed": _write_gemma_4_unclosed,
    "gemma_4_json": _write_gemma_4_json,
    "gemma_4_response": _write_gemma_4_response,
    "gemma_4_stripped": _write_gemma_4_stripped,
}
"""The notations in which Gemma models write calls as text (docs/wire.md section 6)."""
