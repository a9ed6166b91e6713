"""Rewrite schemas for constrained decoding, with only the keywords that all grammar engines support alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from langchain_workers_gemma.schemas.all_of import intersect, prepare
from langchain_workers_gemma.schemas.bounds import TypeRules, build_number_rules, build_string_rules
from langchain_workers_gemma.schemas.descriptions import add_notes, join_texts
from langchain_workers_gemma.schemas.keywords import (
    KEYWORDS,
    OF_ONE_TYPE,
    TYPES,
    JSONSchema,
    find_one_type,
    get_types,
    get_types_of_value,
    split_annotations,
)
from langchain_workers_gemma.schemas.references import add_definitions, inline_refs
from langchain_workers_gemma.schemas.traversal import read_number, read_required_names

_ANYTHING: JSONSchema = {"anyOf": [{"type": kind} for kind in TYPES if kind != "integer"]}
"""The meaning of `{}`. `outlines-core` writes `{}` as alternatives without parentheses, which breaks the pattern."""

_DECIMAL = "^(?!^[-+.]*$)"
"""The start of a pattern: some releases of Pydantic write `Decimal` as a number or a string with this pattern."""


def to_constraint_schema(schema: Mapping[str, Any]) -> JSONSchema:
    """Rewrite a schema with the keywords that `llguidance`, `outlines-core` and `xgrammar` all support alike.

    These are `type`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `anyOf`, `enum`,
    `const`, numeric bounds, string lengths, four formats, descriptions and recursive references. Other keywords become
    part of the description, for the model to read, and the answer is checked against them later. If a rule cannot be
    expressed with these keywords, it is loosened, so that every value the schema allows stays allowed. There are four
    exceptions:

    - Objects with `properties` and no rule for other keys are closed. In an open object, `llguidance` lets the model
      invent keys until its tokens run out; the other engines close it anyway.
    - The objects of an `allOf` become one object, even if each of them is closed.
    - Tuples have all their items: `outlines-core` does not support shorter ones.
    - A `Decimal` that some releases of Pydantic write as a number or a string with a pattern is a number: no engine
      supports the pattern, and without it any string would be allowed.

    Args:
        schema: A JSON Schema.

    Returns:
        The schema for the constraint. `to_constraint_schema` does not change it again.

    Raises:
        ValueError: If the schema cannot be read (see `inline_refs`), or no value can match it.

    Examples:
        >>> tags = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        >>> to_constraint_schema({"properties": {"tags": tags}})  # doctest: +NORMALIZE_WHITESPACE
        {'type': 'object',
         'properties': {'tags': {'type': 'array', 'items': {'type': 'string'}, 'description': '(at least 1 item)'}},
         'additionalProperties': False}
    """
    root, definitions = prepare(schema)
    found = _constrain(root)
    done = {name: _constrain(one) for name, one in definitions.items()}
    if found is False or False in done.values():
        msg = "No value can meet this schema: look for contradicting types, bounds or enums."
        raise ValueError(msg)
    # A single remaining alternative may have moved a reference to the root, or ended a recursion.
    return inline_refs(add_definitions(found, done))


def _constrain(schema: Any) -> Any:
    """Rewrite one schema without `allOf`; return `False` if no value can match it."""
    if isinstance(schema, bool):
        return dict(_ANYTHING) if schema else False
    if "$ref" in schema:  # engines differ on rules next to a reference
        return add_notes({"$ref": schema["$ref"]}, schema)
    if schema.get("not") in ({}, True):
        return False
    if "const" in schema or "enum" in schema:
        return _constrain_values(schema)
    if (branches := _list_branches(schema)) is not None:
        return _build_any_of([_constrain(branch) for branch in branches], schema)
    kind = find_one_type(schema)
    if kind is None:
        return add_notes(_ANYTHING, schema)
    rules, taken = _BY_TYPE[kind](schema) if kind in _BY_TYPE else ({}, frozenset[str]())
    if rules is None:
        return False
    return add_notes({"type": kind, **rules}, schema, taken | (OF_ONE_TYPE - KEYWORDS.get(kind, frozenset())))


def _constrain_values(schema: JSONSchema) -> Any:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    if not isinstance(values, list):
        msg = f"enum must be a list of values, not {values!r}."
        raise ValueError(msg)
    kinds = get_types(schema)
    wanted = [value for value in values if kinds is None or get_types_of_value(value) & kinds]
    if "const" in schema:
        wanted = [value for value in wanted if _is_same(value, schema["const"])][:1]
    if not wanted:
        return False
    rules = {"const": wanted[0]} if "const" in schema else {"enum": wanted}
    if isinstance(kind := schema.get("type"), str) and all(kind in get_types_of_value(value) for value in wanted):
        rules = {"type": kind, **rules}
    return add_notes(rules, schema, OF_ONE_TYPE)


def _is_same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _list_branches(schema: JSONSchema) -> list[Any] | None:
    """Return the alternatives of a schema, each with the schema's other rules: engines read only one of the two."""
    _, rest = split_annotations(schema)
    if rest.pop("nullable", None) is True:  # OpenAPI 3.0
        return [rest, {"type": "null"}]
    for key in ("anyOf", "oneOf"):  # engines do not support "exactly one of"; the caller's type checks it
        if key in rest:
            members = rest.pop(key)
            numbers = any(isinstance(one, dict) and one.get("type") == "number" for one in members)
            return [intersect(rest, one) for one in members if not (numbers and _is_decimal(one))]
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind in (get_types(schema) or ())]
        return [{**rest, "type": kind} for kind in kinds if not (kind == "integer" and "number" in kinds)]
    return None


