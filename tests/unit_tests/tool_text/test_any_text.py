"""Any text and any cut: nothing is read that was not written, and a stream reads as the whole reply does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.tool_text.stage import TextStage
from langchain_workers_gemma.tool_text.tokens import SPECIAL, ThinkingMarkup, get_markup
from langchain_workers_gemma.tool_text.tool_names import ToolNames
from tests.unit_tests.tool_text.reported import TOOLS, list_samples

_TOOLS = ToolNames.of(TOOLS)
_THINKING = get_markup("gemma-4").thinking
_MARKERS = (*SPECIAL, "<|channel>", "<channel|>", "thought")

_SCRAPS = [
    *("<|channel>", "<channel|>", "thought\n", "thought", "Thinking. ", "\n", " ", "<", "`", "```\n", "```tool_code\n"),
    *("<|tool_call>", "call:now{}", "<tool_call|>", "<|tool_response>", "<turn|>", "<eos>", "<|turn>", "user\n"),
    *("model\n", '<|"|>', "call:sh{command:", "ls", "}", "{", "(", ")", ",", ":", "call:", "weather(city='Rome')"),
    *('{"name": "now", ', '"args": {}}', "now()", "print(", "w = ", "<call>", "</call>", "Use ", ".", '"', "'"),
    *("C:\\new", "02134", "null", "[", "]", "zip:", "find"),
]
_REPLIES = [sample.reply for _, sample in list_samples()]
_TEXTS = st.lists(st.sampled_from(_SCRAPS), max_size=14).map("".join) | st.text(max_size=20)
_MIXED = _TEXTS | st.tuples(_TEXTS, st.sampled_from(_REPLIES), _TEXTS).map("".join)


def cut(text: str, at: Sequence[int]) -> list[str]:
    places = sorted({place for place in at if 0 < place < len(text)})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def read(events: Iterable[Event], stage: TextStage) -> list[tuple[Any, ...]]:
    """What a stage makes of events, neighbours of one kind merged."""
    out = [told for event in events for told in stage.feed(event)]
    merged: list[tuple[Any, ...]] = []
    for event in [*out, *stage.flush()]:
        if isinstance(event, Text | Reasoning):
            kind = type(event).__name__
            assert event.text
            if merged and merged[-1][0] == kind:
                merged[-1] = (kind, merged[-1][1] + event.text)
            else:
                merged.append((kind, event.text))
        elif isinstance(event, ToolCallDelta):
            merged.append(("call", event.index, event.name, event.arguments, event.closed))
    return merged


def stage(*, tools: bool = True, thinking: bool = True) -> TextStage:
    return TextStage(_TOOLS if tools else ToolNames({}), _THINKING if thinking else None)


SEGMENTS = st.lists(st.tuples(st.sampled_from([Text, Reasoning]), _MIXED), max_size=3)


@given(SEGMENTS, st.booleans(), st.booleans(), st.data())
@settings(max_examples=500, deadline=None)
def test_a_stream_reads_as_the_whole_reply(
    segments: list[tuple[type[Text | Reasoning], str]], tools: bool, thinking: bool, data: st.DataObject
) -> None:
    segments = [(kind, text) for kind, text in segments if text]
    whole = read((kind(text) for kind, text in segments), stage(tools=tools, thinking=thinking))
    for how in ("by character", "in pieces"):
        pieces: list[Event] = []
        for kind, text in segments:
            places = st.lists(st.integers(0, len(text)), max_size=4)
            pieces += map(kind, cut(text, range(len(text)) if how == "by character" else data.draw(places)))
        assert read(pieces, stage(tools=tools, thinking=thinking)) == whole


@given(_MIXED, st.booleans(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_nothing_is_read_that_was_not_written(text: str, tools: bool, thinking: bool) -> None:
    told = read([Text(text)], stage(tools=tools, thinking=thinking))
    said = [part for part in told if part[0] != "call"]
    if not any(marker in text for marker in _MARKERS) and len(said) == len(told):
        assert "".join(part[1] for part in said) == text
    for kind in ("Text", "Reasoning"):  # white space before a thought may arrive behind it
        rest = iter(text)
        assert all(character in rest for part in said if part[0] == kind for character in part[1])
    for _, _, name, arguments, _ in (part for part in told if part[0] == "call"):
        assert name in text, told
        try:
            values = json.loads(arguments)
        except ValueError:
            continue  # it is invalid, and holds the written text
        assert all(str(key) in text for key in values) or name in ("weather", "now", "sh")  # arguments without keywords


_FENCED = st.lists(st.sampled_from([scrap for scrap in _SCRAPS if "`" not in scrap]), max_size=12).map("".join)


@given(_FENCED, st.sampled_from(["python", "", "text", "html"]))
def test_a_fence_is_never_edited(code: str, language: str) -> None:
    text = f"See:\n```{language}\n{code}\n```\nDone."
    assert read([Text(text)], stage()) == [("Text", text)]
    assert read(map(Text, text), stage()) == [("Text", text)]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30) | _TEXTS)
@example('"args": {}}</call><|tool_response>')
def test_a_quoted_argument_is_never_edited(text: str) -> None:
    written = text.replace('<|"|>', "")
    reply = f'<|tool_call>call:write{{path:<|"|>a<|"|>,content:<|"|>{written}<|"|>}}<tool_call|>'
    expected = json.dumps({"path": "a", "content": written}, ensure_ascii=False)
    assert read([Text(reply)], stage()) == [("call", -1, "write", expected, True)]


def test_a_next_generation_is_an_entry_of_data() -> None:
    thinking = ThinkingMarkup("<think>", "</think>")
    events = [Text("<think>\nhm</think>Yes.<turn|>")]
    assert read(events, TextStage(_TOOLS, thinking)) == [("Reasoning", "hm"), ("Text", "Yes.")]
