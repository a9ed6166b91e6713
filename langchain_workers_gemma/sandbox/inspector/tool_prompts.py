"""The chat template of Gemma 4, whose turns hold tool declarations, tool calls, tool results and thoughts.

A rendering of `google-gemma-4-31B-it.jinja`, oddities included: docs/wire.md section 11 lists what it leaves out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .prompt_writer import PromptWriter

_SYSTEM_ROLES = ("system", "developer")
_NOT_SHOWN = ("description", "type", "properties", "required", "nullable")
"""Names of parameters that the template leaves out, because it takes them for keywords."""
_QUOTE = '<|"|>'
_MEDIA = {"image": "<|image|>", "image_url": "<|image|>", "audio": "<|audio|>", "video": "<|video|>"}
_OPEN_CHANNEL, _CLOSE_CHANNEL = "<|channel>", "<channel|>"


class Gemma4Template:
    """Writes a conversation as Gemma 4 reads it."""

    def __init__(self, writer: PromptWriter) -> None:
        self._writer = writer
        self._previous: str | None = None
        """What the last thing written was, where the template asks for it."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> None:
        """Write the prompt.

        Args:
            messages: The conversation.
            tools: The tools, in OpenAI's form or flat.
            thinking: Whether the model is asked to think.
        """
        self._writer.token("<bos>")
        if thinking or tools or (messages and messages[0].get("role") in _SYSTEM_ROLES):
            messages = self._system(messages, tools, thinking=thinking)
        last_user = max((at for at, one in enumerate(messages) if one.get("role") == "user"), default=-1)
        role_before: object = None
        for at, message in enumerate(messages):
            role = message.get("role")
            if role == "tool":  # written with the call that it answers
                continue
            goes_on = role == "assistant" and role_before == "assistant"
            self._message(message, _results_after(messages, at), goes_on=goes_on, think=at > last_user)
            role_before = role
        if self._previous not in ("tool_response", "tool_call"):
            self._open("model")
            if not thinking:
                self._thought("")

    def _system(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> Sequence[Mapping[str, Any]]:
        self._open("system")
        if thinking:
            self._writer.token("<|think|>")
            self._writer.template("\n")
            self._previous = "think"
        if messages and messages[0].get("role") in _SYSTEM_ROLES:
            self._writer.content(_joined_text(messages[0].get("content")).strip())
            messages = messages[1:]
        for tool in tools:
            self._writer.token("<|tool>")
            _Declaration(self._writer).write(tool)
            self._writer.token("<tool|>")
            self._previous = "tool"
        self._close()
        return messages

    def _message(
        self, message: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, goes_on: bool, think: bool
    ) -> None:
        self._previous = None
        role = message.get("role")
        calls = _objects(message.get("tool_calls"))
        if not goes_on:
            self._open("model" if role == "assistant" else str(role))
        thought = message.get("reasoning") or message.get("reasoning_content")
        if isinstance(thought, str) and thought and think and calls:
            self._thought(f"{thought}\n")
        for call in calls:
            self._call(call)
            self._previous = "tool_call"
        for result in results if calls else ():
            self._result(_name_of(result, calls), result.get("content"))
            self._previous = "tool_response"
        self._content(message.get("content"), of_model=role == "assistant")
        answered = bool(calls and results)
        if self._previous == "tool_call" and not answered:
            self._writer.token("<|tool_response>")
        elif not (answered and not message.get("content")):
            self._close()

    def _content(self, content: object, *, of_model: bool) -> None:
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else _objects(content)
        for part in parts:
            kind, text = part.get("type"), part.get("text")
            if isinstance(text, str):
                self._writer.content((_without_thoughts(text) if of_model else text).strip())
            elif isinstance(kind, str) and kind in _MEDIA:
                self._writer.token(_MEDIA[kind])
                self._previous = kind

    def _thought(self, text: str) -> None:
        self._writer.token(_OPEN_CHANNEL)
        self._writer.template("thought\n")
        self._writer.content(text)
        self._writer.token(_CLOSE_CHANNEL)

    def _call(self, call: Mapping[str, Any]) -> None:
        writer, function = self._writer, _object(call.get("function")) or call
        writer.token("<|tool_call>")
        writer.template("call:")
        writer.content(f"{function.get('name', '')}")
        writer.template("{")
        arguments = _parsed(function.get("arguments"))
        if isinstance(arguments, dict):
            self._fields(arguments)
        elif isinstance(arguments, str):
            writer.content(arguments)
        writer.template("}")
        writer.token("<tool_call|>")

    def _result(self, name: str, content: object) -> None:
        writer = self._writer
        writer.token("<|tool_response>")
        writer.template("response:")
        writer.content(name)
        writer.template("{")
        if isinstance(content, dict):
            self._fields(content)
        else:
            writer.template("value:")
            value = _joined_text(content, "") if isinstance(content, list) else content
            write_value(writer, value, quoted_keys=False)
        writer.template("}")
        writer.token("<tool_response|>")

    def _fields(self, fields: Mapping[str, Any]) -> None:
        for at, (key, value) in enumerate(sorted_items(fields)):
            self._writer.template("," if at else "")
            self._writer.content(key)
            self._writer.template(":")
            write_value(self._writer, value, quoted_keys=False)

    def _open(self, role: str) -> None:
        self._writer.token("<|turn>")
        self._writer.template(f"{role}\n")

    def _close(self) -> None:
        self._writer.token("<turn|>")
        self._writer.template("\n")


class _Declaration:
    """Writes a tool's declaration."""

    def __init__(self, writer: PromptWriter) -> None:
        self._writer = writer

    def write(self, tool: Mapping[str, Any]) -> None:
        """Write `declaration:NAME{...}`."""
        writer, function = self._writer, _object(tool.get("function")) or tool
        writer.template("declaration:")
        writer.content(f"{function.get('name', '')}")
        writer.template("{description:")
        self._quoted(function.get("description", ""))
        parameters = _object(function.get("parameters"))
        if parameters:
            writer.template(",parameters:{")
            properties, required = _object(parameters.get("properties")), parameters.get("required")
            if properties:
                writer.template("properties:{")
                self._properties(properties)
                writer.template("},")
            if required:
                self._required(required)
                writer.template(",")
            if parameters.get("type"):
                self._type(parameters.get("type"))
                writer.template("}")
        writer.template("}")

    def _properties(self, properties: Mapping[str, Any]) -> None:
        shown = [(key, value) for key, value in sorted_items(properties) if key not in _NOT_SHOWN]
        for at, (key, value) in enumerate(shown):
            self._writer.template("," if at else "")
            self._writer.content(key)
            self._writer.template(":{")
            self._property(_object(value))
            self._writer.template("}")

    def _property(self, schema: Mapping[str, Any]) -> None:
        writer, kind = self._writer, _upper(schema.get("type", ""))
        if schema.get("description"):
            writer.template("description:")
            self._quoted(schema["description"])
            writer.template(",")
        items = _object(schema.get("items"))
        if kind == "STRING" and schema.get("enum"):
            writer.template("enum:")
            write_value(writer, schema["enum"])
            writer.template(",")
        elif kind == "ARRAY" and items:
            writer.template("items:{")
            self._items(items)
            writer.template("},")
        if schema.get("nullable"):
            writer.template("nullable:true,")
        if kind == "OBJECT":
            properties = schema.get("properties")
            writer.template("properties:{")
            self._properties(properties if isinstance(properties, dict) else schema)
            writer.template("},")
            if schema.get("required"):
                self._required(schema["required"])
                writer.template(",")
        self._type(schema.get("type", ""))

    def _items(self, items: Mapping[str, Any]) -> None:
        shown = [(key, value) for key, value in sorted_items(items) if value is not None]
        for at, (key, value) in enumerate(shown):
            self._writer.template("," if at else "")
            if key == "properties":
                self._writer.template("properties:{")
                self._properties(_object(value))
                self._writer.template("}")
            elif key == "required":
                self._required(value)
            else:
                self._writer.content(key)
                self._writer.template(":")
                write_value(self._writer, _uppered(value) if key == "type" else value)

    def _required(self, names: object) -> None:
        self._writer.template("required:[")
        for at, name in enumerate(names if isinstance(names, list) else ()):
            self._writer.template("," if at else "")
            self._quoted(name)
        self._writer.template("]")

    def _type(self, kind: object) -> None:
        self._writer.template("type:")
        self._quoted(_upper(kind))

    def _quoted(self, text: object) -> None:
        self._writer.token(_QUOTE)
        self._writer.content(f"{text}")
        self._writer.token(_QUOTE)


def write_value(writer: PromptWriter, value: object, *, quoted_keys: bool = True) -> None:
    """Write a value in the notation of Gemma 4's calls and results."""
    if isinstance(value, str):
        writer.token(_QUOTE)
        writer.content(value)
        writer.token(_QUOTE)
    elif isinstance(value, dict):
        writer.template("{")
        for at, (key, inner) in enumerate(sorted_items(value)):
            writer.template("," if at else "")
            if quoted_keys:
                write_value(writer, key)
            else:
                writer.content(key)
            writer.template(":")
            write_value(writer, inner, quoted_keys=quoted_keys)
        writer.template("}")
    elif isinstance(value, list):
        writer.template("[")
        for at, inner in enumerate(value):
            writer.template("," if at else "")
            write_value(writer, inner, quoted_keys=quoted_keys)
        writer.template("]")
    else:
        writer.content(str(value).lower() if isinstance(value, bool) else str(value))


def sorted_items(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the items in the order of Jinja's `dictsort`, which ignores case."""
    return sorted(mapping.items(), key=lambda item: item[0].lower())


def _results_after(messages: Sequence[Mapping[str, Any]], at: int) -> list[Mapping[str, Any]]:
    found = []
    for message in messages[at + 1 :]:
        if message.get("role") != "tool":
            break
        found.append(message)
    return found


def _name_of(result: Mapping[str, Any], calls: Iterable[Mapping[str, Any]]) -> str:
    name = result.get("name") or "unknown"
    for call in calls:
        if call.get("id") == result.get("tool_call_id"):
            name = (_object(call.get("function")) or call).get("name", "")
    return str(name)


def _without_thoughts(text: str) -> str:
    return "".join(part.split(_OPEN_CHANNEL)[0] for part in text.split(_CLOSE_CHANNEL))


def _joined_text(content: object, separator: str = "\n") -> str:
    if isinstance(content, str):
        return content
    return separator.join(part["text"] for part in _objects(content) if isinstance(part.get("text"), str))


def _parsed(arguments: object) -> object:
    """Arguments as servers hand them to the template: parsed, where they are an object's JSON text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _upper(kind: object) -> str:
    return str(kind).upper()


def _uppered(kind: object) -> object:
    return [_upper(one) for one in kind] if isinstance(kind, list) else _upper(kind)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
