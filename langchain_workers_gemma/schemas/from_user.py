"""Convert users' schemas to JSON Schemas: Pydantic models, TypedDicts, JSON Schemas, and tools in OpenAI's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from langchain_workers_gemma.schemas.generator import PydanticGenerator
from langchain_workers_gemma.schemas.keywords import JSONSchema
from langchain_workers_gemma.schemas.references import find_target
from langchain_workers_gemma.schemas.traversal import copy_plain
from langchain_workers_gemma.schemas.typed_dicts import convert_typed_dict


def to_json_schema(schema: Any) -> JSONSchema:
    """Convert any kind of schema that LangChain accepts to a plain JSON Schema of an object.

    LangChain's own `convert_to_json_schema` is not used: it truncates recursive models, drops titles, and loses the
    parts of a `TypedDict` that Pydantic's v1 layer does not support.

    Args:
        schema: A Pydantic model class (v2 or v1), a `TypedDict` class, a JSON Schema, or a tool in OpenAI's form.

    Returns:
        A JSON Schema of an object, with `title` and `description` if known. References are not changed.

    Raises:
        ValueError: If `schema` has another type, or does not describe a JSON object.

    Examples:
        >>> to_json_schema({"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}})
        {'title': 'f', 'type': 'object', 'properties': {'x': {'type': 'string'}}}
        >>> to_json_schema("Person")
        Traceback (most recent call last):
        ...
        ValueError: `schema` must be a Pydantic model class, ... an OpenAI tool dict, not 'Person' (str).
    """
    found = _convert_dict(copy_plain(schema)) if isinstance(schema, Mapping) else _convert_class(schema)
    if not _describes_object(found, found, set()):
        kind = found.get("type", "something else")
        msg = f"`schema` must describe a JSON object, not {kind!r}: put it into a field of a model or of an object."
        raise ValueError(msg)
    if not any(key in found for key in ("type", "$ref", "anyOf", "oneOf", "allOf")):
        head: JSONSchema = {key: found.pop(key) for key in ("title", "description") if key in found}
        return {**head, "type": "object", **found}
    return found


def get_schema_name(schema: Any) -> str:
    """Return a name for a schema with only the characters that OpenAI allows: `[a-zA-Z0-9_-]{1,64}`.

    Args:
        schema: Any schema that `to_json_schema` accepts.

    Returns:
        The schema's title or tool name with other characters replaced, or `output`.

    Examples:
        >>> get_schema_name({"title": "Box[int]", "type": "object"})
        'Box_int'
    """
    title = str(_get_at_root(schema, "title"))
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", title)[:64].strip("_") or "output"


def get_schema_description(schema: Any) -> str:
    """Return the description that the author of a schema wrote.

    Args:
        schema: Any schema that `to_json_schema` accepts.

    Returns:
        The description, docstring or tool description; empty if there is none.

    Examples:
        >>> get_schema_description({"name": "f", "description": "Adds.", "parameters": {"type": "object"}})
        'Adds.'
    """
    return str(_get_at_root(schema, "description"))


def _get_at_root(schema: Any, key: str) -> Any:
    """Return the value of a keyword at a schema's root, or in the definition to which the root refers."""
    found = to_json_schema(schema)
    target = find_target(found, found["$ref"]) if key not in found and "$ref" in found else found
    return target.get(key, "") if isinstance(target, dict) else ""


def _make_refusal(schema: Any) -> ValueError:
    return ValueError(
        "`schema` must be a Pydantic model class, a TypedDict class, a JSON Schema dict of an object (with `type` or "
        f"`properties`) or an OpenAI tool dict, not {repr(schema)[:80]} ({type(schema).__name__})."
    )


def _convert_class(schema: Any) -> JSONSchema:
    try:
        if is_typeddict(schema):
            return copy_plain(convert_typed_dict(schema))
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            # v1 classes come from `pydantic.v1`, whose method is called `schema`.
            model: Any = schema
            new = hasattr(model, "model_json_schema")
            return copy_plain(model.model_json_schema(schema_generator=PydanticGenerator) if new else model.schema())
    except (PydanticUserError, NameError, TypeError) as error:
        # JSON cannot express the type of a field, or a forward reference names a type that does not exist.
        msg = f"`schema` {schema.__name__} has no JSON Schema: {error}"
        raise ValueError(msg) from error
    raise _make_refusal(schema)


def _convert_dict(schema: JSONSchema) -> JSONSchema:
    for kind in ("function", "json_schema"):  # OpenAI's envelopes of a tool and of a response format
        if schema.get("type") == kind and isinstance(schema.get(kind), dict):
            schema = schema[kind]
            break
    if isinstance(name := schema.get("name"), str) and not schema.keys() & {"properties", "$ref", "anyOf", "title"}:
        # OpenAI's tools have "parameters", Anthropic's "input_schema", and OpenAI's response format "schema".
        bodies = (schema[key] for key in ("parameters", "input_schema", "schema") if isinstance(schema.get(key), dict))
        body: JSONSchema = next(bodies, {"properties": {}})
        head = {"title": name}
        if isinstance(text := schema.get("description") or body.get("description"), str):
            head["description"] = text
        return {**head, **{key: value for key, value in body.items() if key not in head}}
    if not schema.keys() & {"type", "properties", "title", "$ref", "anyOf", "oneOf", "allOf"}:
        raise _make_refusal(schema)
    return schema if schema.keys() - {"title", "description"} else {**schema, "properties": {}}


def _describes_object(schema: Any, root: JSONSchema, seen: set[str]) -> bool:
    """Return whether only objects can match a schema, as far as its type and alternatives show."""
    if not isinstance(schema, dict):
        return False
    if "type" in schema:
        return schema["type"] in ("object", ["object"])
    if "$ref" in schema:
        target = find_target(root, schema["$ref"])
        if schema["$ref"] in seen:
            return True
        seen.add(schema["$ref"])
        return _describes_object(target, root, seen)
    for key, enough in (("anyOf", all), ("oneOf", all), ("allOf", any)):
        if isinstance(members := schema.get(key), list) and members and "properties" not in schema:
            return enough([_describes_object(member, root, seen) for member in members])
    return "properties" in schema
