"""Rewrite schemas as the parameters of a tool, for the model to read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_workers_gemma.schemas.all_of import intersect, prepare
from langchain_workers_gemma.schemas.keywords import (
    ANNOTATIONS,
    TYPES,
    JSONSchema,
    find_one_type,
    get_types,
    get_types_of_value,
    split_annotations,
)
from langchain_workers_gemma.schemas.references import add_definitions, inline_refs
from langchain_workers_gemma.schemas.traversal import map_schemas, read_required_names

_DROPPED = ANNOTATIONS - {"description", "default", "examples", "example"}


def to_tool_parameters(schema: Mapping[str, Any], *, engine_types: bool = False) -> JSONSchema:
    """Rewrite a schema as the parameters of a tool, in the form that Workers AI documents.

    Workers AI expects `{"type": "object", "properties": {...}, "required": [...]}` where every property has a `type`
    that is one string, and a `description` (`docs/wire.md` section 2). The schema does not constrain the model: all
    other keywords are kept as documentation for it.

    - `Optional[X]` becomes X. If it is required, its description states that it may be null.
    - With `engine_types`, a property that allows null or any value also lists its types in `anyOf`. Engines derive the
      types of arguments from the schema: if only a string is allowed, they turn null into `"null"`, and 8 into `"8"`
      (`docs/wire.md` section 10). Gemma 4's template shows `nullable`.
    - A union has the `type` of its first member and keeps `anyOf`, so the result cannot be used to check arguments.
    - The title or the name replaces a missing description.

    Args:
        schema: A JSON Schema of an object.
        engine_types: Whether an engine derives the types of arguments from the parameters.

    Returns:
        The parameters, with `properties` even if there are none; recursive definitions stay under `$defs`.

    Raises:
        ValueError: If the schema cannot be read (see `inline_refs`).

    Examples:
        >>> to_tool_parameters({"title": "F", "properties": {"user_id": {"type": ["integer", "null"]}}})
        {'type': 'object', 'properties': {'user_id': {'type': 'integer', 'description': 'User id'}}}
    """
    root, definitions = prepare(schema)
    # A union of objects has no `properties` of its own: list those of its members.
    members = [one for key in ("anyOf", "oneOf") for one in root.get(key, []) if isinstance(one, dict)]
    named = [pair for one in [*members, root] for pair in one.get("properties", {}).items()]
    properties = {key: value for key, value in named if value is not False}
    shared = {key for key in properties if members and all(key in read_required_names(one) for one in members)}
    required = list(dict.fromkeys([*read_required_names(root), *(key for key in properties if key in shared)]))
    convert = partial(_convert, engine_types=engine_types)
    whole = convert({**root, "type": "object", "properties": properties, "required": required})
    found = {"type": "object", "properties": whole.get("properties", {})}
    found |= {key: whole[key] for key in ("required", "additionalProperties", "anyOf") if key in whole}
    return inline_refs(add_definitions(found, {name: convert(one) for name, one in definitions.items()}))


def _convert(schema: Any, *, engine_types: bool) -> Any:
    if not isinstance(schema, dict):
        return schema
    convert = partial(_convert, engine_types=engine_types)
    schema, _ = _remove_null(schema)
    schema = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")
    required = read_required_names(schema)
    if not required:
        schema.pop("required", None)
    within = map_schemas({key: schema[key] for key in ("items", "prefixItems", "anyOf") if key in schema}, convert)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        within["additionalProperties"] = convert(extra) if extra else True
    if "properties" in schema:
        named = schema["properties"].items()
        within["properties"] = {
            key: _convert_property(key, one, required, engine_types=engine_types)
            for key, one in named
            if one is not False
        }
    rest = {key: value for key, value in schema.items() if key != "type"}
    return {"type": _choose_type(schema) or "string", **rest, **within}


def _convert_property(name: str, schema: Any, required: list[str], *, engine_types: bool) -> JSONSchema:
    schema = {} if schema is True else schema
    found = _convert(schema, engine_types=engine_types)
    allows_null = _remove_null(schema)[1] or schema.get("nullable") is True
    allows_anything = _choose_type(_remove_null(schema)[0]) is None
    text = found.get("description") or schema.get("title") or name.replace("_", " ").strip().capitalize() or name
    if engine_types and (allows_null or allows_anything):
        found |= _build_alternatives(found, allows_anything=allows_anything)
    if name in required and allows_null:
        text = f"{text} (may be null)"
    if allows_anything:
        text = f"{text} (any JSON value)"
    return {
        "type": found.pop("type"),
        "description": str(text),
        **{key: found[key] for key in found if key != "description"},
    }


def _build_alternatives(found: JSONSchema, *, allows_anything: bool) -> JSONSchema:
    """Return the alternatives that let an engine accept null, or anything."""
    if allows_anything:
        return {"anyOf": [{"type": kind} for kind in TYPES]}
    null = {"type": "null"}
    members = found.get("anyOf", [{"type": found["type"]}])
    return {"anyOf": members if null in members else [*members, null], "nullable": True}


def _remove_null(schema: JSONSchema) -> tuple[JSONSchema, bool]:
    """Convert `Optional[X]` to X, and a list of types to one type; also return whether null was among them."""
    schema = {key: value for key, value in schema.items() if key != "nullable" and (key, value) != ("default", None)}
    kinds = schema.get("type")
    if isinstance(kinds, list) and get_types(schema):
        left = [kind for kind in kinds if kind != "null"] or kinds
        schema["type"] = left[0]
        if len(left) > 1:
            schema.setdefault("anyOf", [{"type": kind} for kind in left])
        return schema, len(left) < len(kinds)
    for key in ("anyOf", "oneOf"):
        members = schema.get(key, [])
        others = [one for one in members if not (isinstance(one, dict) and one.get("type") == "null")]
        if len(others) == 1 and isinstance(others[0], dict):
            rest = {name: value for name, value in schema.items() if name != key}
            return _remove_null(_merge_or_first(rest, others[0]))[0], len(members) > 1
        if len(others) < len(members):
            return schema, True
    return schema, False


def _merge_or_first(rest: JSONSchema, member: JSONSchema) -> JSONSchema:
    notes, rules = split_annotations(rest)
    joined = intersect(member, rules)
    return {**(joined if isinstance(joined, dict) else member), **notes}


def _choose_type(schema: JSONSchema) -> str | None:
    """Return one type for a schema; `None` if it allows any value."""
    if isinstance(schema.get("type"), str) or "$ref" in schema:
        return find_one_type(schema) or "object"
    for value in [schema["const"]] if "const" in schema else schema.get("enum", []):
        if value is not None:
            return next(
                kind
                for kind in TYPES
                if kind in get_types_of_value(value) and (kind != "number" or isinstance(value, float))
            )
    for member in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        if isinstance(member, dict) and (kind := _choose_type(_remove_null(member)[0])) not in (None, "null"):
            return kind
    return find_one_type(schema)
