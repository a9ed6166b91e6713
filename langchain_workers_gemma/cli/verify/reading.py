"""Name what a response looks like: its form, types and keys (docs/wire.md sections 3 to 5)."""

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
_MAX_SHOWN = 120


def name_form(result: Any) -> str:
    """Name the form of a reply."""
    choice = _get_first(result.get("choices")) if isinstance(result, dict) else None
    if choice is not None:
        return CHAT_CHOICES if "message" in choice or "delta" in choice else COMPLETION_CHOICES
    if isinstance(result, dict) and ("response" in result or "tool_calls" in result):
        return NATIVE
    return (
        f"{get_type_name(result)} with {', '.join(sorted(result)) or 'nothing'}"
        if isinstance(result, dict)
        else (get_type_name(result))
    )


def get_message(result: Any) -> dict[str, Any]:
    """Return the part of a reply that holds text and calls."""
    if not isinstance(result, dict):
        return {}
    choice = _get_first(result.get("choices"))
    if choice is None:
        return result
    held = choice.get("message", choice.get("delta", choice))
    return held if isinstance(held, dict) else {}


def get_text_value(result: Any) -> Any:
    """Return a reply's text as it was sent, whatever its type."""
    held = get_message(result)
    return next((held[key] for key in ("content", "response", "text") if key in held), None)


def get_finish_reason(result: Any) -> Any:
    """Return a reply's finish reason, `None` if it has none."""
    choice = _get_first(result.get("choices")) if isinstance(result, dict) else None
    return choice.get("finish_reason") if choice is not None else None


def get_calls(result: Any) -> list[dict[str, Any]]:
    """Return a reply's tool calls."""
    found = get_message(result).get("tool_calls")
    return [call for call in found if isinstance(call, dict)] if isinstance(found, list) else []


