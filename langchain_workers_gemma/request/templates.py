"""Convert turns to the messages of a request, in a form that the model's chat template accepts.

Gemma's own templates decide which histories work, not the service's JSON schema (`docs/wire.md` sections 6 and 11).
Gemma 1 and 2 have no system role; Gemma 1 to 3 have no tools, and require that user and assistant alternate; Gemma 4
has tools, but accepts only one system message, which comes first. LangGraph produces other histories, so they are
adapted:

- leading system messages become one; without a system role they become the start of the first user turn
- a later system message is merged into the next user turn
- consecutive messages of one role become one turn
- a conversation that starts with the assistant gets a user turn before it
- every call gets exactly one result (`results`), written in the notation that the model reads (`notations`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, cast

from langchain_workers_gemma.json_text.encoding import dump_json
from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.content import Part
from langchain_workers_gemma.request.images import Image
from langchain_workers_gemma.request.notations import GAP, Notation, join_with_gaps
from langchain_workers_gemma.request.results import pair_results
from langchain_workers_gemma.request.template_data import get_template_data
from langchain_workers_gemma.request.turns import Changes, ToolResult, Turn

_ROLE = attrgetter("role")
_CALLS = attrgetter("calls")
_EMPTY_LEFT_OUT = "An empty assistant message is left out."
_OPENING = "(The conversation begins.)"


def build_messages(
    turns: Sequence[Turn], spec: GemmaModel, notation: Notation, *, instructions: str = "", changes: Changes
) -> list[dict[str, Any]]:
    """Return the messages of a request.

    Args:
        turns: The conversation.
        spec: The facts about the model.
        notation: How calls, answers and results are written.
        instructions: Text to add to the system message, such as a description of tools.
        changes: The list to which descriptions of changes are added.

    Raises:
        ValueError: If a message is longer than the model's schema allows.
    """
    if instructions:
        changes.append("The system message gets instructions for the format of the reply, and describes bound tools.")
    fitted = fit(turns, spec, notation, instructions=instructions, changes=changes)
    messages = [_write_message(turn, spec) for turn in fitted]
    limit = spec.max_content_characters
    if limit is not None and any(len(message["content"]) > limit for message in messages):
        raise ValueError(f"messages: {spec.id} takes at most {limit:,} characters in one message.")
    return messages


def drop_thoughts(messages: Sequence[Mapping[str, Any]], spec: GemmaModel) -> list[dict[str, Any]]:
    """Return the messages of a request without thoughts, for a server that refuses their keys."""
    keys = get_template_data(spec).thought_keys
    return [{key: value for key, value in message.items() if key not in keys} for message in messages]


def fit(
    turns: Sequence[Turn], spec: GemmaModel, notation: Notation, *, instructions: str = "", changes: Changes
) -> list[Turn]:
    """Return the conversation in the form that the template accepts."""
    system, rest = _split_system(turns, instructions, changes)
    has_calls = "tool" in map(_ROLE, rest) or any(map(_CALLS, rest))
    if has_calls:
        rest = pair_results(rest, changes)
    if has_calls or notation.changes_answers:
        kept = [turn for turn in rest if not _is_empty(turn)]
        changes += [_EMPTY_LEFT_OUT] * (len(rest) - len(kept))
        rest = notation.write(kept, changes)
    rest = _merge(rest, changes)
    if system and (not spec.system_role or not rest):
        changes.append("The system message is moved into the first user message: the template requires it there.")
        rest = _merge([Turn("user", system), *rest], [])
        system = ()
    if not rest or rest[0].role != "user":
        changes.append("A user message is added at the start: the template requires one.")
        rest.insert(0, Turn("user", (_OPENING,)))
    return [Turn("system", system), *rest] if system else rest


def _split_system(turns: Sequence[Turn], instructions: str, changes: Changes) -> tuple[tuple[Part, ...], list[Turn]]:
    leading = 0
    while leading < len(turns) and turns[leading].role == "system":
        leading += 1
    if leading > 1:
        changes.append(f"{leading} system messages are merged into one: the template accepts one.")
    texts = [turn.text for turn in turns[:leading]] + [instructions]
    text = GAP.join(text for text in texts if text)
    return ((text,) if text else ()), list(turns[leading:])


def _is_empty(turn: Turn) -> bool:
    """Return whether an assistant's turn has neither text nor calls, so that no template can render it."""
    return turn.role == "assistant" and not turn.parts and not turn.calls


def _merge(turns: Sequence[Turn], changes: Changes) -> list[Turn]:
    """Merge consecutive turns of one role.

    A later system message is merged into the next user turn, or becomes one if there is none.
    """
    merged: list[Turn] = []
    groups: dict[int, list[Turn]] = {}  # groups of consecutive turns, by their position in `merged`
    last: Turn | None = None
    for turn in turns:
        if turn.role == "system":
            changes.append("A later system message becomes a user message: the template accepts one at the start only.")
            turn = Turn("user", turn.parts)  # noqa: PLW2901 - it is a user turn from here on
        elif not turn.parts and _is_empty(turn):
            changes.append(_EMPTY_LEFT_OUT)
            continue
        if last is not None and last.role == turn.role != "tool" and not last.calls:
            groups.setdefault(len(merged) - 1, [last]).append(turn)
        else:
            merged.append(turn)
        last = turn
    for at, group in groups.items():
        changes.append(
            f"{len(group)} consecutive {group[0].role} messages are merged: roles must alternate in the template."
        )
        merged[at] = _join_turns(group)
    return merged


def _join_turns(group: Sequence[Turn]) -> Turn:
    thoughts = [turn.thought for turn in group if turn.thought]
    parts = join_with_gaps([turn.parts for turn in group])
    return replace(group[-1], parts=parts, thought=GAP.join(thoughts) or None)


def _write_message(turn: Turn, spec: GemmaModel) -> dict[str, Any]:
    parts = turn.parts
    content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else _write_content(parts, spec)
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.thought:
        message |= dict.fromkeys(get_template_data(spec).thought_keys, turn.thought)
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": dump_json(call.arguments)},
            }
            for call in turn.calls
        ]
    if isinstance(turn, ToolResult):
        message["tool_call_id"] = turn.call_id
    return message


def _write_content(parts: Sequence[Part], spec: GemmaModel) -> str | list[dict[str, Any]]:
    """Return one string if there is only text, which every model accepts; else a list without two texts in a row."""
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
