"""Find the JSON Schema that a prompt requests for the reply, without a constraint parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .json_text import find_json_spans

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Turn

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_INSTRUCTING_ROLES = ("system", "developer", "user")
_JSON_REQUEST = re.compile(r"\b(?:answer|reply|respond|return|output|formatted)\b[^.?!\n]{0,80}\bJSON\b", re.IGNORECASE)


def find_requested_schema(turns: tuple[Turn, ...]) -> Mapping[str, Any] | None:
    """Return the JSON Schema that a prompt requests for the reply, or `ANY_OBJECT` if it requests any JSON."""
    texts = [turn.text for turn in (*turns[:2], *turns[-1:]) if turn.role in _INSTRUCTING_ROLES]
    schemas = [schema for text in texts for schema in find_schemas(text)]
    if schemas:
        return schemas[-1]
    return ANY_OBJECT if any(_JSON_REQUEST.search(text) for text in texts) else None


def find_schemas(text: str) -> list[Mapping[str, Any]]:
    """Return the JSON Schemas in a text, without definitions of tools."""
    if "json" not in text.lower():
        return []
    return [value for value, _, _ in find_json_spans(text) if _is_schema(value)]


def _is_schema(value: object) -> bool:
    if not isinstance(value, Mapping) or isinstance(value.get("name"), str) or "function" in value:
        return False
    return isinstance(value.get("properties"), Mapping) or "$ref" in value or isinstance(value.get("anyOf"), list)
