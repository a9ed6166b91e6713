"""Replies of real vLLM servers for given texts of Gemma 4 (docs/wire.md section 10) are parsed correctly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.model_calls import get_tool_calls, summarize_message
from tests.unit_tests.response.engine_recordings import (
    Recording,
    load_recordings,
    replay_recording,
    split_at_random,
    split_by_character,
    split_by_event,
)

pytestmark = pytest.mark.lowest

Replay: TypeAlias = Callable[[Recording], AIMessage]

REPLAYS: dict[str, Replay] = {
    "whole": lambda recording: replay_recording(recording, streamed=False),
    "whole, OpenAI's dialect": lambda recording: replay_recording(recording, streamed=False, dialect="openai"),
    "stream": lambda recording: replay_recording(recording, streamed=True),
    "stream, OpenAI's dialect": lambda recording: replay_recording(recording, streamed=True, dialect="openai"),
    "stream by character": lambda recording: replay_recording(recording, streamed=True, split=split_by_character),
    "stream in random packets": lambda recording: replay_recording(recording, streamed=True, split=split_at_random(7)),
}

for_each_recording = pytest.mark.parametrize("recording", load_recordings(), ids=lambda recording: recording.id)
for_each_replay = pytest.mark.parametrize("replay", REPLAYS)


def remove_allowed(calls: list[Any], allowed: list[Any]) -> list[Any]:
    """Return the calls that are not allowed. Each allowed call may be made once."""
    remaining = list(allowed)
    not_allowed = []
    for call in calls:
        if call in remaining:
            remaining.remove(call)
        else:
            not_allowed.append(call)
    return not_allowed


OLD, MIDDLE, NEW = "vllm-0.22.1", "vllm-0.32.0", "vllm-0.33.0"

# Content that an engine lost and no client can restore: the name of the text, the engines, whole or stream, the reason.
_LOST: list[tuple[str, tuple[str, ...], str, str]] = [
    ("unknown_tool", (MIDDLE, NEW), "both", "the values of a tool that was not sent arrive as strings"),
    ("unknown_then_known", (MIDDLE, NEW), "both", "the values of a tool that was not sent arrive as strings"),
    ("turn_plain", (MIDDLE, NEW), "whole", "tokens that the model spelled are dropped"),
    ("call_plain_prose", (OLD, MIDDLE, NEW), "whole", "a call that the model spelled in text arrives as data"),
    ("call_plain_prose", (OLD,), "stream", "a call that the model spelled in text arrives as data"),
    ("string_plain_markers", (MIDDLE, NEW), "whole", "tokens that the model spelled are dropped"),
    ("string_plain_markers", (OLD,), "stream", "the arguments end at a token that the model spelled"),
    ("cut_text_after_call", (OLD, MIDDLE, NEW), "whole", "text after a call is lost, so the call may be truncated"),
    ("cut_emoji", (OLD, MIDDLE, NEW), "whole", "text after a call is lost, so the call may be truncated"),
    ("stop_after_call", (OLD, MIDDLE, NEW), "whole", "text after a call is lost, so the call may be truncated"),
    ("cut_text_after_call", (NEW,), "stream", "text shares an event with the end of the call"),
    ("stop_after_call", (OLD, MIDDLE, NEW), "stream", "text shares an event with the end of the call, or is lost"),
    ("cut_second", (OLD,), "whole", "the truncated call is lost, so the one before it may be truncated"),
    ("thought_between", (OLD,), "whole", "the first call is lost"),
    ("thought_between", (NEW,), "stream", "the end of the first call is lost"),
    ("dup_key", (OLD, MIDDLE, NEW), "stream", "the arguments stop at the key that is repeated"),
    ("garbage_after_brace", (OLD,), "stream", "the end of the arguments is lost"),
    ("close_channel_only", (OLD, MIDDLE, NEW), "stream", "text that was already streamed is in fact reasoning"),
    ("stop_in_thought", (OLD,), "stream", "parts of the opening token are in the reasoning"),
    ("unhit_stop_thought_call", (OLD,), "stream", "the reasoning is lost except for its last letter"),
    ("stopped_in_args", (MIDDLE, NEW), "both", "no field shows a model that ended its own turn within a call"),
]
LOST = {(name, engine, replay): reason for name, engines, replay, reason in _LOST for engine in engines}


def skip_lost_content(recording: Recording, replay: str) -> None:
    kind = "whole" if replay.startswith("whole") else "stream"
    reason = LOST.get((recording.name, recording.engine, kind)) or LOST.get((recording.name, recording.engine, "both"))
    if reason:
        pytest.skip(f"lost by the engine: {reason}")


def remove_white_space(text: str) -> str:
    """Return a text without white space, because engines trim it."""
    return "".join(text.split())


@for_each_replay
@for_each_recording
def test_a_recorded_reply_is_parsed_correctly(recording: Recording, replay: str) -> None:
    skip_lost_content(recording, replay)
    message = REPLAYS[replay](recording)
    if recording.is_truncated:
        assert remove_allowed(get_tool_calls(message), recording.calls) == []
    else:
        assert get_tool_calls(message) == recording.calls
    expected = recording.expected
    if expected.get("text", "<?>") != "<?>":
        assert remove_white_space(str(message.content)) == remove_white_space(expected["text"])
    if "reasoning" in expected:
        assert remove_white_space(message.additional_kwargs.get("reasoning_content", "")) == remove_white_space(
            expected["reasoning"]
        )


def test_every_loss_names_a_recording() -> None:
    known = {(recording.name, recording.engine) for recording in load_recordings()}
    assert {(name, engine) for name, engine, _ in LOST} <= known


@for_each_replay
@for_each_recording
def test_a_truncated_call_is_never_valid(recording: Recording, replay: str) -> None:
    if recording.name == "stopped_in_args":
        pytest.skip("no field shows a model that ended its own turn within a call")
    if recording.is_truncated:
        assert remove_allowed(get_tool_calls(REPLAYS[replay](recording)), recording.calls) == []


@for_each_recording
def test_recorded_streams_give_the_same_message_in_every_split(recording: Recording) -> None:
    recorded = summarize_message(replay_recording(recording, streamed=True, split=split_by_event))
    for seed in range(3):
        assert summarize_message(replay_recording(recording, streamed=True, split=split_at_random(seed))) == recorded
    assert summarize_message(replay_recording(recording, streamed=True, dialect="openai")) == recorded
