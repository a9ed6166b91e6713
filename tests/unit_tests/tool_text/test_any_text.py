"""Any text in any split: only what was written is parsed, and a stream gives the same result as the whole reply."""

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
from tests.unit_tests.tool_text.reported import iterate_samples
from tests.unit_tests.tool_text.sample_calls import TOOLS

_TOOLS = ToolNames.of(TOOLS)
_THINKING = get_markup("gemma-4").thinking
_MARKERS = (*SPECIAL, "<|channel>", "<channel|>", "thought")

_FRAGMENTS = [
    *("<|channel>", "<channel|>", "thought\n", "thought", "Thinking. ", "\n", " ", "<", "`", "```\n", "```tool_code\n"),
    *("<|tool_call>", "call:now{}", "<tool_call|>", "<|tool_response>", "<turn|>", "<eos>", "<|turn>", "user\n"),
    *("model\n", '<|"|>', "call:sh{command:", "ls", "}", "{", "(", ")", ",", ":", "call:", "weather(city='Rome')"),
    *('{"name": "now", ', '"args": {}}', "now()", "print(", "w = ", "<call>", "</call>", "Use ", ".", '"', "'"),
    *("C:\\new", "02134", "null", "[", "]", "zip:", "find", "[TOOL_REQUEST]", "[END_TOOL_REQUEST]", "<tool_code>"),
    *("~~~", "~", 'r#"', '"#', '<|"', '"|>', "<|tool_call|>", '{"tool": "now", '),
]
_REPLIES = [sample.reply for _, sample in iterate_samples()]
_TEXTS = st.lists(st.sampled_from(_FRAGMENTS), max_size=14).map("".join) | st.text(max_size=20)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """Draw a reported reply of which pieces are missing, or have others in their place."""
    text = draw(st.sampled_from([reply for reply in _REPLIES if len(reply) < 2_000]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        removed = draw(st.sampled_from([0, 0, 1, 2, 6]))
        text = text[:start] + draw(st.sampled_from(["", *_FRAGMENTS])) + text[start + removed :]
    return text


_MIXED = _TEXTS | _damaged() | st.tuples(_TEXTS, st.sampled_from(_REPLIES), _TEXTS).map("".join)


def split_at(text: str, places: Sequence[int]) -> list[str]:
    """Split a text at these places."""
    places = sorted({place for place in places if 0 < place < len(text)})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def run_stage(events: Iterable[Event], stage: TextStage) -> list[tuple[Any, ...]]:
    """Return the output of a stage for events, with adjacent events of one kind merged."""
    out = [result for event in events for result in stage.feed(event)]
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


def make_stage(*, tools: bool = True, thinking: bool = True) -> TextStage:
    """Return a stage with or without tools and thinking."""
    return TextStage(_TOOLS if tools else ToolNames({}), _THINKING if thinking else None)


SEGMENTS = st.lists(st.tuples(st.sampled_from([Text, Reasoning]), _MIXED), max_size=3)


@given(SEGMENTS, st.booleans(), st.booleans(), st.data())
@settings(max_examples=500, deadline=None)
def test_a_stream_gives_the_same_result_as_the_whole_reply(
    segments: list[tuple[type[Text | Reasoning], str]], tools: bool, thinking: bool, data: st.DataObject
) -> None:
    segments = [(kind, text) for kind, text in segments if text]
    whole = run_stage((kind(text) for kind, text in segments), make_stage(tools=tools, thinking=thinking))
    for split in ("by character", "in pieces"):
        pieces: list[Event] = []
        for kind, text in segments:
            places = st.lists(st.integers(0, len(text)), max_size=4)
            pieces += map(kind, split_at(text, range(len(text)) if split == "by character" else data.draw(places)))
        assert run_stage(pieces, make_stage(tools=tools, thinking=thinking)) == whole


@given(_MIXED, st.booleans(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_only_written_text_is_parsed(text: str, tools: bool, thinking: bool) -> None:
    results = run_stage([Text(text)], make_stage(tools=tools, thinking=thinking))
    texts = [part for part in results if part[0] != "call"]
    if not any(marker in text for marker in _MARKERS) and len(texts) == len(results):
        assert "".join(part[1] for part in texts) == text
    for kind in ("Text", "Reasoning"):  # white space before reasoning may be emitted after it
        rest = iter(text)
        assert all(character in rest for part in texts if part[0] == kind for character in part[1])
    for _, _, name, arguments, _ in (part for part in results if part[0] == "call"):
        assert name in text, results
        try:
            values = json.loads(arguments)
        except ValueError:
            continue  # an invalid call keeps the written text
        assert all(str(key) in text for key in values) or name in ("weather", "now", "sh")  # arguments without keywords


_FENCED = st.lists(
    st.sampled_from([scrap for scrap in _FRAGMENTS if "`" not in scrap and "~" not in scrap]), max_size=12
).map("".join)


@given(_FENCED, st.sampled_from(["python", "", "text", "html"]), st.sampled_from(["```", "~~~", "~~~~~"]))
def test_code_in_a_fence_is_unchanged(code: str, language: str, fence: str) -> None:
    text = f"See:\n{fence}{language}\n{code}\n{fence}\nDone."
    assert run_stage([Text(text)], make_stage()) == [("Text", text)]
    assert run_stage(map(Text, text), make_stage()) == [("Text", text)]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30) | _TEXTS)
@example('"args": {}}</call><|tool_response>')
def test_a_quoted_argument_is_unchanged(text: str) -> None:
    written = text.replace('<|"|>', "")
    reply = f'<|tool_call>call:write{{path:<|"|>a<|"|>,content:<|"|>{written}<|"|>}}<tool_call|>'
    expected = json.dumps({"path": "a", "content": written}, ensure_ascii=False)
    assert run_stage([Text(reply)], make_stage()) == [("call", -1, "write", expected, True)]


def test_another_thinking_markup_needs_only_data() -> None:
    thinking = ThinkingMarkup("<think>", "</think>")
    events = [Text("<think>\nhm</think>Yes.<turn|>")]
    assert run_stage(events, TextStage(_TOOLS, thinking)) == [("Reasoning", "hm"), ("Text", "Yes.")]
