"""A reply before truncation, and what inference engines were seen to do to it (docs/wire.md section 10)."""

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
    """A reply before it is truncated to size.

    Attributes:
        reasoning: The reasoning.
        text: The answer.
        calls: The tool calls.
        finish_reason: The finish reason of a reply that is not cut, `None` for the usual one.
        after_calls: Text behind the calls.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    after_calls: str = ""


def apply_habits(draft: Draft, request: ChatRequest) -> Draft:
    """Return a reply with the behaviours that the dialect switches on."""
    for applies, change in _CHANGES:
        if applies(request.habits):
            draft = change(draft, request)
    return draft


def close_json(text: str) -> str:
    """Return the beginning of a JSON object as an engine closes it, without an incomplete last member.

    Example:
        >>> close_json('{"path": "/home/me", "lines": [1, 2')
        '{"path": "/home/me", "lines": [1, 2]}'
        >>> close_json('{"path": "/ho')
        '{"path": "/ho"}'
        >>> close_json('{"path": "/home", "li')
        '{"path": "/home"}'
    """
    kept = text
    while kept:
        closed = kept + _find_missing_end(kept)
        try:
            if isinstance(json.loads(closed), dict):
                return closed
        except ValueError:
            pass
        kept = kept[:-1].rstrip()
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


# --- what engines do --------------------------------------------------------------------------------------------------
def _rename(draft: Draft, request: ChatRequest) -> Draft:
    """Return a named choice does not enforce the name: another tool is called."""
    others = [tool.name for tool in request.tools if tool.name != request.tool_choice]
    if request.tool_choice in ("auto", "none", "required") or not others:
        return draft
    return replace(draft, calls=tuple(replace(call, name=others[0]) for call in draft.calls))


def _add_namespace(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, calls=tuple(replace(call, name=_NAMESPACE + call.name) for call in draft.calls))


def _garble_keys(draft: Draft, _request: ChatRequest) -> Draft:
    """Keys in plain quotes: the quotes become part of keys and strings, and every value becomes a string."""
    return _change_arguments(draft, lambda value: {json.dumps(key): _quote(inner) for key, inner in value.items()})


def _garble_strings(draft: Draft, _request: ChatRequest) -> Draft:
    """Strings in plain quotes: the quotes become part of the string."""
    return _change_arguments(
        draft, lambda value: {key: json.dumps(one) if isinstance(one, str) else one for key, one in value.items()}
    )


def _stringify(draft: Draft, _request: ChatRequest) -> Draft:
    """Values are strings, as those inside free-form objects always are."""
    return _change_arguments(draft, lambda value: {key: _to_text(one) for key, one in value.items()})


def _double(draft: Draft, _request: ChatRequest) -> Draft:
    """Return a call arrives as text as well."""
    return replace(draft, text=draft.text + write_calls(draft.calls, "gemma_4")) if draft.calls else draft


def _announce(draft: Draft, request: ChatRequest) -> Draft:
    """Return a stream finishes with `tool_calls` and has none; the whole reply has the call as text."""
    if not draft.calls:
        return draft
    text = "" if request.stream else write_calls(draft.calls, "gemma_4_json")
    return replace(draft, text=draft.text + text, calls=(), finish_reason="tool_calls" if request.stream else None)


def _put_into_reasoning(draft: Draft, _request: ChatRequest) -> Draft:
    """Return everything lands in the reasoning, calls as text."""
    calls = write_calls(draft.calls, "gemma_4") if draft.calls else ""
    return Draft(reasoning=draft.reasoning + draft.text + calls)


def _speak_before(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, text=f"{draft.text}Let me see. ") if draft.calls else draft


def _speak_after(draft: Draft, _request: ChatRequest) -> Draft:
    return replace(draft, after_calls="I wait for it.") if draft.calls else draft


def _begin_in_thought(draft: Draft, _request: ChatRequest) -> Draft:
    """Open the reply with the thought's name alone, as if the opening token were in the prompt."""
    thought = draft.reasoning or "I have what I need."
    return replace(draft, reasoning="", text=f"thought\n{thought}<channel|>{draft.text}")


def _leave_orphan_channel(draft: Draft, _request: ChatRequest) -> Draft:
    """Return a reply that begins inside the thought: its end is in the text, its beginning is not."""
    thought = draft.reasoning or "I have what I need."
    return replace(draft, reasoning="", text=f"{thought}<channel|>{draft.text}")


def _leak_tokens(draft: Draft, _request: ChatRequest) -> Draft:
    """Keep special tokens in the text."""
    return replace(draft, text=draft.text + ("<|tool_response>" if draft.calls else "<turn|><eos>"))


def _leave_stray_pieces(draft: Draft, _request: ChatRequest) -> Draft:
    """Return a piece of the opening token stays in the text before a call."""
    return replace(draft, text=f"{draft.text}<|too") if draft.calls else draft


def _stop(draft: Draft, _request: ChatRequest) -> Draft:
    """Return the finish reason beside calls is `stop`."""
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
    (lambda habits: habits.other_tool_for_named, _rename),
    (lambda habits: habits.namespaced_calls, _add_namespace),
    (lambda habits: habits.garbled == "keys", _garble_keys),
    (lambda habits: habits.garbled == "strings", _garble_strings),
    (lambda habits: habits.stringified_values, _stringify),
    (lambda habits: habits.doubled_calls, _double),
    (lambda habits: habits.announced_calls, _announce),
    (lambda habits: habits.words_before_calls, _speak_before),
    (lambda habits: habits.words_after_calls, _speak_after),
    (lambda habits: habits.bare_thought, _begin_in_thought),
    (lambda habits: habits.orphan_channel, _leave_orphan_channel),
    (lambda habits: habits.leaked_tokens, _leak_tokens),
    (lambda habits: habits.stray_pieces, _leave_stray_pieces),
    (lambda habits: habits.stop_beside_calls, _stop),
    (lambda habits: habits.all_in_reasoning, _put_into_reasoning),
)
