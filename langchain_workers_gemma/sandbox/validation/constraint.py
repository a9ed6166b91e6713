"""Read the JSON Schema that a reply must obey, from the model's own parameter for it (docs/wire.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_workers_gemma.sandbox.errors import make_bad_input_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_workers_gemma.models import Constraint
    from langchain_workers_gemma.sandbox.dialects import SchemaForm

    from .checker import Checker

_ANY_OBJECT = {"type": "object"}
_SCHEMA_KEYS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items", "$defs"})
"""Keywords that distinguish a schema from OpenAI's envelope around one."""


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What a dialect and a route change about which requests are accepted.

    Attributes:
        refused: Forms of structured output that are refused.
        ignored: Forms of structured output that are ignored, as unknown parameters are.
        openai_route: Whether the request used the OpenAI-compatible route, which accepts the envelope alone.
        lenient_templates: Whether histories and tools pass that the chat template renders wrongly.
        strict_declarations: Whether tools are refused of which the chat template does not show every rule.
    """

    refused: frozenset[SchemaForm] = frozenset()
    ignored: frozenset[SchemaForm] = frozenset()
    openai_route: bool = False
    lenient_templates: bool = False
    strict_declarations: bool = False


DOCUMENTED_RULES = RequestRules()
_Found: TypeAlias = "tuple[SchemaForm, Mapping[str, Any]]"


def read_constraint(
    check: Checker, kind: Constraint | None, body: Mapping[str, Any], rules: RequestRules
) -> Mapping[str, Any] | None:
    """Read the schema; a parameter that the model does not have is ignored, as every unknown field is.

    Raises:
        ServiceError: For a form that is refused.
    """
    if kind is None:
        return None
    if kind == "guided_json":
        guided: Mapping[str, Any] | None = check.get_optional(body, "guided_json", "", "object")
        return None if guided is None else _accept("guided_json", guided, rules)
    wanted = check.get_optional(body, "response_format", "", "object")
    if wanted is None:
        return None
    found = _read_bare(check, wanted, rules) if kind == "bare_schema" else _read_openai(check, wanted, rules)
    return None if found is None else _accept(*found, rules)


def _accept(form: SchemaForm, schema: Mapping[str, Any], rules: RequestRules) -> Mapping[str, Any] | None:
    if form in rules.refused:
        parameter = "guided_json" if form == "guided_json" else "response_format"
        raise make_bad_input_error(f"'/{parameter}' of this form ({form}) is not supported")
    return None if form in rules.ignored else schema


def _read_bare(check: Checker, wanted: Mapping[str, Any], rules: RequestRules) -> _Found | None:
    """Read the `response_format` of the older models, which holds the schema itself."""
    if "type" not in wanted or not check.check_enum(
        wanted["type"], "/response_format/type", ["json_object", "json_schema"]
    ):
        return None
    schema = wanted.get("json_schema")
    if wanted["type"] == "json_object" or schema is None:
        return "json_object", _ANY_OBJECT
    if not check.check_value(schema, "/response_format/json_schema", "object"):
        return None
    if rules.openai_route and _is_envelope(schema):
        return "schema_envelope", schema["schema"]
    return "bare_schema", schema


def _read_openai(check: Checker, wanted: Mapping[str, Any], rules: RequestRules) -> _Found | None:
    """Read OpenAI's `response_format`; the native route takes the schema itself as well."""
    path = "/response_format"
    if not check.check_required(wanted, ["type"], path) or not check.check_enum(
        wanted["type"], f"{path}/type", ["text", "json_object", "json_schema"]
    ):
        return None
    if wanted["type"] != "json_schema":
        return ("json_object", _ANY_OBJECT) if wanted["type"] == "json_object" else None
    if not check.check_required(wanted, ["type", "json_schema"], path):
        return None
    held = check.get_optional(wanted, "json_schema", path, "object")
    where = f"{path}/json_schema"
    if held is not None and not rules.openai_route and _SCHEMA_KEYS & held.keys() and not _is_envelope(held):
        return "bare_schema", held
    if held is None or not check.check_required(held, ["name"], where):
        return None
    check.check_value(held["name"], f"{where}/name", "string")
    check.get_optional(held, "strict", where, "boolean")
    schema = check.get_optional(held, "schema", where, "object")
    return "schema_envelope", schema if schema is not None else _ANY_OBJECT


def _is_envelope(held: Mapping[str, Any]) -> bool:
    return isinstance(held.get("schema"), dict) and not _SCHEMA_KEYS & held.keys()
