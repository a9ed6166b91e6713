"""Rules of parameters that the chat template omits are in their description; `make test-templates` renders them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, call_model, make_model


def get_declaration(service: MockService, parameters: dict[str, Any], model: str = GEMMA_4) -> dict[str, Any]:
    """Send a tool and return its declaration in the request."""
    tool = {"type": "function", "function": {"name": "f", "description": "Do it.", "parameters": parameters}}
    call_model(make_model(model=model, tool_calling="native").bind_tools([tool]), "invoke")
    function = service.request_body["tools"][0]["function"]
    assert isinstance(function, dict)
    return function


@pytest.mark.parametrize(
    ("schema", "description"),
    [
        ({"type": "integer", "enum": [1, 2]}, "P (one of 1, 2)"),
        ({"type": "string", "enum": ["a"]}, "P"),
        ({"const": 7}, "P (always 7)"),
        ({"type": "integer", "minimum": 0, "maximum": 9, "default": 0}, "P (at least 0; at most 9; default: 0)"),
        ({"type": "string", "pattern": "^a", "default": "a"}, 'P (pattern: ^a; default: "a")'),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "P (either string or integer)"),
        ({"type": ["string", "null"]}, "P"),
        (
            {"type": "object", "additionalProperties": {"type": "number"}},
            "P (any keys may be given, each value: number)",
        ),
    ],
)
def test_rules_that_the_template_omits_are_described(
    service: MockService, schema: dict[str, Any], description: str
) -> None:
    function = get_declaration(service, {"type": "object", "properties": {"p": schema}})
    assert function["parameters"]["properties"]["p"]["description"] == description


def test_an_object_without_properties_gets_empty_properties(service: MockService) -> None:
    """The template would read the keywords of its schema as parameters."""
    inner = {"type": "object", "properties": {"map": {"type": "object", "additionalProperties": True}}}
    function = get_declaration(service, {"type": "object", "properties": {"deep": inner}})
    deep = function["parameters"]["properties"]["deep"]["properties"]
    assert deep["map"]["properties"] == {}


def test_parameters_with_the_names_of_keywords_are_described(service: MockService) -> None:
    type_parameter = {"type": "string", "enum": ["bug", "idea"], "description": "Its kind."}
    function = get_declaration(
        service, {"type": "object", "properties": {"type": type_parameter}, "required": ["type"]}
    )
    assert function["description"] == (
        'Do it.\nParameter "type" (string, required): Its kind. {"enum": ["bug", "idea"]}'
    )
    assert function["parameters"]["properties"]["type"]["type"] == "string"


def test_other_models_get_the_schema_without_a_description_of_rules(service: MockService) -> None:
    function = get_declaration(
        service, {"type": "object", "properties": {"p": {"type": "integer", "minimum": 0}}}, GEMMA_3
    )
    assert function["parameters"]["properties"]["p"] == {"type": "integer", "description": "P", "minimum": 0}
