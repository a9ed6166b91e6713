"""From the wire's dialects to events.

The forms are those of `docs/wire.md` sections 3 and 4: the native `response`, OpenAI's `choices` with `message`,
`delta` or `text`, each bare or in Cloudflare's envelope, whole or in pieces. A client that assumes one of them breaks
(BerriAI/litellm#25999, cloudflare/ai#543, cloudflare/ai#628), so one reader takes them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.response.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage


class UnknownShapeError(ValueError):
    """A parsed reply holds nothing that any dialect knows."""


def unwrap(payload: object) -> object:
    """Take Cloudflare's envelope `{"result": ..., "success": true}` off, if it is there."""
    if isinstance(payload, dict) and "result" in payload and not ("response" in payload or "choices" in payload):
        return payload["result"]
    return payload


def is_empty(result: object) -> bool:
    """Whether a whole reply holds nothing at all, as a stream request is sometimes answered."""
    return result is None or result == "" or result == {} or result == []


class FrameDecoder:
    """Reads the events of one reply. Keeps which tool call the next piece belongs to, and nothing else."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls = _CallTracker()

    def whole(self, result: object) -> list[Event]:
        """The events of a whole reply, out of its envelope.

        Raises:
            UnknownShapeError: If it is in no known form.
        """
        if isinstance(result, str):
            return [Text(result)] if result else []
        if isinstance(result, list):
            return [Text(_text_of_list(result))]
        if isinstance(result, dict) and _known(result):
            return self.frame(result)
        raise UnknownShapeError("it has neither `response` nor `choices`")

    def frame(self, frame: Mapping[str, Any]) -> list[Event]:
        """The events of one parsed event of a stream, or of a whole reply; usage comes last."""
        events: list[Event] = []
        choice = _first_choice(frame)
        calls = frame.get("tool_calls")
        if choice is not None:
            message = _message(choice)
            calls = message.get("tool_calls") or calls  # the same calls, where both places hold some
            _say(message, events)
        elif "response" in frame:
            text = as_text(frame["response"])
            if text:
                events.append(Text(text))
        if calls:
            events.extend(self._calls.read(calls))
        reason = (choice and choice.get("finish_reason")) or frame.get("finish_reason")
        if reason:
            events.append(Finish(str(reason)))
        usage = frame.get("usage")
        if usage and isinstance(usage, dict):
            events.append(Usage(usage))
        return events


def _first_choice(frame: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = frame.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a choice says: a `delta`, a `message`, or a `text` alone."""
    message = choice.get("delta") or choice.get("message")
    if isinstance(message, dict):
        return message
    return {"content": choice["text"]} if "text" in choice else {}


def _say(message: Mapping[str, Any], events: list[Event]) -> None:
    # Either name is in use, sometimes both with the same text.
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        events.append(Reasoning(as_text(thought)))
    text = as_text(message.get("content"))
    if text:
        events.append(Text(text))
    elif isinstance(message.get("refusal"), str) and message["refusal"]:
        events.append(Text(message["refusal"]))


def as_text(value: object) -> str:
    """The text of a `response` or `content`, whatever its type.

    Numbers come where strings should (dropping them loses text, cloudflare/ai#651), JSON mode gives the parsed object,
    and some models a list of `{"generated_text": ...}`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return _text_of_list(value)
    return json.dumps(value, ensure_ascii=False)


def _text_of_list(parts: list[Any]) -> str:
    """Text of content parts or of generated texts; any other list is JSON mode's answer."""
    texts = [part.get("generated_text", part.get("text")) if isinstance(part, dict) else None for part in parts]
    if texts and all(isinstance(text, str) for text in texts):
        return "".join(map(str, texts))
    return json.dumps(parts, ensure_ascii=False)


def _known(result: Mapping[str, Any]) -> bool:
    return _first_choice(result) is not None or "response" in result or bool(result.get("tool_calls"))


class _CallTracker:
    """Finds out which call each piece belongs to, and counts calls from 0.

    Servers number the pieces, or not; repeat the id and name on each piece, or give them once, or never give an id.
    """

    __slots__ = ("_by_index", "_calls", "_ids", "_in_this_event")

    def __init__(self) -> None:
        self._calls: list[_OpenCall] = []
        self._in_this_event: set[int] = set()  # positions of the calls that the event being read has told of
        self._by_index: dict[int, _OpenCall] = {}
        self._ids: dict[str, _OpenCall] = {}

    def read(self, pieces: object) -> Iterator[ToolCallDelta]:
        self._in_this_event.clear()
        for piece in pieces if isinstance(pieces, list) else [pieces]:
            if isinstance(piece, dict):
                delta = self._piece(piece)
                if delta is not None:
                    self._in_this_event.add(delta.index)
                    yield delta

    def _piece(self, piece: Mapping[str, Any]) -> ToolCallDelta | None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else piece
        name = function.get("name")
        name = name if isinstance(name, str) and name else None
        call_id = piece.get("id")
        call_id = call_id if isinstance(call_id, str) and call_id else None
        index = piece.get("index")
        index = index if isinstance(index, int) and not isinstance(index, bool) else None
        arguments = function.get("arguments", function.get("parameters"))
        whole = arguments is not None and not isinstance(arguments, str)
        text = "" if arguments is None else arguments if isinstance(arguments, str) else _json(arguments)

        call = self._continued(index, call_id, name, whole=whole)
        if call is not None:
            late_name = name if call.name is None else None
            call.name = call.name or name
            return ToolCallDelta(call.position, None, late_name, text) if text or late_name else None
        if name is None and call_id is None and not text:
            return None  # a finaliser: `{"id": null, "function": {"name": null, "arguments": ""}}`
        call = _OpenCall(len(self._calls), call_id, name, whole=whole)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if call_id is not None:
            self._ids[call_id] = call
        return ToolCallDelta(call.position, call_id, name or "", text)

    def _continued(self, index: int | None, call_id: str | None, name: str | None, *, whole: bool) -> _OpenCall | None:
        """The call that a piece goes on with, or `None` if it opens a new one."""
        if index is not None:
            call = self._by_index.get(index)
        elif call_id is not None:
            call = self._ids.get(call_id)
        else:
            call = self._calls[-1] if self._calls and name is None else None
        if call is None:
            return None
        if name is not None and (whole or call.whole or call.position in self._in_this_event):
            return None  # a call given whole is not gone on with; and no event tells of one call twice, whatever the id
        if call_id is not None and call.id is not None and call_id != call.id:
            return None
        if call_id is None and name is not None and call.name is not None and name != call.name:
            return None
        return call


class _OpenCall:
    __slots__ = ("id", "name", "position", "whole")

    def __init__(self, position: int, call_id: str | None, name: str | None, *, whole: bool) -> None:
        self.position = position
        self.id = call_id
        self.name = name
        self.whole = whole  # its arguments came as an object, so no text can follow


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
