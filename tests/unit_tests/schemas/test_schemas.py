"""Schemas for the wire, of every example and of anything at all, tried on the grammar engines that read them there."""

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

# Every example --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", SCHEMA_TRANSFORMS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_self_contained_pure_and_stable(name: Any, function: Any) -> None:
    schema = to_json_schema(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)

    made = function(schema)

    assert schema == before
    assert json.dumps(function(schema)) == json.dumps(made)
    assert function(made) == made
    refs = {one["$ref"] for one in iterate_subschemas(made) if "$ref" in one}
    assert refs <= {f"#/$defs/{key}" for key in made.get("$defs", {})}
    assert bool(refs) is EXAMPLES[name].recursive
    assert "$ref" not in made


@pytest.mark.parametrize("name", NAMES)
def test_a_result_shares_nothing_with_its_input(name: Any) -> None:
    schema = to_json_schema(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)
    for function in SCHEMA_TRANSFORMS:
        for one in iterate_subschemas(function(schema)):
            one.clear()
    assert schema == before


@pytest.mark.parametrize("function", [to_constraint_schema, to_strict_openai], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_engines_compile_every_constraint(name: Any, function: Any) -> None:
    compile_with_both_engines(function(to_json_schema(EXAMPLES[name].schema)))


@pytest.mark.parametrize("name", NAMES)
def test_only_what_engines_share_is_left(name: Any) -> None:
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
    for one in iterate_subschemas(to_constraint_schema(to_json_schema(EXAMPLES[name].schema))):
        assert one.keys() - shared <= ({"minItems", "maxItems"} if "prefixItems" in one else set())
        assert isinstance(one.get("type", ""), str)
        if "properties" in one:
            assert "additionalProperties" in one


@pytest.mark.parametrize("name", NAMES)
def test_what_engines_accept_parses_into_the_callers_type(name: Any) -> None:
    example = EXAMPLES[name]
    constraint = to_constraint_schema(to_json_schema(example.schema))
    wrong = {}
    for seed in range(8):
        text = generate_instance(constraint, seed)
        json.loads(text)
        if unexpected := example.find_errors(text) - example.unenforced:
            wrong[text] = unexpected
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_tools_have_the_published_form(name: Any) -> None:
    made = to_tool_parameters(to_json_schema(EXAMPLES[name].schema))
    assert made["type"] == "object"
    assert isinstance(made["properties"], dict)
    assert made.keys() <= {"type", "properties", "required", "additionalProperties", "anyOf", "$defs"}
    for one in iterate_subschemas(made):
        assert "title" not in one
        for prop in one.get("properties", {}).values():
            assert prop["type"] in {"string", "number", "integer", "boolean", "null", "array", "object"}
            assert prop["description"]
            assert isinstance(prop["description"], str)


@pytest.mark.parametrize("name", NAMES)
def test_strict_requires_everything_and_closes_objects(name: Any) -> None:
    for one in iterate_subschemas(to_strict_openai(to_json_schema(EXAMPLES[name].schema))):
        if "properties" in one:
            assert one["additionalProperties"] is False
            assert sorted(one.get("required", [])) == sorted(one["properties"])


def test_outlines_unrolls_recursion_three_times_and_llguidance_does_not_end() -> None:
    constraint = to_constraint_schema(to_json_schema(Branch))
    regex = compile_with_both_engines(constraint)
    value: dict[str, Any] = {"value": 0, "children": []}
    deep = []
    for _ in range(6):
        deep.append((bool(re.fullmatch(regex, json.dumps(value))), accepts_value(constraint, value)))
        value = {"value": 0, "children": [value]}
    assert all(one for _, one in deep)
    assert deep[-1] == (False, True)


# Anything at all ------------------------------------------------------------------------------------------------------

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


def run(schema: Any) -> None:
    for function in (to_json_schema, *SCHEMA_TRANSFORMS):
        try:
            made = function(schema)
        except ValueError:
            continue
        assert isinstance(made, dict)
        json.dumps(made)
        if function in (inline_refs, to_constraint_schema):
            assert function(made) == made
    try:
        made = to_constraint_schema(schema)
    except ValueError:
        return
    if "$defs" not in made:  # a definition may be endlessly recursive, which no engine can express
        compile_with_both_engines(made)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SCHEMAS.filter(lambda one: isinstance(one, dict)))
def test_schemas_raise_nothing_but_value_errors(schema: Any) -> None:
    before = copy.deepcopy(schema)
    run(schema)
    assert json.dumps(schema) == json.dumps(before)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(DICTS)
def test_dicts_raise_nothing_but_value_errors(schema: Any) -> None:
    for function in (to_json_schema, *SCHEMA_TRANSFORMS):
        try:
            function(schema)
        except ValueError:
            continue


def test_the_examples_in_the_docstrings() -> None:
    attempted = 0
    for found in pkgutil.iter_modules(schemas.__path__, f"{schemas.__name__}."):
        made = doctest.testmod(importlib.import_module(found.name), optionflags=doctest.ELLIPSIS)
        assert made.failed == 0
        attempted += made.attempted
    assert attempted
