"""Arguments are converted by the JSON Schema of the tool: bare words of calls in text, and strings of any call."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_workers_gemma.schemas.argument_types import ArgumentType, Constant, Word, is_number, read_constant

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "zip": {"type": "string"},
        "limit": {"type": "integer"},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
        "level": {"enum": ["1", "2", None]},
        "place": {"$ref": "#/$defs/Place"},
        "tree": {"$ref": "#/$defs/Tree"},
        "all": {"allOf": [{"$ref": "#/$defs/Place"}, {"description": "d"}]},
        "ids": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "lost": {"$ref": "#/$defs/None"},
        "loop": {"$ref": "#/$defs/Loop"},
        "nullable": {"type": "string", "nullable": True},
        "const": {"const": "5"},
        "whole": {"allOf": [{"type": "number"}, {"type": ["integer", "string"]}]},
        "any": {},
        "items": {"items": {"type": "integer"}},
        "fields": {"properties": {"n": {"type": "integer"}}},
    },
    "required": ["zip", "limit", "note", "level", "nullable"],
    "$defs": {
        "Place": {"type": "object", "properties": {"code": {"type": "string"}}},
        "Tree": {"type": "object", "properties": {"name": {"type": "string"}, "child": {"$ref": "#/$defs/Tree"}}},
        "Loop": {"$ref": "#/$defs/Loop"},
    },
}
TYPE = ArgumentType.of(PARAMETERS)

WORDS = [
    ("zip", "02134", "02134"),
    ("zip", "1.10", "1.10"),
    ("zip", "1e999", "1e999"),
    ("zip", "true", "true"),
    ("zip", "null", "null"),  # a required string is never null
    ("zip", "9" * 5000, "9" * 5000),
    ("limit", "5", 5),
    ("limit", "five", "five"),
    ("limit", "0x1F", 31),
    ("ratio", "5", 5),
    ("ratio", "-1.5", -1.5),
    ("ratio", "NaN", "NaN"),
    ("on", "True", True),
    ("note", "null", None),
    ("note", "5", "5"),
    ("either", "5", 5),
    ("either", "02134", "02134"),
    ("level", "1", "1"),
    ("level", "null", None),
    ("lost", "5", 5),
    ("loop", "5", 5),
    ("nullable", "None", None),
    ("nullable", "7", "7"),
    ("const", "5", "5"),
    ("whole", "5", 5),
    ("any", "5", 5),
    ("any", "Paris", "Paris"),
    ("any", "02134", "02134"),
    ("unknown", "-007", "-007"),
    ("unknown", "5", 5),
]


@pytest.mark.parametrize(("name", "word", "value"), WORDS)
def test_bare_words_are_converted_by_the_schema(name: str, word: str, value: Any) -> None:
    read = TYPE.get_argument(name).read_word(word)
    assert read == value
    assert type(read) is type(value)


def test_an_optional_string_can_be_null() -> None:
    optional = ArgumentType.of({"properties": {"unit": {"type": "string"}}})
    assert optional.resolve({"unit": Word("null")}) == {"unit": None}
    assert optional.resolve({"unit": "null"}) == {"unit": "null"}


@pytest.mark.parametrize("word", ["1e999", "9" * 5000, "007"])
def test_a_number_that_json_cannot_represent_raises(word: str) -> None:
    with pytest.raises(ValueError, match=r"number|constant|float"):
        TYPE.get_argument("limit").read_word(word)


def test_a_constant_raises_where_no_string_is_allowed() -> None:
    assert TYPE.get_argument("zip").read_word(Constant("1j")) == "1j"
    with pytest.raises(ValueError, match="constant"):
        TYPE.get_argument("any").read_word(Constant("1j"))


STRINGS = [
    ("zip", "42", "42"),
    ("limit", "42", 42),
    ("limit", "4 2", "4 2"),
    ("limit", "007", "007"),
    ("limit", "many", "many"),
    ("limit", "1.5", "1.5"),
    ("limit", "9" * 5000, "9" * 5000),
    ("ratio", "1.5", 1.5),
    ("ratio", "Infinity", "Infinity"),
    ("on", "false", False),
    ("on", "False", False),
    ("on", "yes", "yes"),
    ("note", "null", "null"),
    ("place", '{"code": "1"}', {"code": "1"}),
    ("place", "[1]", "[1]"),
    ("place", '{"code": "1"', '{"code": "1"'),
    ("ids", '["a"]', ["a"]),
    ("any", "5", "5"),
    ("items", "[1]", [1]),
    ("fields", "{}", {}),
    ("limit", "\ud800", "\ud800"),
]


@pytest.mark.parametrize(("name", "text", "value"), STRINGS)
def test_strings_are_converted_by_the_schema(name: str, text: str, value: Any) -> None:
    read = TYPE.get_argument(name).read_string(text)
    assert read == value
    assert type(read) is type(value)


def test_nested_values_are_converted() -> None:
    written = {
        "place": {"code": Word("02134")},
        "tree": {"name": Word("1"), "child": {"name": Word("2"), "child": {"name": Word("3")}}},
        "all": {"code": Word("1")},
        "ids": [Word("1"), "2"],
        "labels": {"a": Word("1")},
        "items": ["4", Word("5")],
    }
    assert TYPE.resolve(written) == {
        "place": {"code": "02134"},
        "tree": {"name": "1", "child": {"name": "2", "child": {"name": "3"}}},
        "all": {"code": "1"},
        "ids": ["1", "2"],
        "labels": {"a": "1"},
        "items": [4, 5],
    }


def test_argument_names_are_those_of_the_properties() -> None:
    assert TYPE.names[:3] == ("zip", "limit", "ratio")
    assert TYPE.get_argument("tree").names == ("name", "child")
    assert TYPE.get_argument("any").names == ()


@pytest.mark.parametrize("parameters", [None, {}, True, {"properties": None}, {"type": "object"}])
def test_a_tool_without_parameters(parameters: Any) -> None:
    kind = ArgumentType.of(parameters)
    assert kind.names == ()
    assert kind.resolve({"a": Word("1")}) == {"a": 1}


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_parsed_like_in_python(number: float) -> None:
    assert is_number(repr(number))
    assert read_constant(repr(number)) == number


SCHEMAS = st.recursive(
    st.sampled_from([{}, True, {"$ref": "#"}, {"$ref": "#/anyOf/0"}, {"type": "string"}, {"type": ["null"]}, 1]),
    lambda inner: st.fixed_dictionaries({}, optional={
        "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2), "items": inner,
        "anyOf": st.lists(inner, max_size=2), "allOf": st.lists(inner, max_size=2), "additionalProperties": inner,
        "required": st.lists(st.sampled_from("ab")), "enum": st.lists(st.sampled_from([1, "a", None])),
    }),
    max_leaves=6,
)  # fmt: skip
VALUES = st.recursive(
    st.text(max_size=3) | st.sampled_from(["1", "true", "null", "{}"]).map(Word) | st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_no_schema_changes_the_written_values(schema: Any, value: Any) -> None:
    def is_same(read: Any, written: Any) -> bool:
        if isinstance(written, list):
            return len(read) == len(written) and all(map(is_same, read, written))
        if isinstance(written, dict):
            return read.keys() == written.keys() and all(is_same(read[key], written[key]) for key in written)
        return str(read).lower() == str(written) or (read is None and written == "null") or str(read) == str(written)

    assert is_same(ArgumentType.of(schema).resolve(value), value)
