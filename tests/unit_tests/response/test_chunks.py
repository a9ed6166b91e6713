"""Messages are made without validation: they must be what validation would have made, in later versions of core too."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from langchain_workers_gemma.response import builders as chunks_module
from langchain_workers_gemma.response.construct import Constructor
from tests.helpers.mock_service import MockService, make_delta, make_usage
from tests.helpers.model_calls import GEMMA_4, STREAM_METHODS, call_model, collect_chunks, make_model, merge_chunks

pytestmark = pytest.mark.lowest

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


@pytest.fixture
def streaming(service: MockService) -> MockService:
    service.respond_with_events(
        make_delta(reasoning_content="Hm."),
        make_delta(content="Hello"),
        make_delta(tool_calls=[CALL]),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": make_usage(3, 2)},
        "[DONE]",
    )
    return service


@pytest.mark.parametrize("output_version", ["v0", "v1"])
@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_chunk_is_what_validation_makes(streaming: MockService, call_method: str, output_version: str) -> None:
    told = collect_chunks(make_model(model=GEMMA_4, output_version=output_version), call_method)
    assert len(streaming.requests) == 1
    assert len(told) >= 4
    for chunk in told:
        assert vars(chunk).keys() >= AIMessageChunk.model_fields.keys()
        validated = AIMessageChunk.model_validate(chunk.model_dump())
        if chunk.tool_call_chunks:  # a piece is no call; core reads each as one, once more on every merge
            validated.tool_calls, validated.invalid_tool_calls = [], []
        assert validated == chunk
        assert pickle.loads(pickle.dumps(chunk)) == copy.deepcopy(chunk) == chunk.model_copy() == chunk


@pytest.mark.parametrize("output_version", ["v0", "v1"])
@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_message_is_what_validation_makes(service: MockService, call_method: str, output_version: str) -> None:
    broken = {**CALL, "id": "call_2", "function": {"name": "get_weather", "arguments": "{"}}
    said = {"content": "Hello", "reasoning_content": "Hm.", "tool_calls": [CALL, broken]}
    service.respond_with_bodies(
        {"choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}], "usage": make_usage(3, 2)}
    )
    message = call_model(make_model(model=GEMMA_4, output_version=output_version), call_method)
    assert vars(message).keys() >= AIMessage.model_fields.keys()
    assert (len(message.tool_calls), len(message.invalid_tool_calls)) == (1, 1)
    assert AIMessage.model_validate(message.model_dump()) == message
    assert AIMessage.model_validate_json(message.model_dump_json()).model_dump_json() == message.model_dump_json()
    assert messages_from_dict([message_to_dict(message)]) == [message]
    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message.model_copy() == message
    message.seen = True  # type: ignore[attr-defined]


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_change_of_one_chunk_is_not_one_of_another(streaming: MockService, call_method: str) -> None:
    told = collect_chunks(make_model(model=GEMMA_4), call_method)
    before = [chunk.model_dump() for chunk in told[1:]]
    fields = set(told[1].model_fields_set)
    told[0].name = "changed"
    told[0].additional_kwargs["new"] = 1
    told[0].seen = True  # type: ignore[attr-defined]  # core's messages take any attribute
    assert [chunk.model_dump() for chunk in told[1:]] == before
    assert told[1].model_fields_set == fields
    assert len(streaming.requests) == 1


class LaterChunk(AIMessageChunk):
    """As core may have it one day."""

    provenance: list[str] = Field(default_factory=list)
    confidence: float = 1.0


class LaterGeneration(ChatGenerationChunk):
    """As core may have it one day."""

    rank: int = 0


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_fields_that_a_later_core_may_have(
    streaming: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_chunk = Constructor(LaterChunk, *chunks_module._CHUNK_FIELDS)
    later_generation = Constructor(LaterGeneration, *chunks_module._GENERATION_FIELDS)
    monkeypatch.setattr(chunks_module, "_CHUNK", later_chunk)
    monkeypatch.setattr(chunks_module, "_GENERATION_CHUNK", later_generation)
    told = collect_chunks(make_model(model=GEMMA_4), call_method)
    assert all(isinstance(chunk, LaterChunk) for chunk in told)
    assert all((chunk.provenance, chunk.confidence) == ([], 1.0) for chunk in told if isinstance(chunk, LaterChunk))
    assert merge_chunks(told).text == "Hello"
    assert len({id(chunk.provenance) for chunk in told if isinstance(chunk, LaterChunk)}) == len(told)
    assert len(streaming.requests) == 1
