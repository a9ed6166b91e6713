"""References inside a schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_workers_gemma.schemas import inline_refs, to_constraint_schema
from tests.helpers.cost_growth import count_lines_run
from tests.helpers.schema_engines import SCHEMA_TRANSFORMS


@pytest.mark.parametrize(
    ("ref", "message_part"),
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
def test_invalid_references_raise(ref: Any, message_part: Any) -> None:
    loop = {"Loop": {"$ref": "#/$defs/Pool"}, "Pool": {"$ref": "#/$defs/Loop"}}
    with pytest.raises(ValueError, match=message_part):
        inline_refs({"title": "T", "properties": {"a": {"$ref": ref}}, "$defs": loop})


def test_pointers_are_decoded() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/x~1y%20z~0"}}, "$defs": {"x/y z~": {"type": "null"}}}
    assert inline_refs(schema) == {"properties": {"a": {"type": "null"}}}


def test_rules_beside_a_reference_are_merged() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    extra = {"$ref": "#/$defs/P", "properties": {"age": {"type": "integer"}}, "required": ["age"], "description": "d"}
    merged = to_constraint_schema({"properties": {"a": extra}, "$defs": {"P": person}})["properties"]["a"]
    assert merged["required"] == ["name", "age"]
    assert list(merged["properties"]) == ["name", "age"]
    assert merged["description"] == "d"


def make_diamond(levels: int) -> dict[str, Any]:
    """Return a schema in which each definition refers twice to the one below."""
    defs: dict[str, Any] = {"D0": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/D{level - 1}"}
        defs[f"D{level}"] = {"type": "object", "properties": {"a": below, "b": below}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize("transform", SCHEMA_TRANSFORMS, ids=lambda transform: transform.__name__)
def test_large_diamonds_stay_small(transform: Any) -> None:
    assert len(json.dumps(transform(make_diamond(60)))) < 50_000
    assert count_lines_run(lambda: transform(make_diamond(60))) < 11 * count_lines_run(
        lambda: transform(make_diamond(6))
    )


def test_small_diamonds_are_inlined() -> None:
    assert "$defs" not in inline_refs(make_diamond(6))


def make_chain(levels: int) -> dict[str, Any]:
    """Return a schema in which each definition refers once to the one below."""
    defs: dict[str, Any] = {"D0": {"type": "string"}}
    for level in range(1, levels):
        defs[f"D{level}"] = {"type": "object", "properties": {"a": {"$ref": f"#/$defs/D{level - 1}"}}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize("transform", SCHEMA_TRANSFORMS, ids=lambda transform: transform.__name__)
def test_schemas_that_are_too_deep_raise(transform: Any) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        deep = {"type": "object", "properties": {"a": deep}}
    loop: dict[str, Any] = {"type": "object"}
    loop["properties"] = {"a": loop, "b": loop}
    for schema in (deep, loop, {"const": deep}):
        with pytest.raises(ValueError, match="too deep or too large"):
            transform(schema)
    assert transform(make_chain(3000))["$defs"]
