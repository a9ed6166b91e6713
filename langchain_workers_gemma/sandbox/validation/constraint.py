"""Read the JSON Schema for the reply from the model's constraint parameter (docs/wire.md section 3)."""

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
    """The rules of a dialect and a route about which requests are accepted.

    Attributes:
        refused: Constraint forms that are refused.
        ignored: Constraint forms that are ignored, like unknown parameters.
        openai_route: Whether the request used the OpenAI-compatible route, which accepts only the envelope.
        lenient_templates: Whether to accept histories and tools that the chat template renders wrongly.
        max_model_len: The context window of the engine, where it is smaller than the published one.
        reduces_max_tokens: Whether a `max_tokens` that does not fit is reduced.
        strict_declarations: Whether to refuse a tool if the chat template does not show every rule of its schema.
    """

    refused: frozenset[SchemaForm] = frozenset()
    ignored: frozenset[SchemaForm] = frozenset()
    openai_route: bool = False
    lenient_templates: bool = False
    strict_declarations: bool = False
    max_model_len: int | None = None
    reduces_max_tokens: bool = False


DOCUMENTED_RULES = RequestRules()
_Found: TypeAlias = "tuple[SchemaForm, Mapping[str, Any]]"


def read_constraint(
    check: Checker, kind: Constraint | None, body: Mapping[str, Any], rules: RequestRules
) -> Mapping[str, Any] | None:
    """Return the schema, or `None`. A parameter that the model does not have is ignored, like all unknown fields.

    Raises:
        ServiceError: If the rules refuse the constraint form.
    """
    if kind is None:
        return None
    if kind == "guided_json":
        guided: Mapping[str, Any] | None = check.get_optional(body, "guided_json", "", "object")
        return None if guided is None else _accept("guided_json", guided, rules)
    response_format = check.get_optional(body, "response_format", "", "object")
    if response_format is None:
        return None
    read = _read_bare if kind == "bare_schema" else _read_openai
    found = read(check, response_format, rules)
    return None if found is None else _accept(*found, rules)


def _accept(form: SchemaForm, schema: Mapping[str, Any], rules: RequestRules) -> Mapping[str, Any] | None:
    if form in rules.refused:
        parameter = "guided_json" if form == "guided_json" else "response_format"
        raise make_bad_input_error(f"'/{parameter}' of this form ({form}) is not supported")
    return None if form in rules.ignored else schema


def _read_bare(check: Checker, response_format: Mapping[str, Any], rules: RequestRules) -> _Found | None:
    """Read the `response_format` of the older models, which contains the bare schema."""
    if "type" not in response_format or not check.check_enum(
        response_format["type"], "/response_format/type", ["json_object", "json_schema"]
    ):
        return None
    schema = response_format.get("json_schema")
    if response_format["type"] == "json_object" or schema is None:
        return "json_object", _ANY_OBJECT
    if not check.check_value(schema, "/response_format/json_schema", "object"):
        return None
    if rules.openai_route and _is_envelope(schema):
        return "schema_envelope", schema["schema"]
    return "bare_schema", schema


def _read_openai(check: Checker, response_format: Mapping[str, Any], rules: RequestRules) -> _Found | None:
    """Read OpenAI's `response_format`. The native route accepts the bare schema too."""
    path = "/response_format"
    if not check.check_required(response_format, ["type"], path) or not check.check_enum(
        response_format["type"], f"{path}/type", ["text", "json_object", "json_schema"]
    ):
        return None
    if response_format["type"] != "json_schema":
        return ("json_object", _ANY_OBJECT) if response_format["type"] == "json_object" else None
    if not check.check_required(response_format, ["type", "json_schema"], path):
        return None
    value = check.get_optional(response_format, "json_schema", path, "object")
    where = f"{path}/json_schema"
    if value is not None and not rules.openai_route and _SCHEMA_KEYS & value.keys() and not _is_envelope(value):
        return "bare_schema", value
    if value is None or not check.check_required(value, ["name"], where):
        return None
    check.check_value(value["name"], f"{where}/name", "string")
    check.get_optional(value, "strict", where, "boolean")
    schema = check.get_optional(value, "schema", where, "object")
    return "schema_envelope", schema if schema is not None else _ANY_OBJECT


def _is_envelope(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("schema"), dict) and not _SCHEMA_KEYS & value.keys()
