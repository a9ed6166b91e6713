"""What real vLLM servers sent for given texts of Gemma 4 (docs/wire.md section 10), read as the model meant it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.model_calls import summarize_message
from tests.unit_tests.response.engine_recordings import (
    Recording,
    get_tool_calls,
    load_recordings,
    replay_recording,
    split_at_random,
    split_by_character,
    split_by_event,
)

pytestmark = pytest.mark.lowest

Replay: TypeAlias = Callable[[Recording], AIMessage]

WAYS: dict[str, Replay] = {
    "whole": lambda recording: replay_recording(recording, streamed=False),
    "whole, OpenAI's dialect": lambda recording: replay_recording(recording, streamed=False, dialect="openai"),
    "stream": lambda recording: replay_recording(recording, streamed=True),
    "stream, OpenAI's dialect": lambda recording: replay_recording(recording, streamed=True, dialect="openai"),
    "stream by character": lambda recording: replay_recording(recording, streamed=True, cut=split_by_character),
    "stream in random packets": lambda recording: replay_recording(recording, streamed=True, cut=split_at_random(7)),
}

every_recording = pytest.mark.parametrize("recording", load_recordings(), ids=lambda recording: recording.id)
every_way = pytest.mark.parametrize("call_method", WAYS)


def without(calls: list[Any], allowed: list[Any]) -> list[Any]:
    """The calls beyond those that are allowed, each of which may be made once."""
    left = list(allowed)
    beyond = []
    for call in calls:
        if call in left:
            left.remove(call)
        else:
            beyond.append(call)
    return beyond


OLD, MIDDLE, NEW = "vllm-0.22.1", "vllm-0.32.0", "vllm-0.33.0"

# What an engine lost, no client can bring back: the name of a text, the engines, whole replies or streams, and why.
_LOST: list[tuple[str, tuple[str, ...], str, str]] = [
    ("unknown_tool", (MIDDLE, NEW), "both", "the values of a tool that was not sent arrive as strings"),
    ("unknown_then_known", (MIDDLE, NEW), "both", "the values of a tool that was not sent arrive as strings"),
    ("turn_plain", (MIDDLE, NEW), "whole", "tokens that the model spelled are dropped"),
    ("call_plain_prose", (OLD, MIDDLE, NEW), "whole", "a call that the model spelled in prose arrives as data"),
    ("call_plain_prose", (OLD,), "stream", "a call that the model spelled in prose arrives as data"),
    ("string_plain_markers", (MIDDLE, NEW), "whole", "tokens that the model spelled are dropped"),
    ("string_plain_markers", (OLD,), "stream", "the arguments end at a token that the model spelled"),
    ("cut_text_after_call", (OLD, MIDDLE, NEW), "whole", "text behind a call is lost, so the call may be cut"),
    ("cut_emoji", (OLD, MIDDLE, NEW), "whole", "text behind a call is lost, so the call may be cut"),
    ("stop_after_call", (OLD, MIDDLE, NEW), "whole", "text behind a call is lost, so the call may be cut"),
    ("cut_text_after_call", (NEW,), "stream", "text shares an event with the end of the call"),
    ("stop_after_call", (OLD, MIDDLE, NEW), "stream", "text shares an event with the end of the call, or is lost"),
    ("cut_second", (OLD,), "whole", "the call that was cut is lost, so the one before may be it"),
    ("thought_between", (OLD,), "whole", "the first call is lost"),
    ("thought_between", (NEW,), "stream", "the end of the first call is lost"),
    ("dup_key", (OLD, MIDDLE, NEW), "stream", "the arguments stop at the key that is repeated"),
    ("garbage_after_brace", (OLD,), "stream", "the end of the arguments is lost"),
    ("close_channel_only", (OLD, MIDDLE, NEW), "stream", "what was streamed as text turns out to be a thought"),
    ("stop_in_thought", (OLD,), "stream", "pieces of the opening token stand in the thought"),
    ("unhit_stop_thought_call", (OLD,), "stream", "the thought is lost but for its last letter"),
    ("stopped_in_args", (MIDDLE, NEW), "both", "no field shows a model that ended its own turn within a call"),
]
LOST = {(name, engine, call_method): why for name, engines, call_method, why in _LOST for engine in engines}


def skip_what_was_lost(recording: Recording, call_method: str) -> None:
    kind = "whole" if call_method.startswith("whole") else "stream"
    why = LOST.get((recording.name, recording.engine, kind)) or LOST.get((recording.name, recording.engine, "both"))
    if why:
        pytest.skip(f"lost by the engine: {why}")


def letters(text: str) -> str:
    """A text without its white space, at which engines trim."""
    return "".join(text.split())


@every_way
@every_recording
def test_a_reply_is_read_as_the_model_meant_it(recording: Recording, call_method: str) -> None:
    skip_what_was_lost(recording, call_method)
    message = WAYS[call_method](recording)
    if recording.is_cut:
        assert without(get_tool_calls(message), recording.calls) == []
    else:
        assert get_tool_calls(message) == recording.calls
    expected = recording.expected
    if expected.get("text", "<?>") != "<?>":
        assert letters(str(message.content)) == letters(expected["text"])
    if "reasoning" in expected:
        assert letters(message.additional_kwargs.get("reasoning_content", "")) == letters(expected["reasoning"])


def test_every_loss_is_one_of_a_recording() -> None:
    known = {(recording.name, recording.engine) for recording in load_recordings()}
    assert {(name, engine) for name, engine, _ in LOST} <= known


@every_way
@every_recording
def test_no_cut_call_runs(recording: Recording, call_method: str) -> None:
    if recording.name == "stopped_in_args":
        pytest.skip("no field shows a model that ended its own turn within a call")
    if recording.is_cut:
        assert without(get_tool_calls(WAYS[call_method](recording)), recording.calls) == []


@every_recording
def test_streams_read_alike_however_they_arrive(recording: Recording) -> None:
    recorded = summarize_message(replay_recording(recording, streamed=True, cut=split_by_event))
    for seed in range(3):
        assert summarize_message(replay_recording(recording, streamed=True, cut=split_at_random(seed))) == recorded
    assert summarize_message(replay_recording(recording, streamed=True, dialect="openai")) == recorded
