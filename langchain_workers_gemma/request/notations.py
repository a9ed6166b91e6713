"""Write the calls, answers and results of a history in a notation that the model reads.

There are three notations: the chat template's own tokens, the JSON that the prompt teaches, and the JSON that a
constraint allows. Each takes turns in which every call has its result (`pair_results`), and returns turns that a
template can render.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_workers_gemma.json_text.encoding import dump_json
from langchain_workers_gemma.request.content import Part
from langchain_workers_gemma.request.results import describe_subject, write_result_as_user, write_result_text
from langchain_workers_gemma.request.turns import Call, Changes, ToolResult, Turn


@dataclass(frozen=True, slots=True)
class Notation:
    """A way to write the calls, answers and results of a history.

    Attributes:
        write: Returns the turns in this notation.
        changes_answers: Whether it changes answers too; if not, a history without calls stays as it is.
    """

    write: Callable[[Sequence[Turn], Changes], list[Turn]]
    changes_answers: bool = False


GAP = "\n\n"
CONTINUES = "(The conversation continues.)"
"""The text of a user message that is inserted between two turns of an assistant."""


# --- Gemma 4: calls and results have their own tokens -----------------------------------------------------------------


def _write_native_calls(turns: Sequence[Turn], changes: Changes) -> list[Turn]:
    """Write calls and results for a template with a tool role.

    Such a template writes the text of a message with calls after their results, and closes the turn there
    (`docs/wire.md` section 11). So that text is sent as a thought if the template shows the thought, else it is left
    out. The text of the assistant's message before one with calls cannot be in the same turn either: it becomes a
    thought too, or a user turn separates the two. Results hold text only: their images follow in a user turn.
    """
    last_user = max((at for at, turn in enumerate(turns) if _is_written_as_user(turn)), default=-1)
    written: list[Turn] = []
    images: list[Turn] = []
    for at, turn in enumerate(turns):
        if isinstance(turn, ToolResult):
            if turn.images:
                images.append(_build_images_turn(turn, changes))
            written.append(ToolResult("tool", (write_result_text(turn),), call_id=turn.call_id))
            continue
        if images:
            written += images
            images = []
        if turn.calls:
            _write_native(turn, written, changes, thoughts_shown=at > last_user)
        else:
            written.append(turn)
    return written + images


def _is_written_as_user(turn: Turn) -> bool:
    """Return whether a turn becomes a user turn. The template does not show thoughts before the last of those."""
    return turn.role in ("user", "system") or (turn.role == "tool" and bool(turn.images))


def _write_native(turn: Turn, written: list[Turn], changes: Changes, *, thoughts_shown: bool) -> None:
    texts = [turn.thought or "", turn.text]
    if written and _is_plain_answer(written[-1]):
        if turn.thought is not None and thoughts_shown:
            while written and _is_plain_answer(written[-1]):
                before = written.pop()
                texts[:0] = [before.thought or "", before.text]
        else:
            changes.append(
                f"A user message is added before the calls of {_join_names(turn)}: they need a turn of their own."
            )
            written.append(Turn("user", (CONTINUES,)))
    thought = None if turn.thought is None else GAP.join(text.strip() for text in texts if text and not text.isspace())
    if any(texts[1::2]):
        becomes = "is left out" if thought is None else "is sent as a thought"
        changes.append(f"The text beside the calls of {_join_names(turn)} {becomes}: the template would misplace it.")
    written.append(Turn("assistant", (), turn.calls, thought))


def _join_names(turn: Turn) -> str:
    return ", ".join(call.name for call in turn.calls)


def _is_plain_answer(turn: Turn) -> bool:
    return turn.role == "assistant" and not turn.calls


def _build_images_turn(result: ToolResult, changes: Changes) -> Turn:
    subject = describe_subject(result)
    changes.append(f"The images in the result of {subject} follow in a user message: a tool message has text only.")
    noun = "Image" if len(result.images) == 1 else "Images"
    return Turn("user", (f"{noun} in the result of {subject}:\n", *result.images))


# --- Text: for templates without tool tokens, and where no tools are sent ---------------------------------------------


def _write_prompted_calls(turns: Sequence[Turn], changes: Changes) -> list[Turn]:  # noqa: ARG001 - nothing gets lost
    """Write calls as the JSON that the prompt teaches, and results as user turns."""
    return [_write_prompted_turn(turn) for turn in turns]


def _write_prompted_turn(turn: Turn) -> Turn:
    if isinstance(turn, ToolResult):
        return write_result_as_user(turn)
    if not turn.calls:
        return turn
    texts = [dump_json({"name": call.name, "parameters": call.arguments}) for call in turn.calls]
    calls = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return Turn("assistant", (*turn.parts, GAP, calls) if turn.parts else (calls,))


def _write_guided_calls(
    turns: Sequence[Turn], changes: Changes, *, one_call: bool = False, json_answer: bool = False
) -> list[Turn]:
    """Write calls and answers in the form of `guided_schema`, so that the model sees one notation only.

    Args:
        turns: The conversation.
        changes: The list to which descriptions of changes are added.
        one_call: Whether a reply is one call instead of a list. Several calls then become several rounds.
        json_answer: Whether an answer is JSON that has its own schema.
    """
    written: list[Turn] = []
    answer: list[str] = []
    results: list[ToolResult] = []
    calls: list[Call] = []
    for turn in turns:
        if isinstance(turn, ToolResult):
            results.append(turn)
            continue
        if calls:
            written += _write_guided_rounds(calls, results, one_call=one_call)
            calls, results = [], []
        if turn.role == "assistant" and not turn.calls:
            answer.append(turn.text)
            continue
        if answer:
            written.append(_write_guided_answer(GAP.join(answer), json_answer=json_answer))
            answer = []
        if turn.calls:
            if turn.parts:
                changes.append(
                    f"The text beside the calls of {_join_names(turn)} is left out: the constraint has no place for it."
                )
            if written and written[-1].role == "assistant":
                changes.append("A user message is added between an answer and the calls after it.")
                written.append(Turn("user", (CONTINUES,)))
            calls = list(turn.calls)
        else:
            written.append(turn)
    if calls:
        written += _write_guided_rounds(calls, results, one_call=one_call)
    return [*written, _write_guided_answer(GAP.join(answer), json_answer=json_answer)] if answer else written


def _write_guided_answer(text: str, *, json_answer: bool) -> Turn:
    answer: Any = text
    if json_answer:
        try:
            answer = json.loads(text)
        except ValueError:  # an answer from before the schema was requested
            answer = text
    return Turn("assistant", (dump_json({"answer": answer}),))


def _write_guided_rounds(calls: Sequence[Call], results: Sequence[ToolResult], *, one_call: bool) -> list[Turn]:
    written = [{"name": call.name, "arguments": call.arguments} for call in calls]
    users = [write_result_as_user(result) for result in results]
    if not one_call:
        return [Turn("assistant", (dump_json({"tool_calls": written}),)), *users]
    return [
        turn
        for call, user in zip(written, users, strict=True)
        for turn in (Turn("assistant", (dump_json(call),)), user)
    ]


NATIVE = Notation(_write_native_calls)
"""The notation of a template with a tool role."""

PROMPTED = Notation(_write_prompted_calls)
"""The JSON that the prompt teaches."""


def get_guided_notation(*, one_call: bool, json_answer: bool) -> Notation:
    """Return the notation that a constraint allows.

    Args:
        one_call: Whether a reply is one call instead of a list.
        json_answer: Whether an answer is JSON that has its own schema.
    """
    write = partial(_write_guided_calls, one_call=one_call, json_answer=json_answer)
    return Notation(write, changes_answers=True)


def join_with_gaps(groups: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    """Join the parts of several turns, with an empty line between them."""
    parts: list[Part] = []
    for group in groups:
        if parts and group:
            parts.append(GAP)
        parts.extend(group)
    return tuple(parts)
