"""Turns -> turns that the model's chat template accepts -> wire messages.

What Gemma's own templates accept decides which histories work, whatever the service's JSON schema says
(`docs/wire.md` section 6). Gemma 1 and 2 have no system role; 1 to 3 alternate strictly and know no tools; 4 has
tools, but one system message only, first. LangGraph writes other histories every day, so they are made to fit:

- leading system messages become one; without a system role they open the first user turn
- a later system message goes into the next user turn
- neighbours of one role become one turn
- a conversation that starts with the assistant gets a user turn before it
- without a tool role, calls become text in the notation that our prompt teaches, and results user turns naming them
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, cast

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.images import Image
from langchain_workers_gemma.request.turns import Part, ToolResult, Turn
from langchain_workers_gemma.tool_text.writer import render_calls

_ROLE = attrgetter("role")
_GAP = "\n\n"
_OPENING = "(The conversation begins.)"
_SILENT_RESULT = "(no output)"


def to_wire(turns: Sequence[Turn], spec: GemmaModel, *, instructions: str = "") -> list[dict[str, Any]]:
    """The messages of a request.

    Args:
        turns: The conversation.
        spec: What the model's template knows.
        instructions: Text to add to the system message, such as a description of tools.

    Raises:
        ValueError: If a message is longer than the model's schema allows.
    """
    wire = [_message(turn, spec) for turn in fit(turns, spec, instructions=instructions)]
    limit = spec.max_content_characters
    if limit is not None and any(len(message["content"]) > limit for message in wire):
        raise ValueError(f"messages: {spec.id} takes at most {limit:,} characters in one message.")
    return wire


def fit(turns: Sequence[Turn], spec: GemmaModel, *, instructions: str = "") -> list[Turn]:
    """The same conversation in the form that the template accepts."""
    system, rest = _split_system(turns, instructions)
    if not spec.tool_role:
        rest = list(map(_as_plain, rest))
    elif "tool" in map(_ROLE, rest):
        rest = list(_with_lone_results_as_text(rest))
    rest = _merge(rest)
    if system and (not spec.system_role or not rest):
        opening = Turn("user", system)
        rest = _merge([opening, *rest])
        system = ()
    if not rest or rest[0].role != "user":
        rest.insert(0, Turn("user", (_OPENING,)))
    return [Turn("system", system), *rest] if system else rest


def _split_system(turns: Sequence[Turn], instructions: str) -> tuple[tuple[Part, ...], list[Turn]]:
    leading = 0
    while leading < len(turns) and turns[leading].role == "system":
        leading += 1
    texts = [turn.text for turn in turns[:leading]] + [instructions]
    text = _GAP.join(text for text in texts if text)
    return ((text,) if text else ()), list(turns[leading:])


def _merge(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn; an assistant's turn that says and calls nothing is no turn.

    A system message that comes later speaks with the next user turn, or as one if there is none.
    """
    merged: list[Turn] = []
    groups: dict[int, list[Turn]] = {}  # of neighbours, by their place
    last: Turn | None = None
    for turn in turns:
        if turn.role == "system":
            turn = replace(turn, role="user")  # noqa: PLW2901 - from here on it is one
        elif turn.role == "assistant" and not turn.parts and not turn.calls:
            continue
        if last is not None and last.role == turn.role != "tool" and not last.calls:
            groups.setdefault(len(merged) - 1, [last]).append(turn)
        else:
            merged.append(turn)
        last = turn
    for at, group in groups.items():
        merged[at] = _joined(group)
    return merged


def _joined(group: list[Turn]) -> Turn:
    parts: list[Part] = []
    for turn in group:
        if parts and turn.parts:
            parts.append(_GAP)
        parts.extend(turn.parts)
    return replace(group[-1], parts=tuple(parts))


def _as_plain(turn: Turn) -> Turn:
    """A turn without tool markup, for a template that knows none."""
    if isinstance(turn, ToolResult):
        return _result_as_user(turn)
    if not turn.calls:
        return turn
    calls = render_calls([(call.name, call.arguments) for call in turn.calls])
    return Turn("assistant", (*turn.parts, _GAP, calls) if turn.parts else (calls,))


def _result_as_user(turn: ToolResult) -> Turn:
    subject = f"the call {turn.name}" if turn.name else f"the call with id {turn.call_id}"
    heading = f"{subject[0].upper()}{subject[1:]} failed:" if turn.failed else f"Result of {subject}:"
    return Turn("user", (heading + "\n", *(turn.parts or (_SILENT_RESULT,))))


def _with_lone_results_as_text(turns: Sequence[Turn]) -> Iterator[Turn]:
    """For a template with a tool role: a result must answer a call, and holds text only.

    Trimmed histories hold results whose call is gone: those become text. They, the images in results and what a system
    message says in between follow in a user turn, behind all the results of one assistant's turn, which stay together.
    """
    open_calls: set[str] = set()
    later: list[Turn] = []
    for turn in turns:
        if turn.role == "system" and open_calls:
            later.append(turn)  # it must not come between calls and their results
        elif not isinstance(turn, ToolResult):
            yield from later
            later = []
            open_calls = {call.id for call in turn.calls}
            yield turn
        elif turn.call_id in open_calls:
            if turn.images:
                later.append(Turn("user", (f"Images in the result of the call {turn.name}:\n", *turn.images)))
            yield replace(turn, parts=(_result_text(turn),))
        else:
            later.append(_result_as_user(turn))
    yield from later


def _result_text(turn: ToolResult) -> str:
    """A result for a tool role, which has no mark for failure: a tool that failed silently says so at least."""
    return turn.text or ("(failed)" if turn.failed else _SILENT_RESULT)


def _message(turn: Turn, spec: GemmaModel) -> dict[str, Any]:
    parts = turn.parts
    content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else _content(parts, spec)
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in turn.calls
        ]
    if isinstance(turn, ToolResult):
        message["tool_call_id"] = turn.call_id
    return message


def _arguments(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str)


def _content(parts: Sequence[Part], spec: GemmaModel) -> str | list[dict[str, Any]]:
    """One string where there is only text: every model takes it. Else a list of parts, never two texts in a row."""
    if Image not in map(type, parts):
        return "".join(cast("Sequence[str]", parts))
    if not spec.content_parts:
        raise ValueError(f"messages: {spec.id} takes one string as content.")
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Image):
            content.append({"type": "image_url", "image_url": {"url": part.url}})
        elif content and content[-1]["type"] == "text":
            content[-1]["text"] += part
        elif part:
            content.append({"type": "text", "text": part})
    return content
