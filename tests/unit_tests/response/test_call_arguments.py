"""Arguments of tool calls are converted by the tool's JSON Schema (docs/wire.md section 10)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.request.tool_methods import STRING_TOKENS
from langchain_workers_gemma.response.arguments import ArgumentsReader
from langchain_workers_gemma.schemas.argument_types import ArgumentType
from tests.helpers.model_calls import get_tool_calls
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    make_replay_model,
    split_by_character,
)

pytestmark = pytest.mark.lowest

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "ratio": {"type": "number"},
        "flag": {"type": "boolean"},
        "level": {"enum": [1, 2, 3]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "place": {"$ref": "#/$defs/Place"},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        "free": {"type": "object"},
        "any": {},
    },
    "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}, "name": {"type": "string"}}}},
}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": PARAMETERS}}

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "valid arguments": (
        {"city": "Rome", "days": 3, "ratio": 1.5, "flag": True, "tags": ["a"], "place": {"lat": 1}, "any": [1, "2"]},
        {"city": "Rome", "days": 3, "ratio": 1.5, "flag": True, "tags": ["a"], "place": {"lat": 1}, "any": [1, "2"]},
    ),
    "numbers": ({"days": "3", "ratio": "-1.5e3", "level": "2"}, {"days": 3, "ratio": -1500.0, "level": 2}),
    "an integer for a number": ({"ratio": "4"}, {"ratio": 4}),
    "text that is not a number": (
        {"days": "many", "ratio": "NaN", "level": "two"},
        {"days": "many", "ratio": "NaN", "level": "two"},
    ),
    "digits with a leading zero are not a number": ({"days": "02134"}, {"days": "02134"}),
    "digits where a string is allowed": ({"city": "02134", "either": "8"}, {"city": "02134", "either": "8"}),
    "booleans": ({"flag": "true"}, {"flag": True}),
    "the word null where only null is allowed": ({"count": "null"}, {"count": None}),
    "the word null where a string is allowed": ({"note": "null", "city": "None"}, {"note": "null", "city": "None"}),
    "items": ({"numbers": ["4", 5], "tags": ["1", "null"]}, {"numbers": [4, 5], "tags": ["1", "null"]}),
    "an object in a string": ({"place": '{"lat": "1.5", "name": "2"}'}, {"place": {"lat": 1.5, "name": "2"}}),
    "a list in a string": ({"places": '[{"lat": 1}]'}, {"places": [{"lat": 1}]}),
    "nested": ({"places": [{"lat": "1.5", "name": "x"}]}, {"places": [{"lat": 1.5, "name": "x"}]}),
    "free objects are unchanged": ({"free": {"a": "1", "b": "true"}}, {"free": {"a": "1", "b": "true"}}),
    "quote tokens (LiteRT-LM#2172)": (
        {"city": '<|"|>Rome<|"|>', "tags": ['<|"|>a<|"|>'], "days": '<|"|>3<|"|>'},
        {"city": "Rome", "tags": ["a"], "days": 3},
    ),
    "a quote token at one end": ({"city": 'Rome<|"|>', "note": '<|"|>x'}, {"city": "Rome", "note": "x"}),
    "quote tokens of FunctionGemma": ({"city": "<escape>Rome<escape>"}, {"city": "Rome"}),
    "brackets after a quote token": ({"city": 'Rome<|"|>}}<tool_call|>'}, {"city": "Rome"}),
    "brackets after a quote token, nested": ({"place": {"name": 'f()<|"|>}'}}, {"place": {"name": "f()"}}),
    "Gemma's notation for a list": ({"tags": '[<|"|>a<|"|>,<|"|>b<|"|>]'}, {"tags": ["a", "b"]}),
    "Gemma's notation for an object": ({"place": '{name:<|"|>Rome<|"|>,lat:1}'}, {"place": {"name": "Rome", "lat": 1}}),
    "Python's notation for a list": ({"tags": "['a', 'b']"}, {"tags": ["a", "b"]}),
    "words in braces are not an object": ({"free": "{see below}"}, {"free": "{see below}"}),
    "a closing token": ({"city": "Rome<tool_call|>"}, {"city": "Rome"}),
    "a key in quote tokens": ({'<|"|>city<|"|>': "Rome"}, {"city": "Rome"}),
    "text about tokens": (
        {"city": "<tool_call|> <|tool_call> x <tool_call|>", "note": 'write <|tool_call>call:f{a:<|"|>b<|"|>}'},
        {"city": "<tool_call|> <|tool_call> x <tool_call|>", "note": 'write <|tool_call>call:f{a:<|"|>b<|"|>}'},
    ),
    "beginnings of tokens": ({"city": "a < b <| c <|"}, {"city": "a < b <| c <|"}),
    "plain quotes, keys too": ({'"city"': '"Rome"', '"days"': "3"}, {"city": "Rome", "days": 3}),
    "plain quotes around the only string": ({"city": '"Rome"', "days": 3}, {"city": "Rome", "days": 3}),
    "plain quotes in a list (vllm#51284)": ({"city": "x", "tags": ['"a"', '"b"']}, {"city": "x", "tags": ["a", "b"]}),
    "single quotes in a list": ({"city": "x", "tags": ["'a'", "'b'"]}, {"city": "x", "tags": ["a", "b"]}),
    "plain quotes in an object": (
        {"city": "x", "free": {'"mode"': '"fast"', '"n"': 1}},
        {"city": "x", "free": {"mode": "fast", "n": 1}},
    ),
    "quotes that belong to one string of several": (
        {"city": "x", "note": '"exact phrase"', "tags": ["a", '"b"']},
        {"city": "x", "note": '"exact phrase"', "tags": ["a", '"b"']},
    ),
    "quotes within": (
        {"city": 'the "best" one', "note": '"a" or "b"'},
        {"city": 'the "best" one', "note": '"a" or "b"'},
    ),
    "an escape in plain quotes": ({"city": '"a\\n\\"b\\""'}, {"city": 'a\n"b"'}),
    "spaces around keys": ({" city ": "Rome"}, {"city": "Rome"}),
    "a number beyond floats in a string": ({"days": "1e400", "city": "1e400"}, {"days": "1e400", "city": "1e400"}),
    "large numbers": ({"days": 10**30, "free": {"a": 1e300}}, {"days": 10**30, "free": {"a": 1e300}}),
    "only a quote": ({"city": '"', "note": ""}, {"city": '"', "note": ""}),
}


def make_service(arguments: Any, name: str = "f") -> ReplayService:
    """Return a service that answers with a call with these arguments."""
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": name, "arguments": arguments}}
    ending = {"finish_reason": "tool_calls", "stop_reason": 50}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
    ]
    return ReplayService({"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}]}, events)


@pytest.mark.parametrize("call_method", ["whole", "object", "stream", "stream by character"])
@pytest.mark.parametrize("case", CASES)
def test_arguments_are_converted_by_the_schema(case: str, call_method: str) -> None:
    sent, expected = CASES[case]
    service = make_service(sent if call_method == "object" else json.dumps(sent))
    if call_method == "stream by character":
        service.split = split_by_character
    message = collect_message(make_replay_model(service).bind_tools([TOOL]), streamed=call_method.startswith("stream"))
    assert get_tool_calls(message) == [("f", expected)]


AMBIGUOUS_ARGUMENTS = {
    "a number beyond floats": '{"ratio": 1e400}',
    "a negative number beyond floats": '{"ratio": -1e999}',
    "nested": '{"free": {"a": [1, 2E+400]}}',
    "in a string of JSON": '{"free": "{\\"a\\": 1e400}"}',
    "hundreds of digits": f'{{"ratio": {"9" * 400}.5}}',
    "a string that ends at a quote token in it (vllm#44715)": (
        '{"city": "f(", "<|\\"|><|\\"|> x <|\\"|><|\\"|>).g()<|\\"|>,tags": ["a"]}'
    ),
    "the same, nested": '{"place": {"name": "f(", "a<|\\"|>)": null}}',
    "a token for a brace in a key": '{"city": "f(", "x<tool_call|>y": 1}',
    "words after the arguments": '{"city": "Rome"} x',
    "two objects": '{"city": "Rome"}{"city": "Oslo"}',
}


@pytest.mark.parametrize("call_method", ["whole", "stream", "stream by character"])
@pytest.mark.parametrize("case", AMBIGUOUS_ARGUMENTS)
def test_ambiguous_arguments_make_an_invalid_call(case: str, call_method: str) -> None:
    service = make_service(AMBIGUOUS_ARGUMENTS[case])
    if call_method == "stream by character":
        service.split = split_by_character
    message = collect_message(make_replay_model(service).bind_tools([TOOL]), streamed=call_method.startswith("stream"))
    assert get_tool_calls(message) == []
    assert [call["name"] for call in message.invalid_tool_calls] == ["f"]


@pytest.mark.parametrize("call_method", ["whole", "stream", "stream by character"])
@pytest.mark.parametrize(
    ("name", "rest"), [("f", "<tool_call|>"), ("f", " <tool_call|><turn|>\n"), ("f<tool_call|>", "")]
)
def test_tokens_after_a_name_or_the_arguments_are_removed(name: str, rest: str, call_method: str) -> None:
    service = make_service('{"city": "Rome"}' + rest, name)
    if call_method == "stream by character":
        service.split = split_by_character
    message = collect_message(make_replay_model(service).bind_tools([TOOL]), streamed=call_method.startswith("stream"))
    assert get_tool_calls(message) == [("f", {"city": "Rome"})]


@pytest.mark.parametrize(
    "text", ['{"city": "<|\\"|>Ro', '{"days": "3', '{"city": "\\"Ro', '{"ci', '{"tags": ["\\"a\\"", "']
)
def test_the_text_of_a_truncated_call_is_kept(text: str) -> None:
    reader = ArgumentsReader(ArgumentType.of(PARAMETERS), STRING_TOKENS, unquotes=True)
    assert reader.feed(text) + reader.flush() == text.replace('<|\\"|>', "")


# --- Any arguments, any schema, any split -----------------------------------------------------------------------------

TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    TYPES.map(lambda kind: {"type": kind}),
    st.lists(TYPES, min_size=1, max_size=3, unique=True).map(
        lambda kinds: {"anyOf": [{"type": kind} for kind in kinds]}
    ),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items}),
        st.dictionaries(st.sampled_from("abc"), inner).map(lambda named: {"type": "object", "properties": named}),
    ),
    max_leaves=6,
)
FRAGMENTS = [
    '"',
    "'",
    "\\",
    "a",
    " ",
    "1",
    "-2.5",
    "true",
    "null",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "<",
    '<|"|>',
    "<|",
    "é",
    "\n",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=5).map("".join)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.floats(-9, 9), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.one_of(st.sampled_from("abc"), TEXTS), VALUES, max_size=4)
PLAIN_STRINGS = st.dictionaries(
    st.sampled_from("abc"), st.text(st.characters(exclude_characters="<'\""), max_size=9), max_size=3
)


def read_in_pieces(reader: ArgumentsReader, text: str, cuts: list[int]) -> str:
    """Feed a text in pieces and return the output."""
    ends = sorted({*(cut % (len(text) + 1) for cut in cuts), len(text)})
    output, start = [], 0
    for end in ends:
        output.append(reader.feed(text[start:end]))
        start = end
    return "".join([*output, reader.flush()])


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), SCHEMAS), ARGUMENTS, st.lists(st.integers(0, 400)), st.booleans())
def test_arguments_give_the_same_json_in_every_split(
    properties: dict[str, Any],
    arguments: dict[str, Any],
    cuts: list[int],
    ascii_only: bool,
) -> None:
    tool = ArgumentType.of({"type": "object", "properties": properties})
    text = json.dumps(arguments, ensure_ascii=ascii_only)
    at_once = read_in_pieces(ArgumentsReader(tool, STRING_TOKENS, unquotes=True), text, [])
    assert isinstance(json.loads(at_once), dict)
    assert read_in_pieces(ArgumentsReader(tool, STRING_TOKENS, unquotes=True), text, cuts) == at_once


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.lists(st.integers(0, 60)))
def test_invalid_json_gives_the_same_text_in_every_split(text: str, cuts: list[int]) -> None:
    tool = ArgumentType.of(PARAMETERS)
    at_once = read_in_pieces(ArgumentsReader(tool, STRING_TOKENS, unquotes=True), text, [])
    assert read_in_pieces(ArgumentsReader(tool, STRING_TOKENS, unquotes=True), text, cuts) == at_once
    if not set(text) & set("\"'<\\"):
        assert at_once == text


@settings(max_examples=300, deadline=None)
@given(PLAIN_STRINGS, st.lists(st.integers(0, 200)))
def test_strings_are_unchanged_where_strings_are_allowed(arguments: dict[str, str], cuts: list[int]) -> None:
    tool = ArgumentType.of({"type": "object", "properties": {name: {"type": "string"} for name in "ab"}})
    text = json.dumps(arguments)
    assert read_in_pieces(ArgumentsReader(tool, STRING_TOKENS, unquotes=True), text, cuts) == text
