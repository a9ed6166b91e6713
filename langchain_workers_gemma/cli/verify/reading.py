"""Describe the form of a response in a few words: its keys, types and order (docs/wire.md sections 3 to 5)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from langchain_workers_gemma.cli.verify.probe import Response

CHAT_CHOICES = "chat choices"
COMPLETION_CHOICES = "completion choices"
NATIVE = "response"
_EVENT_END = re.compile(r"\r\n\r\n|\n\n|\r\r")
_MAX_SHOWN_CHARACTERS = 120


def describe_form(result: Any) -> str:
    """Describe the form of a reply."""
    choice = _get_first(result.get("choices")) if isinstance(result, dict) else None
    if choice is not None:
        return CHAT_CHOICES if "message" in choice or "delta" in choice else COMPLETION_CHOICES
    if isinstance(result, dict) and ("response" in result or "tool_calls" in result):
        return NATIVE
    if isinstance(result, dict):
        return f"object with the keys {', '.join(sorted(result))}" if result else "empty object"
    return get_type_name(result)


def get_message(result: Any) -> dict[str, Any]:
    """Return the part of a reply that contains the text and the tool calls."""
    if not isinstance(result, dict):
        return {}
    choice = _get_first(result.get("choices"))
    if choice is None:
        return result
    message = choice.get("message", choice.get("delta", choice))
    return message if isinstance(message, dict) else {}


def get_text_value(result: Any) -> Any:
    """Return the text of a reply as it was sent, which may be of any type."""
    message = get_message(result)
    return next((message[key] for key in ("content", "response", "text") if key in message), None)


def get_finish_reason(result: Any) -> Any:
    """Return the finish reason of a reply, or `None` if it has none."""
    choice = _get_first(result.get("choices")) if isinstance(result, dict) else None
    return choice.get("finish_reason") if choice is not None else None


def get_calls(result: Any) -> list[dict[str, Any]]:
    """Return the tool calls of a reply."""
    calls = get_message(result).get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def get_function(call: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a call that contains its name and arguments."""
    function = call.get("function")
    return function if isinstance(function, dict) else call


def describe_call_form(call: dict[str, Any]) -> str:
    """Describe the form of a call."""
    arguments = get_type_name(get_function(call).get("arguments"))
    return f"{'function' if 'function' in call else 'flat'}, arguments {arguments}"


def format_call(call: dict[str, Any] | None) -> str:
    """Return a call as `name {arguments}`."""
    if call is None:
        return "no call"
    arguments = get_function(call).get("arguments")
    value = parse(arguments) if isinstance(arguments, str) else arguments
    return f"{get_function(call).get('name')} {json.dumps(value, sort_keys=True)}"


