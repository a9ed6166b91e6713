"""Traverse a schema and read its keywords; raise an error if it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, cast

from langchain_workers_gemma.schemas.keywords import JSONSchema

MAX_DEPTH = 100  # levels of JSON; a deeper schema could exceed Python's recursion limit on top of the caller's stack
_MAX_SIZE = 200_000  # values in a schema; only generated schemas, or those that contain themselves, have more

# The keywords that hold schemas. The values of all others are data, and the keys under `properties` are names: a
# property called "pattern" or "$ref" is not a keyword.
MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
SINGLE_SCHEMAS = frozenset(
    {"items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties"}
    | {"propertyNames", "not", "if", "then", "else", "contentSchema"}
)


def copy_plain(schema: Mapping[str, Any]) -> JSONSchema:
    """Copy a schema, and check that it is JSON of limited size and depth, since later steps are recursive.

    Raises:
        ValueError: If the schema is not JSON, too deep or too large.
    """
    left = _MAX_SIZE

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > MAX_DEPTH or left < 0:
            msg = f"The schema is too deep or too large: at most {MAX_DEPTH} levels and {_MAX_SIZE} values can be read."
            raise ValueError(msg)
        if isinstance(value, Enum):
            return copy(value.value, depth + 1)
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {str(key): copy(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [copy(one, depth + 1) for one in value]
        if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        msg = f"The schema holds {repr(value)[:80]}, which is not JSON: use a JSON value instead."
        raise ValueError(msg)

    return cast("JSONSchema", copy(schema, 0))


def map_schemas(schema: JSONSchema, change: Callable[[Any], Any]) -> JSONSchema:
    """Copy a schema, and apply `change` to every schema directly inside it."""
    return {key: _change(key, value, change) for key, value in schema.items()}


def _change(key: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if key in MAPS_OF_SCHEMAS:
        return {name: change(_check(key, one)) for name, one in _check_kind(dict, key, value).items()}
    if key in LISTS_OF_SCHEMAS or (key == "items" and isinstance(value, list)):
        return [change(_check(key, one)) for one in _check_kind(list, key, value)]
    return change(_check(key, value)) if key in SINGLE_SCHEMAS else value


def list_children(schema: JSONSchema) -> list[Any]:
    """Return every schema directly inside a schema."""
    found: list[Any] = []
    map_schemas(schema, found.append)
    return found


def _check(key: str, value: Any) -> Any:
    return value if isinstance(value, bool) else _check_kind(dict, key, value)


def _check_kind(kind: type, key: str, value: Any) -> Any:
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        msg = f"The schema cannot be read: {key!r} must hold {wanted}, not {repr(value)[:80]}."
        raise ValueError(msg)
    return value


def read_required_names(schema: JSONSchema) -> list[str]:
    """Return the names in `required`, each once; empty if there are none.

    Raises:
        ValueError: If it is not a list of names.
    """
    names = _check_kind(list, "required", schema.get("required", []))
    if not all(isinstance(name, str) for name in names):
        msg = f"The schema cannot be read: 'required' must list names, not {repr(names)[:80]}."
        raise ValueError(msg)
    return list(dict.fromkeys(names))


def read_number(schema: JSONSchema, key: str, default: float = 0) -> float:
    """Return the number in a keyword, or the default if the keyword is missing.

    Raises:
        ValueError: If it is not a number.
    """
    value = schema.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"The schema cannot be read: {key!r} must be a number, not {repr(value)[:80]}."
        raise ValueError(msg)
    return value
