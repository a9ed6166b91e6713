"""Decode responses of every dialect into events.

`docs/wire.md` sections 3 and 4 list the forms: the native `response`, and OpenAI's `choices` with `message`, `delta` or
`text`; each bare or in Cloudflare's envelope, whole or streamed. One decoder accepts all of them, since a client that
expects a single form fails on others (BerriAI/litellm#25999, cloudflare/ai#543, cloudflare/ai#628).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_workers_gemma.response.call_pieces import CallPieces
from langchain_workers_gemma.response.events import CallsEnd, Event, Finish, Reasoning, Text, Usage

_MAX_MODEL_NAME = 256


class UnknownShapeError(ValueError):
    """A parsed response body has no known form."""


def unwrap(payload: object) -> object:
    """Remove Cloudflare's envelope `{"result": ..., "success": true}`, if there is one."""
    if isinstance(payload, dict) and "result" in payload and not ("response" in payload or "choices" in payload):
        return payload["result"]
    return payload


def is_empty(result: object) -> bool:
    """Return whether a response body holds no reply at all, as services sometimes answer a request with `stream`."""
    return result is None or result == "" or result == {} or result == []


def get_logprobs(result: object) -> list[Any]:
    """Return the log probabilities in a response body or one event of a stream: OpenAI's `logprobs.content`.

    Example:
        >>> get_logprobs({"choices": [{"logprobs": {"content": [{"token": "Hi", "logprob": -0.5}]}}]})
        [{'token': 'Hi', 'logprob': -0.5}]
    """
    choices = result.get("choices") if isinstance(result, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    logprobs = first.get("logprobs") if isinstance(first, dict) else None
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []


def get_model_name(result: object) -> str | None:
    """Return the model's name in a response body or one event of a stream; `None` if it has none that can be shown.

    Example:
        >>> get_model_name({"model": "google/gemma-4-26b-a4b-it", "choices": []})
        'google/gemma-4-26b-a4b-it'
    """
    name = result.get("model") if isinstance(result, dict) else None
    if not isinstance(name, str) or len(name) > _MAX_MODEL_NAME or not name.isprintable():
        return None
    return name.strip() or None


class FrameDecoder:
    """Decodes the events of one reply. Its only state is which tool call the next piece belongs to."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls = CallPieces()

    def decode_whole(self, result: object) -> list[Event]:
        """Return the events of a whole reply.

        Args:
            result: The response body without its envelope.

        Raises:
            UnknownShapeError: If it has no known form.
        """
        if isinstance(result, str):
            return [Text(result)] if result else []
        if isinstance(result, list):
            return [Text(_join_list_text(result))]
        if isinstance(result, dict) and _is_known(result):
            return self.decode_frame(result, is_whole=True)
        raise UnknownShapeError("it has neither `response` nor `choices`")

    def decode_frame(self, frame: Mapping[str, Any], *, is_whole: bool = False) -> list[Event]:
        """Return the events in one parsed payload of a stream, or in a whole reply. Usage is the last of them.

        Text is returned before the calls of the same payload. Their order is not known, and text after a call would
        show that the call is complete.

        Args:
            frame: The parsed payload of one server-sent event, or the body of a whole reply.
            is_whole: Whether it is the body of a whole reply.
        """
        events: list[Event] = []
        choice = _get_first_choice(frame)
        calls = frame.get("tool_calls")
        if choice is not None:
            message = _get_message(choice)
            calls = message.get("tool_calls") or calls  # if both places hold calls, they are the same
            _append_text(message, events)
        elif "response" in frame:
            text = to_text(frame["response"])
            if text:
                events.append(Text(text))
        if self._calls.is_in_call and not calls and events and type(events[-1]) is Text:
            self._calls.is_in_call = False
            events.insert(-1, CallsEnd())
        if calls:
            events.extend(self._calls.read(calls, are_whole=is_whole))
        reason = (choice and choice.get("finish_reason")) or frame.get("finish_reason")
        if reason or is_whole:
            stop_reason = (choice or frame).get("stop_reason")
            if reason or stop_reason is not None:
                events.append(Finish(str(reason or ""), stop_reason))
        usage = frame.get("usage")
        if usage and isinstance(usage, dict):
            events.append(Usage(usage))
        return events


def _get_first_choice(frame: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = frame.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _get_message(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content of a choice: a `delta`, a `message`, or a `text` alone."""
    message = choice.get("delta") or choice.get("message")
    if isinstance(message, dict):
        return message
    return {"content": choice["text"]} if "text" in choice else {}


def _append_text(message: Mapping[str, Any], events: list[Event]) -> None:
    # Servers use either name; some send both with the same text.
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        events.append(Reasoning(to_text(thought)))
    text = to_text(message.get("content"))
    if text:
        events.append(Text(text))
    elif isinstance(message.get("refusal"), str) and message["refusal"]:
        events.append(Text(message["refusal"]))


def to_text(value: object) -> str:
    """Return the text of a `response` or `content`, whatever its type.

    Some services send numbers instead of strings (dropping them loses text, cloudflare/ai#651), the parsed object in
    JSON mode, or a list of `{"generated_text": ...}`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return _join_list_text(value)
    return json.dumps(value, ensure_ascii=False)


def _join_list_text(parts: list[Any]) -> str:
    """Return the text of content parts or of generated texts; any other list is an answer of JSON mode."""
    texts = [part.get("generated_text", part.get("text")) if isinstance(part, dict) else None for part in parts]
    if texts and all(isinstance(text, str) for text in texts):
        return "".join(map(str, texts))
    return json.dumps(parts, ensure_ascii=False)


def _is_known(result: Mapping[str, Any]) -> bool:
    return _get_first_choice(result) is not None or "response" in result or bool(result.get("tool_calls"))