def _is_decimal(schema: Any) -> bool:
    return isinstance(schema, dict) and str(schema.get("pattern", "")).startswith(_DECIMAL)


def _build_any_of(branches: list[Any], schema: JSONSchema) -> Any:
    possible: list[JSONSchema] = []
    for branch in branches:
        if branch is not False and branch not in possible:
            possible.append(branch)
    if not possible:
        return False
    notes: JSONSchema = {key: schema[key] for key in ("description", "default") if key in schema}
    if len(possible) > 1:
        return add_notes({"anyOf": possible}, notes)
    return add_notes(
        possible[0], {**notes, "description": join_texts(notes.get("description"), possible[0].get("description"))}
    )


def _build_object_rules(schema: JSONSchema) -> TypeRules:
    properties = {key: _constrain(value) for key, value in schema.get("properties", {}).items()}
    required = read_required_names(schema)
    for key in required:
        properties.setdefault(key, dict(_ANYTHING))
        if properties[key] is False:
            return None, frozenset()
    properties = {key: value for key, value in properties.items() if value is not False}
    extra = _get_extra(schema)
    rules: JSONSchema = {}
    if properties or extra is False:  # `outlines-core` accepts `additionalProperties: false` only with `properties`
        rules["properties"] = properties
    if required:
        rules["required"] = required
    if properties or extra is not True:
        rules["additionalProperties"] = extra
    return rules, frozenset()


def _get_extra(schema: JSONSchema) -> Any:
    """Return the schema of an object's keys that are not in `properties`."""
    extra = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    if schema.get("patternProperties") and (extra is None or extra is False):
        extra = {"anyOf": list(schema["patternProperties"].values())}
    if extra is None:
        return "properties" not in schema
    extra = _constrain(extra)
    return True if extra == _ANYTHING else extra


def _build_array_rules(schema: JSONSchema) -> TypeRules:
    low, high = read_number(schema, "minItems") or 0, read_number(schema, "maxItems", math.inf)
    if low > high:
        return None, frozenset()
    if schema.get("prefixItems"):
        return _build_tuple_rules(schema, low, high)
    each = _constrain(schema.get("items", schema.get("unevaluatedItems", True)))
    if each is False or high == 0:
        return (None if low else {"const": []}), frozenset({"minItems", "maxItems"})
    return ({} if each == _ANYTHING else {"items": each}), frozenset()


def _build_tuple_rules(schema: JSONSchema, low: float, high: float) -> TypeRules:
    parts = [_constrain(part) for part in schema["prefixItems"]]
    parts = parts[: int(min(high, len(parts)))]
    rest = _constrain(schema.get("items", schema.get("unevaluatedItems", low > len(parts))))
    closed = high <= len(parts) or rest is False or ("items" not in schema and low <= len(parts))
    if not parts or False in parts or (closed and low > len(parts)):
        return ({"const": []} if not high else None), frozenset({"minItems", "maxItems"})
    count = len(parts)
    if closed:
        return {"prefixItems": parts, "minItems": count, "maxItems": count}, frozenset({"minItems", "maxItems"})
    taken = frozenset({"minItems"} if low <= count else ())
    return {"prefixItems": parts, "items": rest, "minItems": count}, taken


_BY_TYPE: dict[str, Callable[[JSONSchema], TypeRules]] = {
    "object": _build_object_rules,
    "array": _build_array_rules,
    "string": build_string_rules,
    "number": build_number_rules,
    "integer": build_number_rules,
}
