"""The chat template of Gemma 4, with tool declarations, tool calls, tool results and thoughts.

It renders exactly as `google-gemma-4-31B-it.jinja`, including its errors. docs/wire.md section 11 lists what the
template omits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .prompt_writer import PromptWriter

_SYSTEM_ROLES = ("system", "developer")
_OMITTED_NAMES = ("description", "type", "properties", "required", "nullable")
"""Names of parameters that the template omits, because it treats them as keywords."""
_QUOTE = '<|"|>'
_MEDIA = {"image": "<|image|>", "image_url": "<|image|>", "audio": "<|audio|>", "video": "<|video|>"}
_OPEN_CHANNEL, _CLOSE_CHANNEL = "<|channel>", "<channel|>"


class Gemma4Template:
    """Writes a conversation as the template of Gemma 4 does."""

    def __init__(self, writer: PromptWriter) -> None:
        self._writer = writer
        self._previous: str | None = None
        """The kind of the last part, if the template needs to know it."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> None:
        """Write the prompt.

        Args:
            messages: The conversation.
            tools: The tools, in OpenAI's form or flat.
            thinking: Whether thinking is enabled.
        """
        self._writer.write_token("<bos>")
        if thinking or tools or (messages and messages[0].get("role") in _SYSTEM_ROLES):
            messages = self._write_system(messages, tools, thinking=thinking)
        last_user = max((index for index, item in enumerate(messages) if item.get("role") == "user"), default=-1)
        previous_role: object = None
        for index, message in enumerate(messages):
            role = message.get("role")
            if role == "tool":  # written together with its call
                continue
            is_continued = role == "assistant" and previous_role == "assistant"
            results = _find_results_after(messages, index)
            self._write_message(message, results, is_continued=is_continued, has_thought=index > last_user)
            previous_role = role
        if self._previous not in ("tool_response", "tool_call"):
            self._open("model")
            if not thinking:
                self._write_thought("")

    def _write_system(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool
    ) -> Sequence[Mapping[str, Any]]:
        self._open("system")
        if thinking:
            self._writer.write_token("<|think|>")
            self._writer.write_template("\n")
            self._previous = "think"
        if messages and messages[0].get("role") in _SYSTEM_ROLES:
            self._writer.write_content(_join_text(messages[0].get("content")).strip())
            messages = messages[1:]
        for tool in tools:
            self._writer.write_token("<|tool>")
            _Declaration(self._writer).write(tool)
            self._writer.write_token("<tool|>")
            self._previous = "tool"
        self._close()
        return messages

    def _write_message(
        self,
        message: Mapping[str, Any],
        results: Sequence[Mapping[str, Any]],
        *,
        is_continued: bool,
        has_thought: bool,
    ) -> None:
        self._previous = None
        role = message.get("role")
        calls = _to_objects(message.get("tool_calls"))
        if not is_continued:
            self._open("model" if role == "assistant" else str(role))
        thought = message.get("reasoning") or message.get("reasoning_content")
        if isinstance(thought, str) and thought and has_thought and calls:
            self._write_thought(f"{thought}\n")
        for call in calls:
            self._write_call(call)
            self._previous = "tool_call"
        for result in results if calls else ():
            self._write_result(_get_name(result, calls), result.get("content"))
            self._previous = "tool_response"
        self._write_content(message.get("content"), is_model=role == "assistant")
        has_results = bool(calls and results)
        if self._previous == "tool_call" and not has_results:
            self._writer.write_token("<|tool_response>")
        elif not (has_results and not message.get("content")):
            self._close()

    def _write_content(self, content: object, *, is_model: bool) -> None:
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else _to_objects(content)
        for part in parts:
            kind, text = part.get("type"), part.get("text")
            if isinstance(text, str):
                self._writer.write_content((_remove_thoughts(text) if is_model else text).strip())
            elif isinstance(kind, str) and kind in _MEDIA:
                self._writer.write_token(_MEDIA[kind])
                self._previous = kind

    def _write_thought(self, text: str) -> None:
        self._writer.write_token(_OPEN_CHANNEL)
        self._writer.write_template("thought\n")
        self._writer.write_content(text)
        self._writer.write_token(_CLOSE_CHANNEL)

    def _write_call(self, call: Mapping[str, Any]) -> None:
        writer, function = self._writer, _to_object(call.get("function")) or call
        writer.write_token("<|tool_call>")
        writer.write_template("call:")
        writer.write_content(f"{function.get('name', '')}")
        writer.write_template("{")
        arguments = _parse(function.get("arguments"))
        if isinstance(arguments, dict):
            self._write_fields(arguments)
        elif isinstance(arguments, str):
            writer.write_content(arguments)
        writer.write_template("}")
        writer.write_token("<tool_call|>")

    def _write_result(self, name: str, content: object) -> None:
        writer = self._writer
        writer.write_token("<|tool_response>")
        writer.write_template("response:")
        writer.write_content(name)
        writer.write_template("{")
        if isinstance(content, dict):
            self._write_fields(content)
        else:
            writer.write_template("value:")
            value = _join_text(content, "") if isinstance(content, list) else content
            write_value(writer, value, quoted_keys=False)
        writer.write_template("}")
        writer.write_token("<tool_response|>")

    def _write_fields(self, fields: Mapping[str, Any]) -> None:
        for index, (key, value) in enumerate(sort_items(fields)):
            self._writer.write_template("," if index else "")
            self._writer.write_content(key)
            self._writer.write_template(":")
            write_value(self._writer, value, quoted_keys=False)

    def _open(self, role: str) -> None:
        self._writer.write_token("<|turn>")
        self._writer.write_template(f"{role}\n")

    def _close(self) -> None:
        self._writer.write_token("<turn|>")
        self._writer.write_template("\n")


