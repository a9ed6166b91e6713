"""Find tools that are not in the `tools` parameter: those that a prompt describes, or that a constraint allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.sandbox.chat import ChatRequest, Tool, Turn

from .json_text import find_json_spans
from .requested_schema import find_schemas
from .schemas import resolve, walk

_PARAMETERS = ("parameters", "input_schema", "arguments_schema", "args_schema")
_DESCRIBING = ("system", "developer", "user")
_DEMAND = re.compile(r"\b(?:[Mm]ust|MUST|have to)\s+(?:invoke|call|use)\s+(?:the (?:function|tool)\s+)?([\w.-]*\w)")


def find_tools(request: ChatRequest) -> tuple[Tool, ...]:
    """Return the tools that a reply can call: bound tools, tools in the prompt, or tools in the constraint."""
    return request.tools or _find_described(request.turns) or _find_callable(request.schema, request.turns)


def find_demanded_call(turns: tuple[Turn, ...], tools: tuple[Tool, ...]) -> str:
    """Return the tool choice that the prompt requests: `auto`, `required` or the name of a tool."""
    names = {tool.name for tool in tools}
    for turn in turns[:2]:
        if turn.role in _DESCRIBING:
            for demanded in _DEMAND.findall(turn.text):
                if demanded in names:
                    return str(demanded)
                if demanded.lower() in ("a", "any", "some", "one", "exactly", "at"):
                    return "required"
    return "auto"


def find_question(text: str, tools: tuple[Tool, ...]) -> str:
    """Return the question in a turn: the paragraphs after the last one that describes tools."""
    paragraphs = text.split("\n\n")
    describing = [index for index, paragraph in enumerate(paragraphs) if _describes(paragraph, tools)]
    rest = "\n\n".join(paragraphs[describing[-1] + 1 :]) if describing else text
    return rest if rest.strip() else remove_definitions(text)


def remove_definitions(text: str) -> str:
    """Return a text without the definitions of tools and the schemas in it."""
    schemas = find_schemas(text)
    for value, start, end in reversed(list(find_json_spans(text))):
        if value in schemas or any(_iterate_definitions(value)):
            text = text[:start] + text[end:]
    return text


def _describes(paragraph: str, tools: tuple[Tool, ...]) -> bool:
    """Return whether a paragraph describes tools or a schema, in JSON or in lines that start with their names."""
    if find_schemas(paragraph) or any(any(_iterate_definitions(value)) for value, _, _ in find_json_spans(paragraph)):
        return True
    heads = [tool.name for tool in tools]
    for tool in tools:
        heads += resolve(tool.parameters, tool.parameters).get("properties") or ()
    pattern = "|".join(map(re.escape, heads))
    line = rf"^[\W_]*(?:{pattern})\b[^:\n]*:\s?|^[\W_]*(?:{pattern}) \("
    return bool(heads) and re.search(line, paragraph, re.MULTILINE) is not None


def _find_described(turns: tuple[Turn, ...]) -> tuple[Tool, ...]:
    """Return the tools that the system message or the first user turn describe as JSON function definitions."""
    found: dict[str, Tool] = {}
    for turn in turns[:2]:
        if turn.role in _DESCRIBING:
            for value, _, _ in find_json_spans(turn.text):
                for tool in _iterate_definitions(value):
                    found.setdefault(tool.name, tool)
    return tuple(found.values())


def _iterate_definitions(value: Any) -> Iterator[Tool]:
    if isinstance(value, list):
        for item in value:
            yield from _iterate_definitions(item)
    if not isinstance(value, Mapping):
        return
    if isinstance(value.get("function"), Mapping):
        value = value["function"]
    name = value.get("name")
    parameters = next((value[key] for key in _PARAMETERS if isinstance(value.get(key), Mapping)), None)
    shaped = parameters is not None and ("properties" in parameters or "type" in parameters)
    if isinstance(name, str) and (shaped or "description" in value):
        yield Tool(name, str(value.get("description", "")), parameters or {"type": "object", "properties": {}})


# --- constraints ------------------------------------------------------------------------------------------------------
def _find_callable(schema: Mapping[str, Any] | None, turns: tuple[Turn, ...]) -> tuple[Tool, ...]:
    """Return the tools in a constraint: objects with a constant name and an object of arguments."""
    if schema is None:
        return ()
    described = "\n".join(turn.text for turn in turns[:2] if turn.role in _DESCRIBING)
    found: dict[str, Tool] = {}
    for name, parameters in _iterate_calls(schema):
        line = re.search(rf"^\W*{re.escape(name)}\W*:\s*(.+)$", described, re.MULTILINE)
        definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        found.setdefault(name, Tool(name, line[1] if line else "", {**definitions, **parameters}))
    return tuple(found.values())


def _iterate_calls(root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for found in walk(root, root):
        properties = found.get("properties")
        inner = [resolve(one, root) for one in properties.values()] if isinstance(properties, Mapping) else []
        names = [name for one in inner if (name := _find_only_text(one)) is not None]
        objects = [one for one in inner if one.get("type") == "object"]
        if len(names) == len(objects) == 1 and len(inner) == len(names) + len(objects):
            yield names[0], objects[0]


def _find_only_text(schema: Mapping[str, Any]) -> str | None:
    """Return the only text that a schema allows, or `None`."""
    choices = schema.get("enum")
    value = schema.get("const", choices[0] if isinstance(choices, list) and len(choices) == 1 else None)
    return value if isinstance(value, str) else None
