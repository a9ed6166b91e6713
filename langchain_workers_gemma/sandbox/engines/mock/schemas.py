"""Traverse JSON Schemas: resolve references, and list branches and constants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from .work_limit import spend_steps

_MAX_DEPTH = 12
_MAX_SCHEMAS = 400


def resolve(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with its local reference followed and `allOf` merged. A boolean becomes an empty schema."""
    for _ in range(_MAX_DEPTH):
        spend_steps()
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(schema.get("$ref"), str):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**_follow(schema["$ref"], root), **rest}
        elif isinstance(schema.get("allOf"), list):
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                merged = _merge(merged, resolve(part, root))
            schema = merged
        else:
            return schema
    return schema if isinstance(schema, Mapping) else {}


def list_branches(schema: Mapping[str, Any]) -> list[Any]:
    """Return the alternatives of a schema, or an empty list if it has none."""
    for key in ("anyOf", "oneOf"):
        found = schema.get(key)
        if isinstance(found, list) and found:
            rest = {
                name: value for name, value in schema.items() if name not in (key, "description", "title", "default")
            }
            return [{**rest, **part} if isinstance(part, Mapping) else part for part in found]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [{**schema, "type": kind} for kind in kinds]
    return []


def walk(schema: object, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and the schemas inside it, breadth first, with references followed.

    The number of schemas is limited, because a recursive schema is infinite.
    """
    waiting: deque[object] = deque([schema])
    for _ in range(_MAX_SCHEMAS):
        if not waiting:
            return
        found = resolve(waiting.popleft(), root)
        yield found
        inner = (*list_branches(found), found.get("items"), *_list_children(found))
        waiting.extend(child for child in inner if isinstance(child, Mapping))


def collect_constants(schema: object, root: Mapping[str, Any]) -> set[str]:
    """Return all strings of `const` and `enum` in a schema, at any depth."""
    return {
        value
        for found in walk(schema, root)
        for value in (found.get("const"), *(found["enum"] if isinstance(found.get("enum"), list) else ()))
        if isinstance(value, str)
    }


def _list_children(schema: Mapping[str, Any]) -> list[Any]:
    properties = schema.get("properties")
    return list(properties.values()) if isinstance(properties, Mapping) else []


def _merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**left, **right}
    for key in ("properties", "required"):
        a, b = left.get(key), right.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            merged[key] = {**a, **b}
        elif isinstance(a, list) and isinstance(b, list):
            merged[key] = [*a, *(item for item in b if item not in a)]
    return merged


def _follow(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    if not reference.startswith("#"):
        return {}
    for step in reference.lstrip("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if name and not isinstance(found, Mapping):
            return {}
        found = found.get(name, {}) if name else found
    return found if isinstance(found, Mapping) else {}
