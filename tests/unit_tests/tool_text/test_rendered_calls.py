"""Any arguments, written in each notation, are parsed back; any text is parsed the same in every split."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.tool_text.tokens import SPECIAL
from tests.helpers.call_writer import Notation, render_call, render_calls
from tests.helpers.text_parsing import PARIS, TOOLS, encode_calls, parse_pieces

TOKENS = [
    "<|tool_call>",
    "<tool_call|>",
    '<|"|>',
    "<escape>",
    "```",
    "\n```\n",
    "call:f{",
    "'",
    '"',
    "\\",
    "\n",
    "<",
    "|>",
]
STRINGS = st.text() | st.lists(st.sampled_from(TOKENS) | st.characters(codec="utf-8"), max_size=8).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(STRINGS, children, max_size=4),
    max_leaves=12,
)
ARGUMENTS = st.dictionaries(STRINGS | st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4)
FORMS: dict[str, tuple[Notation, str]] = {
    "json": ("json", "{}"),
    "json fence": ("json", "```json\n{}\n```"),
    "tool_call fence": ("json", "```tool_call\n{}\n```"),
    "python": ("python", "{}"),
    "python list": ("python", "[{}]"),
    "tool_code fence": ("python", "```tool_code\n{}\n```"),
    "print": ("python", "```tool_code\nprint({})\n```"),
    "functiongemma": ("functiongemma", "{}"),
    "gemma4": ("gemma-4", "{}"),
}


def render_in_form(form: str, name: str, arguments: dict[str, Any]) -> str:
    notation, around = FORMS[form]
    return around.replace("{}", render_call(name, arguments, notation))


@pytest.mark.parametrize("form", FORMS)
@given(arguments=ARGUMENTS, data=st.data())
@settings(max_examples=40, deadline=None)
def test_rendered_calls_are_parsed_back(form: str, arguments: dict[str, Any], data: st.DataObject) -> None:
    text = render_in_form(form, "search-web", arguments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for reply in (parse_pieces([text]), parse_pieces(pieces)):
        [(name, read_arguments)] = reply
        assert name == "search-web"
        read_back = json.loads(read_arguments)
        assert read_back == arguments
        assert repr(sorted(read_back.items())) == repr(sorted(arguments.items()))  # 1 is not 1.0 or True


# Without its special tokens, the notation has no quotes, so strings must not contain separators of values.
WORDS = st.from_regex(r"[A-Z][a-z]*( [a-z]+){0,3}", fullmatch=True).filter(
    lambda words: words not in ("True", "False", "None")
)
PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), PLAIN_VALUES, max_size=4))
@settings(deadline=None)
def test_rendered_calls_are_parsed_back_without_special_tokens(arguments: dict[str, Any]) -> None:
    text = render_call("f", arguments, "gemma-4")
    for token in ("<|tool_call>", "<tool_call|>", '<|"|>'):
        text = text.replace(token, "")
    assert parse_pieces([text]) == encode_calls(("f", arguments))


@given(st.lists(st.tuples(st.sampled_from(TOOLS), ARGUMENTS), max_size=3))
@settings(max_examples=40, deadline=None)
def test_rendered_lists_of_calls_are_parsed_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert [(name, json.loads(arguments)) for name, arguments in parse_pieces([render_calls(calls)])] == calls


def test_lists_of_calls_are_rendered_as_json() -> None:
    assert render_calls([]) == ""
    assert render_calls([PARIS]) == '{"name": "get_weather", "parameters": {"city": "Paris"}}'
    assert render_calls([PARIS, ("f", {})]) == f'[{render_calls([PARIS])}, {{"name": "f", "parameters": {{}}}}]'


MARKERS = [*SPECIAL, "<|channel>", "<channel|>", "thought\n"]
FRAGMENTS = [
    *TOKENS, "`", "f", "f(", "get_weather(city=", "[", "]", "{", "}", "(", ")", ",", ":", "=", "1", "x", " ", "a:",
    "```json\n", "```tool_code\n", '{"name": "f", ', '"parameters": {', "print(", "<|tool_response>",
    "<start_function_call>call:f{", "f(x=1)\n", "call:f{a:1}", "<|tool_call>call:f{a:1}<tool_call|>",
]  # fmt: skip
TEXTS = st.text() | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)


@given(TEXTS, st.data())
@settings(max_examples=600, deadline=None)
def test_any_text_is_parsed_the_same_in_every_split(text: str, data: st.DataObject) -> None:
    whole = parse_pieces([text])
    assert parse_pieces(text) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    assert parse_pieces([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == whole
    plain_text = "".join(part for part in whole if isinstance(part, str))
    if len(plain_text) == sum(map(len, whole)) and not any(token in text for token in MARKERS):
        assert plain_text == text
    rest = iter(text)
    assert all(character in rest for character in plain_text)  # nothing is added or reordered
    for _, arguments in (part for part in whole if not isinstance(part, str)):
        try:
            assert isinstance(json.loads(arguments), dict)
        except json.JSONDecodeError:
            assert arguments in text or arguments == "{"
