"""Describe the keywords that no grammar engine enforces, for the model to read."""

from __future__ import annotations

import json
from typing import Any

from langchain_workers_gemma.schemas.keywords import JSONSchema

_PHRASES: dict[str, str] = {
    "minItems": "at least {} item{}",
    "maxItems": "at most {} item{}",
    "minProperties": "at least {0} entr{2}",
    "maxProperties": "at most {0} entr{2}",
    "minLength": "at least {} character{}",
    "maxLength": "at most {} character{}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}

_COUNTS = frozenset({"minItems", "minProperties", "minLength"})  # a minimum of 0 is no bound

DESCRIBED = (
    *(*_PHRASES, "pattern", "format", "uniqueItems", "contains", "minContains", "maxContains", "patternProperties"),
    *("propertyNames", "dependentRequired", "dependentSchemas", "not", "if", "then", "else"),
    *("contentEncoding", "contentMediaType", "default"),
)
"""The keywords that become part of a description, since engines ignore them."""


def add_notes(rules: JSONSchema, schema: JSONSchema, taken: frozenset[str] = frozenset()) -> JSONSchema:
    """Add the description to `rules`, with notes on the keywords of `schema` that are not `taken`."""
    text = schema.get("description")
    notes = list(filter(None, (describe(key, schema[key]) for key in DESCRIBED if key in schema and key not in taken)))
    texts = [text] if isinstance(text, str) and text else []
    if notes:
        texts.append(f"({', '.join(notes)})")
    return {**rules, "description": " ".join(texts)} if texts else dict(rules)


def describe(key: str, value: Any) -> str:
    """Return a description of a keyword's rule; empty if it needs none."""
    if key == "default" and (value is None or isinstance(value, dict | list)):
        return ""  # with a constraint, JSON in a prompt can cause endless white space (`docs/wire.md` section 7)
    if key == "uniqueItems":
        return "no item twice" if value is True else ""
    if key in _PHRASES:
        if value == 0 and key in _COUNTS:
            return ""
        return _PHRASES[key].format(value, "s" if value != 1 else "", "ies" if value != 1 else "y")
    if key == "patternProperties":
        return f"keys match {' or '.join(value)}"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{key}: {shown if len(shown) <= 200 else shown[:199] + '…'}"


def join_texts(one: Any, other: Any) -> str:
    """Join two descriptions. Either can be missing, and the second one is dropped if the first contains it."""
    texts = [text for text in (one, other) if isinstance(text, str) and text]
    return texts[0] if len(texts) == 2 and texts[1] in texts[0] else " ".join(texts)
