"""Rendered tool declarations contain all rules of their schemas, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from langchain_workers_gemma.schemas import to_json_schema
from tests.helpers import model_calls
from tests.helpers.hidden_keywords import DESCRIBED_SCHEMAS
from tests.helpers.schema_examples import EXAMPLES
from tests.templates.check_renderings import Client, RequestFormat
from tests.templates.conftest import RENDERINGS
from tests.templates.declarations import read_declaration
from tests.templates.prompt import read_prompt
from tests.templates.templates import GEMMA_4, GEMMA_4_INTERLEAVED, ChatTemplate

TEMPLATES = (GEMMA_4, GEMMA_4_INTERLEAVED)
HIDDEN_NAMES = {"description", "type", "properties", "required", "nullable"}


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(RequestFormat(model_calls.GEMMA_4, "native", "native"))


def render_declaration(client: Client, parameters: Mapping[str, Any], template: ChatTemplate) -> dict[str, Any]:
    """Return the declaration of a tool with these parameters in a prompt."""
    function = {"name": "f", "description": "Do it.", "parameters": parameters}
    body = client.make_body([HumanMessage("x")], [{"type": "function", "function": function}])
    items = read_prompt(template.render(body))
    RENDERINGS[f"{template.name}, tools"] += 1
    (declaration,) = [item for item in items if item.kind == "declaration"]
    return read_declaration(declaration.text)


def check_names(declaration: Mapping[str, Any], schema: Mapping[str, Any], text: str) -> None:
    """Assert that each parameter is declared, or described in words if the template hides its name, and no other."""
    declared = declaration.get("properties", {})
    names = {name for name, one in schema.get("properties", {}).items() if one is not False}
    assert declared.keys() == names - HIDDEN_NAMES
    for name in names & HIDDEN_NAMES:
        assert f'"{name}"' in text
    for name in names - HIDDEN_NAMES:
        inner, one = schema["properties"][name], declared[name]
        if isinstance(inner, dict) and inner.get("type") == "object":
            check_names(one, inner, one.get("description", ""))
        if isinstance(inner, dict) and isinstance(inner.get("items"), dict) and inner["items"].get("type") == "object":
            items = one["items"]
            check_names(items, inner["items"], items.get("description", ""))


# --- Single rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("case", DESCRIBED_SCHEMAS)
def test_rules_that_the_template_ignores_are_in_the_description(
    client: Client, case: str, template: ChatTemplate
) -> None:
    schema, facts = DESCRIBED_SCHEMAS[case]
    parameters = {"type": "object", "properties": {"p": {"description": "About p.", **schema}, "q": {"type": "string"}}}
    declaration = render_declaration(client, parameters, template)["parameters"]
    check_names(declaration, parameters, "")
    text = json.dumps(declaration["properties"]["p"], ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\")
    assert "About p." in text
    for fact in facts:
        assert fact.lower() in text.lower(), f"{fact!r} is not in {text}"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("is_nested", [False, True])
def test_parameters_whose_names_are_keywords_of_the_template(
    client: Client, template: ChatTemplate, is_nested: bool
) -> None:
    properties: dict[str, Any] = {
        name: {"type": "string", "description": f"The {name} of it."} for name in HIDDEN_NAMES
    }
    properties["type"] = {"type": "string", "enum": ["bug", "feature"], "description": "Its kind."}
    properties["size"] = {"type": "integer"}
    inner = {"type": "object", "properties": properties, "required": ["type", "size"]}
    parameters = {"type": "object", "properties": {"issue": inner}} if is_nested else inner
    declaration = render_declaration(client, parameters, template)
    text = declaration["parameters"]["properties"]["issue"]["description"] if is_nested else declaration["description"]
    check_names(declaration["parameters"], parameters, text)
    assert '"type" (string, required): Its kind.' in text
    assert '"bug"' in text
    assert '"nullable" (string): The nullable of it.' in text


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_recursive_parameters(client: Client, template: ChatTemplate) -> None:
    node = {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/Node"}}}
    parameters = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    declaration = render_declaration(client, parameters, template)
    assert "Node" in declaration["description"]
    assert declaration["parameters"]["properties"].keys() == {"tree"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_union_of_objects_at_the_root(client: Client, template: ChatTemplate) -> None:
    by_name = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    by_id = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
    declaration = render_declaration(client, {"anyOf": [by_name, by_id]}, template)
    assert declaration["parameters"]["properties"].keys() == {"name", "number"}
    assert "either" in declaration["description"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("name", EXAMPLES)
def test_schemas_of_other_tests(client: Client, name: str, template: ChatTemplate) -> None:
    """The templates render the schemas of other tests without mistakes."""
    schema = to_json_schema(EXAMPLES[name].schema)
    declaration = render_declaration(client, schema, template)
    top = {name for name, one in schema.get("properties", {}).items() if one is not False}
    if top:
        assert set(declaration["parameters"].get("properties", {})) == top - HIDDEN_NAMES


# --- Any schema -------------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b_c", "type", "properties", "required", "nullable", "description", "items", "keys"])
_LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from([schema for schema, _ in DESCRIBED_SCHEMAS.values()])


def _make_objects(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(_NAMES, children, min_size=0, max_size=4)
    objects = st.builds(
        lambda named: {"type": "object", "properties": named, "required": sorted(named)[:1]}, properties
    )
    return st.one_of(objects, st.builds(lambda one: {"type": "array", "items": one}, objects))


def test_any_schema(client: Client) -> None:
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        _make_objects(st.recursive(_LEAVES, _make_objects, max_leaves=8)).filter(lambda one: one["type"] == "object")
    )
    def check_schema(parameters: dict[str, Any]) -> None:
        for template in TEMPLATES:
            declaration = render_declaration(client, parameters, template)
            check_names(declaration["parameters"], parameters, declaration["description"])

    check_schema()
