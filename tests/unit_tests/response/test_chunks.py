"""Messages are built without validation, and equal validated ones, also with later versions of langchain-core."""

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
def streaming_service(service: MockService) -> MockService:
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
def test_a_chunk_equals_a_validated_chunk(
    streaming_service: MockService, call_method: str, output_version: str
) -> None:
    chunks = collect_chunks(make_model(model=GEMMA_4, output_version=output_version), call_method)
    assert len(streaming_service.requests) == 1
    assert len(chunks) >= 4
    for chunk in chunks:
        assert vars(chunk).keys() >= AIMessageChunk.model_fields.keys()
        validated = AIMessageChunk.model_validate(chunk.model_dump())
        if chunk.tool_call_chunks:  # validation parses each piece of a call as a call
            validated.tool_calls, validated.invalid_tool_calls = [], []
        assert validated == chunk
        assert pickle.loads(pickle.dumps(chunk)) == copy.deepcopy(chunk) == chunk.model_copy() == chunk


@pytest.mark.parametrize("output_version", ["v0", "v1"])
@pytest.mark.parametrize("call_method", ["invoke", "ainvoke"])
def test_a_message_equals_a_validated_message(service: MockService, call_method: str, output_version: str) -> None:
    truncated = {**CALL, "id": "call_2", "function": {"name": "get_weather", "arguments": "{"}}
    fields_sent = {"content": "Hello", "reasoning_content": "Hm.", "tool_calls": [CALL, truncated]}
    service.respond_with_bodies(
        {"choices": [{"index": 0, "message": fields_sent, "finish_reason": "tool_calls"}], "usage": make_usage(3, 2)}
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
def test_changing_one_chunk_does_not_change_another(streaming_service: MockService, call_method: str) -> None:
    chunks = collect_chunks(make_model(model=GEMMA_4), call_method)
    before = [chunk.model_dump() for chunk in chunks[1:]]
    fields = set(chunks[1].model_fields_set)
    chunks[0].name = "changed"
    chunks[0].additional_kwargs["new"] = 1
    chunks[0].seen = True  # type: ignore[attr-defined]  # messages of langchain-core accept any attribute
    assert [chunk.model_dump() for chunk in chunks[1:]] == before
    assert chunks[1].model_fields_set == fields
    assert len(streaming_service.requests) == 1


class LaterChunk(AIMessageChunk):
    """A chunk class with fields that a later langchain-core may have."""

    provenance: list[str] = Field(default_factory=list)
    confidence: float = 1.0


class LaterGeneration(ChatGenerationChunk):
    """A chunk class with fields that a later langchain-core may have."""

    rank: int = 0


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_fields_of_a_later_core_get_their_defaults(
    streaming_service: MockService, call_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_chunk = Constructor(LaterChunk, *chunks_module._CHUNK_FIELDS)
    later_generation = Constructor(LaterGeneration, *chunks_module._GENERATION_FIELDS)
    monkeypatch.setattr(chunks_module, "_CHUNK", later_chunk)
    monkeypatch.setattr(chunks_module, "_GENERATION_CHUNK", later_generation)
    chunks = collect_chunks(make_model(model=GEMMA_4), call_method)
    assert all(isinstance(chunk, LaterChunk) for chunk in chunks)
    assert all((chunk.provenance, chunk.confidence) == ([], 1.0) for chunk in chunks if isinstance(chunk, LaterChunk))
    assert merge_chunks(chunks).text == "Hello"
    assert len({id(chunk.provenance) for chunk in chunks if isinstance(chunk, LaterChunk)}) == len(chunks)
    assert len(streaming_service.requests) == 1
