"""Schemas of tools, and OpenAI's strict form."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_workers_gemma.schemas import to_constraint_schema, to_strict_openai, to_tool_parameters
from tests.helpers.schema_engines import SCHEMA_TRANSFORMS


@pytest.mark.parametrize(
    ("given_", "wanted"),
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
def test_tool_properties(given_: Any, wanted: Any) -> None:
    assert to_tool_parameters({"title": "T", "properties": {"my_arg": given_}}) == {
        "type": "object",
        "properties": {"my_arg": wanted},
    }


def test_the_description_of_a_required_optional_allows_null() -> None:
    made = to_tool_parameters({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]})
    assert made["properties"]["a"]["description"] == "A (may be null)"
    assert made["required"] == ["a"]


@pytest.mark.parametrize(
    "given_",
    [
        {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
    ],
)
def test_an_optional_keeps_null_for_engines_that_type_by_the_schema(given_: Any) -> None:
    made = to_tool_parameters(
        {"properties": {"a": given_, "b": {"type": "object", "properties": {"a": given_}}}}, engine_types=True
    )
    for properties in (made["properties"], made["properties"]["b"]["properties"]):
        assert properties["a"]["type"] == "string"
        assert properties["a"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
        assert properties["a"]["nullable"] is True
    assert not {"anyOf", "nullable"} & made["properties"]["b"].keys()


def test_engines_read_every_type_that_a_parameter_takes() -> None:
    parameters = {
        "properties": {"union": {"type": ["string", "integer", "null"]}, "any": {}, "enum": {"enum": ["a", None]}}
    }
    made = to_tool_parameters(parameters, engine_types=True)["properties"]
    assert [one["type"] for one in made["union"]["anyOf"]] == ["string", "integer", "null"]
    assert {one["type"] for one in made["any"]["anyOf"]} >= {"string", "number", "object", "array", "null"}
    assert made["enum"] == {"type": "string", "description": "Enum", "enum": ["a", None]}


def test_a_reference_never_ends_up_at_the_root() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
    for function in SCHEMA_TRANSFORMS:
        assert "$ref" not in function({"anyOf": [{"$ref": "#/$defs/N"}], "$defs": {"N": node}})
    with pytest.raises(ValueError, match="points only to itself"):
        to_constraint_schema({"anyOf": [{"$ref": "#"}]})


def test_a_tool_without_arguments_has_properties() -> None:
    assert to_tool_parameters({"type": "object"}) == {"type": "object", "properties": {}}


def test_strict_makes_optionals_nullable_unless_they_have_a_default() -> None:
    made = to_strict_openai({"properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}})
    assert made["properties"] == {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"type": "integer", "description": "(default: 3)"},
    }
