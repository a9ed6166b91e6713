"""A reply before truncation, and the changes that inference engines make to it (docs/wire.md section 10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .notation import write_calls

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import Call, ChatRequest, Habits

_CLOSERS = {"{": "}", "[": "]"}
_NAMESPACE = "default_api."


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply before truncation.

    Attributes:
        reasoning: The reasoning.
        text: The text.
        calls: The tool calls.
        finish_reason: The finish reason of a reply that is not truncated, or `None` for the default.
        after_calls: Text after the calls.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    after_calls: str = ""


def apply_habits(draft: Draft, request: ChatRequest) -> Draft:
    """Apply the behaviours of the dialect to a reply."""
    for applies, change in _CHANGES:
        if applies(request.habits):
            draft = change(draft, request)
    return draft


def close_json(text: str) -> str:
    """Close a truncated JSON object as an engine does, and remove an incomplete last member.

    Example:
        >>> close_json('{"path": "/home/me", "lines": [1, 2')
        '{"path": "/home/me", "lines": [1, 2]}'
        >>> close_json('{"path": "/ho')
        '{"path": "/ho"}'
        >>> close_json('{"path": "/home", "li')
        '{"path": "/home"}'
    """
    start = text
    while start:
        closed = start + _find_missing_end(start)
        try:
            if isinstance(json.loads(closed), dict):
                return closed
        except ValueError:
            pass
        start = start[:-1].rstrip()
    return "{}"


def _find_missing_end(text: str) -> str:
    open_brackets: list[str] = []
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in _CLOSERS:
            open_brackets.append(_CLOSERS[character])
        elif character in "]}":
            open_brackets.pop()
    return ('"' if in_string else "") + "".join(reversed(open_brackets))


# --- changes that engines make ----------------------------------------------------------------------------------------
def _call_other_tool(draft: Draft, request: ChatRequest) -> Draft:
    """Call another tool than `tool_choice` names."""
    others = [tool.name for tool in request.tools if tool.name != request.tool_choice]
    if request.tool_choice in ("auto", "none", "required") or not others:
        return draft
    return replace(draft, calls=tuple(replace(call, name=others[0]) for call in draft.calls))


def _add_namespace(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, calls=tuple(replace(call, name=_NAMESPACE + call.name) for call in draft.calls))


def _garble_keys(draft: Draft, _request: ChatRequest) -> Draft:
    """Include the quotation marks of keys and strings in their text, and make every value a string."""
    return _change_arguments(draft, lambda value: {json.dumps(key): _quote(inner) for key, inner in value.items()})


def _garble_strings(draft: Draft, _request: ChatRequest) -> Draft:
    """Include the quotation marks of strings in their text."""
    return _change_arguments(
        draft,
        lambda value: {key: json.dumps(item) if isinstance(item, str) else item for key, item in value.items()},
    )


def _split_strings(draft: Draft, _request: ChatRequest) -> Draft:
    """End the first string at a quote token in it, as some engines do (vllm#44715). The rest becomes a key."""
    return _change_arguments(draft, _split_string)


def _split_string(arguments: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    rest = ""
    for key, value in arguments.items():
        if rest:
            changed[f"{rest},{key}"], rest = value, ""
        elif isinstance(value, str) and len(value) > 1 and not changed:
            changed[key], rest = value[: len(value) // 2], f'{value[len(value) // 2 :]}<|"|>'
        else:
            changed[key] = value
    return {**changed, rest: None} if rest else changed


def _fill_with_null(draft: Draft, request: ChatRequest) -> Draft:
    """Null for each parameter that may be null and has no argument, as an engine types it."""
    tools = {tool.name: tool.parameters.get("properties") for tool in request.tools}

    def fill(call: Call) -> Call:
        named = tools.get(call.name)
        parameters = named if isinstance(named, dict) else {}
        nulls = {key: _type_null(one) for key, one in parameters.items() if isinstance(one, dict) and _may_be_null(one)}
        return replace(call, arguments=json.dumps(nulls | json.loads(call.arguments), ensure_ascii=False))

    return replace(draft, calls=tuple(map(fill, draft.calls)))


def _may_be_null(schema: dict[str, Any]) -> bool:
    return schema.get("nullable") is True or _keeps_null(schema)


def _keeps_null(schema: dict[str, Any]) -> bool:
    """Return whether an engine keeps null. A union, a list of types or an enum must contain it, not only `nullable`."""
    members = [one for key in ("anyOf", "oneOf") for one in schema.get(key, ()) if isinstance(one, dict)]
    kinds = [schema.get("type"), *(one.get("type") for one in members)]
    return None in schema.get("enum", ()) or any(kind == "null" or "null" in _to_list(kind) for kind in kinds)


def _to_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _type_null(schema: dict[str, Any]) -> str | None:
    return "null" if schema.get("type") == "string" and not _keeps_null(schema) else None


def _stringify(draft: Draft, _request: ChatRequest) -> Draft:
    """Make every value a string, as engines do inside free-form objects."""
    return _change_arguments(draft, lambda value: {key: _to_text(item) for key, item in value.items()})


def _duplicate_calls(draft: Draft, _request: ChatRequest) -> Draft:
    """Write the calls as text too."""
    return replace(draft, text=draft.text + write_calls(draft.calls, "gemma_4")) if draft.calls else draft


def _drop_announced_calls(draft: Draft, request: ChatRequest) -> Draft:
    """Finish a stream with `tool_calls` but without calls. A reply that is not streamed has them as text."""
    if not draft.calls:
        return draft
    text = "" if request.stream else write_calls(draft.calls, "gemma_4_json")
    return replace(draft, text=draft.text + text, calls=(), finish_reason="tool_calls" if request.stream else None)


def _put_into_reasoning(draft: Draft, _request: ChatRequest) -> Draft:
    """Put the whole reply into the reasoning, with calls as text."""
    calls = write_calls(draft.calls, "gemma_4") if draft.calls else ""
    return Draft(reasoning=draft.reasoning + draft.text + calls)


def _add_text_before_calls(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, text=f"{draft.text}Let me see. ") if draft.calls else draft


def _add_text_after_calls(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, after_calls="I wait for it.") if draft.calls else draft


def _start_with_channel_name(draft: Draft, _request: ChatRequest) -> Draft:
    """Start the reply with the name of the thinking channel, as if the prompt had the opening token."""
    thought = draft.reasoning or "I have what I need."
    return replace(draft, reasoning="", text=f"thought\n{thought}<channel|>{draft.text}")


def _start_in_thought(draft: Draft, _request: ChatRequest) -> Draft:
    """Start the reply inside the thought: the text has the token that ends it, but not the one that starts it."""
    thought = draft.reasoning or "I have what I need."
    return replace(draft, reasoning="", text=f"{thought}<channel|>{draft.text}")


def _add_special_tokens(draft: Draft, _request: ChatRequest) -> Draft:
    """Add special tokens to the end of the text."""
    return replace(draft, text=draft.text + ("<|tool_response>" if draft.calls else "<turn|><eos>"))


def _add_partial_token(draft: Draft, _request: ChatRequest) -> Draft:
    """Leave a part of the token that starts a call in the text."""
    return replace(draft, text=f"{draft.text}<|too") if draft.calls else draft


def _finish_with_stop(draft: Draft, _request: ChatRequest) -> Draft:
    """Use the finish reason `stop`, even with calls."""
    return replace(draft, finish_reason="stop")


def _change_arguments(draft: Draft, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Draft:
    return replace(
        draft,
        calls=tuple(
            replace(call, arguments=json.dumps(change(json.loads(call.arguments)), ensure_ascii=False))
            for call in draft.calls
        ),
    )


def _quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _to_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_text(inner) for inner in value]
    return value if isinstance(value, str) else json.dumps(value)


_CHANGES: tuple[tuple[Callable[[Habits], bool], Callable[[Draft, ChatRequest], Draft]], ...] = (
    (lambda habits: habits.other_tool_for_named, _call_other_tool),
    (lambda habits: habits.namespaced_calls, _add_namespace),
    (lambda habits: habits.garbled == "keys", _garble_keys),
    (lambda habits: habits.garbled == "strings", _garble_strings),
    (lambda habits: habits.garbled == "split", _split_strings),
    (lambda habits: habits.null_arguments, _fill_with_null),
    (lambda habits: habits.stringified_values, _stringify),
    (lambda habits: habits.doubled_calls, _duplicate_calls),
    (lambda habits: habits.announced_calls, _drop_announced_calls),
    (lambda habits: habits.words_before_calls, _add_text_before_calls),
    (lambda habits: habits.words_after_calls, _add_text_after_calls),
    (lambda habits: habits.bare_thought, _start_with_channel_name),
    (lambda habits: habits.orphan_channel, _start_in_thought),
    (lambda habits: habits.leaked_tokens, _add_special_tokens),
    (lambda habits: habits.stray_pieces, _add_partial_token),
    (lambda habits: habits.stop_beside_calls, _finish_with_stop),
    (lambda habits: habits.all_in_reasoning, _put_into_reasoning),
)
