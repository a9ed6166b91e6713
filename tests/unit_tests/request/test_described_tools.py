"""Tools that are described in the prompt (`guided_json`, `prompt`): it has every rule of their parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import respx
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma import ChatWorkersGemma
from tests.helpers import model_calls
from tests.helpers.hidden_keywords import DESCRIBED_SCHEMAS

RESERVED = ("description", "type", "properties", "required", "nullable")
MODELS = (model_calls.GEMMA_3, model_calls.SEA_LION, model_calls.GEMMA_7B)


def read_prompt(model: str, method: str, parameters: dict[str, Any]) -> str:
    """Return all text that a model reads when a tool with these parameters is bound."""
    function = {"name": "find", "description": "Find it.", "parameters": parameters}
    llm: ChatWorkersGemma = model_calls.make_model(model=model, tool_calling=method)
    with respx.mock:
        route = respx.post(url__regex=".*").mock(return_value=Response(200, json={"result": {"response": "Hi"}}))
        llm.bind_tools([{"type": "function", "function": function}]).invoke("Hello")
    messages = json.loads(route.calls.last.request.content)["messages"]
    return "\n".join(message["content"] for message in messages)


def list_rules(schema: Any) -> Iterator[str]:
    """Yield every name, type and value in a schema."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "uniqueItems":
                continue  # described in words, which other tests check
            if key == "type" and "enum" in schema:
                continue  # the values show the type
            if key == "properties":
                yield from value
            yield from list_rules(list(value.values()) if key == "properties" else value)
    elif isinstance(schema, list):
        for item in schema:
            yield from list_rules(item)
    elif schema is not None:
        yield schema if isinstance(schema, str) else json.dumps(schema)


@pytest.mark.parametrize("method", ["guided_json", "prompt"])
@pytest.mark.parametrize("case", DESCRIBED_SCHEMAS)
@pytest.mark.parametrize("name", ["p", *RESERVED])
def test_every_rule_of_a_parameter_is_in_the_prompt(case: str, method: str, name: str) -> None:
    schema = {**DESCRIBED_SCHEMAS[case][0], "description": "About it."}
    parameters = {"type": "object", "properties": {name: schema, "other": {"type": "string"}}, "required": [name]}
    for model in MODELS:
        text = read_prompt(model, method, parameters).replace('\\"', '"').replace("\\\\", "\\")
        for rule in (name, "other", "About it.", *list_rules(schema)):
            if rule != "null":  # a nullable parameter is described as optional
                assert rule in text, f"{rule!r} is not in {text}"


@pytest.mark.parametrize("method", ["guided_json", "prompt"])
def test_definitions_and_unions_are_in_the_prompt(method: str) -> None:
    node = {"type": "object", "properties": {"label": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}}}
    street = {"type": "object", "properties": {"street": {"type": "string", "pattern": "^[A-Z]"}}}
    by_isbn = {"type": "object", "properties": {"isbn": {"type": "string", "maxLength": 13}}}
    by_title = {"type": "object", "properties": {"title": {"type": "string"}}}
    recursive = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    referring = {"type": "object", "properties": {"to": {"$ref": "#/$defs/Street"}}, "$defs": {"Street": street}}
    for parameters, rules in (
        (recursive, ("tree", "Node", "label", "next")),
        (referring, ("to", "street", "^[A-Z]")),
        ({"anyOf": [by_isbn, by_title]}, ("isbn", "13", "title")),
    ):
        text = read_prompt(model_calls.GEMMA_3, method, parameters)
        for rule in rules:
            assert rule in text, f"{rule!r} is not in {text}"


def test_every_number_of_a_range_is_in_the_prompt() -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(-999, 999), st.floats(-9, 9).map(lambda value: round(value, 3)), st.sampled_from(MODELS))
    def check_range(low: int, default: float, model: str) -> None:
        schema = {"type": "number", "minimum": low, "default": default}
        for method in ("guided_json", "prompt"):
            text = read_prompt(model, method, {"type": "object", "properties": {"n": schema}})
            assert str(low) in text
            assert json.dumps(default) in text

    check_range()
