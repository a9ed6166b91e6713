"""Values are validated against schemas: with the results of `jsonschema`, and messages that a model can use."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.schemas import to_json_schema
from langchain_workers_gemma.schemas.validation import MAX_MISMATCHES, find_mismatches
from tests.helpers.schema_examples import EXAMPLES
from tests.helpers.schema_instances import get_instance

# --- The same result as jsonschema ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "aa", "c1"])
NUMBERS = st.integers(-3, 5) | st.sampled_from([0.5, 1.0, 2.5, -0.1, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "b", "ab", "aab", "1", "2026-11-21"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
COUNTS = st.integers(0, 3)
PATTERNS = st.sampled_from(["a", "^a", "b$", "[0-9]", "^$"])
KINDS = st.sampled_from(["string", "number", "integer", "boolean", "null", "array", "object"])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    by_name = st.dictionaries(NAMES, inner, max_size=2)
    names = st.lists(NAMES, unique=True, max_size=2)
    known: dict[str, st.SearchStrategy[Any]] = {
        "type": KINDS | st.lists(KINDS, min_size=1, max_size=2, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "properties": by_name,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": names,
        "dependentRequired": st.dictionaries(NAMES, names, max_size=2),
        "dependentSchemas": by_name,
        "unevaluatedProperties": inner,
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "prefixItems": several,
        "items": inner,
        "contains": inner,
        "minContains": COUNTS,
        "maxContains": COUNTS,
        "uniqueItems": st.booleans(),
        "unevaluatedItems": inner,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": PATTERNS,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "$ref": st.sampled_from(["#/$defs/x", "#/$defs/y"]),
    }

    def some(chosen: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: known[name] for name in chosen})

    return st.lists(st.sampled_from(sorted(known)), unique=True, max_size=4).flatmap(some)


SCHEMAS = st.recursive(st.booleans() | keywords(st.booleans()), keywords, max_leaves=4)


@settings(max_examples=400, deadline=None)
@given(schema=keywords(SCHEMAS), x=SCHEMAS, y=SCHEMAS, value=VALUES)
def test_the_result_equals_that_of_jsonschema(schema: Any, x: Any, y: Any, value: Any) -> None:
    whole = {**schema, "$defs": {"x": x, "y": y}}
    try:
        is_valid = jsonschema.Draft202012Validator(whole).is_valid(value)
    except RecursionError:  # a definition refers to itself without a level between
        find_mismatches(value, whole)
        return
    assert (find_mismatches(value, whole) == []) is is_valid


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_instances_match_their_schemas(name: str) -> None:
    assert find_mismatches(json.loads(get_instance(name)), to_json_schema(EXAMPLES[name].schema)) == []


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"items": [{"type": "integer"}], "additionalItems": False}, [1], [1, 2]),
        ({"minimum": 3, "exclusiveMinimum": True}, 4, 3),
        ({"maximum": 3, "exclusiveMaximum": True}, 2.5, 3),
        ({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}, {"a": 1, "b": 2}, {"c": 1}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, "b"),
        (
            {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"minLength": 2}}},
            {"a": "ab"},
            {"a": ""},
        ),
        (
            {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"items": {"$ref": "#/$defs/Tree"}, "maxItems": 1}}},
            [[[]]],
            [[[], []]],
        ),
        ({"multipleOf": 0.1}, 0.3, 0.25),
        ({"const": 1}, 1.0, True),
        ({"uniqueItems": True}, [1, True, "1", {"a": 1}], [{"a": 1.0}, {"a": 1}]),
    ],
)
def test_older_drafts_and_dialects_are_supported(schema: Any, valid: Any, invalid: Any) -> None:
    assert find_mismatches(valid, schema) == []
    assert find_mismatches(invalid, schema) != []


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("date", ["2026-11-21"], ["tomorrow", "2026-02-30", "20261121", "2026-11-21T10:00:00"]),
        ("time", ["10:00:00", "10:00:00Z", "10:00:00.5+01:00"], ["25:00:00", "noon", "10"]),
        (
            "date-time",
            ["2026-11-21T10:00:00Z", "2026-11-21t10:00:00.123+01:00"],
            ["2026-11-21", "2026-13-01T10:00:00Z"],
        ),
        ("duration", ["PT5M", "P1DT12H", "P2W"], ["5 minutes", "P", "PT"]),
        ("email", ["ada@example.org"], ["ada", "a@b@c", "a b@c"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0.256", "::1"]),
        ("ipv6", ["::1"], ["10.0.0.1"]),
        ("uuid", ["12345678-1234-5678-1234-567812345678"], ["12345678", "{12345678-1234-5678-1234-567812345678}"]),
        ("uri", ["https://example.org/a?b"], ["example.org", "https://exa mple.org"]),
        ("regex", ["^a+$"], ["("]),
        ("of-the-callers-own", ["anything"], []),
    ],
)
def test_formats_are_validated(name: str, valid: list[str], invalid: list[str]) -> None:
    for text in valid:
        assert find_mismatches(text, {"format": name}) == []
    for text in invalid:
        assert find_mismatches(text, {"format": name}) != []
    assert find_mismatches(7, {"format": name}) == []


# --- Messages ---------------------------------------------------------------------------------------------------------


def test_path_and_reason_are_reported() -> None:
    schema = {
        "properties": {
            "stops": {"type": "array", "items": {"properties": {"name": {"type": "string"}}, "required": ["name"]}},
            "color": {"enum": ["red", "green"]},
            "code": {"pattern": "^[A-Z]+$"},
        },
        "additionalProperties": False,
    }
    value = {"stops": [{"name": 5}, {}], "color": "blue", "code": "abc", "more": 1}
    assert [str(mismatch) for mismatch in find_mismatches(value, schema)] == [
        "stops[0].name: 5 is not of type string",
        "stops[1]: the required key 'name' is missing",
        """color: 'blue' is not one of ["red", "green"]""",
        "code: 'abc' does not match the pattern '^[A-Z]+$'",
        "the value: 'more' is not one of its keys",
    ]


def test_the_nearest_alternative_is_reported() -> None:
    schema = {
        "anyOf": [
            {"type": "null"},
            {"type": "object", "properties": {"a": {"type": "integer"}}},
        ]
    }
    assert [str(mismatch) for mismatch in find_mismatches({"a": "x"}, schema)] == ["a: 'x' is not of type integer"]
    assert str(find_mismatches(5, schema)[0]) == (
        "the value: fits none of the alternatives (5 is not of type null; or 5 is not of type object)"
    )


def test_the_number_and_length_of_messages_are_bounded() -> None:
    found = find_mismatches(["x" * 10_000] * 1000, {"items": {"type": "integer"}})
    assert len(found) == MAX_MISMATCHES
    assert all(len(str(mismatch)) < 200 for mismatch in found)


def test_a_pattern_of_another_dialect_is_not_checked() -> None:
    assert find_mismatches("x", {"pattern": r"^\p{Lu}+$"}) == []
    assert find_mismatches({"x": 1}, {"patternProperties": {r"\p{L}": False}}) == []


def test_a_reference_without_a_target_raises() -> None:
    with pytest.raises(ValueError, match="has no target"):
        find_mismatches(1, {"$ref": "#/$defs/missing"})
    assert find_mismatches(1, {"$ref": "#"}) == []


def test_a_value_that_is_nested_too_deep_raises() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="too deep"):
        find_mismatches(value, {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}})
