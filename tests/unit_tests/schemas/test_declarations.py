"""Rules of parameters that a chat template hides are described in words; `make test-templates` renders them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, call_model, make_model


def declared(service: MockService, parameters: dict[str, Any], model: str = GEMMA_4) -> dict[str, Any]:
    """The declaration of a tool in the request."""
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
def test_what_the_template_hides(service: MockService, schema: dict[str, Any], description: str) -> None:
    function = declared(service, {"type": "object", "properties": {"p": schema}})
    assert function["parameters"]["properties"]["p"]["description"] == description


def test_an_object_without_properties_declares_none(service: MockService) -> None:
    """The template would take its keywords for parameters."""
    inner = {"type": "object", "properties": {"map": {"type": "object", "additionalProperties": True}}}
    function = declared(service, {"type": "object", "properties": {"deep": inner}})
    deep = function["parameters"]["properties"]["deep"]["properties"]
    assert deep["map"]["properties"] == {}


def test_names_that_the_template_takes_for_keywords(service: MockService) -> None:
    kind = {"type": "string", "enum": ["bug", "idea"], "description": "Its kind."}
    function = declared(service, {"type": "object", "properties": {"type": kind}, "required": ["type"]})
    assert function["description"] == (
        'Do it.\nParameter "type" (string, required): Its kind. {"enum": ["bug", "idea"]}'
    )
    assert function["parameters"]["properties"]["type"]["type"] == "string"


def test_a_model_whose_template_shows_no_tools_gets_the_schema_alone(service: MockService) -> None:
    function = declared(service, {"type": "object", "properties": {"p": {"type": "integer", "minimum": 0}}}, GEMMA_3)
    assert function["parameters"]["properties"]["p"] == {"type": "integer", "description": "P", "minimum": 0}
