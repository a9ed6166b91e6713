"""Write the descriptions of tools in the prompt, for models without a tool role."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_workers_gemma.request.tools import ToolChoice, build_request_tool
from langchain_workers_gemma.schemas import inline_refs
from langchain_workers_gemma.schemas.descriptions import DESCRIBED, add_notes

_IN_WORDS = frozenset({"type", "description", "title", *DESCRIBED})


def write_calling_instructions(tools: Sequence[Mapping[str, Any]], choice: ToolChoice, *, parallel: bool = True) -> str:
    """Return the instructions of the `prompt` method.

    The wording and the notation follow Gemma's documentation
    (ai.google.dev/gemma/docs/capabilities/function-calling), on which Gemma 3 was trained.
    """
    definitions = [build_request_tool(tool, strict_allowed=False)["function"] for tool in tools]
    lines = [
        "You have access to functions.",
        "If you decide to invoke any of the function(s), you MUST put it in the format of",
        '{"name": function name, "parameters": dictionary of argument name and its value}',
    ]
    if parallel:
        lines.append("To invoke several functions at once, put them in a list: [{...}, {...}]")
    lines.append("You SHOULD NOT include any other text in the response if you call a function.")
    if choice.is_forced:
        lines.append(_write_demand(choice))
    lines.append(json.dumps(definitions, ensure_ascii=False))
    return "\n".join(lines)


def write_guided_instructions(
    tools: Sequence[Mapping[str, Any]], choice: ToolChoice, *, answer_schema: Mapping[str, Any] | None = None
) -> str:
    """Return the instructions of the `guided_json` method.

    They hold no JSON example: with a constraint, an example can cause endless white space (`docs/wire.md` section 7).
    """
    lines = ["You have access to these functions:"]
    for tool in tools:
        function = tool["function"]
        lines.append(f"- {function['name']}: {function.get('description') or function['name']}")
        lines += _write_parameter_lines(function.get("parameters") or {})
    if choice.is_forced:
        lines.append(f"{_write_demand(choice)} Reply in JSON with its name and its arguments.")
    else:
        lines.append(
            "Reply in JSON: either with tool_calls, naming each function to call and its arguments, when you need a "
            "function, or with answer when you can answer. Never repeat a call whose result you already have."
        )
    if answer_schema is not None:
        lines.append(f"The answer must follow this JSON Schema: {json.dumps(answer_schema, ensure_ascii=False)}")
    return "\n".join(lines)


def write_answer_instructions(schema: Mapping[str, Any] | None) -> str:
    """Return the instructions about the form of the answer, under a constraint or without one."""
    if schema is None:
        return "Answer with one JSON object and nothing else."
    return (
        "Answer with one JSON object that follows this JSON Schema, and nothing else: "
        f"{json.dumps(schema, ensure_ascii=False)}"
    )


def write_answer_after_calls_instructions(instructions: str) -> str:
    """Return the instructions for tools together with a required form of the answer."""
    return f"Call functions for whatever you do not know; never invent it. When you know enough: {instructions}"


def write_call_correction(name: str, arguments: str, problem: str) -> str:
    """Return the message to the model after a call that cannot be used."""
    return f"Your call of {name} with the arguments {arguments or 'missing'} cannot be used: {problem} Make it again."


def _write_demand(choice: ToolChoice) -> str:
    return f"You MUST invoke {choice.name} now." if choice.mode == "named" else "You MUST invoke a function now."


def _write_parameter_lines(parameters: Mapping[str, Any]) -> list[str]:
    """Return a line for each parameter, with all rules of its schema."""
    found = inline_refs(dict(parameters))
    required = found.get("required") or ()
    properties = found.get("properties") or {}
    lines = [
        f"    {name} ({_describe_kind(schema)}{', required' if name in required else ''}){_describe(schema)}"
        for name, schema in properties.items()
    ]
    # The lines cannot describe a union of objects, and recursive definitions.
    rest = {key: found[key] for key in ("anyOf", "oneOf", "allOf", "$defs") if found.get(key)}
    return [*lines, f"    {json.dumps(rest, ensure_ascii=False)}"] if rest else lines


def _describe_kind(schema: object) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if _is_described_in_words(schema):
        return str(schema["type"])
    return json.dumps({key: value for key, value in schema.items() if key != "description"}, ensure_ascii=False)


def _describe(schema: object) -> str:
    if not isinstance(schema, Mapping):
        return ""
    in_words = "enum" in schema or _is_described_in_words(schema)
    description = (add_notes({}, dict(schema)) if in_words else schema).get("description")
    return f": {description}" if description else ""


def _is_described_in_words(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema is a type whose other rules `add_notes` puts into words."""
    kind = schema.get("type")
    return isinstance(kind, str) and kind not in ("object", "array") and schema.keys() <= _IN_WORDS
