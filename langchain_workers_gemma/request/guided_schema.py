"""Build the schema of `tool_calling="guided_json"`, which allows either tool calls or an answer.

A reply has one of these forms:
    {"tool_calls": [{"name": NAME, "arguments": {...}}, ...]}
    {"answer": "text"}, or any JSON value if the answer has its own schema
    {"name": NAME, "arguments": {...}}, if a call is forced
`response/stages/guided_calls.py` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_workers_gemma.request.tools import ToolChoice, get_tool_name
from langchain_workers_gemma.schemas import inline_refs, to_constraint_schema

_REF = "#/$defs/"


def build_guided_schema(
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice,
    *,
    parallel: bool = True,
    answer_schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON Schema of a reply.

    A forced choice allows exactly one call. A list would not do: some grammar engines refuse or ignore `minItems`
    (`docs/wire.md` section 7), and an empty list holds no call.
    """
    definitions: dict[str, Any] = {}
    calls = [
        _build_call_schema(tool, definitions)
        for tool in tools
        if choice.name is None or get_tool_name(tool) == choice.name
    ]
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if choice.is_forced:
        schema = call
    else:
        answer = (
            {"type": "string"} if answer_schema is None else _hoist_definitions("answer", answer_schema, definitions)
        )
        several = _build_object({"tool_calls": {"type": "array", "items": call}}) if parallel else call
        schema = {"anyOf": [several, _build_object({"answer": answer})]}
    return to_constraint_schema({**schema, "$defs": definitions} if definitions else schema)


def _build_call_schema(tool: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    name = get_tool_name(tool)
    parameters = tool["function"].get("parameters") or {"type": "object", "properties": {}}
    return _build_object(
        {"name": {"type": "string", "enum": [name]}, "arguments": _hoist_definitions(name, parameters, definitions)}
    )


def _build_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoist_definitions(owner: str, schema: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its recursive definitions moved to `definitions`, and its references changed to match."""
    inlined = inline_refs(dict(schema))
    own = inlined.pop("$defs", {})
    for name, definition in own.items():
        definitions[f"{owner}.{name}"] = _rename_refs(definition, owner)
    renamed = _rename_refs(inlined, owner) if own else inlined
    return dict(renamed)


def _rename_refs(value: Any, owner: str) -> Any:
    if isinstance(value, dict):
        return {
            key: f"{_REF}{owner}.{item.removeprefix(_REF)}"
            if key == "$ref" and isinstance(item, str) and item.startswith(_REF)
            else _rename_refs(item, owner)
            for key, item in value.items()
        }
    return [_rename_refs(item, owner) for item in value] if isinstance(value, list) else value
