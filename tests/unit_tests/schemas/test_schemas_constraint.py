"""Schemas for constrained decoding, compiled by real grammar engines."""

from __future__ import annotations

import json
import re
from typing import Any

import llguidance
import pytest
from outlines_core import json_schema as outlines  # type: ignore[import-untyped]

from langchain_workers_gemma.schemas import to_constraint_schema, to_json_schema
from tests.helpers.schema_engines import TOKENIZER, accepts_value, compile_with_both_engines, make_grammar
from tests.helpers.schema_examples import EXAMPLES, Constraints, Node


def constrain_property(rules: Any) -> Any:
    return to_constraint_schema({"type": "object", "properties": {"a": rules}, "required": ["a"]})["properties"]["a"]


ANYTHING = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "null", "array", "object")]}
TRANSLATED: list[tuple[Any, Any]] = [
    (True, ANYTHING),
    ({}, ANYTHING),
    ({"title": "T"}, ANYTHING),
    ({"const": None}, {"const": None}),
    ({"enum": [1, True, "a", None], "type": "string"}, {"type": "string", "enum": ["a"]}),
    ({"enum": ["a", None], "type": "string", "nullable": True}, {"enum": ["a", None]}),
    ({"enum": ["a", None], "type": ["string", "null"]}, {"enum": ["a", None]}),
    ({"type": ["string", "null"], "minLength": 1}, {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}),
    ({"type": "string", "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ({"type": "array", "minItems": 1}, {"type": "array", "description": "(at least 1 item)"}),
    (
        {"type": "array", "minItems": 2, "maxItems": 3},
        {"type": "array", "description": "(at least 2 items, at most 3 items)"},
    ),
    ({"type": "array", "maxItems": 0}, {"type": "array", "const": []}),
    ({"type": "array", "items": False}, {"type": "array", "const": []}),
    ({"type": "string", "pattern": "^a$", "description": "D."}, {"type": "string", "description": "D. (pattern: ^a$)"}),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    ({"type": "string", "format": "email"}, {"type": "string", "description": "(format: email)"}),
    (
        {"type": "string", "format": "date", "minLength": 2},
        {"type": "string", "format": "date", "description": "(at least 2 characters)"},
    ),
    ({"type": "string", "maxLength": 10**6}, {"type": "string", "description": "(at most 1000000 characters)"}),
    ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9.5}, {"type": "integer", "minimum": 1, "maximum": 9}),
    ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "exclusiveMinimum": 0}),
    ({"type": "number", "minimum": 1e300}, {"type": "number", "description": "(at least 1e+300)"}),
    (
        {"type": "integer", "multipleOf": 5, "default": 5},
        {"type": "integer", "description": "(a multiple of 5, default: 5)"},
    ),
    ({"type": "string", "properties": {"x": {}}}, {"type": "string"}),
    ({"type": "object", "additionalProperties": True}, {"type": "object"}),
    ({"type": "object", "additionalProperties": {}}, {"type": "object"}),
    (
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False},
    ),
    ({"additionalProperties": {"type": "null"}}, {"type": "object", "additionalProperties": {"type": "null"}}),
    (
        {"type": "object", "patternProperties": {"^x": {"type": "null"}}},
        {"type": "object", "additionalProperties": {"type": "null"}, "description": "(keys match ^x)"},
    ),
    (
        {"propertyNames": {"enum": ["u", "v"]}, "additionalProperties": {"type": "null"}},
        {"type": "object", "properties": {"u": {"type": "null"}, "v": {"type": "null"}}, "additionalProperties": False},
    ),
    (
        {"required": ["u"]},
        {"type": "object", "properties": {"u": ANYTHING}, "required": ["u"], "additionalProperties": True},
    ),
    ({"oneOf": [{"type": "string"}, False]}, {"type": "string"}),
    ({"anyOf": [{"type": "string"}, {"type": "string"}], "description": "d"}, {"type": "string", "description": "d"}),
    ({"allOf": []}, ANYTHING),
    (
        {"allOf": [{"type": "number"}, {"type": "integer", "minimum": 1}, {"minimum": 3}]},
        {"type": "integer", "minimum": 3},
    ),
    ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, {"enum": [2]}),
    (
        {"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}]},
        {"type": "string", "description": "(pattern: b) (pattern: a)"},
    ),
    (
        {
            "allOf": [
                {"anyOf": [{"type": "string"}, {"type": "null"}]},
                {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            ]
        },
        {"type": "null"},
    ),
    (
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}, "minItems": 1},
    ),
    (
        {"type": "array", "items": [{"type": "null"}]},
        {"type": "array", "prefixItems": [{"type": "null"}], "minItems": 1, "maxItems": 1},
    ),
    (
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}]},
        {"type": "number"},
    ),
]