class _Declaration:
    """Writes the declaration of a tool."""

    def __init__(self, writer: PromptWriter) -> None:
        self._writer = writer

    def write(self, tool: Mapping[str, Any]) -> None:
        """Write `declaration:NAME{...}`."""
        writer, function = self._writer, _to_object(tool.get("function")) or tool
        writer.write_template("declaration:")
        writer.write_content(f"{function.get('name', '')}")
        writer.write_template("{description:")
        self._write_quoted(function.get("description", ""))
        parameters = _to_object(function.get("parameters"))
        if parameters:
            writer.write_template(",parameters:{")
            properties, required = _to_object(parameters.get("properties")), parameters.get("required")
            if properties:
                writer.write_template("properties:{")
                self._write_properties(properties)
                writer.write_template("},")
            if required:
                self._write_required(required)
                writer.write_template(",")
            if parameters.get("type"):
                self._write_type(parameters.get("type"))
                writer.write_template("}")
        writer.write_template("}")

    def _write_properties(self, properties: Mapping[str, Any]) -> None:
        shown = [(key, value) for key, value in sort_items(properties) if key not in _OMITTED_NAMES]
        for index, (key, value) in enumerate(shown):
            self._writer.write_template("," if index else "")
            self._writer.write_content(key)
            self._writer.write_template(":{")
            self._write_property(_to_object(value))
            self._writer.write_template("}")

    def _write_property(self, schema: Mapping[str, Any]) -> None:
        writer, kind = self._writer, _to_upper(schema.get("type", ""))
        if schema.get("description"):
            writer.write_template("description:")
            self._write_quoted(schema["description"])
            writer.write_template(",")
        items = _to_object(schema.get("items"))
        if kind == "STRING" and schema.get("enum"):
            writer.write_template("enum:")
            write_value(writer, schema["enum"])
            writer.write_template(",")
        elif kind == "ARRAY" and items:
            writer.write_template("items:{")
            self._write_items(items)
            writer.write_template("},")
        if schema.get("nullable"):
            writer.write_template("nullable:true,")
        if kind == "OBJECT":
            properties = schema.get("properties")
            writer.write_template("properties:{")
            self._write_properties(properties if isinstance(properties, dict) else schema)
            writer.write_template("},")
            if schema.get("required"):
                self._write_required(schema["required"])
                writer.write_template(",")
        self._write_type(schema.get("type", ""))

    def _write_items(self, items: Mapping[str, Any]) -> None:
        shown = [(key, value) for key, value in sort_items(items) if value is not None]
        for index, (key, value) in enumerate(shown):
            self._writer.write_template("," if index else "")
            if key == "properties":
                self._writer.write_template("properties:{")
                self._write_properties(_to_object(value))
                self._writer.write_template("}")
            elif key == "required":
                self._write_required(value)
            else:
                self._writer.write_content(key)
                self._writer.write_template(":")
                write_value(self._writer, _to_upper_types(value) if key == "type" else value)

    def _write_required(self, names: object) -> None:
        self._writer.write_template("required:[")
        for index, name in enumerate(names if isinstance(names, list) else ()):
            self._writer.write_template("," if index else "")
            self._write_quoted(name)
        self._writer.write_template("]")

    def _write_type(self, kind: object) -> None:
        self._writer.write_template("type:")
        self._write_quoted(_to_upper(kind))

    def _write_quoted(self, text: object) -> None:
        self._writer.write_token(_QUOTE)
        self._writer.write_content(f"{text}")
        self._writer.write_token(_QUOTE)


