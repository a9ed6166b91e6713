"""Joining schemas: one that says what several say, so that no `allOf` is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, cast

from langchain_workers_gemma.schemas.descriptions import describe, joined_texts
from langchain_workers_gemma.schemas.keywords import (
    ANNOTATIONS,
    TYPES,
    JSONSchema,
    annotations_and_rules,
    types_in,
)
from langchain_workers_gemma.schemas.references import inline_refs
from langchain_workers_gemma.schemas.traversal import map_schemas, number_at, required_names

_MAX_BRANCHES = 64  # alternatives that joining two schemas may make


def prepared(schema: Mapping[str, Any]) -> tuple[JSONSchema, dict[str, Any]]:
    """Inlines references and merges every `allOf`; returns the root and its definitions."""
    root = inline_refs(schema)
    definitions = {name: _merged(one) for name, one in root.pop("$defs", {}).items()}
    merged = _merged(root)
    return merged if isinstance(merged, dict) else {"not": {}}, definitions


def _merged(schema: Any) -> Any:
    """Merges every `allOf` in a schema; `outlines-core` would write its members one after the other."""
    if not isinstance(schema, dict):
        return schema
    schema = _modern(map_schemas(schema, _merged))
    if "allOf" not in schema:
        return schema
    members = schema.pop("allOf")
    notes, rules = annotations_and_rules(schema)
    whole = reduce(intersect, [*members, rules], cast("Any", {}))
    return {**whole, **notes} if isinstance(whole, dict) else whole


def _modern(schema: JSONSchema) -> JSONSchema:
    """Says in one way what drafts of JSON Schema, OpenAPI and Pydantic say in several."""
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(strict), bool) and schema.pop(strict) and bound in schema:  # draft 4
            schema[strict] = schema.pop(bound)
    if isinstance(schema.get("items"), list):  # up to draft 7
        schema["prefixItems"] = schema.pop("items")
        schema |= {"items": schema.pop("additionalItems")} if "additionalItems" in schema else {}
    keys = schema.get("propertyNames")
    if isinstance(keys, dict) and isinstance(keys.get("enum"), list) and not schema.get("properties"):
        # dict[Literal["a", "b"], X]: an object that may have just these
        value = schema.get("additionalProperties", True)
        schema = {key: one for key, one in schema.items() if key != "propertyNames"}
        schema["properties"] = {key: value for key in keys["enum"] if isinstance(key, str)}
        schema["additionalProperties"] = False
    return schema


def intersect(one: Any, other: Any) -> Any:
    """Return the schema that says what both say; `False` if nothing can meet both."""
    if one is False or other is False:
        return False
    if one is True or other is True:
        return other if one is True else one
    found = dict(one)
    for key, value in other.items():
        if key not in found or found[key] == value:
            found[key] = value
        elif key in _JOIN:
            found[key] = _JOIN[key](found[key], value)
            if found[key] is None:
                return False
        elif key not in ANNOTATIONS:  # two of a kind that cannot be one: the second is at least said
            found["description"] = joined_texts(found.get("description"), f"({describe(key, value)})")
    return found


def _both_types(one: Any, other: Any) -> Any:
    ones, others = types_in({"type": one}) or (), types_in({"type": other}) or ()
    kinds = [kind for kind in TYPES if kind in ones and kind in others]
    if "integer" not in kinds and {"integer", "number"} <= {*ones, *others}:
        kinds.append("integer")
    return kinds[0] if len(kinds) == 1 else (kinds or None)


def _both_values(one: Any, other: Any) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        return None
    known = {json.dumps(value, sort_keys=True) for value in other}
    return [value for value in one if json.dumps(value, sort_keys=True) in known] or None


def _both_maps(one: JSONSchema, other: JSONSchema) -> JSONSchema:
    return {key: intersect(one.get(key, True), other.get(key, True)) for key in {**one, **other}}


def _both_tuples(one: list[Any], other: list[Any]) -> list[Any]:
    longer = max(one, other, key=len)
    return [intersect(*pair) for pair in zip(one, other, strict=False)] + longer[min(len(one), len(other)) :]


def _both_alternatives(one: list[Any], other: list[Any]) -> list[Any] | None:
    if len(one) * len(other) > _MAX_BRANCHES:
        return one
    pairs = [intersect(left, right) for left in one for right in other]
    return [pair for pair in pairs if pair is not False] or None


def _both_names(one: Any, other: Any) -> list[str]:
    return list(dict.fromkeys([*required_names({"required": one}), *required_names({"required": other})]))


def _highest(one: Any, other: Any) -> float:
    return max(number_at({"bound": one}, "bound"), number_at({"bound": other}, "bound"))


def _lowest(one: Any, other: Any) -> float:
    return min(number_at({"bound": one}, "bound"), number_at({"bound": other}, "bound"))


_JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "type": _both_types,
    "enum": _both_values,
    "const": lambda *_: None,
    "required": _both_names,
    "description": joined_texts,
    "uniqueItems": lambda *_: True,
    "prefixItems": _both_tuples,
    **dict.fromkeys(("anyOf", "oneOf"), _both_alternatives),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), _both_maps),
    **dict.fromkeys(("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"), intersect),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _highest),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _lowest),
}
