"""Adapt the declaration of a tool to a chat template: keywords that the template hides become descriptions.

A template writes some keywords of a parameter's schema, in its own order and notation, and leaves the others out. In an
object without `properties`, it mistakes the keywords for parameters (`docs/wire.md` section 11).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_workers_gemma.schemas.descriptions import DESCRIBED, describe
from langchain_workers_gemma.schemas.keywords import JSONSchema

_MAX_SHOWN = 2000  # characters of JSON in one note
_REF = "#/$defs/"


@dataclass(frozen=True, slots=True)
class ShownKeywords:
    """The keywords of a parameter's JSON Schema that a template shows.

    Attributes:
        of_every_type: The keywords that it shows for every parameter.
        of_type: The keywords that it shows for parameters of one type. It shows everything in `items`.
        hidden_names: Names of parameters that it mistakes for keywords and does not show.
    """

    of_every_type: frozenset[str]
    of_type: Mapping[str, frozenset[str]] = field(hash=False)
    hidden_names: frozenset[str]

    def shows(self, key: str, kind: object) -> bool:
        """Return whether the template shows a keyword of a parameter of one type."""
        return key in self.of_every_type or key in self.of_type.get(str(kind), ())


def describe_hidden_keywords(parameters: JSONSchema, shown: ShownKeywords) -> tuple[JSONSchema, list[str]]:
    """Add descriptions of the keywords that a template does not show.

    Args:
        parameters: The parameters that `to_tool_parameters` returns.
        shown: The keywords that the template shows.

    Returns:
        The parameters with longer descriptions, and the additions to the tool's own description.
    """
    definitions = parameters.get("$defs", {})
    declared, lines = _declare_properties(parameters, shown)
    members = parameters.get("anyOf")
    if members:
        lines.append(f"The parameters must fit {_join_alternatives(members)}.")
    extra = _describe_extra_keys(parameters, noun="parameter")
    if extra:
        lines.append(f"{extra[0].upper()}{extra[1:]}.")
    lines += [f"{name} is a value of this JSON Schema: {_write_json(one)}" for name, one in definitions.items()]
    return declared, lines


def _declare_properties(schema: JSONSchema, shown: ShownKeywords) -> tuple[JSONSchema, list[str]]:
    """Return an object's schema with longer descriptions, and lines about the properties that the template hides."""
    required = schema.get("required", ())
    properties = {name: _declare_one(one, shown) for name, one in schema.get("properties", {}).items()}
    lines = [
        f'Parameter "{name}" ({one.get("type")}{", required" if name in required else ""}): '
        + _write_description(one, shown)
        for name, one in properties.items()
        if name in shown.hidden_names
    ]
    return {**schema, "properties": properties}, lines


def _declare_one(schema: Any, shown: ShownKeywords) -> Any:
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    lines: list[str] = []
    if kind == "object":
        schema, lines = _declare_properties(schema, shown)
    elif kind == "array" and isinstance(schema.get("items"), dict):
        schema = {**schema, "items": _declare_items(schema["items"], shown)}
    notes = _write_notes(schema, shown)
    return _add_description(schema, [f"({'; '.join(notes)})", *lines] if notes else lines)


def _add_description(schema: JSONSchema, more: Sequence[str]) -> JSONSchema:
    """Return a schema with more text in its description."""
    return {**schema, "description": " ".join(filter(None, [schema.get("description", ""), *more]))} if more else schema


def _declare_items(items: JSONSchema, shown: ShownKeywords) -> JSONSchema:
    """Return the schema of a list's items. A template shows all its keywords, but hides those of its properties."""
    return _add_description(*_declare_properties(items, shown)) if "properties" in items else items


def _write_description(schema: JSONSchema, shown: ShownKeywords) -> str:
    """Return the description of a parameter that the template hides with all its keywords."""
    hidden = {
        key: schema[key]
        for key in ("enum", "items", "properties")
        if schema.get(key) and shown.shows(key, schema["type"])
    }
    return f"{schema.get('description', '')}{f' {_write_json(hidden)}' if hidden else ''}"


# --- Notes ------------------------------------------------------------------------------------------------------------


def _write_notes(schema: JSONSchema, shown: ShownKeywords) -> list[str]:
    """Return descriptions of the keywords of a schema that the template does not show."""
    kind = schema.get("type")
    hidden = {key: value for key, value in schema.items() if not shown.shows(key, kind)}
    notes: list[str] = []
    if "enum" in hidden:
        notes.append(f"one of {', '.join(map(_write_json, hidden['enum']))}")
    if "const" in hidden:
        notes.append(f"always {_write_json(hidden['const'])}")
    if "anyOf" in hidden and not _is_only_nullable(schema):
        notes.append(_join_alternatives(hidden["anyOf"]))
    if "$ref" in hidden:
        notes.append(f"a value of the form {hidden['$ref'].removeprefix(_REF)}")
    if "prefixItems" in hidden:
        notes.append(f"its items in order: {'; '.join(map(_describe_schema, hidden['prefixItems']))}")
    notes.append(_describe_extra_keys(schema, noun="key") if kind == "object" else "")
    notes += [
        _describe_default(hidden[key]) if key == "default" else describe(key, hidden[key])
        for key in DESCRIBED
        if key in hidden
    ]
    return [note for note in notes if note]


def _is_only_nullable(schema: JSONSchema) -> bool:
    """Return whether a union only adds null, or allows any type, which another note states already."""
    kinds = [one.get("type") for one in schema["anyOf"] if isinstance(one, dict) and one.keys() == {"type"}]
    if len(kinds) < len(schema["anyOf"]):
        return False
    return set(kinds) <= {schema.get("type"), "null"} or len(kinds) > 5  # all types


def _join_alternatives(members: Sequence[Any]) -> str:
    return f"either {' or '.join(map(_describe_schema, members))}"


def _describe_schema(schema: Any) -> str:
    """Describe a schema by its type, or as JSON if it has other keywords."""
    if not isinstance(schema, dict):
        return "anything" if schema else "nothing"
    rules = {key: value for key, value in schema.items() if value not in ({}, [])}
    return str(rules["type"]) if rules.keys() == {"type"} else _write_json(rules)


def _describe_extra_keys(schema: JSONSchema, *, noun: str) -> str:
    extra = schema.get("additionalProperties")
    if extra is None or extra is False:
        return ""
    which = f"further {noun}s" if schema.get("properties") else f"any {noun}s"
    return (
        f"{which} may be given"
        if extra is True or not extra
        else f"{which} may be given, each value: {_describe_schema(extra)}"
    )


def _describe_default(value: Any) -> str:
    return "" if value is None else f"default: {_write_json(value)}"


def _write_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
