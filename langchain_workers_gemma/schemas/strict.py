"""Rewrite schemas in OpenAI's strict form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_workers_gemma.schemas.all_of import prepare
from langchain_workers_gemma.schemas.constraint import to_constraint_schema
from langchain_workers_gemma.schemas.keywords import ANNOTATIONS, JSONSchema, get_types, split_annotations
from langchain_workers_gemma.schemas.traversal import map_schemas, read_required_names


def to_strict_openai(schema: Mapping[str, Any]) -> JSONSchema:
    """Rewrite a schema in OpenAI's strict form, for an envelope with `strict: true`.

    Every property is required and no other is allowed, at every depth. An optional property may be null instead, unless
    it has a default: then the model has to write a value, since most such fields do not allow null. The result also has
    the form of `to_constraint_schema`, since the same engines read the schema. A `dict[str, X]` stays as it is: OpenAI
    refuses it, but a closed object would allow only `{}`.

    Args:
        schema: A JSON Schema of an object.

    Returns:
        The strict schema.

    Raises:
        ValueError: See `to_constraint_schema`.

    Examples:
        >>> to_strict_openai({"properties": {"a": {"type": "string"}}})  # doctest: +NORMALIZE_WHITESPACE
        {'type': 'object', 'properties': {'a': {'anyOf': [{'type': 'string'}, {'type': 'null'}]}},
         'required': ['a'], 'additionalProperties': False}
    """
    root, definitions = prepare(schema)
    return to_constraint_schema(
        {**_make_strict(root), "$defs": {name: _make_strict(one) for name, one in definitions.items()}}
    )


def _make_strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    schema = map_schemas(schema, _make_strict)
    required = read_required_names(schema)
    if "properties" not in schema and not required:
        return schema
    named = schema.get("properties", {})
    properties = {key: one for key, one in named.items() if one is not False or key in required}
    rest = {key: value for key, value in schema.items() if key not in ("patternProperties", "unevaluatedProperties")}
    return {
        **rest,
        "properties": {key: one if key in required else _make_nullable(one) for key, one in properties.items()},
        "required": list(dict.fromkeys([*properties, *required])),
        "additionalProperties": False,
    }


def _make_nullable(schema: Any) -> Any:
    if not isinstance(schema, dict) or schema.get("default") is not None or _allows_null(schema):
        return schema
    notes, rules = split_annotations(schema)
    members = rules["anyOf"] if rules.keys() == {"anyOf"} else [rules]
    return {**notes, "anyOf": [*members, {"type": "null"}]}


def _allows_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is True
    if schema.get("nullable") is True or not schema.keys() - ANNOTATIONS:
        return True
    if "enum" in schema or "const" in schema:
        return None in schema.get("enum", [schema.get("const")])
    if members := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        return any(_allows_null(one) for one in members)
    return "null" in (get_types(schema) or ())
