"""Write tool calls in each of the notations that the package parses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from langchain_workers_gemma.tool_text import literals
from langchain_workers_gemma.tool_text.gemma_fields import KEY
from langchain_workers_gemma.tool_text.python_calls import IDENTIFIER
from langchain_workers_gemma.tool_text.tokens import MARKUPS

Notation: TypeAlias = Literal["json", "python", "functiongemma", "gemma-4"]
"""A way in which a Gemma writes a call."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SHORT_ESCAPE = re.compile(r"\\([\\nrtbf])")
_CODES = {"\\": "\\u005c", "n": "\\u000a", "r": "\\u000d", "t": "\\u0009", "b": "\\u0008", "f": "\\u000c"}


def render_call(name: str, arguments: Mapping[str, Any], notation: Notation = "json") -> str:
    """Return a call in the notation, on one line.

    Args:
        name: The tool's name.
        arguments: Its arguments, JSON values.
        notation: The notation. A string that holds the notation's quote token is written in plain quotes, so that every
            notation can express every JSON value.
    """
    if notation == "json":
        return _write_json({"name": name, "parameters": arguments})
    if notation == "python":
        named = {key: value for key, value in arguments.items() if IDENTIFIER.fullmatch(key)}
        others = {key: value for key, value in arguments.items() if key not in named}
        written = [f"{key}={_write_python(value)}" for key, value in named.items()]
        written += [f"**{_write_python(others)}"] if others else []
        return f"{name}({', '.join(written)})"
    markup = MARKUPS[notation]
    call = f"call:{name}{_write_gemma_value(arguments, markup.quote)}"
    return call if markup.call is None else f"{markup.call.opening}{call}{markup.call.closing}"


def render_calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return calls in the notation that the prompt teaches: Gemma's JSON form, with a list for several calls.

    Args:
        calls: Each tool's name and arguments.
    """
    written = [render_call(name, arguments) for name, arguments in calls]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]" if written else ""


def _write_json(value: Any) -> str:
    """Return JSON in which a reader cannot mistake an escape after a letter and a colon for a Windows path."""
    text = json.dumps(value, ensure_ascii=False)
    return _STRING.sub(_escape_string, text) if "\\" in text else text


def _escape_string(string: re.Match[str]) -> str:
    if not _looks_like_path(string[0][1:-1]):
        return string[0]
    return _SHORT_ESCAPE.sub(lambda escape: _CODES[escape[1]], string[0])


def _write_python(value: Any) -> str:
    if isinstance(value, str):
        return _write_json(value) if _looks_like_path(repr(value)[1:-1]) else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_write_python, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_write_python(key)}: {_write_python(item)}' for key, item in value.items())}}}"
    return repr(value)


def _write_gemma_value(value: Any, quote: str) -> str:
    if isinstance(value, str) and quote not in value:
        return f"{quote}{value}{quote}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_write_gemma_value(item, quote) for item in value)}]"
    if isinstance(value, Mapping):
        fields = (f"{_write_gemma_key(key, quote)}:{_write_gemma_value(item, quote)}" for key, item in value.items())
        return f"{{{','.join(fields)}}}"
    text = _SHORT_ESCAPE.sub(lambda escape: _CODES[escape[1]], json.dumps(value, ensure_ascii=False))
    return text.replace("<", "\\u003c")  # a token in plain quotes could be mistaken for the closing quote


def _write_gemma_key(key: str, quote: str) -> str:
    return key if KEY.fullmatch(key) else _write_gemma_value(key, quote)


def _looks_like_path(text: str) -> bool:
    """Return whether a string in quotes can be read as a Windows path with single backslashes."""
    return bool(literals._RAW_PATH.search(text) or literals._DOUBTFUL_PATH.search(text))
