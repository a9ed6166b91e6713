"""Schemas for the wire, tried on the grammar engines that read them there."""

from __future__ import annotations

import copy
import doctest
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any, Optional

import llguidance
import llguidance.numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outlines_core import json_schema as outlines  # type: ignore[import-untyped]
from pydantic import BaseModel, Field, create_model
from pydantic.v1 import BaseModel as OldModel

from langchain_workers_gemma import schemas
from langchain_workers_gemma.schemas import (
    for_constraint,
    for_tool,
    inline_refs,
    json_schema_of,
    schema_description,
    schema_name,
    strict_openai,
)

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit_tests.schema_examples import EXAMPLES, Branch, Constraints, Node, Trip

FUNCTIONS = [inline_refs, for_constraint, for_tool, strict_openai]
NAMES = sorted(EXAMPLES)

# Engines --------------------------------------------------------------------------------------------------------------


class _Bytes:
    eos_token_id = 256
    bos_token_id = None
    tokens = [*(bytes([one]) for one in range(256)), b"<eos>"]  # noqa: RUF012
    special_token_ids = [256]  # noqa: RUF012

    def __call__(self, text: Any) -> Any:
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


def grammar(schema: dict[str, Any]) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(schema)


def compile_everywhere(schema: dict[str, Any]) -> str:
    assert llguidance.LLMatcher.validate_grammar(grammar(schema), TOKENIZER) == ""
    return str(outlines.build_regex_from_schema(json.dumps(schema)))


def accepts(schema: dict[str, Any], value: Any) -> bool:
    text = (value if isinstance(value, str) else json.dumps(value)).encode()
    matcher = llguidance.LLMatcher(TOKENIZER, grammar(schema))
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()


