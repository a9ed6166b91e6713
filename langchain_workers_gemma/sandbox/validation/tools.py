"""Parse `tools` and `tool_choice` by the published schema of each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.chat import Tool
from langchain_workers_gemma.sandbox.errors import INVALID_DATA, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_workers_gemma.models import GemmaModel

    from .checker import Checker

_WORDS = ("none", "auto", "required")


def read_tools(check: Checker, model: GemmaModel, body: Mapping[str, Any]) -> tuple[Tool, ...]:
    """Read the bound tools. Violations of the schema are added to the checker."""
    raw = check.get_optional(body, "tools", "", "array")
    read = _read_openai_tool if model.tool_choice else _read_native_tool
    tools = []
    for at, tool in enumerate(raw or ()):
        path = f"/tools/{at}"
        if check.check_value(tool, path, "object"):
            found = read(check, tool, path)
            if found is not None:
                tools.append(found)
    return tuple(tools)


def read_functions(check: Checker, body: Mapping[str, Any]) -> None:
    """Check the deprecated parameter `functions` of the older models."""
    for at, function in enumerate(check.get_optional(body, "functions", "", "array") or ()):
        path = f"/functions/{at}"
        if check.check_value(function, path, "object") and check.check_required(function, ["name", "code"], path):
            check.check_value(function["name"], f"{path}/name", "string")
            check.check_value(function["code"], f"{path}/code", "string")


def read_tool_choice(check: Checker, body: Mapping[str, Any], tools: tuple[Tool, ...]) -> str:
    """Return the tool choice: `auto`, `none`, `required` or the name of a tool.

    Raises:
        ServiceError: 8006 if the choice needs a tool that is not bound.
    """
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        if check.check_enum(choice, "/tool_choice", _WORDS) and choice == "required" and not tools:
            raise ServiceError(INVALID_DATA, "AiError: Invalid data: tool_choice 'required' needs tools")
        return choice
    if not check.check_value(choice, "/tool_choice", "object") or not check.check_required(
        choice, ["type", "function"], "/tool_choice"
    ):
        return "auto"
    function = check.get_optional(choice, "function", "/tool_choice", "object")
    if function is None or not check.check_required(function, ["name"], "/tool_choice/function"):
        return "auto"
    name = function["name"]
    if name not in {tool.name for tool in tools}:
        raise ServiceError(INVALID_DATA, f"AiError: Invalid data: tool_choice names {name!r}, which is not in tools")
    return str(name)


def _read_openai_tool(check: Checker, tool: Mapping[str, Any], path: str) -> Tool | None:
    if not check.check_required(tool, ["type", "function"], path):
        return None
    check.check_enum(tool["type"], f"{path}/type", ["function"])
    function = check.get_optional(tool, "function", path, "object")
    where = f"{path}/function"
    if function is None or not check.check_required(function, ["name"], where):
        return None
    name = check.get_optional(function, "name", where, "string")
    description = check.get_optional(function, "description", where, "string")
    parameters = check.get_optional(function, "parameters", where, "object")
    check.get_optional(function, "strict", where, "boolean")
    return Tool(name or "", description or "", parameters or {"type": "object", "properties": {}})


def _read_native_tool(check: Checker, tool: Mapping[str, Any], path: str) -> Tool | None:
    """Return a tool in one of the two forms of the older schema, with descriptions (docs/wire.md section 2)."""
    if "function" in tool:
        if not check.check_required(tool, ["type", "function"], path):
            return None
        check.check_value(tool["type"], f"{path}/type", "string")
        inner = check.get_optional(tool, "function", path, "object")
        tool, path = inner or {}, f"{path}/function"
    if not check.check_required(tool, ["name", "description", "parameters"], path):
        return None
    name = check.get_optional(tool, "name", path, "string")
    description = check.get_optional(tool, "description", path, "string")
    parameters = check.get_optional(tool, "parameters", path, "object")
    if parameters is not None:
        _check_parameters(check, parameters, f"{path}/parameters")
    return Tool(name or "", description or "", parameters or {})


def _check_parameters(check: Checker, parameters: Mapping[str, Any], path: str) -> None:
    if not check.check_required(parameters, ["type", "properties"], path):
        return
    check.check_value(parameters["type"], f"{path}/type", "string")
    for at, name in enumerate(check.get_optional(parameters, "required", path, "array") or ()):
        check.check_value(name, f"{path}/required/{at}", "string")
    for name, definition in (check.get_optional(parameters, "properties", path, "object") or {}).items():
        where = f"{path}/properties/{name}"
        if check.check_value(definition, where, "object") and check.check_required(
            definition, ["type", "description"], where
        ):
            check.check_value(definition["type"], f"{where}/type", "string")
            check.check_value(definition["description"], f"{where}/description", "string")
