"""Replies under a constraint: all of them are valid, and use the values of the prompt where the schema allows it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.sandbox.engines.mock.constrained_decoding import decode
from tests.sandbox_tests.api_client import (
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    SEA_LION,
    Api,
    get_error,
    get_text,
    to_messages,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "color": {"enum": ["red", "green", "blue"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,5}$"}, "minItems": 1, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
    },
    "required": ["name", "age", "score", "color", "tags", "born"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["label", "next"],
        }
    },
    "$ref": "#/$defs/node",
}
BUSHY = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                **{f"child{n}": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]} for n in range(3)},
                "more": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["label", "child0", "child1", "child2", "more"],
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: dict[str, Any] = {
    "person": PERSON,
    "tree": TREE,
    "bushy": BUSHY,
    "open": {},
    "any object": {"type": "object"},
    "any array": {"type": "array"},
    "text": {"type": "string"},
    "short text": {"type": "string", "minLength": 3, "maxLength": 3},
    "whole": {"type": "integer", "minimum": 1000, "maximum": 1001},
    "above": {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    "share": {"type": "number", "minimum": 0.25, "maximum": 0.75},
    "steps": {"type": "integer", "multipleOf": 7},
    "switch": {"type": "boolean"},
    "nothing": {"type": "null"},
    "constant": {"const": {"a": [1, "two"]}},
    "choice": {"enum": ["a", 2, None, True]},
    "types": {"type": ["string", "null"]},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 4}]},
    "one of": {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
    "all of": {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    "many": {"type": "array", "items": {"type": "integer"}, "minItems": 7, "maxItems": 7},
    "none": {"type": "array", "maxItems": 0},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{4}$"},
    **{form: {"type": "string", "format": form} for form in ("date", "time", "date-time", "email", "uuid", "ipv4")},
}
REFUSED = {
    "no such type": {"type": "nonsense"},
    "not": {"not": {"type": "string"}},
    "unique items": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    "if": {"if": {"type": "string"}, "then": {"minLength": 2}},
    "look-ahead": {"type": "string", "pattern": "(?=x)y"},
    "minimum above maximum": {"type": "integer", "minimum": 5, "maximum": 1},
    "external reference": {"$ref": "https://example.com/x.json"},
}
PROMPTS = ["Hello", "Ann is 41, likes green and was born on 1980-02-03", "x" * 300, "你好 'quoted' a@b.example 3.5"]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_reply_is_valid(api: Api, name: str, prompt: str) -> None:
    text = api.get_text(GEMMA_3, prompt, guided_json=SCHEMAS[name], max_tokens=4000)
    jsonschema.validate(json.loads(text), SCHEMAS[name], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    assert all(character.isprintable() for character in text)


@pytest.mark.parametrize("name", SCHEMAS)
def test_without_a_proposal_the_engine_alone_decides(name: str) -> None:
    for seed in range(4):
        value = json.loads(decode(SCHEMAS[name], None, [], seed))
        jsonschema.validate(value, SCHEMAS[name], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        assert decode(SCHEMAS[name], None, [], seed) == decode(SCHEMAS[name], None, [], seed)


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_the_engine_refuses_is_refused(api: Api, name: str) -> None:
    status, code, message = get_error(
        api.run(GEMMA_3, {"messages": to_messages("Hello"), "guided_json": REFUSED[name]})
    )
    assert (status, code) == (400, 5006)
    assert "JSON Mode couldn't be met" in message


def test_values_come_from_the_prompt(api: Api) -> None:
    text = api.get_text(GEMMA_3, "Ann is 41, likes green and was born on 1980-02-03", guided_json=PERSON)
    value = json.loads(text)
    assert (value["name"], value["age"], value["color"], value["born"]) == ("Ann", 41, "green", "1980-02-03")


def test_a_choice_follows_the_prompt(api: Api) -> None:
    schema = {"type": "object", "properties": {"mood": {"enum": ["happy", "very sad", "angry"]}}, "required": ["mood"]}
    assert json.loads(api.get_text(GEMMA_3, "I feel very sad today", guided_json=schema)) == {"mood": "very sad"}


def test_optional_keys_are_omitted_unless_requested(api: Api) -> None:
    schema = {
        "type": "object",
        "properties": {"setup": {"type": "string"}, "punchline": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["setup", "punchline"],
    }
    without = json.loads(
        api.get_text(GEMMA_3, "Give me the setup to a joke about cats, no punchline.", guided_json=schema)
    )
    assert without["punchline"] is None
    assert json.loads(api.get_text(GEMMA_3, "A joke about cats, include the punchline.", guided_json=schema))[
        "punchline"
    ]
    optional = {**schema, "required": ["setup"]}
    assert list(json.loads(api.get_text(GEMMA_3, "Tell me something funny.", guided_json=optional))) == ["setup"]


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_7B, GEMMA_2B_LORA, SEA_LION])
def test_json_object_takes_its_keys_from_the_prompt(api: Api, model: str) -> None:
    text = "Tell me a joke. Return JSON with 'setup' and 'punchline' keys."
    result = api.get_result(model, text, response_format={"type": "json_object"})
    value = result["response"] if "response" in result else json.loads(get_text(result))
    assert set(value) == {"setup", "punchline"}


def test_a_truncated_reply_is_truncated_json(api: Api) -> None:
    text = api.get_text(GEMMA_3, "Ann is 41", guided_json=PERSON, max_tokens=8)
    assert text.startswith('{"name":"')
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(text)


def make_call_schema(name: str, **properties: Any) -> dict[str, Any]:
    arguments = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


CALLS = [
    make_call_schema("get_weather", city={"type": "string"}),
    make_call_schema("add", a={"type": "integer"}, b={"type": "integer"}),
]


def make_choice_schema(kind: str) -> dict[str, Any]:
    """Return a schema of calls or an answer, with unusual keys."""
    several = {"type": "array", "items": {kind: CALLS}}
    return {
        kind: [
            {"type": "object", "properties": {"steps": several}, "required": ["steps"], "additionalProperties": False},
            {
                "type": "object",
                "properties": {"final": {"type": "string"}},
                "required": ["final"],
                "additionalProperties": False,
            },
        ]
    }


INSTRUCTIONS = {"role": "system", "content": "Functions:\n- get_weather: Get the weather in a city\n- add: Add numbers"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Add 3 and 4", [{"name": "add", "arguments": {"a": 3, "b": 4}}]),
        (
            "What is the weather in Rome and in Oslo?",
            [{"name": "get_weather", "arguments": {"city": city}} for city in ("Rome", "Oslo")],
        ),
        (
            "Add 3 and 4 and give me the weather in Oslo",
            [
                {"name": "add", "arguments": {"a": 3, "b": 4}},
                {"name": "get_weather", "arguments": {"city": "Oslo"}},
            ],
        ),
    ],
)
def test_a_schema_of_calls_is_filled_with_the_requested_calls(api: Api, text: str, expected: object) -> None:
    body = {"messages": [INSTRUCTIONS, *to_messages(text)], "guided_json": make_choice_schema("anyOf")}
    assert json.loads(get_text(api.run(GEMMA_3, body).json()["result"])) == {"steps": expected}


def test_a_schema_of_calls_or_an_answer_is_filled_with_an_answer_if_no_call_is_requested(api: Api) -> None:
    body = {"messages": [INSTRUCTIONS, *to_messages("Hello!")], "guided_json": make_choice_schema("anyOf")}
    assert json.loads(get_text(api.run(GEMMA_3, body).json()["result"]))["final"].startswith("Hello!")


def test_a_schema_of_calls_or_an_answer_is_filled_with_an_answer_after_results(api: Api) -> None:
    history = [
        INSTRUCTIONS,
        *to_messages("Add 3 and 4"),
        {"role": "assistant", "content": '{"steps": [{"name": "add", "arguments": {"a": 3, "b": 4}}]}'},
        *to_messages("Result of add: 7"),
    ]
    body = {"messages": history, "guided_json": make_choice_schema("anyOf")}
    assert "7" in json.loads(get_text(api.run(GEMMA_3, body).json()["result"]))["final"]


def test_the_most_likely_call_is_chosen(api: Api) -> None:
    for text, name in (("Add 3 and 4", "add"), ("The weather in Rome, please", "get_weather")):
        body = {"messages": [INSTRUCTIONS, *to_messages(text)], "guided_json": {"anyOf": CALLS}}
        assert json.loads(get_text(api.run(GEMMA_3, body).json()["result"]))["name"] == name


# --- any schema -------------------------------------------------------------------------------------------------------
def make_leaf_strategy() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.tuples(st.integers(-50, 50), st.integers(0, 50)).map(
            lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[0] + pair[1]}
        ),
        st.tuples(st.integers(0, 5), st.integers(0, 20)).map(
            lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[0] + pair[1]}
        ),
        st.lists(st.text("abcdé", min_size=1, max_size=4), min_size=1, max_size=3, unique=True).map(
            lambda texts: {"enum": texts}
        ),
    )


def make_nested_strategy(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
            lambda found: {"type": "array", "items": found[0], "minItems": found[1], "maxItems": found[1] + found[2]}
        ),
        st.tuples(st.dictionaries(st.text("abcxyz", min_size=1, max_size=3), inner, max_size=3), st.booleans()).map(
            lambda found: {
                "type": "object",
                "properties": found[0],
                "required": list(found[0]) if found[1] else [],
                "additionalProperties": False,
            }
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda found: {"anyOf": found}),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(schema=st.recursive(make_leaf_strategy(), make_nested_strategy, max_leaves=6), seed=st.integers(0, 9))
def test_any_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(json.loads(decode(schema, {"a": 1}, ["Ann"], seed)), schema)


def test_a_stream_whose_schema_is_refused_never_starts(api: Api) -> None:
    body = {"messages": to_messages("Hello"), "guided_json": REFUSED["not"], "stream": True}
    assert get_error(api.run(GEMMA_3, body))[:2] == (400, 5006)
