"""Build LangChain's objects from events: the chunks of a stream, or one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_workers_gemma.response.construct import Constructor
from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.response.tool_calls import FinishedCall

_MESSAGE_FIELDS = (
    "content", "additional_kwargs", "response_metadata", "type", "name", "id", "tool_calls", "invalid_tool_calls",
    "usage_metadata",
)  # fmt: skip
_CHUNK_FIELDS = (*_MESSAGE_FIELDS, "tool_call_chunks", "chunk_position")
_GENERATION_FIELDS = ("text", "message", "generation_info", "type")

_MESSAGE = Constructor(AIMessage, *_MESSAGE_FIELDS)
_CHUNK = Constructor(AIMessageChunk, *_CHUNK_FIELDS)
_GENERATION = Constructor(ChatGeneration, *_GENERATION_FIELDS)
_GENERATION_CHUNK = Constructor(ChatGenerationChunk, *_GENERATION_FIELDS)
_RESULT = Constructor(ChatResult, "generations", "llm_output")

PROVIDER = "workers_gemma"
"""The value of `response_metadata["model_provider"]`."""


@dataclass(slots=True)
class Begin:
    """The reply has begun; its headers are known."""

    metadata: dict[str, Any]


@dataclass(slots=True)
class End:
    """The reply has ended; its usage and calls are known.

    Attributes:
        metadata: The rest of `response_metadata`.
        usage: The tokens that it used.
        calls: Its tool calls, each with the reason if it must not run.
    """

    metadata: dict[str, Any]
    usage: UsageMetadata | None
    calls: Sequence[FinishedCall] = ()


Piece = Begin | Event | End
"""A part of a response that an exchange delivers."""


class ChunkBuilder:
    """Builds the chunks of one stream.

    Core merges chunks by adding them, and concatenates strings in `response_metadata`. So each key is sent once: the
    headers' keys on the first chunk, the rest on the last.

    A chunk carries either text, reasoning, or one piece of a call, never two of them: if a chunk has text and a piece
    of a call, its `content_blocks` show that piece as a complete call.

    Args:
        as_blocks: Return text and reasoning as content blocks, each kind with its own index, for `output_version="v1"`.
            Without an index, core numbers blocks from 0, as it numbers calls, and merges all blocks of one number.
    """

    def __init__(self, *, as_blocks: bool = False) -> None:
        self._as_blocks = as_blocks
        self._metadata: dict[str, Any] = {}

    def build_chunks(self, pieces: Iterable[Piece]) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks for the next pieces."""
        for piece in pieces:
            kind = type(piece)
            if kind is Text:
                yield self._build_chunk(piece.text)  # type: ignore[union-attr]
            elif isinstance(piece, Reasoning):
                yield self._build_chunk(reasoning=piece.text, additional_kwargs={"reasoning_content": piece.text})
            elif isinstance(piece, ToolCallDelta):
                yield self._build_chunk(tool_call_chunks=[_build_call_chunk(piece)])
            elif isinstance(piece, Begin):
                self._metadata.update(piece.metadata)
            elif isinstance(piece, End):
                self._metadata.update(piece.metadata)
                yield self._build_chunk(usage_metadata=piece.usage, chunk_position="last")

    def _build_chunk(self, text: str = "", *, reasoning: str = "", **given: Any) -> ChatGenerationChunk:
        """Build one chunk.

        Args:
            text: The text of the chunk.
            reasoning: The reasoning of the chunk, for a content block.
            **given: Further fields of the message.
        """
        if self._metadata:
            given["response_metadata"], self._metadata = self._metadata, {}
        message = _CHUNK.make(
            {
                "content": _build_blocks(text, reasoning) if self._as_blocks else text,
                "additional_kwargs": {},
                "response_metadata": {},
                "type": "AIMessageChunk",
                "name": None,
                "id": None,
                "tool_calls": [],
                "invalid_tool_calls": [],
                "usage_metadata": None,
                "tool_call_chunks": [],
                "chunk_position": None,
                **given,
            },
            {"content", *given},
        )
        return _GENERATION_CHUNK.make({
            "text": text, "message": message, "generation_info": None, "type": "ChatGenerationChunk"
        })  # fmt: skip


def _build_call_chunk(delta: ToolCallDelta) -> ToolCallChunk:
    return ToolCallChunk(type="tool_call_chunk", index=delta.index, id=delta.id, name=delta.name, args=delta.arguments)


def _build_blocks(text: str, reasoning: str) -> list[dict[str, Any]]:
    blocks = [{"type": "reasoning", "reasoning": reasoning, "index": "lc_rs_0"}] if reasoning else []
    return [*blocks, {"type": "text", "text": text, "index": "lc_txt_0"}] if text else blocks


@dataclass(slots=True)
class MessageBuilder:
    """Builds the message of one complete reply."""

    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _calls: Sequence[FinishedCall] = ()
    _metadata: dict[str, Any] = field(default_factory=dict)
    _usage: UsageMetadata | None = None

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add the next pieces."""
        for piece in pieces:
            if isinstance(piece, Text):
                self._text.append(piece.text)
            elif isinstance(piece, Reasoning):
                self._reasoning.append(piece.text)
            elif isinstance(piece, Begin):
                self._metadata.update(piece.metadata)
            elif isinstance(piece, End):
                self._metadata.update(piece.metadata)
                self._usage = piece.usage
                self._calls = piece.calls

    def build_result(self) -> ChatResult:
        """Return the message as a `ChatResult`. Call it after the last piece has been added."""
        message = self.build()
        generation = _GENERATION.make({
            "text": message.content, "message": message, "generation_info": None, "type": "ChatGeneration"
        })  # fmt: skip
        return _RESULT.make({"generations": [generation], "llm_output": None})

    def build(self) -> AIMessage:
        """Return the message. Call it after the last piece has been added."""
        calls: list[ToolCall] = []
        invalid: list[InvalidToolCall] = []
        for call in self._calls:
            if call.arguments is None:
                invalid.append(
                    InvalidToolCall(
                        type="invalid_tool_call", id=call.id, name=call.name, args=call.text, error=call.error
                    )
                )
            else:
                calls.append(ToolCall(name=call.name, args=call.arguments, id=call.id, type="tool_call"))
        return _MESSAGE.make(
            {
                "content": "".join(self._text),
                "additional_kwargs": {"reasoning_content": "".join(self._reasoning)} if self._reasoning else {},
                "response_metadata": self._metadata,
                "type": "ai",
                "name": None,
                "id": None,
                "tool_calls": calls,
                "invalid_tool_calls": invalid,
                "usage_metadata": self._usage,
            }
        )


def build_partial_message(pieces: Iterable[Piece], calls: Iterable[FinishedCall] = ()) -> AIMessageChunk | None:
    """Return the merged chunks of an interrupted stream; `None` if nothing arrived.

    Args:
        pieces: The pieces that arrived.
        calls: The calls of the stream; those that must not run are made invalid.
    """
    pieces = [*pieces, *(call.invalidating_delta for call in calls if call.invalidating_delta)]
    chunks = [chunk.message for chunk in ChunkBuilder().build_chunks(pieces)]
    merged = chunks[0] + chunks[1:] if chunks else None
    return merged if isinstance(merged, AIMessageChunk) else None
