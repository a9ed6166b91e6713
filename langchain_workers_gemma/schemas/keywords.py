"""List the keywords and types of JSON Schema, and find the types that a schema allows."""

from __future__ import annotations

from typing import Any, TypeAlias

JSONSchema: TypeAlias = dict[str, Any]
"""A JSON Schema that is an object: keywords and their values."""

ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
    | {"$schema", "$id", "$anchor", "$defs", "definitions", "discriminator", "xml", "externalDocs"}
)
"""The keywords that are not rules for a value."""

TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
"""All types of JSON Schema."""

_OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
KEYWORDS: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "unevaluatedProperties", "minProperties"})
    | {"maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"},
    "array": frozenset({"items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems"})
    | {"uniqueItems", "contains", "minContains", "maxContains"},
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"}),
    "number": _OF_NUMBERS,
    "integer": _OF_NUMBERS,
}
"""The keywords that apply to values of one type, by type."""

OF_ONE_TYPE = frozenset().union(*KEYWORDS.values())
"""All keywords that apply to values of one type."""


def split_annotations(schema: JSONSchema) -> tuple[JSONSchema, JSONSchema]:
    """Split a schema into its annotations and its rules."""
    annotations = {key: value for key, value in schema.items() if key in ANNOTATIONS}
    return annotations, {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def get_types(schema: JSONSchema) -> frozenset[str] | None:
    """Return the types in a schema's `type`; `None` if it has none.

    Raises:
        ValueError: If `type` is neither a string nor a list of strings.
    """
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind
    if kinds is None:
        return None
    if not isinstance(kinds, list) or not kinds or not all(isinstance(one, str) for one in kinds):
        msg = f"type must be a string or a list of strings, not {kind!r}."
        raise ValueError(msg)
    return frozenset(kinds) | ({"null"} if schema.get("nullable") is True else frozenset())


def get_types_of_value(value: Any) -> frozenset[str]:
    """Return the types of a value: a whole number is both an integer and a number."""
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return frozenset({"integer", "number"})
    names = {str: "string", float: "number", list: "array", dict: "object"}
    return frozenset({names.get(type(value), "null")})


def find_one_type(schema: JSONSchema) -> str | None:
    """Return the type of a schema, from its keywords if it has no `type`: `outlines-core` needs one for each rule.

    Raises:
        ValueError: If the type is not one of JSON Schema's.
    """
    for kind in get_types(schema) or ():
        if kind not in TYPES:
            msg = f"type {kind!r} is not a type of JSON Schema: use one of {', '.join(TYPES)}."
            raise ValueError(msg)
        return kind
    return next((one for one in ("object", "array", "string", "number") if schema.keys() & KEYWORDS[one]), None)
