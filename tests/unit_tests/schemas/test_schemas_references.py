"""References within a schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_workers_gemma.schemas import inline_refs, to_constraint_schema
from tests.helpers.cost_growth import count_lines_run
from tests.helpers.schema_engines import SCHEMA_TRANSFORMS


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("https://example.com/a.json", "points out"),
        ("other.json#/a", "points out"),
        ("#/$defs/Missing", "has no target"),
        ("#anchor", "has no target"),
        ("#/title", "has no target"),
        ("#/$defs/Loop", "points only to itself"),
        (5, "must be a string"),
        (["#"], "must be a string"),
    ],
)
def test_references_to_nowhere(ref: Any, says: Any) -> None:
    loop = {"Loop": {"$ref": "#/$defs/Pool"}, "Pool": {"$ref": "#/$defs/Loop"}}
    with pytest.raises(ValueError, match=says):
        inline_refs({"title": "T", "properties": {"a": {"$ref": ref}}, "$defs": loop})


def test_pointers_are_decoded() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/x~1y%20z~0"}}, "$defs": {"x/y z~": {"type": "null"}}}
    assert inline_refs(schema) == {"properties": {"a": {"type": "null"}}}


def test_rules_beside_a_reference_are_merged() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    extra = {"$ref": "#/$defs/P", "properties": {"age": {"type": "integer"}}, "required": ["age"], "description": "d"}
    made = to_constraint_schema({"properties": {"a": extra}, "$defs": {"P": person}})["properties"]["a"]
    assert made["required"] == ["name", "age"]
    assert list(made["properties"]) == ["name", "age"]
    assert made["description"] == "d"


def diamond(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"D0": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/D{level - 1}"}
        defs[f"D{level}"] = {"type": "object", "properties": {"a": below, "b": below}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize("function", SCHEMA_TRANSFORMS, ids=lambda one: one.__name__)
def test_diamonds_do_not_explode(function: Any) -> None:
    assert len(json.dumps(function(diamond(60)))) < 50_000
    assert count_lines_run(lambda: function(diamond(60))) < 11 * count_lines_run(lambda: function(diamond(6)))


def test_small_diamonds_are_written_out() -> None:
    assert "$defs" not in inline_refs(diamond(6))


def chain(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"D0": {"type": "string"}}
    for level in range(1, levels):
        defs[f"D{level}"] = {"type": "object", "properties": {"a": {"$ref": f"#/$defs/D{level - 1}"}}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize("function", SCHEMA_TRANSFORMS, ids=lambda one: one.__name__)
def test_depth_is_an_error_and_not_a_crash(function: Any) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        deep = {"type": "object", "properties": {"a": deep}}
    loop: dict[str, Any] = {"type": "object"}
    loop["properties"] = {"a": loop, "b": loop}
    for bad in (deep, loop, {"const": deep}):
        with pytest.raises(ValueError, match="too deep or too large"):
            function(bad)
    assert function(chain(3000))["$defs"]
