"""Read a response in any of the service's forms (docs/wire.md sections 3 and 4)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .stream_events import StreamEvent, split_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .exchanges import Exchange

EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class ReplyCall:
    """A tool call, or the part of it that was sent."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Usage:
    """The token usage that the response reports."""

    input_tokens: int = 0
    output_tokens: int = 0
    is_reported: bool = False

    def add(self, usage: Mapping[str, Any]) -> None:
        """Add the usage of an event or body.

        It is cumulative, except that a later usage without prompt tokens counts only the tokens of its event.
        """
        prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        if self.is_reported and not prompt and self.input_tokens:
            self.output_tokens += completion
        else:
            self.input_tokens, self.output_tokens = prompt, completion
        self.is_reported = True


@dataclass(slots=True)
class ReplyView:
    """The content of a response.

    Attributes:
        text: The text.
        reasoning: The reasoning before the text.
        calls: The tool calls.
        finish_reason: The finish reason.
        usage: The token usage.
        errors: The messages of errors.
        note: A description of a response that is not a chat.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[ReplyCall] = field(default_factory=list)
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    errors: list[str] = field(default_factory=list)
    note: str = ""

    def add(self, payload: object) -> None:
        """Add the JSON of a whole body or of one event."""
        if not isinstance(payload, dict):
            return
        self._add_errors(payload)
        result = payload.get("result", payload)
        if not isinstance(result, dict):
            return
        usage = result.get("usage")
        if isinstance(usage, dict):
            self.usage.add(usage)
        self.text += _get_text(result.get("response"))
        self._add_calls(result.get("tool_calls"))
        for choice in _list_objects(result.get("choices"))[:1]:
            self._add_choice(choice)
        self.note = self.note or _describe_result(result)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        self.text += _get_text(choice.get("text"))
        message = choice.get("delta") or choice.get("message")
        if isinstance(message, dict):
            self.text += _get_text(message.get("content"))
            self.reasoning += _get_text(message.get("reasoning_content") or message.get("reasoning"))
            self._add_calls(message.get("tool_calls"))
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]

    def _add_calls(self, calls: object) -> None:
        for chunk in _list_objects(calls):
            function = chunk.get("function")
            holder = function if isinstance(function, dict) else chunk
            name = _get_text(holder.get("name"))
            if name or not self.calls:
                self.calls.append(ReplyCall(_get_text(chunk.get("id")), name))
            index = self._find_call_index(chunk, starts_call=bool(name))
            self.calls[index].arguments += _to_json_text(holder.get("arguments"))

    def _find_call_index(self, chunk: Mapping[str, Any], *, starts_call: bool) -> int:
        index = chunk.get("index")
        return index if not starts_call and isinstance(index, int) and 0 <= index < len(self.calls) else -1

    def _add_errors(self, payload: Mapping[str, Any]) -> None:
        errors = payload.get("errors")
        for error in [payload.get("error"), *(errors if isinstance(errors, list) else [errors])]:
            if isinstance(error, dict):
                code, message = error.get("code"), _get_text(error.get("message"))
                self.errors.append(f"{code}: {message}" if code else message)
            elif isinstance(error, str) and error:
                self.errors.append(error)
        if "internalCode" in payload and not self.errors:
            self.errors.append(f"{payload['internalCode']}: {_get_text(payload.get('description'))}")


def is_stream(exchange: Exchange) -> bool:
    """Return whether the response is an event stream."""
    return exchange.get_header("content-type").startswith(EVENT_STREAM)


def read_reply(exchange: Exchange, events: Iterable[StreamEvent] | None = None) -> ReplyView:
    """Read a response.

    Args:
        exchange: The request and its response.
        events: The events of the response, if they have already been split.
    """
    reply = ReplyView()
    if not is_stream(exchange):
        reply.add(parse_json_text(b"".join(packet.data for packet in exchange.packets)))
        return reply
    for event in split_events(exchange.packets) if events is None else events:
        reply.add(parse_json_text(event.data))
    for line in exchange.tail.decode("utf-8", errors="replace").splitlines():
        payload = parse_json_text(line.removeprefix("data:")) if line.startswith("data:") else None
        if isinstance(payload, dict) and isinstance(payload.get("usage"), dict):
            reply.usage.add(payload["usage"])
    return reply


def parse_json_text(text: str | bytes | bytearray | None) -> Any:
    """Return the JSON value of a text, or `None` if it is not JSON."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _describe_result(result: Mapping[str, Any]) -> str:
    shape = result.get("shape")
    if isinstance(shape, list) and len(shape) == 2:
        return f"Embeddings: {shape[0]} vectors of {shape[1]} dimensions"
    data = result.get("data")
    if isinstance(data, list) and "choices" not in result:
        return f"Embeddings: {len(data)} vectors"
    if "request_id" in result and "status" in result:
        return f"Batch {result['request_id']}: {result['status']}"
    responses = result.get("responses")
    return f"Batch: {len(responses)} responses" if isinstance(responses, list) else ""


def _count(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _get_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or value == []:
        return ""
    if isinstance(value, list) and isinstance(value[0], dict) and "generated_text" in value[0]:
        return _get_text(value[0]["generated_text"])
    return _to_json_text(value)


def _to_json_text(value: object) -> str:
    """Return a string unchanged, `None` as an empty text, and any other value as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _list_objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
