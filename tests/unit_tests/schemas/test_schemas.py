"""Schemas for requests, of every example and of generated schemas, compiled by real grammar engines."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import pkgutil
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma import schemas
from langchain_workers_gemma.schemas import (
    inline_refs,
    to_constraint_schema,
    to_json_schema,
    to_strict_openai,
    to_tool_parameters,
)
from langchain_workers_gemma.schemas.keywords import OF_ONE_TYPE
from langchain_workers_gemma.schemas.traversal import LISTS_OF_SCHEMAS, MAPS_OF_SCHEMAS, SINGLE_SCHEMAS
from tests.helpers.schema_engines import (
    SCHEMA_TRANSFORMS,
    accepts_value,
    compile_with_both_engines,
    generate_instance,
    iterate_subschemas,
)
from tests.helpers.schema_examples import EXAMPLES, Branch

NAMES = sorted(EXAMPLES)

# --- Every example ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", SCHEMA_TRANSFORMS, ids=lambda subschema: subschema.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_self_contained_pure_and_stable(name: Any, transform: Any) -> None:
    schema = to_json_schema(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)

    transformed = transform(schema)

    assert schema == before
    assert json.dumps(transform(schema)) == json.dumps(transformed)
    assert transform(transformed) == transformed
    refs = {subschema["$ref"] for subschema in iterate_subschemas(transformed) if "$ref" in subschema}
    assert refs <= {f"#/$defs/{key}" for key in transformed.get("$defs", {})}
    assert bool(refs) is EXAMPLES[name].recursive
    assert "$ref" not in transformed


@pytest.mark.parametrize("name", NAMES)
def test_a_result_shares_nothing_with_its_input(name: Any) -> None:
    schema = to_json_schema(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)
    for transform in SCHEMA_TRANSFORMS:
        for subschema in iterate_subschemas(transform(schema)):
            subschema.clear()
    assert schema == before


@pytest.mark.parametrize(
    "transform", [to_constraint_schema, to_strict_openai], ids=lambda subschema: subschema.__name__
)
@pytest.mark.parametrize("name", NAMES)
def test_engines_compile_every_constraint(name: Any, transform: Any) -> None:
    compile_with_both_engines(transform(to_json_schema(EXAMPLES[name].schema)))


@pytest.mark.parametrize("name", NAMES)
def test_constraints_have_only_keywords_that_both_engines_support(name: Any) -> None:
    shared = {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "anyOf",
        "enum",
        "const",
    }
    shared |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "format"}
    shared |= {"description", "$ref", "$defs"}
    for subschema in iterate_subschemas(to_constraint_schema(to_json_schema(EXAMPLES[name].schema))):
        assert subschema.keys() - shared <= ({"minItems", "maxItems"} if "prefixItems" in subschema else set())
        assert isinstance(subschema.get("type", ""), str)
        if "properties" in subschema:
            assert "additionalProperties" in subschema


@pytest.mark.parametrize("name", NAMES)
def test_instances_of_a_constraint_are_valid_for_the_callers_type(name: Any) -> None:
    example = EXAMPLES[name]
    constraint = to_constraint_schema(to_json_schema(example.schema))
    errors = {}
    for seed in range(8):
        text = generate_instance(constraint, seed)
        json.loads(text)
        if unexpected := example.find_errors(text) - example.unenforced:
            errors[text] = unexpected
    assert not errors


@pytest.mark.parametrize("name", NAMES)
def test_schemas_of_tools_have_the_documented_form(name: Any) -> None:
    transformed = to_tool_parameters(to_json_schema(EXAMPLES[name].schema))
    assert transformed["type"] == "object"
    assert isinstance(transformed["properties"], dict)
    assert transformed.keys() <= {"type", "properties", "required", "additionalProperties", "anyOf", "$defs"}
    for subschema in iterate_subschemas(transformed):
        assert "title" not in subschema
        for prop in subschema.get("properties", {}).values():
            assert prop["type"] in {"string", "number", "integer", "boolean", "null", "array", "object"}
            assert prop["description"]
            assert isinstance(prop["description"], str)


@pytest.mark.parametrize("name", NAMES)
def test_strict_requires_everything_and_closes_objects(name: Any) -> None:
    for subschema in iterate_subschemas(to_strict_openai(to_json_schema(EXAMPLES[name].schema))):
        if "properties" in subschema:
            assert subschema["additionalProperties"] is False
            assert sorted(subschema.get("required", [])) == sorted(subschema["properties"])


def test_outlines_unrolls_recursion_and_llguidance_supports_it() -> None:
    constraint = to_constraint_schema(to_json_schema(Branch))
    regex = compile_with_both_engines(constraint)
    value: dict[str, Any] = {"value": 0, "children": []}
    deep = []
    for _ in range(6):
        deep.append((bool(re.fullmatch(regex, json.dumps(value))), accepts_value(constraint, value)))
        value = {"value": 0, "children": [value]}
    assert all(subschema for _, subschema in deep)
    assert deep[-1] == (False, True)


# --- Generated schemas --

LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=3), more, max_size=3)
)
KEYWORDS = sorted(MAPS_OF_SCHEMAS | LISTS_OF_SCHEMAS | SINGLE_SCHEMAS | OF_ONE_TYPE | {"$ref"})
REFS = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/nope", "http://x"])


def _schemas(more: Any) -> Any:
    named = st.dictionaries(st.sampled_from(["a", "b", "$ref", "type"]), more, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number", "null", ["string", "null"], []]),
            "properties": named,
            "$defs": named,
            "required": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
            "additionalProperties": more,
            "propertyNames": more,
            "patternProperties": named,
            "items": more | st.lists(more, max_size=2),
            "prefixItems": st.lists(more, max_size=2),
            **dict.fromkeys(["anyOf", "oneOf", "allOf"], st.lists(more, max_size=3)),
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "$ref": REFS,
            "minimum": st.integers(-3, 3),
            "exclusiveMaximum": st.integers(-3, 3) | st.booleans(),
            "minLength": st.integers(0, 3),
            "maxItems": st.integers(0, 3),
            "minItems": st.integers(0, 3),
            "nullable": st.booleans(),
            "default": VALUES,
            "description": st.text(max_size=3),
            "not": more,
        },
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), _schemas, max_leaves=12)
DICTS = st.dictionaries(st.sampled_from(KEYWORDS) | st.text(max_size=3), VALUES, max_size=6)


def check_transforms(schema: Any) -> None:
    """Check that every transform returns a JSON object or raises `ValueError`, and that constraints compile."""
    for transform in (to_json_schema, *SCHEMA_TRANSFORMS):
        try:
            transformed = transform(schema)
        except ValueError:
            continue
        assert isinstance(transformed, dict)
        json.dumps(transformed)
        if transform in (inline_refs, to_constraint_schema):
            assert transform(transformed) == transformed
    try:
        transformed = to_constraint_schema(schema)
    except ValueError:
        return
    if "$defs" not in transformed:  # no engine supports a definition that is recursive without an end
        compile_with_both_engines(transformed)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SCHEMAS.filter(lambda subschema: isinstance(subschema, dict)))
def test_generated_schemas_raise_only_value_errors(schema: Any) -> None:
    before = copy.deepcopy(schema)
    check_transforms(schema)
    assert json.dumps(schema) == json.dumps(before)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(DICTS)
def test_generated_dicts_raise_only_value_errors(schema: Any) -> None:
    for transform in (to_json_schema, *SCHEMA_TRANSFORMS):
        try:
            transform(schema)
        except ValueError:
            continue


def test_examples_in_docstrings() -> None:
    attempted = 0
    for found in pkgutil.iter_modules(schemas.__path__, f"{schemas.__name__}."):
        transformed = doctest.testmod(importlib.import_module(found.name), optionflags=doctest.ELLIPSIS)
        assert transformed.failed == 0
        attempted += transformed.attempted
    assert attempted
