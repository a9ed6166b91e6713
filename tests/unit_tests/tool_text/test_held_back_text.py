"""The text of a stream that is held back because it could become a call, and when it is emitted."""

import pytest

from langchain_workers_gemma.response.events import Text, ToolCallDelta
from tests.helpers.text_parsing import make_reader


def test_without_tools_only_possible_special_tokens_are_held_back() -> None:
    reader = make_reader([])
    text = "A\n```tool_code f( <|tool_call>call:{[ \n\n"
    emitted = [reader.feed(character) for character in text]
    assert [event for events in emitted for event in events] == [
        *map(Text, text[: text.index("<")]), Text("<|tool_c"), *map(Text, text[text.index("all>") :])
    ]  # fmt: skip
    assert reader.flush() == []


HELD_BACK = {
    "Hello": "",
    "Hello ": "",
    "Hello\n": "\n",
    "Hello\n\n  ": "\n\n  ",
    "x <": "<",
    "x <|to": "<|to",
    "x <|tx": "",
    "x `": "`",
    "x ``": "``",
    "x ```": "```",
    "x ```p": "",
    "x <|tool_call>call:get": "<|tool_call>call:get",
    "x <|tool_call>c?": "",
    "get_w": "get_w",
    "get_x": "",
    "get_weather ": "",
    "get_weather(": "get_weather(",
    "get_weather(the ": "get_weather(the ",
    "get_weather(the t": "",
    "tools.g": "tools.g",
    "tools.x": "",
    "call:f": "call:f",
    "call:x": "call:x",
    "call:x ": "",
    "call: ": "call: ",
    "call: x ": "",
    "[": "[",
    "[ ": "[ ",
    "[1": "",
    "{": "{",
    '{"na': '{"na',
    '{"no': "",
    '{"name": "f': '{"name": "f',
    '{"name": "b': '{"name": "b',
    '{"name": "b"': "",
    '{"name": "f"}': "",
    "f(x=1) ": "f(x=1) ",
    "f(x=1) y": "",
    "```json\n{": "```json\n{",
    '```json\n{"x': "",
    "```tool_code\nfor ": "```tool_code\nfor ",
    "```tool_code\nfor x": "",
    "```python\nf(x=1)": "",
}


@pytest.mark.parametrize("text", HELD_BACK)
def test_only_text_that_could_become_a_call_is_held_back(text: str) -> None:
    for pieces in ([text], text):
        reader = make_reader()
        plain_text = "".join(event.text for piece in pieces for event in reader.feed(piece) if isinstance(event, Text))
        assert plain_text == text.removesuffix(HELD_BACK[text])


def test_calls_are_emitted_as_soon_as_they_are_complete() -> None:
    reader = make_reader()
    assert reader.feed("<|tool_call>call:f{}<tool_call|") == []
    assert reader.feed(">") == [ToolCallDelta(0, None, "f", "{}", closed=True)]
    assert reader.feed("\n```tool_code\nf()\n``") == []
    assert reader.feed("`") == [ToolCallDelta(1, None, "f", "{}", closed=True)]
    assert reader.feed("\n[f()]") == []
    assert reader.feed("\n") == [ToolCallDelta(2, None, "f", "{}", closed=True)]
    assert reader.flush() == []


def test_text_can_continue_after_a_flush() -> None:
    reader = make_reader()
    assert reader.feed("One moment.\n\n") + reader.flush() == [Text("One moment."), Text("\n\n")]
    assert reader.flush() == []
    assert reader.feed("Then\n```tool_code\nf(x=") == [Text("Then")]
    assert reader.flush() == [ToolCallDelta(0, None, "f", "(x=")]
    assert reader.feed("1)\nf(x=1)\n") == [Text("1)"), ToolCallDelta(1, None, "f", '{"x": 1}', closed=True)]