def describe_usage_form(usage: Any) -> str:
    """Describe the form of the usage."""
    if not isinstance(usage, dict):
        return "none"
    values = [usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")]
    counts = [value for value in values if isinstance(value, int)]
    if len(counts) < len(values):
        return f"keys {', '.join(sorted(usage))}"
    return "counts that add up" if counts[0] + counts[1] == counts[2] else "counts that do not add up"


def get_tokens(result: Any, kind: str) -> Any:
    """Return a token count of the usage."""
    usage = result.get("usage") if isinstance(result, dict) else None
    return usage.get(kind) if isinstance(usage, dict) else None


def describe_error_form(response: Response) -> str:
    """Describe the status and the form of an error."""
    value = response.json
    if not isinstance(value, dict):
        return f"{response.status} {get_type_name(value)}"
    parts = [str(response.status)]
    errors = value.get("errors")
    parts += ["errors list" if isinstance(errors, list) else "errors object"] if errors else []
    parts += ["error"] if value.get("error") else []
    parts += ["success false"] if value.get("success") is False else []
    parts += ["internalCode"] if "internalCode" in value else []
    return ", ".join(parts)


def get_error_code(response: Response) -> Any:
    """Return the code of an error, with a remark if its text contains the code too."""
    value = response.json
    errors = value.get("errors") if isinstance(value, dict) else None
    error = _get_first(errors) if isinstance(errors, list) else errors
    if not isinstance(error, dict):
        return None
    code = error.get("code")
    in_text = re.search(rf"\b{code}:", str(error.get("message")))
    return f"{code}, also in the text" if in_text else code


def get_error_text(response: Response) -> str:
    """Return the start of the text of an error."""
    return shorten(" ".join(response.body.decode(errors="replace").split()))


def get_type_name(value: Any) -> str:
    """Return the JSON type of a value."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), "nothing")


def parse(text: Any) -> Any:
    """Return the JSON value of a text, or `None` if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def shorten(value: object) -> str:
    """Return the start of a value as text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"


@dataclass
class StreamReading:
    """The form of a stream.

    Attributes:
        content_type: Its content type, without parameters.
        newline: The line ending: `CRLF`, `LF` or `none`.
        extras: The kinds of its lines without data: comments, `event` and others.
        done: The number of `[DONE]` events at its end.
        events: The JSON data of its events.
    """

    content_type: str
    newline: str = "none"
    extras: list[str] = field(default_factory=list)
    done: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def form(self) -> str:
        """The form of its events."""
        forms = {describe_form(event) for event in self.events if event.get("choices") != []}
        return " and ".join(sorted(forms)) or "no events"

    @property
    def finishes(self) -> int:
        """The number of events with a finish reason."""
        return sum(get_finish_reason(event) is not None for event in self.events)

    @property
    def text_types(self) -> str:
        """The types of the texts in its events."""
        types = {
            get_type_name(get_text_value(event)) for event in self.events if get_text_value(event) not in (None, "")
        }
        return " and ".join(sorted(types)) or "no text"

    @property
    def usage(self) -> str:
        """The events that have the usage."""
        usages = {
            index: event["usage"] for index, event in enumerate(self.events) if isinstance(event.get("usage"), dict)
        }
        if not usages:
            return "none"
        if len(usages) == 1:
            return "one event, the last" if len(self.events) - 1 in usages else "one event, not the last"
        are_deltas = any(usage.get("prompt_tokens") == 0 for usage in list(usages.values())[1:])
        return "every event, deltas" if are_deltas else "every event, cumulative"

    @property
    def text(self) -> str:
        """The whole text of the stream."""
        return "".join(str(get_text_value(event)) for event in self.events if get_text_value(event) is not None)

    @property
    def call_chunks(self) -> list[dict[str, Any]]:
        """The chunks of its tool calls."""
        return [chunk for event in self.events for chunk in get_calls(event)]


def read_stream(response: Response) -> StreamReading:
    """Read a stream, or a JSON body that was sent instead of a stream."""
    reading = StreamReading(response.headers.get("content-type", "").partition(";")[0])
    text = response.body.decode("utf-8", errors="replace")
    if reading.content_type != "text/event-stream":
        value = response.result
        reading.events = [value] if isinstance(value, dict) and value else []
        return reading
    reading.newline = "CRLF" if "\r\n" in text else "LF" if "\n" in text else "none"
    for block in _EVENT_END.split(text):
        for line in block.splitlines():
            if not line.startswith("data:"):
                reading.extras.append("comment" if line.startswith(":") else line.partition(":")[0])
            elif line[5:].strip() == "[DONE]":
                reading.done += 1
            elif isinstance(value := parse(line[5:]), dict):
                reading.events.append(value)
    return reading


def merge_call_chunks(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the chunks of a stream into calls.

    A chunk with a name starts a call. Other chunks continue the call with their index, or the last call if they have no
    index.
    """
    calls: list[dict[str, Any]] = []
    for chunk in chunks:
        function = get_function(chunk)
        if function.get("name") or not calls:
            calls.append(
                {"index": chunk.get("index"), "ids": [], "function": {"name": function.get("name"), "arguments": ""}}
            )
        same_index = [call for call in calls if call["index"] == chunk.get("index")]
        call = same_index[-1] if same_index and chunk.get("index") is not None else calls[-1]
        call["ids"] += [chunk["id"]] if chunk.get("id") else []
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call["function"]["arguments"] += arguments
        elif arguments is not None:
            call["function"]["arguments"] = json.dumps(arguments)
    return calls


def describe_chunk_form(chunks: list[dict[str, Any]]) -> str:
    """Describe the form in which the calls of a stream are sent."""
    calls = merge_call_chunks(chunks)
    if not calls:
        return "no call"
    parts = ["in chunks" if len(chunks) > len(calls) else "whole"]
    indexes = [call["index"] for call in calls]
    parts += ["without index"] if None in indexes else []
    parts += ["all at one index"] if len(calls) > 1 and len(set(indexes)) == 1 and None not in indexes else []
    parts += ["without id"] if any(not call["ids"] for call in calls) else []
    parts += ["ids change"] if any(len(set(call["ids"])) > 1 for call in calls) else []
    final_chunks = [chunk for chunk in chunks if "index" not in chunk and not get_function(chunk).get("name")]
    parts += ["with a final chunk without index"] if final_chunks and None not in indexes else []
    return ", ".join(parts)


def describe_completeness(call: dict[str, Any]) -> str:
    """Return `complete JSON` or `truncated JSON` for the arguments of a call."""
    arguments = get_function(call).get("arguments")
    return "truncated JSON" if isinstance(arguments, str) and parse(arguments) is None else "complete JSON"


def _get_first(items: Any) -> dict[str, Any] | None:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else None