@pytest.mark.parametrize(("rules", "expected"), TRANSLATED, ids=lambda value: json.dumps(value)[:60])
def test_rules_are_translated(rules: Any, expected: Any) -> None:
    translated = constrain_property(rules)
    assert translated == expected
    assert constrain_property(translated) == translated
    compile_with_both_engines(to_constraint_schema({"type": "object", "properties": {"a": rules}, "required": ["a"]}))


@pytest.mark.parametrize(
    "impossible",
    [
        False,
        {"enum": []},
        {"not": {}},
        {"anyOf": []},
        {"anyOf": [False, {"enum": []}]},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
        {"type": "string", "minLength": 2, "maxLength": 1},
        {"type": "array", "minItems": 2, "maxItems": 1},
        {"type": "array", "items": False, "minItems": 1},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"const": 1}, {"const": 2}]},
        {"type": "object", "properties": {"x": False}, "required": ["x"]},
    ],
)
def test_a_required_property_that_no_value_can_satisfy_raises(impossible: Any) -> None:
    with pytest.raises(ValueError, match="No value can meet"):
        constrain_property(impossible)
    translated = to_constraint_schema({"type": "object", "properties": {"a": impossible, "b": {"type": "null"}}})
    assert list(translated["properties"]) == ["b"]


@pytest.mark.parametrize(
    "unreadable",
    [
        {"type": "nonsense"},
        {"type": []},
        {"type": 3},
        {"type": "object", "properties": []},
        {"properties": {"x": None}},
        {"properties": {"x": {}}, "required": True},
        {"anyOf": {"type": "string"}},
        {"items": 3, "type": "array"},
        {"enum": "abc"},
        {"type": "integer", "minimum": "3"},
        {"const": {1, 2}},
        {"default": float("nan")},
        {"type": "string", 3: 4},
    ],
)
def test_invalid_schemas_raise(unreadable: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        constrain_property(unreadable)


def test_removed_rules_are_described_and_still_validated() -> None:
    fields = to_constraint_schema(to_json_schema(Constraints))["properties"]
    assert fields["tags"]["description"] == "Some tags (at least 1 item, at most 3 items)"
    assert fields["code"]["description"] == "(pattern: ^[a-z]{3}-[0-9]+$)"
    assert fields["above"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert EXAMPLES["constraints"].find_errors("{}") == {"missing"}


def test_objects_are_closed_because_of_llguidance() -> None:
    open_, closed = {"type": "object", "properties": {"a": {"type": "null"}}}, to_json_schema(Node)
    assert accepts_value(open_, {"made_up": 1})
    assert not accepts_value(to_constraint_schema(open_), {"made_up": 1})
    assert not re.fullmatch(outlines.build_regex_from_schema(json.dumps(open_)), '{"made_up": 1}')
    assert not accepts_value(to_constraint_schema(closed), {"value": 1, "made_up": 1})


def test_engines_do_not_support_the_removed_rules() -> None:
    """The reasons for `to_constraint_schema`. If an engine supports more, this test fails and a rule can be removed."""

    def get_error(rules: Any) -> Any:
        return llguidance.LLMatcher.validate_grammar(
            make_grammar({"type": "object", "properties": {"a": rules}, "required": ["a"]}), TOKENIZER
        )

    refused: Any
    for refused in (
        {"not": {"type": "string"}},
        {"if": {"type": "string"}},
        {"type": "array", "uniqueItems": True},
        {"type": "array", "contains": {}},
        {"type": "object", "propertyNames": {}},
        {"type": "string", "format": "password"},
        {"type": "string", "pattern": "^(?=x)y"},
        {"type": "number", "minimum": 1e-20, "maximum": 1e300},
        {"oneOf": [{"type": "string"}, {"type": "string", "minLength": 3}]},
    ):
        assert get_error(refused)
    for refused in (
        True,
        {"minLength": 3},
        {"type": "string", "format": "ipv4"},
        {"type": "object", "additionalProperties": False},
    ):
        with pytest.raises(ValueError, match=r"nsupported|not supported"):
            outlines.build_regex_from_schema(
                json.dumps({"type": "object", "properties": {"a": refused}, "required": ["a"]})
            )
    both = {"allOf": [{"type": "string"}, {"type": "string"}]}
    assert re.fullmatch(outlines.build_regex_from_schema(json.dumps(both)), '"a""b"')
    regex_of_any = outlines.build_regex_from_schema('{"type": "object", "properties": {"a": {}}, "required": ["a"]}')
    assert re.fullmatch(regex_of_any, "null")
    uri = outlines.build_regex_from_schema('{"type": "string", "format": "uri"}')
    assert re.fullmatch(uri, '"http://a.com/","b":1}"')
    length = outlines.build_regex_from_schema('{"type": "string", "pattern": "^a$", "maxLength": 3}')
    assert re.fullmatch(length, '"xyz"')
