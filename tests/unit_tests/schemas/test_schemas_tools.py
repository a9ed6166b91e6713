"""Schemas of tools, and OpenAI's strict form."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_workers_gemma.schemas import to_constraint_schema, to_strict_openai, to_tool_parameters
from tests.helpers.schema_engines import SCHEMA_TRANSFORMS


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["integer", "null"], "title": "N"}, {"type": "integer", "description": "N"}),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"type": "string", "description": "My arg"},
        ),
        (
            {"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}]},
            {
                "type": "integer",
                "description": "My arg",
                "anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}],
            },
        ),
        ({"enum": [None, 2.5]}, {"type": "number", "description": "My arg", "enum": [None, 2.5]}),
        ({"const": True}, {"type": "boolean", "description": "My arg", "const": True}),
        ({}, {"type": "string", "description": "My arg (any JSON value)"}),
        (True, {"type": "string", "description": "My arg (any JSON value)"}),
        (
            {"type": "string", "pattern": "^a", "minLength": 1, "default": "a", "description": "D"},
            {"type": "string", "description": "D", "pattern": "^a", "minLength": 1, "default": "a"},
        ),
    ],
)
def test_properties_of_tools(schema: Any, expected: Any) -> None:
    assert to_tool_parameters({"title": "T", "properties": {"my_arg": schema}}) == {
        "type": "object",
        "properties": {"my_arg": expected},
    }


def test_the_description_of_a_required_optional_allows_null() -> None:
    converted = to_tool_parameters({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]})
    assert converted["properties"]["a"]["description"] == "A (may be null)"
    assert converted["required"] == ["a"]


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
    ],
)
def test_an_optional_property_allows_null_with_engine_types(schema: Any) -> None:
    converted = to_tool_parameters(
        {"properties": {"a": schema, "b": {"type": "object", "properties": {"a": schema}}}}, engine_types=True
    )
    for properties in (converted["properties"], converted["properties"]["b"]["properties"]):
        assert properties["a"]["type"] == "string"
        assert properties["a"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
        assert properties["a"]["nullable"] is True
    assert not {"anyOf", "nullable"} & converted["properties"]["b"].keys()


def test_engine_types_list_every_type_of_a_property() -> None:
    parameters = {
        "properties": {"union": {"type": ["string", "integer", "null"]}, "any": {}, "enum": {"enum": ["a", None]}}
    }
    converted = to_tool_parameters(parameters, engine_types=True)["properties"]
    assert [alternative["type"] for alternative in converted["union"]["anyOf"]] == ["string", "integer", "null"]
    assert {alternative["type"] for alternative in converted["any"]["anyOf"]} >= {
        "string",
        "number",
        "object",
        "array",
        "null",
    }
    assert converted["enum"] == {"type": "string", "description": "Enum", "enum": ["a", None]}


def test_a_schema_has_no_reference_at_its_root() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
    for function in SCHEMA_TRANSFORMS:
        assert "$ref" not in function({"anyOf": [{"$ref": "#/$defs/N"}], "$defs": {"N": node}})
    with pytest.raises(ValueError, match="points only to itself"):
        to_constraint_schema({"anyOf": [{"$ref": "#"}]})


def test_a_tool_without_arguments_has_empty_properties() -> None:
    assert to_tool_parameters({"type": "object"}) == {"type": "object", "properties": {}}


def test_strict_makes_optional_properties_nullable_unless_they_have_a_default() -> None:
    converted = to_strict_openai({"properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}})
    assert converted["properties"] == {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"type": "integer", "description": "(default: 3)"},
    }
