"""Convert bound tools and the tool choice from any form to OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_workers_gemma.schemas import ShownKeywords, describe_hidden_keywords, to_tool_parameters
from langchain_workers_gemma.schemas.validation import find_mismatches

ToolLike: TypeAlias = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""The types that can be bound as a tool."""

ToolMethod: TypeAlias = Literal["native", "guided_json", "prompt"]
"""How bound tools reach the model."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The choice among the bound tools.

    Attributes:
        mode: `auto`: the model may call; `none`: it must not; `required`: it must call a tool; `named`: it must call
            `name`.
        name: The tool that must be called.
    """

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None

    @property
    def is_forced(self) -> bool:
        """Whether a call is required."""
        return self.mode in ("required", "named")

    def to_openai(self) -> str | dict[str, Any]:
        """Return OpenAI's form."""
        if self.mode == "named":
            return {"type": "function", "function": {"name": self.name}}
        return self.mode


def build_tool_arguments(
    tools: Sequence[ToolLike], choice: object, *, strict: bool | None, parallel_tool_calls: bool | None
) -> dict[str, Any]:
    """Return the arguments of a call with tools.

    Args:
        tools: The tools.
        choice: `tool_choice` in any form that `parse_choice` accepts, `None` to leave it out.
        strict: OpenAI's `strict` flag, `None` to leave it out.
        parallel_tool_calls: Whether one reply may hold several calls, `None` to leave it out.

    Raises:
        ValueError: If a tool cannot be bound, or `choice` names a tool that is not bound.
    """
    formatted = [to_openai_tool(tool, strict=strict) for tool in tools]
    arguments: dict[str, Any] = {"tools": formatted} if formatted else {}
    if choice is not None:
        arguments["tool_choice"] = parse_choice(choice, [get_tool_name(tool) for tool in formatted]).to_openai()
    if parallel_tool_calls is not None and formatted:
        arguments["parallel_tool_calls"] = parallel_tool_calls
    return arguments


def to_openai_tool(tool: ToolLike, *, strict: bool | None = None) -> dict[str, Any]:
    """Return a tool in OpenAI's form `{"type": "function", "function": {...}}`, its JSON Schema untouched.

    Raises:
        ValueError: If LangChain cannot bind it.
    """
    if isinstance(tool, Mapping):
        tool = dict(tool)
        if tool.get("type") == "function" and isinstance(tool.get("function"), Mapping) and strict is None:
            _check_name(tool["function"].get("name"))
            return tool
    try:
        converted = convert_to_openai_tool(tool, strict=strict)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"tools: {tool!r:.80} cannot be bound. Pass a function, a Pydantic class, a BaseTool, a JSON Schema with "
            f"title and description, or OpenAI's tool form. ({error})"
        ) from error
    if not isinstance(converted.get("function"), Mapping):
        raise ValueError(f"tools: {tool!r:.80} is a built-in tool of another service. Bind a function tool.")
    _check_name(converted["function"].get("name"))
    return converted


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or not all(char.isalnum() or char in "_-." for char in name):
        raise ValueError(f"tools: a tool's name must consist of letters, digits, '_', '-' and '.', not {name!r}.")


def get_tool_name(tool: Mapping[str, Any]) -> str:
    """Return the name of a tool in OpenAI's form."""
    return str(tool["function"]["name"])


def find_argument_problem(tool: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Return why arguments do not match a tool's schema, as text for the model; `None` if they match."""
    try:
        found = find_mismatches(dict(arguments), tool["function"].get("parameters") or {})
    except ValueError:  # only the service can read this schema
        return None
    return "; ".join(map(str, found)) + "." if found else None


def parse_choice(choice: object, names: Sequence[str]) -> ToolChoice:
    """Return the tool choice from any form that LangChain accepts.

    Args:
        choice: `None`, `"auto"`, `"any"`, `"required"`, `True`, `"none"`, `False`, a tool's name, or OpenAI's dict.
        names: The bound tools.

    Raises:
        ValueError: If it has an unknown form, or names a tool that is not bound.
    """
    if isinstance(choice, Mapping):
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, Mapping) else choice.get("name", choice.get("type"))
    if choice in (None, "auto"):
        return ToolChoice()
    if choice in ("none", False):
        return ToolChoice("none")
    if isinstance(choice, str) and choice in names:
        return ToolChoice("named", choice)
    if choice in ("any", "required", True):
        if not names:
            raise ValueError(f"tool_choice={choice!r} requires a tool call, but no tools are bound. Bind a tool first.")
        return ToolChoice("required")
    raise ValueError(
        f"tool_choice must be 'auto', 'any', 'required', 'none', True, OpenAI's dict, or the name of a bound tool "
        f"({', '.join(names) or 'none are bound'}), not {choice!r}."
    )


def build_request_tool(
    tool: Mapping[str, Any], *, strict_allowed: bool, engine_types: bool = False, shown: ShownKeywords | None = None
) -> dict[str, Any]:
    """Return a tool in the form of the request, with the subset of JSON Schema that the services document.

    Args:
        tool: The tool in OpenAI's form.
        strict_allowed: Whether `strict` is sent if it is set.
        engine_types: Whether an engine derives the types of arguments from the parameters (see `to_tool_parameters`).
        shown: The keywords that the model's template shows, if they are known. Other keywords are then added to the
            description.
    """
    function = tool["function"]
    strict = function.get("strict") if strict_allowed else None
    schema = json.dumps(function.get("parameters") or {}, default=str)
    parameters, lines = _convert_parameters(schema, engine_types=engine_types, shown=shown)
    # Required by the published schema (docs/wire.md section 2), and often left out by users.
    description = function.get("description") or function["name"]
    converted = {
        "name": function["name"],
        "description": "\n".join([description, *lines]),
        "parameters": parameters,
    }
    if strict is not None:
        converted["strict"] = strict
    return {"type": "function", "function": converted}


@lru_cache(maxsize=512)
def _convert_parameters(
    schema: str, *, engine_types: bool, shown: ShownKeywords | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the converted parameters, and lines for the description. Agents send the same tools with every call."""
    parameters = to_tool_parameters(json.loads(schema), engine_types=engine_types)
    return (parameters, []) if shown is None else describe_hidden_keywords(parameters, shown)
