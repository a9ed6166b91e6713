"""Stream the replies of `replies.py`, with the events of each provider's documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]


_EMPTY: dict[str, Event] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}


def split_text(text: str, size: int = 5) -> list[str]:
    """Split a text into short pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def stream_openai_chat(reply: dict[str, Any]) -> Iterator[Event]:
    """Yield the chunks of a chat completion."""
    message = reply["choices"][0]["message"]
    head = {"id": reply["id"], "object": "chat.completion.chunk", "created": 1, "model": reply["model"]}

    def make_chunk(delta: Event, reason: str | None = None) -> Event:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield make_chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in split_text(message["content"]):
        yield make_chunk({"content": piece})
    for at, call in enumerate(message["tool_calls"]):
        begin = {**call, "index": at, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield make_chunk({"tool_calls": [begin]})
        for piece in split_text(call["function"]["arguments"]):
            yield make_chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
    yield make_chunk({}, reply["choices"][0]["finish_reason"])
    yield {**head, "choices": [], "usage": reply["usage"]}


def stream_openai_responses(reply: dict[str, Any]) -> Iterator[Event]:
    """Yield the numbered events of a response."""
    for number, event in enumerate(_stream_response(reply)):
        yield {**event, "sequence_number": number}


def _stream_response(reply: dict[str, Any]) -> Iterator[Event]:
    yield {"type": "response.created", "response": {**reply, "status": "in_progress", "output": [], "usage": None}}
    for at, item in enumerate(reply["output"]):
        position = {"output_index": at, "item_id": item["id"]}
        first_item = {**item, **_EMPTY.get(item["type"], {})}
        yield {"type": "response.output_item.added", "output_index": at, "item": first_item}
        for event in _stream_item(item):
            yield {**position, **event}
        yield {"type": "response.output_item.done", "output_index": at, "item": item}
    yield {"type": "response.completed", "response": reply}


def _stream_item(item: dict[str, Any]) -> Iterator[Event]:
    if item["type"] == "function_call":
        for piece in split_text(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", "delta": piece}
        yield {"type": "response.function_call_arguments.done", "arguments": item["arguments"], "name": item["name"]}
    elif item["type"] == "reasoning":
        for at, part in enumerate(item["summary"]):
            yield {
                "type": "response.reasoning_summary_part.added",
                "summary_index": at,
                "part": {"type": "summary_text", "text": ""},
            }
            for piece in split_text(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", "summary_index": at, "delta": piece}
            yield {"type": "response.reasoning_summary_part.done", "summary_index": at, "part": part}
    elif item["type"] == "message":
        for at, part in enumerate(item["content"]):
            for event in _stream_part(part):
                yield {"content_index": at, **event}


def _stream_part(part: dict[str, Any]) -> Iterator[Event]:
    if part["type"] == "refusal":
        yield {"type": "response.content_part.added", "part": {"type": "refusal", "refusal": ""}}
        for piece in split_text(part["refusal"]):
            yield {"type": "response.refusal.delta", "delta": piece}
        yield {"type": "response.refusal.done", "refusal": part["refusal"]}
    else:
        yield {"type": "response.content_part.added", "part": {"type": "output_text", "text": "", "annotations": []}}
        for piece in split_text(part["text"]):
            yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
        for at, annotation in enumerate(part["annotations"]):
            yield {
                "type": "response.output_text.annotation.added",
                "annotation_index": at,
                "annotation": annotation,
            }
        yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", "part": part}


def stream_anthropic(reply: dict[str, Any]) -> Iterator[Event]:
    """Yield the events of a message."""
    start = {**reply, "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": start}
    for at, block in enumerate(reply["content"]):
        begin, deltas = _make_block_events(block)
        yield {"type": "content_block_start", "index": at, "content_block": begin}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": at, "delta": delta}
        yield {"type": "content_block_stop", "index": at}
    final_delta = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": final_delta, "usage": {"output_tokens": reply["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


def _make_block_events(block: dict[str, Any]) -> tuple[Event, list[Event]]:
    kind = block["type"]
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in split_text(block["thinking"])]
        return {"type": kind, "thinking": "", "signature": ""}, [
            *deltas,
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if kind == "text":
        citations = [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        deltas = [{"type": "text_delta", "text": piece} for piece in split_text(block["text"])]
        return {"type": kind, "text": ""}, [*citations, *deltas]
    if kind in ("tool_use", "server_tool_use"):
        pieces = split_text(json.dumps(block["input"]))
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block, []


def stream_google(reply: dict[str, Any]) -> Iterator[Event]:
    """Yield the chunks of a response. Each has one part, or a piece of its text."""
    candidate = reply["candidates"][0]
    for part in candidate["content"]["parts"]:
        pieces = [{**part, "text": piece} for piece in split_text(part["text"])] if "text" in part else [part]
        for piece in pieces:
            content = {"role": "model", "parts": [piece]}
            yield {"candidates": [{"content": content, "index": 0}], "modelVersion": reply["modelVersion"]}
    end = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    yield {**reply, "candidates": [end]}


def write_events(reply: dict[str, Any]) -> bytes:
    """Return the body of a reply as a stream of its provider."""
    if "candidates" in reply:
        events, done = stream_google(reply), b""
    elif reply.get("object") == "response":
        events, done = stream_openai_responses(reply), b""
    elif reply.get("type") == "message":
        events, done = stream_anthropic(reply), b""
    else:
        events, done = stream_openai_chat(reply), b"data: [DONE]\n\n"
    lines = [
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n" for event in events
    ]
    return "".join(lines).encode() + done
