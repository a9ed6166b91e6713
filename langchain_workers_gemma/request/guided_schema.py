"""The `guided_json` method: a schema that allows calls or an answer.

A reply is one of
    {"tool_calls": [{"name": NAME, "arguments": {...}}, ...]}
    {"answer": "text"}, or any JSON value where the answer has a schema of its own
    {"name": NAME, "arguments": {...}}                           where a call is forced
and is read by `response/stages/guided_calls.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_workers_gemma.request.tools import ToolChoice, get_tool_name
from langchain_workers_gemma.schemas import for_constraint, inline_refs

_REF = "#/$defs/"


def build_guided_schema(
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice,
    *,
    parallel: bool = True,
    answer_schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON Schema of a reply.

    A forced choice is one call and nothing else: lists that must not be empty are refused or ignored by some grammar
    engines (docs/wire.md section 7), and an empty list would be no call.
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
    return for_constraint({**schema, "$defs": definitions} if definitions else schema)


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
    """Return the schema with its recursive definitions moved to the root, where their references can find them."""
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