def get_function(call: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a call that has its name and arguments."""
    held = call.get("function")
    return held if isinstance(held, dict) else call


def name_call_form(call: dict[str, Any]) -> str:
    """Name the form of a call."""
    arguments = get_type_name(get_function(call).get("arguments"))
    return f"{'function' if 'function' in call else 'flat'}, arguments {arguments}"


def format_call(call: dict[str, Any] | None) -> str:
    """Return a call as `name {arguments}`, its arguments parsed."""
    if call is None:
        return "no call"
    arguments = get_function(call).get("arguments")
    value = parse(arguments) if isinstance(arguments, str) else arguments
    return f"{get_function(call).get('name')} {json.dumps(value, sort_keys=True)}"


def name_usage_form(usage: Any) -> str:
    """Name the form of a usage report."""
    if not isinstance(usage, dict):
        return "none"
    values = [usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")]
    counts = [one for one in values if isinstance(one, int)]
    if len(counts) < len(values):
        return f"keys {', '.join(sorted(usage))}"
    return "counts that add up" if counts[0] + counts[1] == counts[2] else "counts that do not add up"


def get_tokens(result: Any, kind: str) -> Any:
    """Return a number of the usage report."""
    usage = result.get("usage") if isinstance(result, dict) else None
    return usage.get(kind) if isinstance(usage, dict) else None


def name_error_form(response: Response) -> str:
    """Name the status and the form of an error."""
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
    """Return the code of an error, with its location if it is not in its field alone."""
    value = response.json
    errors = value.get("errors") if isinstance(value, dict) else None
    error = _get_first(errors) if isinstance(errors, list) else errors
    if not isinstance(error, dict):
        return None
    code = error.get("code")
    in_text = re.search(rf"\b{code}:", str(error.get("message")))
    return f"{code}, also in the text" if in_text else code


def get_error_text(response: Response) -> str:
    """Return the start of an error's text."""
    return shorten(" ".join(response.body.decode(errors="replace").split()))


def get_type_name(value: Any) -> str:
    """Return the JSON type of a value."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), "nothing")


def parse(text: Any) -> Any:
    """Return a text's JSON value, `None` for what is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def shorten(value: object) -> str:
    """Return the start of a value's text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


@dataclass
class StreamReading:
    """What a stream looks like.

    Attributes:
        content_type: Its content type, without parameters.
        newline: What ends its lines.
        extras: Lines that hold no data: comments and `event:` lines.
        done: How many `[DONE]` end it.
        events: The JSON of its events.
    """

    content_type: str
    newline: str = "none"
    extras: list[str] = field(default_factory=list)
    done: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def form(self) -> str:
        """The form of its events."""
        forms = {name_form(event) for event in self.events if event.get("choices") != []}
        return " and ".join(sorted(forms)) or "no events"

    @property
    def finishes(self) -> int:
        """How many events carry a finish reason."""
        return sum(get_finish_reason(event) is not None for event in self.events)

    @property
    def text_types(self) -> str:
        """The types of its pieces of text."""
        found = {
            get_type_name(get_text_value(event)) for event in self.events if get_text_value(event) not in (None, "")
        }
        return " and ".join(sorted(found)) or "nothing"

    @property
    def usage(self) -> str:
        """The location of its usage."""
        reports = [(at, event["usage"]) for at, event in enumerate(self.events) if isinstance(event.get("usage"), dict)]
        if not reports:
            return "none"
        if len(reports) == 1:
            return "one event, the last" if reports[0][0] == len(self.events) - 1 else "one event, not the last"
        deltas = any(usage.get("prompt_tokens") == 0 for _, usage in reports[1:])
        return "every event, deltas" if deltas else "every event, cumulative"

    @property
    def text(self) -> str:
        """Its whole text."""
        return "".join(str(get_text_value(event)) for event in self.events if get_text_value(event) is not None)

    @property
    def pieces(self) -> list[dict[str, Any]]:
        """The pieces of its tool calls."""
        return [piece for event in self.events for piece in get_calls(event)]


def read_stream(response: Response) -> StreamReading:
    """Read a stream, or the one JSON body in its place."""
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


def join_calls(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the calls that the pieces of a stream make: a name begins one, an index or else the order continues it."""
    found: list[dict[str, Any]] = []
    for piece in pieces:
        held = get_function(piece)
        if held.get("name") or not found:
            found.append(
                {"index": piece.get("index"), "ids": [], "function": {"name": held.get("name"), "arguments": ""}}
            )
        same = [call for call in found if call["index"] == piece.get("index")]
        call = same[-1] if same and piece.get("index") is not None else found[-1]
        call["ids"] += [piece["id"]] if piece.get("id") else []
        arguments = held.get("arguments")
        if isinstance(arguments, str):
            call["function"]["arguments"] += arguments
        elif arguments is not None:
            call["function"]["arguments"] = json.dumps(arguments)
    return found


def name_piece_form(pieces: list[dict[str, Any]]) -> str:
    """Name how the pieces of streamed calls come."""
    found = join_calls(pieces)
    if not found:
        return "no call"
    parts = ["in pieces" if len(pieces) > len(found) else "whole"]
    indexes = [call["index"] for call in found]
    parts += ["without index"] if None in indexes else []
    parts += ["all at one index"] if len(found) > 1 and len(set(indexes)) == 1 and None not in indexes else []
    parts += ["without id"] if any(not call["ids"] for call in found) else []
    parts += ["ids change"] if any(len(set(call["ids"])) > 1 for call in found) else []
    finaliser = [piece for piece in pieces if "index" not in piece and not get_function(piece).get("name")]
    parts += ["with a finaliser"] if finaliser and None not in indexes else []
    return ", ".join(parts)


def name_completeness(call: dict[str, Any]) -> str:
    """Name whether a call's arguments are whole JSON."""
    arguments = get_function(call).get("arguments")
    return "cut JSON" if isinstance(arguments, str) and parse(arguments) is None else "whole JSON"


def _get_first(items: Any) -> dict[str, Any] | None:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else None
