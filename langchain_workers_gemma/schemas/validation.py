"""Check a value against a JSON Schema, with every keyword, including those that grammar engines ignore.

`jsonschema` does the same, but cannot be installed in Python Workers: it needs a compiled library that has no build for
Pyodide. Tests compare the two.

The check is lenient, since models and common schemas are: OpenAPI's `nullable`, lists under `items` and a boolean
`exclusiveMinimum` are accepted in every draft; a `pattern` that Python cannot read and an unknown `format` are not
checked; and a time needs no time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from langchain_workers_gemma.schemas.checking import MAX_MISMATCHES, RULES, Mismatch, Place, check
from langchain_workers_gemma.schemas.container_rules import CONTAINER_RULES
from langchain_workers_gemma.schemas.scalar_rules import SCALAR_RULES

__all__ = ["MAX_MISMATCHES", "Mismatch", "find_mismatches", "find_value_problems"]

RULES.update(SCALAR_RULES | CONTAINER_RULES)


def find_mismatches(value: Any, schema: Mapping[str, Any]) -> list[Mismatch]:
    """Return the mismatches between a value and a schema; empty if it matches.

    Args:
        value: A parsed JSON value.
        schema: A JSON Schema.

    Returns:
        At most `MAX_MISMATCHES` mismatches.

    Raises:
        ValueError: If a reference has no target, or the value is nested too deeply.

    Examples:
        >>> schema = {"properties": {"ages": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}}}
        >>> [str(one) for one in find_mismatches({"ages": [1, "x", 1]}, schema)]
        ["ages[1]: 'x' is not of type integer", 'ages: holds the same item twice']
    """
    place = Place(dict(schema), value, (), dict(schema))
    try:
        return list(islice(check(place), MAX_MISMATCHES))
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None


def find_value_problems(value: dict[str, Any], schema: Mapping[str, Any], *, strict: bool) -> list[Mismatch]:
    """Return the mismatches between an answer and its schema.

    Args:
        value: The answer. Nulls that mean an omitted value are removed from it.
        schema: A JSON Schema.
        strict: Whether OpenAI's strict form was requested, in which every key is required, and null means that the
            model left a value out.

    Raises:
        ValueError: See `find_mismatches`.
    """
    found = find_mismatches(value, schema)
    if strict and found and _drop_nulls(value, found):
        return find_mismatches(value, schema)
    return found


def _drop_nulls(value: Any, found: Iterable[Mismatch]) -> bool:
    dropped = False
    for one in found:
        inside = value
        for step in one.path[:-1]:
            inside = inside[step]
        if one.path and isinstance(inside, dict) and inside.get(str(one.path[-1]), "") is None:
            del inside[str(one.path[-1])]
            dropped = True
    return dropped
