"""Merge the schemas of each `allOf`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, cast

from langchain_workers_gemma.schemas.descriptions import describe, join_texts
from langchain_workers_gemma.schemas.keywords import (
    ANNOTATIONS,
    TYPES,
    JSONSchema,
    get_types,
    split_annotations,
)
from langchain_workers_gemma.schemas.references import inline_refs
from langchain_workers_gemma.schemas.traversal import map_schemas, read_number, read_required_names

_MAX_BRANCHES = 64  # alternatives that the intersection of two unions may have


def prepare(schema: Mapping[str, Any]) -> tuple[JSONSchema, dict[str, Any]]:
    """Inline references, merge every `allOf`, and return the root and its definitions."""
    root = inline_refs(schema)
    definitions = {name: _merge(one) for name, one in root.pop("$defs", {}).items()}
    merged = _merge(root)
    return merged if isinstance(merged, dict) else {"not": {}}, definitions


def _merge(schema: Any) -> Any:
    """Merge every `allOf` in a schema. Without this, `outlines-core` would write its members one after the other."""
    if not isinstance(schema, dict):
        return schema
    schema = _normalise(map_schemas(schema, _merge))
    if "allOf" not in schema:
        return schema
    members = schema.pop("allOf")
    notes, rules = split_annotations(schema)
    whole = reduce(intersect, [*members, rules], cast("Any", {}))
    return {**whole, **notes} if isinstance(whole, dict) else whole


def _normalise(schema: JSONSchema) -> JSONSchema:
    """Replace the keywords of older drafts of JSON Schema, of OpenAPI and of Pydantic with those of draft 2020-12."""
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(strict), bool) and schema.pop(strict) and bound in schema:  # draft 4
            schema[strict] = schema.pop(bound)
    if isinstance(schema.get("items"), list):  # up to draft 7
        schema["prefixItems"] = schema.pop("items")
        schema |= {"items": schema.pop("additionalItems")} if "additionalItems" in schema else {}
    keys = schema.get("propertyNames")
    if isinstance(keys, dict) and isinstance(keys.get("enum"), list) and not schema.get("properties"):
        # dict[Literal["a", "b"], X]: an object that may have these keys only
        value = schema.get("additionalProperties", True)
        schema = {key: one for key, one in schema.items() if key != "propertyNames"}
        schema["properties"] = {key: value for key in keys["enum"] if isinstance(key, str)}
        schema["additionalProperties"] = False
    return schema


def intersect(one: Any, other: Any) -> Any:
    """Return the schema that accepts the values that both accept; `False` if there is no such value."""
    if one is False or other is False:
        return False
    if one is True or other is True:
        return other if one is True else one
    found = dict(one)
    for key, value in other.items():
        if key not in found or found[key] == value:
            found[key] = value
        elif key in _INTERSECT:
            found[key] = _INTERSECT[key](found[key], value)
            if found[key] is None:
                return False
        elif key not in ANNOTATIONS:  # keywords that cannot be merged: the second becomes a description
            found["description"] = join_texts(found.get("description"), f"({describe(key, value)})")
    return found


def _intersect_types(one: Any, other: Any) -> Any:
    ones, others = get_types({"type": one}) or (), get_types({"type": other}) or ()
    kinds = [kind for kind in TYPES if kind in ones and kind in others]
    if "integer" not in kinds and {"integer", "number"} <= {*ones, *others}:
        kinds.append("integer")
    return kinds[0] if len(kinds) == 1 else (kinds or None)


def _intersect_values(one: Any, other: Any) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        return None
    known = {json.dumps(value, sort_keys=True) for value in other}
    return [value for value in one if json.dumps(value, sort_keys=True) in known] or None


def _intersect_maps(one: JSONSchema, other: JSONSchema) -> JSONSchema:
    return {key: intersect(one.get(key, True), other.get(key, True)) for key in {**one, **other}}


def _intersect_tuples(one: list[Any], other: list[Any]) -> list[Any]:
    longer = max(one, other, key=len)
    return [intersect(*pair) for pair in zip(one, other, strict=False)] + longer[min(len(one), len(other)) :]


def _intersect_alternatives(one: list[Any], other: list[Any]) -> list[Any] | None:
    if len(one) * len(other) > _MAX_BRANCHES:
        return one
    pairs = [intersect(left, right) for left in one for right in other]
    return [pair for pair in pairs if pair is not False] or None


def _unite_names(one: Any, other: Any) -> list[str]:
    return list(dict.fromkeys([*read_required_names({"required": one}), *read_required_names({"required": other})]))


def _choose_highest(one: Any, other: Any) -> float:
    return max(read_number({"bound": one}, "bound"), read_number({"bound": other}, "bound"))


def _choose_lowest(one: Any, other: Any) -> float:
    return min(read_number({"bound": one}, "bound"), read_number({"bound": other}, "bound"))


_INTERSECT: dict[str, Callable[[Any, Any], Any]] = {
    "type": _intersect_types,
    "enum": _intersect_values,
    "const": lambda *_: None,
    "required": _unite_names,
    "description": join_texts,
    "uniqueItems": lambda *_: True,
    "prefixItems": _intersect_tuples,
    **dict.fromkeys(("anyOf", "oneOf"), _intersect_alternatives),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), _intersect_maps),
    **dict.fromkeys(("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"), intersect),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _choose_highest),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _choose_lowest),
}
