"""What real vLLM servers sent for given texts of Gemma 4 (docs/wire.md section 10), read as the model meant it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from langchain_core.messages import AIMessage

from tests.helpers.asking import told
from tests.unit_tests.response.engine_recordings import (
    Recording,
    as_recorded,
    by_character,
    calls_of,
    random_cuts,
    recordings,
    replay,
)

Replay: TypeAlias = Callable[[Recording], AIMessage]

WAYS: dict[str, Replay] = {
    "whole": lambda recording: replay(recording, streamed=False),
    "whole, OpenAI's dialect": lambda recording: replay(recording, streamed=False, dialect="openai"),
    "stream": lambda recording: replay(recording, streamed=True),
    "stream, OpenAI's dialect": lambda recording: replay(recording, streamed=True, dialect="openai"),
    "stream by character": lambda recording: replay(recording, streamed=True, cut=by_character),
    "stream in random packets": lambda recording: replay(recording, streamed=True, cut=random_cuts(7)),
}

every_recording = pytest.mark.parametrize("recording", recordings(), ids=lambda recording: recording.id)
every_way = pytest.mark.parametrize("way", WAYS)


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


@every_way
@every_recording
def test_no_cut_call_runs(recording: Recording, way: str) -> None:
    if recording.name == "stopped_in_args":
        pytest.skip("no field shows a model that ended its own turn within a call")
    if recording.is_cut:
        assert without(calls_of(WAYS[way](recording)), recording.calls) == []


@every_recording
def test_streams_read_alike_however_they_arrive(recording: Recording) -> None:
    recorded = told(replay(recording, streamed=True, cut=as_recorded))
    for seed in range(3):
        assert told(replay(recording, streamed=True, cut=random_cuts(seed))) == recorded
    assert told(replay(recording, streamed=True, dialect="openai")) == recorded
