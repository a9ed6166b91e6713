"""Objects that users pass as a schema."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as OldModel

from langchain_workers_gemma.schemas import (
    get_schema_description,
    get_schema_name,
    inline_refs,
    to_constraint_schema,
    to_json_schema,
)
from tests.helpers.schema_examples import Trip


def test_typed_dicts_keep_their_descriptions() -> None:
    schema = to_json_schema(Trip)
    assert (schema["title"], schema["description"]) == ("Trip", "A trip.")
    assert schema["required"] == ["days"]
    assert schema["properties"]["days"]["description"] == "How many days it takes."
    assert schema["properties"]["stops"]["description"] == "Where to stop."
    assert schema["properties"]["note"]["description"] == "Anything else"
    place = inline_refs(schema)["properties"]["stops"]["items"]
    assert place["properties"]["name"]["description"] == "What it is called"
    assert place["required"] == ["name"]


class OldInner(OldModel):
    x: int


class OldOuter(OldModel):
    """Old."""

    inner: OldInner
    maybe: Optional[OldInner] = None  # noqa: UP045


def test_pydantic_v1_classes_are_accepted() -> None:
    schema = to_json_schema(OldOuter)
    assert (schema["title"], schema["description"]) == ("OldOuter", "Old.")
    assert to_constraint_schema(schema)["properties"]["inner"]["properties"] == {"x": {"type": "integer"}}


@pytest.mark.parametrize(
    "form",
    [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"properties": {}}}},
        {"name": "f", "description": "d", "parameters": {"properties": {}}},
        {"type": "function", "name": "f", "description": "d", "parameters": {"properties": {}}},
        {"name": "f", "description": "d", "input_schema": {"properties": {}}},
        {"name": "f", "description": "d"},
        {"title": "f", "description": "d"},
        {"type": "json_schema", "json_schema": {"name": "f", "schema": {"description": "d", "properties": {}}}},
        {"title": "f", "description": "d", "properties": {}},
    ],
)
def test_every_form_of_dict_is_accepted(form: Any) -> None:
    assert to_json_schema(form) == {"title": "f", "description": "d", "type": "object", "properties": {}}
    assert (get_schema_name(form), get_schema_description(form)) == ("f", "d")


class PlainClass:
    pass


class WithoutJsonSchema(BaseModel):
    call: Any = Field(default=None)
    model_config = {"arbitrary_types_allowed": True}
    thing: PlainClass


@pytest.mark.parametrize(
    "invalid", [None, "Person", 3, PlainClass, PlainClass(), int, list, {}, {"description": "x"}, [], WithoutJsonSchema]
)
def test_other_objects_raise(invalid: Any) -> None:
    with pytest.raises(ValueError, match="`schema`"):
        to_json_schema(invalid)


@pytest.mark.parametrize(
    "kind", [{"type": "array"}, {"type": "string"}, {"anyOf": [{"type": "object"}, {"type": "null"}]}]
)
def test_schemas_that_are_not_objects_raise(kind: Any) -> None:
    with pytest.raises(ValueError, match="put it into a field"):
        to_json_schema(kind)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Box[int]", "Box_int"),
        ("Ключ", "output"),
        ("a b", "a_b"),
        ("x" * 99, "x" * 64),
        ("", "output"),
        ("A-1_b", "A-1_b"),
    ],
)
def test_names_contain_only_safe_characters(title: Any, name: Any) -> None:
    assert get_schema_name({"title": title, "type": "object"}) == name