def walk(schema: dict[str, Any], seed: int, wander: int = 80) -> str:
    """A random instance; after `wander` bytes it takes the shortest way out of strings, numbers, lists and objects."""
    dice = random.Random(seed)
    matcher = llguidance.LLMatcher(TOKENIZER, grammar(schema))
    mask = llguidance.numpy.allocate_token_bitmask(1, TOKENIZER.vocab_size)
    found = bytearray()
    in_string = escaped = False
    while not matcher.is_stopped() and len(found) < 3000:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        assert not matcher.is_error(), matcher.get_error()
        allowed = [one for one in range(257) if mask[0, one // 32] >> (one % 32) & 1]
        if 256 in allowed:
            break
        visible = [one for one in allowed if 33 <= one < 127] or allowed
        ways_out = [one for one in (b'"' if in_string else b"}]n,") if one in visible and not escaped]
        leave = ways_out and (len(found) > wander or dice.random() < 0.1)
        choice = ways_out[0] if leave else dice.choice(visible)
        matcher.consume_token(choice)
        found.append(choice)
        in_string ^= choice == ord('"') and not escaped
        escaped = in_string and choice == ord("\\") and not escaped
    return found.decode()


# Every example --------------------------------------------------------------------------------------------------------


def inner_schemas(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for child in schemas._children(schema):
            yield from inner_schemas(child)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_self_contained_pure_and_stable(name: Any, function: Any) -> None:
    schema = json_schema_of(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)

    made = function(schema)

    assert schema == before
    assert json.dumps(function(schema)) == json.dumps(made)
    assert function(made) == made
    refs = {one["$ref"] for one in inner_schemas(made) if "$ref" in one}
    assert refs <= {f"#/$defs/{key}" for key in made.get("$defs", {})}
    assert bool(refs) is EXAMPLES[name].recursive
    assert "$ref" not in made


@pytest.mark.parametrize("name", NAMES)
def test_a_result_shares_nothing_with_its_input(name: Any) -> None:
    schema = json_schema_of(EXAMPLES[name].schema)
    before = copy.deepcopy(schema)
    for function in FUNCTIONS:
        for one in inner_schemas(function(schema)):
            one.clear()
    assert schema == before


@pytest.mark.parametrize("function", [for_constraint, strict_openai], ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_engines_compile_every_constraint(name: Any, function: Any) -> None:
    compile_everywhere(function(json_schema_of(EXAMPLES[name].schema)))


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
    for one in inner_schemas(for_constraint(json_schema_of(EXAMPLES[name].schema))):
        assert one.keys() - shared <= ({"minItems", "maxItems"} if "prefixItems" in one else set())
        assert isinstance(one.get("type", ""), str)
        if "properties" in one:
            assert "additionalProperties" in one


@pytest.mark.parametrize("name", NAMES)
def test_what_engines_let_through_parses_into_the_callers_type(name: Any) -> None:
    example = EXAMPLES[name]
    constraint = for_constraint(json_schema_of(example.schema))
    wrong = {}
    for seed in range(8):
        text = walk(constraint, seed)
        json.loads(text)
        if unexpected := example.check(text) - example.loose:
            wrong[text] = unexpected
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_tools_have_the_published_form(name: Any) -> None:
    made = for_tool(json_schema_of(EXAMPLES[name].schema))
    assert made["type"] == "object"
    assert isinstance(made["properties"], dict)
    assert made.keys() <= {"type", "properties", "required", "additionalProperties", "anyOf", "$defs"}
    for one in inner_schemas(made):
        assert "title" not in one
        for prop in one.get("properties", {}).values():
            assert prop["type"] in {"string", "number", "integer", "boolean", "null", "array", "object"}
            assert prop["description"]
            assert isinstance(prop["description"], str)


@pytest.mark.parametrize("name", NAMES)
def test_strict_requires_everything_and_closes_objects(name: Any) -> None:
    for one in inner_schemas(strict_openai(json_schema_of(EXAMPLES[name].schema))):
        if "properties" in one:
            assert one["additionalProperties"] is False
            assert sorted(one.get("required", [])) == sorted(one["properties"])


def test_outlines_unrolls_recursion_three_times_and_llguidance_does_not_end() -> None:
    constraint = for_constraint(json_schema_of(Branch))
    regex = compile_everywhere(constraint)
    value: dict[str, Any] = {"value": 0, "children": []}
    deep = []
    for _ in range(6):
        deep.append((bool(re.fullmatch(regex, json.dumps(value))), accepts(constraint, value)))
        value = {"value": 0, "children": [value]}
    assert all(one for _, one in deep)
    assert deep[-1] == (False, True)


# What users hand in ---------------------------------------------------------------------------------------------------


def test_typed_dicts_keep_what_their_author_said() -> None:
    made = json_schema_of(Trip)
    assert (made["title"], made["description"]) == ("Trip", "A trip.")
    assert made["required"] == ["days"]
    assert made["properties"]["days"]["description"] == "How many days it takes."
    assert made["properties"]["stops"]["description"] == "Where to stop."
    assert made["properties"]["note"]["description"] == "Anything else"
    place = inline_refs(made)["properties"]["stops"]["items"]
    assert place["properties"]["name"]["description"] == "What it is called"
    assert place["required"] == ["name"]


class OldInner(OldModel):
    x: int


class OldOuter(OldModel):
    """Old."""

    inner: OldInner
    maybe: Optional[OldInner] = None  # noqa: UP045


def test_pydantic_v1_classes() -> None:
    made = json_schema_of(OldOuter)
    assert (made["title"], made["description"]) == ("OldOuter", "Old.")
    assert for_constraint(made)["properties"]["inner"]["properties"] == {"x": {"type": "integer"}}


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
def test_dict_forms(form: Any) -> None:
    assert json_schema_of(form) == {"title": "f", "description": "d", "type": "object", "properties": {}}
    assert (schema_name(form), schema_description(form)) == ("f", "d")


class Plain:
    pass


class Unspeakable(BaseModel):
    call: Any = Field(default=None)
    model_config = {"arbitrary_types_allowed": True}
    thing: Plain


@pytest.mark.parametrize(
    "bad", [None, "Person", 3, Plain, Plain(), int, list, {}, {"description": "x"}, [], Unspeakable]
)
def test_anything_else_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(ValueError, match="`schema`"):
        json_schema_of(bad)


@pytest.mark.parametrize(
    "kind", [{"type": "array"}, {"type": "string"}, {"anyOf": [{"type": "object"}, {"type": "null"}]}]
)
def test_only_objects_are_taken(kind: Any) -> None:
    with pytest.raises(ValueError, match="put it into a field"):
        json_schema_of(kind)


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
def test_names_are_safe(title: Any, name: Any) -> None:
    assert schema_name({"title": title, "type": "object"}) == name


# References -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("https://example.com/a.json", "leads out"),
        ("other.json#/a", "leads out"),
        ("#/$defs/Missing", "leads to no schema"),
        ("#anchor", "leads to no schema"),
        ("#/title", "leads to no schema"),
        ("#/$defs/Loop", "nothing but itself"),
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
    made = for_constraint({"properties": {"a": extra}, "$defs": {"P": person}})["properties"]["a"]
    assert made["required"] == ["name", "age"]
    assert list(made["properties"]) == ["name", "age"]
    assert made["description"] == "d"


def diamond(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"D0": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/D{level - 1}"}
        defs[f"D{level}"] = {"type": "object", "properties": {"a": below, "b": below}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


def test_diamonds_do_not_explode() -> None:
    assert "$defs" not in inline_refs(diamond(6))
    began = time.perf_counter()
    for function in FUNCTIONS:
        assert len(json.dumps(function(diamond(60)))) < 50_000
    assert time.perf_counter() - began < 2


def chain(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"D0": {"type": "string"}}
    for level in range(1, levels):
        defs[f"D{level}"] = {"type": "object", "properties": {"a": {"$ref": f"#/$defs/D{level - 1}"}}}
    return {"type": "object", "properties": {"top": {"$ref": f"#/$defs/D{levels - 1}"}}, "$defs": defs}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
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


def test_work_grows_with_the_schema_and_no_faster() -> None:
    def seconds(fields: int) -> float:
        inner = create_model("Inner", **{f"g{at}": (int | None, None) for at in range(5)})  # type: ignore[call-overload]
        model = create_model("M", **{f"f{at}": (inner, ...) for at in range(fields)})  # type: ignore[call-overload]
        schema = json_schema_of(model)
        took = []
        for _ in range(2):
            began = time.perf_counter()
            for function in FUNCTIONS:
                function(schema)
            took.append(time.perf_counter() - began)
        return min(took)

    assert seconds(400) < 25 * seconds(40)


# Constraints ----------------------------------------------------------------------------------------------------------


def constrained(rules: Any) -> Any:
    return for_constraint({"type": "object", "properties": {"a": rules}, "required": ["a"]})["properties"]["a"]


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


@pytest.mark.parametrize(("given_", "wanted"), TRANSLATED, ids=lambda one: json.dumps(one)[:60])
def test_translations(given_: Any, wanted: Any) -> None:
    made = constrained(given_)
    assert made == wanted
    assert constrained(made) == made
    compile_everywhere(for_constraint({"type": "object", "properties": {"a": given_}, "required": ["a"]}))


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
def test_what_nothing_can_meet_is_refused_where_it_is_required(impossible: Any) -> None:
    with pytest.raises(ValueError, match="No value can meet"):
        constrained(impossible)
    made = for_constraint({"type": "object", "properties": {"a": impossible, "b": {"type": "null"}}})
    assert list(made["properties"]) == ["b"]


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
def test_what_cannot_be_read_is_refused(unreadable: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        constrained(unreadable)


def test_what_is_stripped_is_told_and_still_checked() -> None:
    fields = for_constraint(json_schema_of(Constraints))["properties"]
    assert fields["tags"]["description"] == "Some tags (at least 1 item, at most 3 items)"
    assert fields["code"]["description"] == "(pattern: ^[a-z]{3}-[0-9]+$)"
    assert fields["above"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert EXAMPLES["constraints"].check("{}") == {"missing"}


def test_objects_are_closed_for_llguidance_alone() -> None:
    open_, closed = {"type": "object", "properties": {"a": {"type": "null"}}}, json_schema_of(Node)
    assert accepts(open_, {"made_up": 1})
    assert not accepts(for_constraint(open_), {"made_up": 1})
    assert not re.fullmatch(outlines.build_regex_from_schema(json.dumps(open_)), '{"made_up": 1}')
    assert not accepts(for_constraint(closed), {"value": 1, "made_up": 1})


def test_what_engines_do_with_what_is_stripped() -> None:
    """The reasons for `for_constraint`; when an engine learns better, this fails and the rule may go."""

    def says(rules: Any) -> Any:
        return llguidance.LLMatcher.validate_grammar(
            grammar({"type": "object", "properties": {"a": rules}, "required": ["a"]}), TOKENIZER
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
        assert says(refused)
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
    wild = outlines.build_regex_from_schema('{"type": "object", "properties": {"a": {}}, "required": ["a"]}')
    assert re.fullmatch(wild, "null")
    uri = outlines.build_regex_from_schema('{"type": "string", "format": "uri"}')
    assert re.fullmatch(uri, '"http://a.com/","b":1}"')
    length = outlines.build_regex_from_schema('{"type": "string", "pattern": "^a$", "maxLength": 3}')
    assert re.fullmatch(length, '"xyz"')


# Tools and strict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"type": ["integer", "null"], "title": "N"}, {"type": "integer", "description": "N"}),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"type": "string", "description": "My arg"},
        ),
        (
            {"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}]},
            {
                "type": "integer",
                "description": "My arg",
                "anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}],
            },
        ),
        ({"enum": [None, 2.5]}, {"type": "number", "description": "My arg", "enum": [None, 2.5]}),
        ({"const": True}, {"type": "boolean", "description": "My arg", "const": True}),
        ({}, {"type": "string", "description": "My arg (any JSON value)"}),
        (True, {"type": "string", "description": "My arg (any JSON value)"}),
        (
            {"type": "string", "pattern": "^a", "minLength": 1, "default": "a", "description": "D"},
            {"type": "string", "description": "D", "pattern": "^a", "minLength": 1, "default": "a"},
        ),
    ],
)
def test_tool_properties(given_: Any, wanted: Any) -> None:
    assert for_tool({"title": "T", "properties": {"my_arg": given_}}) == {
        "type": "object",
        "properties": {"my_arg": wanted},
    }


def test_a_required_optional_says_that_null_will_do() -> None:
    made = for_tool({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]})
    assert made["properties"]["a"]["description"] == "A (may be null)"
    assert made["required"] == ["a"]


def test_a_reference_never_ends_up_at_the_root() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
    for function in FUNCTIONS:
        assert "$ref" not in function({"anyOf": [{"$ref": "#/$defs/N"}], "$defs": {"N": node}})
    with pytest.raises(ValueError, match="nothing but itself"):
        for_constraint({"anyOf": [{"$ref": "#"}]})


def test_a_tool_without_arguments_has_properties() -> None:
    assert for_tool({"type": "object"}) == {"type": "object", "properties": {}}


def test_strict_makes_optionals_nullable_unless_they_have_a_default() -> None:
    made = strict_openai({"properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}})
    assert made["properties"] == {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"type": "integer", "description": "(default: 3)"},
    }


# Anything at all ------------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=3), more, max_size=3)
)
KEYWORDS = sorted(
    schemas._MAPS_OF_SCHEMAS | schemas._LISTS_OF_SCHEMAS | schemas._SCHEMAS | schemas._OF_ONE_TYPE | {"$ref"}
)
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
    for function in (json_schema_of, *FUNCTIONS):
        try:
            made = function(schema)
        except ValueError:
            continue
        assert isinstance(made, dict)
        json.dumps(made)
        if function in (inline_refs, for_constraint):
            assert function(made) == made
    try:
        made = for_constraint(schema)
    except ValueError:
        return
    if "$defs" not in made:  # a definition may go round without end, which no engine can say
        compile_everywhere(made)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SCHEMAS.filter(lambda one: isinstance(one, dict)))
def test_schemas_raise_nothing_but_value_errors(schema: Any) -> None:
    before = copy.deepcopy(schema)
    run(schema)
    assert json.dumps(schema) == json.dumps(before)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(DICTS)
def test_dicts_raise_nothing_but_value_errors(schema: Any) -> None:
    for function in (json_schema_of, *FUNCTIONS):
        try:
            function(schema)
        except ValueError:
            continue


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(schemas, optionflags=doctest.ELLIPSIS).failed == 0
