"""Tool calls that Gemma writes as text: every notation, split anywhere, and text that must not become a call."""

import json
from typing import Any

import pytest

from langchain_workers_gemma.response.events import ToolCallDelta
from tests.helpers.text_parsing import PARIS, Reply, encode_calls, make_reader, parse_pieces


def parse_in_every_split(text: str, **options: Any) -> Reply:
    """Parse `text` whole, by character and in two pieces split anywhere, and check that the results are equal."""
    whole = parse_pieces([text], **options)
    assert parse_pieces(text, **options) == whole
    for cut in range(len(text) + 1):
        assert parse_pieces([text[:cut], text[cut:]], **options) == whole, cut
    return whole


NOTATIONS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    # Gemma 3, Python: alone, several lines, in a list; fenced and not
    "tool_code": ("```tool_code\nget_weather(city='Paris')\n```", [PARIS]),
    "tool_code list": ("```tool_code\n[get_weather(city='Paris'), f(x=1)]\n```", [PARIS, ("f", {"x": 1})]),
    "tool_code lines": ("```tool_code\nget_weather(city='Paris')\nf(x=1)\n```\n", [PARIS, ("f", {"x": 1})]),
    "tool_code comments": ("```tool_code\n# look\nf(x=1)  # it up\n```", [("f", {"x": 1})]),
    "tool_code semicolon": ("```tool_code\nf(x=1); f(x=2);\n```", [("f", {"x": 1}), ("f", {"x": 2})]),
    "tool_code spread": ("```tool_code\n[\n  f(\n    x=1,\n  ),\n]\n```", [("f", {"x": 1})]),
    "tool_code one line": ("```tool_code f(x=1)```", [("f", {"x": 1})]),
    "tool_code no end": ("```tool_code\nget_weather(city='Paris')\n", [PARIS]),
    "tool_code half an end": ("```tool_code\nget_weather(city='Paris')\n``", [PARIS]),
    "tool_code indented": ("  ```tool_code\r\n  f()\r\n  ```", [("f", {})]),
    "python": ("get_weather(city='Paris')", [PARIS]),
    "python list": ("[get_weather(city='Paris'), f(x=1)]", [PARIS, ("f", {"x": 1})]),
    "python lines": ("get_weather(city='Paris')\nf(x=1)\n", [PARIS, ("f", {"x": 1})]),
    "python on one line": ("f(x=1) f(x=2)", [("f", {"x": 1}), ("f", {"x": 2})]),
    "python spread": ("get_weather(\n    city='Paris',\n)\n", [PARIS]),
    "python hyphen": ("search-web(q='a')", [("search-web", {"q": "a"})]),
    "python keywords": ("f(**{'a b': 1}, c=2)", [("f", {"a b": 1, "c": 2})]),
    # Gemma 3, JSON
    "json": ('{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
    "json arguments": ('{"name": "get_weather", "arguments": {"city": "Paris"}}', [PARIS]),
    "json name last": ('{"arguments": {"city": "Paris"}, "name": "get_weather"}', [PARIS]),
    "json id": ('{"id": "1", "type": "function", "name": "f", "arguments": {}}', [("f", {})]),
    "json text": ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', [PARIS]),
    "json null": ('{"name": "f", "parameters": null}', [("f", {})]),
    "json list": ('[{"name": "f", "parameters": {}}, {"name": "f", "parameters": {"a": []}}]',
                  [("f", {}), ("f", {"a": []})]),
    "json spread": ('{\n  "name": "get_weather",\n  "parameters": {\n    "city": "Paris"\n  }\n}\n', [PARIS]),
    "json lines": ('{"name": "f", "parameters": {}}\n{"name": "f", "parameters": {}}', [("f", {}), ("f", {})]),
    "json openai": ('{"type": "function", "function": {"name": "f", "arguments": "{}"}}', [("f", {})]),
    "json fence": ('```json\n{"name": "get_weather", "parameters": {"city": "Paris"}}\n```', [PARIS]),
    "json fence list": ('```json\n[{"name": "f", "parameters": {}}]\n```', [("f", {})]),
    "json fence lines": ('```json\n{"name": "f", "parameters": {}}\n{"name": "f", "parameters": {}}\n```',
                         [("f", {}), ("f", {})]),
    "json fence no end": ('```json\n{"name": "f", "parameters": {}}', [("f", {})]),
    # Gemma 3, variations
    "print": ("```tool_code\nprint(get_weather(city='Paris'))\n```", [PARIS]),
    "print module": ("```tool_code\nprint(default_api.get_weather(city='Paris'))\n```", [PARIS]),
    "print bare": ("print(tools.get_weather(city='Paris'))", [PARIS]),
    "module": ("```tool_code\nmy.weather_api.get_weather(city='Paris')\n```", [PARIS]),
    "module json": ('{"name": "default_api.get_weather", "parameters": {"city": "Paris"}}', [PARIS]),
    "tool_call fence": ('```tool_call\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```', [PARIS]),
    "tool_call dict": ("```tool_call\n{'name': 'get_weather', 'arguments': {'city': 'Paris'}}\n```", [PARIS]),
    # FunctionGemma
    "functiongemma": (
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>", [PARIS]),
    "functiongemma result": (
        "<start_function_call>call:f{}<end_function_call><start_function_response>", [("f", {})]),
    # Gemma 4
    "gemma4": (
        '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,n:42,x:-1.5,ok:true,v:null,o:{k:<|"|>a<|"|>},l:[1,2]}<tool_call|>',
        [("get_weather", {"city": "Paris", "n": 42, "x": -1.5, "ok": True, "v": None, "o": {"k": "a"}, "l": [1, 2]})]),
    "gemma4 row": ("<|tool_call>call:f{a:1}<tool_call|><|tool_call>call:f{a:2}<tool_call|>\n",
                   [("f", {"a": 1}), ("f", {"a": 2})]),
    "gemma4 lines": ("<|tool_call>call:f{a:1}<tool_call|>\n\n<|tool_call>call:f{a:2}<tool_call|>",
                     [("f", {"a": 1}), ("f", {"a": 2})]),
    "gemma4 together": ("<|tool_call>call:f{a:1}call:f{a:2}<tool_call|>", [("f", {"a": 1}), ("f", {"a": 2})]),
    "gemma4 spread": ('<|tool_call>\ncall:f{\n  a: <|"|>b<|"|>,\n  c: [1, 2]\n}\n<tool_call|>',
                      [("f", {"a": "b", "c": [1, 2]})]),
    "gemma4 parentheses": ('<|tool_call>call:get_weather(city:<|"|>Paris<|"|>)<tool_call|>', [PARIS]),
    "gemma4 equals": ('<|tool_call>call:f(a="1, 2",b=[\'x\', "y"])<tool_call|>',
                      [("f", {"a": "1, 2", "b": ["x", "y"]})]),
    "gemma4 plain quotes": ('<|tool_call>call:get_weather{city:"Paris"}<tool_call|>', [PARIS]),
    "gemma4 quoted keys": ('<|tool_call>call:get_weather{"city":\'Paris\'}<tool_call|>', [PARIS]),
    "gemma4 token keys": ('<|tool_call>call:f{o:{<|"|>a b<|"|>:1}}<tool_call|>', [("f", {"o": {"a b": 1}})]),
    "gemma4 no quotes": ("<|tool_call>call:get_weather{city:Paris}<tool_call|>", [PARIS]),
    "gemma4 result": ("<|tool_call>call:f{}<tool_call|><|tool_response>", [("f", {})]),
    "gemma4 late result": ("<|tool_call>call:f{}<tool_call|>\n<|tool_response>\n", [("f", {})]),
    "gemma4 no end": ("<|tool_call>call:f{a:1}", [("f", {"a": 1})]),
    "gemma4 half an end": ("<|tool_call>call:f{a:1}<tool_c", [("f", {"a": 1})]),
    "gemma4 no end, result": ("<|tool_call>call:f{a:1}<|tool_response>", [("f", {"a": 1})]),
    "gemma4 no end, next": ("<|tool_call>call:f{a:1}<|tool_call>call:f{}<tool_call|>", [("f", {"a": 1}), ("f", {})]),
    "stripped": ("call:get_weather{city:Paris}", [PARIS]),
    "stripped comma": ("call:f{q:weather in Paris, France,n:3}", [("f", {"q": "weather in Paris, France", "n": 3})]),
    "stripped url": ("call:f{u:https://a.org/?b=c,v:None}", [("f", {"u": "https://a.org/?b=c", "v": None})]),
    "stripped code": ("call:f{c:if (a) { b() },d:{k:a b,l:[x,1]}}",
                      [("f", {"c": "if (a) { b() }", "d": {"k": "a b", "l": ["x", 1]}})]),
    "stripped empty": ("call:f{a:,b:1}", [("f", {"a": "", "b": 1})]),
    "stripped parentheses": ("call:get_weather(city:Paris)", [PARIS]),
    "stripped row": ("call:f{a:1}call:f{a:2}\ncall:f{a:3}", [("f", {"a": 1}), ("f", {"a": 2}), ("f", {"a": 3})]),
    "stripped opening": ("call:f{a:1}<tool_call|>", [("f", {"a": 1})]),
    "stripped result": ("call:f{a:1}<|tool_response>", [("f", {"a": 1})]),
}  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
def test_calls_are_parsed(notation: str) -> None:
    text, expected = NOTATIONS[notation]
    assert parse_in_every_split(text) == encode_calls(*expected)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_text_around_calls_is_kept(notation: str) -> None:
    text, expected = NOTATIONS[notation]
    assert parse_in_every_split(f"Let me *see*.\n\n{text}") == ["Let me *see*.", *encode_calls(*expected)]
    if "no end" not in notation and "half" not in notation:
        assert parse_in_every_split(f"\n{text}\n\nDone. \n") == [*encode_calls(*expected), "Done. \n"]
        assert parse_in_every_split(f"Now:\n{text}\n\nDone.") == ["Now:", *encode_calls(*expected), "\nDone."]


LITERALS = {
    "'it\\'s'": "it's",
    '"a\\tb\\u00e9\\x41\\101\\/\\q"': "a\tbéAA/\\q",
    '"\\ud83d\\ude00 \\U0001F600"': "😀 😀",
    '"""a "b"\nc"""': 'a "b"\nc',
    "'''d'''": "d",
    "r'\\d+'": "\\d+",
    "''": "",
    "'a\nb'": "a\nb",
    "'two \\\nlines'": "two lines",
    "-7": -7,
    "+1_000": 1000,
    "1e3": 1000.0,
    ".5": 0.5,
    "9" * 4300: int("9" * 4300),
    "(1, 'a')": [1, "a"],
    "(1,)": [1],
    "(1)": 1,
    "()": [],
    "[[], {}, {'a': [None, True, False, null, true, false]}]": [[], {}, {"a": [None, True, False, None, True, False]}],
    "[" * 64 + "]" * 64: json.loads("[" * 64 + "]" * 64),
}


@pytest.mark.parametrize("literal", LITERALS)
def test_literals_are_parsed(literal: str) -> None:
    assert parse_pieces([f"f(x={literal})"]) == encode_calls(("f", {"x": LITERALS[literal]}))
    assert parse_pieces(f"f(x={literal})") == encode_calls(("f", {"x": LITERALS[literal]}))


def test_a_lone_surrogate_in_arguments_can_be_encoded() -> None:
    [(_, arguments)] = parse_pieces(['{"name": "f", "parameters": {"x": "\\ud83d"}}'])
    assert arguments.encode() == b'{"x": "\\ud83d"}'


PLAIN_TEXTS = [
    "",
    "Hello",
    "  indented\n\n\ntext \n ",
    "You can use get_weather(city='Paris') for that",
    "get_weather(city='Paris') gives the weather.",
    "get_weather is a tool",
    "get_weather (the tool)",
    "get_weather\n",
    "f",
    "print",
    "print('get_weather')\n",
    "print()\n",
    "print()\nprint()",
    "print( )",
    "print(print(f()))\n",
    "call me",
    "call:\nf{}",
    "`get_weather(city='Paris')`",
    "Use `f(x=1)` or\n`<|tool_call>call:f{}<tool_call|>`",
    "``<|tool_call>call:f{}<tool_call|>`` is how",
    "the token <|tool_call> starts a call",
    "It writes <|tool_call>call:f{a:1}<tool_call|> to call f.",
    "<|tool_call> and <tool_call|>, <|tool_response> or so",
    '<|tool_call>call:other{a:<|"|>\ncall:f{a:1}\n<|"|>}<tool_call|>',
    "<|tool_call>call:f{a:1} calls f.",
    "See <|tool_call>call:f{a}<tool_call|> there",
    "<start_function_call>call:other{}<end_function_call>",
    "call:other{a:1}",
    "call:f{a:1} is it",
    "Then call:f{a:1}",
    "- f(x=1)\n> f(x=1)\n1. f(x=1)",
    "```python\nget_weather(city='Paris')\n```\n",
    "```\nget_weather(city='Paris')\n```",
    "```text\n<|tool_call>call:f{}<tool_call|>\n\nf(x=1)\n```",
    "````markdown\n```tool_code\nf()\n```\n````",
    '~~~ ```json {"name": "f", "parameters": {}}``` ~~~',
    "```tool_code\n```",
    "```tool_code\n",
    "```tool_code\nother(x=1)\n```",
    "```tool_code\nf(x=1)\nother(x=1)\n```",
    "```tool_code\n[f(x=1), other(x=1)]\n```",
    "```tool_code\nI will call f(x=1)\n```",
    "```tool_codex\nf()\n```",
    '```tool_output\n{"name": "f", "parameters": {}}\n```',
    '```json\n{"a": 1}\n```',
    "```json\n[]\n```",
    '```json5\n{"name": "f", "parameters": {}}\n```',
    '{"name": "Ann", "parameters": {}}',
    '{"name": "f"}',
    '{"name": "f", "parameters": {}, "description": "x"}',
    '{"name": "f", "parameters": {}, "arguments": {}}',
    '{"name": "f", "name": "f", "parameters": {}}',
    '{"name": "f", "parameters": [1]}',
    '{"name": "f", "parameters": "{"}',
    '{"name": "f", "parameters": "{} {}"}',
    '{"name": "f", "parameters": {}, "type": {}}',
    '{"name": f, "parameters": {}}',
    '{"parameters": {}}',
    '{"function": "f", "arguments": {}}',
    '{"function": {"name": "f", "arguments": {}}, "arguments": {}}',
    '{"function":' * 3,
    '{"x": {"name": "f", "parameters": {}}}',
    '{"name": "f", "parameters": {}}, and so on',
    'JSON: {"name": "f", "parameters": {}}',
    '[{"name": "f", "parameters": {}}, {"name": "other", "parameters": {}}]',
    '[\n  {"id": 1},\n  {"name": "f", "parameters": {}}\n]',
    "other(\n  f(x=1)\n)",
    "[\n  other(x=1),\n  f(x=1)\n]",
    "[1] and [x]",
    "[",
    "[]",
    "[f]",
    "[f(x=1) f(x=2)]",
    "f(1)",
    "f(x)",
    "f(x=y)",
    "f(x=1, x=2)",
    "f(x=1 y=2)",
    "f(**[1])",
    "f(x=g())",
    "f(x=1+1)",
    "f(x=1)(y=2)",
    "f(x=__import__('os').getcwd())",
    "f(x={1})",
    "f(x={1: 2})",
    "f(x={'a' 1})",
    "f(x=[1 2])",
    "f(x=b'a')",
    "f(x=f'{1}')",
    "f(x=NaN)",
    "f(x=Infinity)",
    "f(x=1e999)",
    "f(x=007)",
    "f(x=1j)",
    'call:f{a:[1 <|"|>}',
    'call:f{"a" 1}',
]


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_plain_text_stays_text(text: str) -> None:
    assert parse_in_every_split(text) == ([text] if text else [])
    assert parse_in_every_split(f"See:\n{text}") == [f"See:\n{text}"]


@pytest.mark.parametrize(
    "text",
    [
        '{"function":' * 1000,
        f"f(x={'9' * 4301})",
        f"f(x={'[' * 65}{']' * 65})",
        f"call:f{{a:{'9' * 4301}}}",
        f"call:f{{a:{'[' * 65}{']' * 65}}}",
        f"call:f{{a:{'{a:' * 65}1{'}' * 66}",
    ],
    ids=lambda text: text[:12],
)
def test_too_long_and_too_deep_values_stay_text(text: str) -> None:
    assert parse_pieces([text]) == parse_pieces(text) == [text]


def test_text_between_calls_is_kept() -> None:
    text = (
        "A\n\n<|tool_call>call:f{}<tool_call|> <|tool_call>call:g{}<tool_call|>\nB\n\nf(x=1)\n\n```tool_code\nf()\n```C"
    )
    assert parse_in_every_split(text) == [
        "A", ("f", "{}"), "\n\n<|tool_call>call:g{}<tool_call|>\nB", ("f", '{"x": 1}'), ("f", "{}"), "\n\nC",
    ]  # fmt: skip


def test_a_call_that_begins_inside_an_unfinished_call_is_parsed() -> None:
    text = "<|tool_call>call:f{a:<|tool_call>call:f{b:1}<tool_call|>"
    assert parse_in_every_split(text) == [("f", "{a:"), ("f", '{"b": 1}')]


def test_text_does_not_prevent_later_calls() -> None:
    for text in ("(not closed\n", "```js\n1\n```\n", "`stray\n", "[x\n\n", '{"a": [\n\n', "```json {x}``` it\n"):
        assert parse_in_every_split(f"{text}f(x=1)")[1:] == [("f", '{"x": 1}')], text


TRUNCATED: dict[str, Reply] = {
    '<|tool_call>call:f{path:<|"|>/home/me': [("f", '{path:<|"|>/home/me')],
    "<|tool_call>call:f{a:1": [("f", "{a:1")],
    "<|tool_call>call:get_weather": [("get_weather", "{")],
    "<|tool_call>call:f{a:1<tool_call": [("f", "{a:1<tool_call")],
    "<start_function_call>call:f{a:<escape>b<esc": [("f", "{a:<escape>b<esc")],
    "call:f{path:/home/me": [("f", "{path:/home/me")],
    "```tool_code\nf(path='/ho": [("f", "(path='/ho")],
    "```tool_code\nf(x=1)\nf(pa": [("f", '{"x": 1}'), ("f", "(pa")],
    "```tool_code\nf(x=tr": [("f", "(x=tr")],
    "```tool_code\nf(x=1": [("f", "(x=1")],
    "```tool_code\nf": [("f", "{")],
    "```tool_code\n[f(x=1), ": [("f", '{"x": 1}')],
    "f(path='/ho": [("f", "(path='/ho")],
    "[f(x=1), f(x=": [("f", '{"x": 1}'), ("f", "(x=")],
    "print(f(x=1)": [("f", '{"x": 1}')],
    '{"name": "f", "parameters": {"path": "/ho': [("f", '{"path": "/ho')],
    '{"name": "f", "parameters": {"a": 1}': [("f", '{"name": "f", "parameters": {"a": 1}')],
    '{"name": "f", "arguments": "{\\"a\\"': [("f", '"{\\"a\\"')],
    '{"name": "f", "arguments": null': [("f", '{"name": "f", "arguments": null')],
    '{"name": "f", "arg': [("f", '{"name": "f", "arg')],
    '```json\n[{"name": "f", "parameters": {}}, {"name": "f", "parameters": {"a': [("f", "{}"), ("f", '{"a')],
    '{"function": {"name": "f", "arguments": {}}': [("f", '{"function": {"name": "f", "arguments": {}}')],
    # not yet a call of a bound tool
    '{"name": "': ['{"name": "'],
    '{"parameters": {"a": 1}': ['{"parameters": {"a": 1}'],
    "f(x=1) f": ["f(x=1) f"],
    "[f": ["[f"],
}


@pytest.mark.parametrize("text", TRUNCATED)
def test_a_truncated_call_is_kept_and_is_not_valid_json(text: str) -> None:
    for before in ("", "Well.\n"):
        reply = parse_in_every_split(before + text)
        if isinstance(TRUNCATED[text][0], str):
            assert reply == [before + text]
            continue
        assert reply == [*([before.strip()] if before else []), *TRUNCATED[text]]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_truncated_call_never_becomes_another_valid_call(notation: str) -> None:
    text, expected = NOTATIONS[notation]
    if notation.startswith("stripped"):  # without quotes, a shorter string looks complete
        return
    whole = encode_calls(*expected)
    for end in range(len(text)):
        parsed_calls = [part for part in parse_pieces([text[:end]]) if not isinstance(part, str)]
        valid = [call for call in parsed_calls if call in whole]
        assert valid == whole[: len(valid)]
        for _, arguments in parsed_calls[len(valid) :]:
            with pytest.raises(json.JSONDecodeError):
                json.loads(arguments)


def test_positional_arguments_get_the_names_of_the_parameters() -> None:
    parameter_names = {"get_weather": ["city", "unit"]}
    text = "get_weather('Paris', unit='c')\nget_weather(None)"
    expected = encode_calls(("get_weather", {"city": "Paris", "unit": "c"}), ("get_weather", {"city": None}))
    assert parse_in_every_split(text, parameters=parameter_names) == expected
    for text_only in (
        "get_weather(1, 2, 3)",
        "get_weather(1, city=2)",
        "get_weather(unit=1, 2)",
        "get_weather(x)",
        "f('a')",
    ):
        assert parse_in_every_split(text_only, parameters=parameter_names) == [text_only]
    [call] = parse_pieces(["get_weather('Pa"], parameters=parameter_names)
    assert call == ("get_weather", "('Pa")


def test_known_parameters_distinguish_keys_from_words() -> None:
    text = "call:f{q:note, namely: this,n:1,new:2}"
    assert parse_pieces([text]) == encode_calls(("f", {"q": "note", "namely": "this", "n": 1, "new": 2}))
    expected = encode_calls(("f", {"q": "note, namely: this", "n": 1, "new": 2}))
    assert parse_in_every_split(text, parameters={"f": ["q", "n"]}) == expected


def test_first_index_is_the_index_of_the_first_call() -> None:
    reader = make_reader(["f"], first_index=3)
    assert reader.feed("f()\nf()\n") == [ToolCallDelta(index, None, "f", "{}", closed=True) for index in (3, 4)]
