"""Parse the declaration of a tool in a prompt."""

from __future__ import annotations

import re
from typing import Any

_QUOTE = '<|"|>'
_KEY = re.compile(r'<\|"\|>(.*?)<\|"\|>:|([^:{},\[\]]*):', re.DOTALL)
_UNQUOTED = re.compile(r"[^,{}\[\]]*")


def read_declaration(text: str) -> dict[str, Any]:
    """Return the fields of `declaration:NAME{...}`. The argument is the text between the braces."""
    value, end = _read_object(text, 0)
    assert end == len(text), f"text after the end of a declaration: {text[end:]}"
    return value


def _read(text: str, at: int) -> tuple[Any, int]:
    if text.startswith(_QUOTE, at):
        end = text.index(_QUOTE, at + len(_QUOTE))
        return text[at + len(_QUOTE) : end], end + len(_QUOTE)
    if text[at : at + 1] == "{":
        value, end = _read_object(text, at + 1)
        assert text[end] == "}"
        return value, end + 1
    if text[at : at + 1] == "[":
        return _read_list(text, at + 1)
    match = _UNQUOTED.match(text, at)
    assert match is not None
    return match.group(), match.end()


def _read_object(text: str, at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while at < len(text) and text[at] != "}":
        if text[at] == ",":
            at += 1
            continue
        key = _KEY.match(text, at)
        assert key is not None, f"no key at {text[at : at + 60]!r}"
        name = key.group(1) if key.group(1) is not None else key.group(2)
        assert name not in fields, f"{name} occurs twice"
        fields[name], at = _read(text, key.end())
    return fields, at


def _read_list(text: str, at: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while text[at] != "]":
        if text[at] == ",":
            at += 1
            continue
        value, at = _read(text, at)
        values.append(value)
    return values, at + 1
