"""Select the tools that a prompt requests, and their arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.errors import ServiceError

from .hints import Hints, get_content_stems, read_hints
from .prompt_tools import find_demanded_call
from .schemas import resolve
from .value_filler import ValueFiller

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import ChatRequest, Tool

    from .conversation import Conversation

_NAME, _DESCRIPTION, _PARAMETER, _EXACT = 3.0, 1.0, 1.0, 100.0
_MIN_SCORE = 3.0
_MAX_REPEATS = 8


def select_calls(
    tools: tuple[Tool, ...], conversation: Conversation, request: ChatRequest
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the calls that the last question requests, as names and arguments in the order of the question."""
    if request.tool_choice == "none" or not tools:
        return ()
    choice = request.tool_choice if request.tools else find_demanded_call(request.turns, tools)
    if choice not in ("auto", "required"):
        chosen = [tool for tool in tools if tool.name == choice][:1]
    else:
        chosen = _find_requested_tools(tools, conversation)
        if not chosen and choice == "required":
            chosen = [_choose_best_tool(tools, conversation)]
    calls = [call for tool in chosen for call in _build_calls(tool, conversation, is_only_tool=len(chosen) == 1)]
    return tuple(calls if request.parallel and choice in ("auto", "required") else calls[:1])


def _find_requested_tools(tools: tuple[Tool, ...], conversation: Conversation) -> list[Tool]:
    open_tools = [tool for tool in tools if tool.name not in conversation.called]
    scored = [(score_tool(tool, conversation.question), tool) for tool in open_tools]
    named = [tool for points, tool in scored if points >= _EXACT]
    enough = named or [tool for points, tool in scored if points >= _MIN_SCORE]
    return sorted(enough, key=lambda tool: _find_position(tool, conversation.question))


def _choose_best_tool(tools: tuple[Tool, ...], conversation: Conversation) -> Tool:
    fresh = [tool for tool in tools if tool.name not in conversation.called] or list(tools)
    return max(fresh, key=lambda tool: score_tool(tool, conversation.question))


def score_tool(tool: Tool, text: str) -> float:
    """Return a score of how clearly a text requests a tool."""
    if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text) and re.search(r"[_A-Z(]|\W", tool.name + "_"):
        is_distinctive = "_" in tool.name or not tool.name.islower() or f"{tool.name}(" in text
        if is_distinctive:
            return _EXACT
    stems = get_content_stems(text)
    name = get_content_stems(tool.name)
    described = get_content_stems(tool.description) - name
    parameters = get_content_stems(" ".join(_get_properties(tool))) - name - described
    return _NAME * len(stems & name) + _DESCRIPTION * len(stems & described) + _PARAMETER * len(stems & parameters)


def _get_properties(tool: Tool) -> Mapping[str, Any]:
    found = resolve(tool.parameters, tool.parameters).get("properties")
    return found if isinstance(found, Mapping) else {}


def _find_position(tool: Tool, text: str) -> int:
    """Return the position at which a text first mentions a tool."""
    exact = text.find(tool.name)
    if exact >= 0:
        return exact
    named = get_content_stems(tool.name) or get_content_stems(tool.description)
    places = [found.start() for found in re.finditer(r"\w+", text) if get_content_stems(found.group()) & named]
    return min(places, default=len(text))


def _build_calls(tool: Tool, conversation: Conversation, *, is_only_tool: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return one call, or one call for each value that the question lists for the tool's only required parameter."""
    parts = [conversation.question, *(result.text for result in conversation.results if not result.failed)]
    hints = read_hints("\n".join(parts) if conversation.results else conversation.question)
    several = _find_several(tool, hints) if is_only_tool and not conversation.results else []
    if several:
        return [(tool.name, build_arguments(tool, read_hints(_keep_only(hints, value, several)))) for value in several]
    return [(tool.name, build_arguments(tool, hints))]


def _find_several(tool: Tool, hints: Hints) -> list[str]:
    """Return the values that a text lists with `and`, `or` or commas, if the tool has one required string parameter."""
    required = [name for name in tool.parameters.get("required", ()) if name in _get_properties(tool)]
    if len(required) != 1 or resolve(_get_properties(tool)[required[0]], tool.parameters).get("type") != "string":
        return []
    for values in (hints.quoted, hints.names):
        listed = [
            value
            for value in values
            if re.search(rf"(?:,|\band\b|\bor\b)\s+(?:\w+\s+)?['\"“]?{re.escape(value)}", hints.text)
        ]
        if listed and len(values) > 1 and len(listed) >= len(values) - 1:
            return values[:_MAX_REPEATS]
    return []


def _keep_only(hints: Hints, value: str, several: list[str]) -> str:
    """Return the question with only one of several values."""
    text = hints.text
    for other in several:
        if other != value:
            text = re.sub(rf"\s*(?:,|\band\b|\bor\b)?\s*['\"“]?(?<!\w){re.escape(other)}(?!\w)['\"”]?", " ", text)
    return text


def build_arguments(tool: Tool, hints: Hints) -> dict[str, Any]:
    """Return arguments for a tool, valid by its schema if that is possible."""
    from .constrained_decoding import decode
    from .schema_validation import is_valid

    schema = {"type": "object", **tool.parameters}
    filled = ValueFiller(hints, schema).propose()
    arguments: dict[str, Any] = filled if isinstance(filled, dict) else {}
    if _is_plainly_valid(schema, arguments) or is_valid(schema, arguments):
        return arguments
    import json

    try:
        decoded = json.loads(decode(schema, arguments, [*hints.quoted, *hints.names], 0))
    except ServiceError:
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def _is_plainly_valid(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Return whether arguments are valid without a validator: there are none, and none is required."""
    return not arguments and not schema.get("required")
