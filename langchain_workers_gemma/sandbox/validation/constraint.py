"""Reads the JSON Schema that a reply must obey, from whichever parameter the model has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_workers_gemma.models import Constraint

    from .checker import Checker

_ANY_OBJECT = {"type": "object"}


def read_constraint(check: Checker, kind: Constraint | None, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema; a parameter that the model does not have is ignored, as every unknown field is."""
    if kind == "guided_json":
        schema: Mapping[str, Any] | None = check.optional(body, "guided_json", "", "object")
        return schema
    if kind is None:
        return None
    wanted = check.optional(body, "response_format", "", "object")
    if wanted is None:
        return None
    return _bare(check, wanted) if kind == "bare_schema" else _openai(check, wanted)


def _bare(check: Checker, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "type" not in wanted or not check.enum(wanted["type"], "/response_format/type", ["json_object", "json_schema"]):
        return None
    schema = wanted.get("json_schema")
    if wanted["type"] == "json_object" or schema is None:
        return _ANY_OBJECT
    return schema if check.value(schema, "/response_format/json_schema", "object") else None


def _openai(check: Checker, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    path = "/response_format"
    if not check.required(wanted, ["type"], path) or not check.enum(
        wanted["type"], f"{path}/type", ["text", "json_object", "json_schema"]
    ):
        return None
    if wanted["type"] != "json_schema":
        return _ANY_OBJECT if wanted["type"] == "json_object" else None
    if not check.required(wanted, ["type", "json_schema"], path):
        return None
    held = check.optional(wanted, "json_schema", path, "object")
    where = f"{path}/json_schema"
    if held is None or not check.required(held, ["name"], where):
        return None
    check.value(held["name"], f"{where}/name", "string")
    check.optional(held, "strict", where, "boolean")
    schema = check.optional(held, "schema", where, "object")
    return schema if schema is not None else _ANY_OBJECT