def write_value(writer: PromptWriter, value: object, *, quoted_keys: bool = True) -> None:
    """Write a value in the notation of calls and results of Gemma 4."""
    if isinstance(value, str):
        writer.write_token(_QUOTE)
        writer.write_content(value)
        writer.write_token(_QUOTE)
    elif isinstance(value, dict):
        writer.write_template("{")
        for index, (key, inner) in enumerate(sort_items(value)):
            writer.write_template("," if index else "")
            if quoted_keys:
                write_value(writer, key)
            else:
                writer.write_content(key)
            writer.write_template(":")
            write_value(writer, inner, quoted_keys=quoted_keys)
        writer.write_template("}")
    elif isinstance(value, list):
        writer.write_template("[")
        for index, inner in enumerate(value):
            writer.write_template("," if index else "")
            write_value(writer, inner, quoted_keys=quoted_keys)
        writer.write_template("]")
    else:
        writer.write_content(str(value).lower() if isinstance(value, bool) else str(value))


def sort_items(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the items in the order of Jinja's `dictsort`, which is case-insensitive."""
    return sorted(mapping.items(), key=lambda item: item[0].lower())


def _find_results_after(messages: Sequence[Mapping[str, Any]], index: int) -> list[Mapping[str, Any]]:
    found = []
    for message in messages[index + 1 :]:
        if message.get("role") != "tool":
            break
        found.append(message)
    return found


def _get_name(result: Mapping[str, Any], calls: Iterable[Mapping[str, Any]]) -> str:
    name = result.get("name") or "unknown"
    for call in calls:
        if call.get("id") == result.get("tool_call_id"):
            name = (_to_object(call.get("function")) or call).get("name", "")
    return str(name)


def _remove_thoughts(text: str) -> str:
    return "".join(part.split(_OPEN_CHANNEL)[0] for part in text.split(_CLOSE_CHANNEL))


def _join_text(content: object, separator: str = "\n") -> str:
    if isinstance(content, str):
        return content
    return separator.join(part["text"] for part in _to_objects(content) if isinstance(part.get("text"), str))


def _parse(arguments: object) -> object:
    """Return arguments as servers pass them to the template: parsed, if they are the JSON text of an object."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _to_upper(kind: object) -> str:
    return str(kind).upper()


def _to_upper_types(kind: object) -> object:
    return [_to_upper(name) for name in kind] if isinstance(kind, list) else _to_upper(kind)


def _to_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _to_objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
