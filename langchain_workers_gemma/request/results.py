"""Pair each tool call with one result, as every chat template requires and histories often lack.

Templates write the results of a round in the order of its calls, some by position: so they are brought into that order,
a call without a result gets one that states this, and a result whose call is not in the nearest round becomes text that
names it. Ids that turns reuse are resolved to the nearest call before the result.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_workers_gemma.request.turns import Call, Changes, Outcome, ToolResult, Turn


def pair_results(turns: Sequence[Turn], changes: Changes) -> list[Turn]:
    """Return the turns with every call followed by its one result, and every other result as text of the user.

    Args:
        turns: The conversation.
        changes: Where to note what was changed.
    """
    paired: list[Turn] = []
    opened: dict[str, _Open] = {}  # the nearest call before, by its id
    at = 0
    while at < len(turns):
        turn = turns[at]
        at += 1
        if isinstance(turn, ToolResult):
            paired.append(_write_late_result(turn, opened.get(turn.call_id), changes))
        elif turn.calls:
            end = at
            while end < len(turns) and turns[end].role in ("tool", "system"):
                end += 1
            round_of_calls = [_Open(call) for call in turn.calls]
            _label_calls(round_of_calls)
            following = turns[at:end]
            if _is_tidy(turn.calls, following):
                paired.append(turn)
                paired.extend(_name_result(one, result) for one, result in zip(round_of_calls, following, strict=True))
                opened.update((one.call.id, one) for one in round_of_calls)
            else:
                _pair_round(turn, round_of_calls, following, paired, opened, changes)
            at = end
        else:
            paired.append(turn)
    return paired


class _Open:
    """A call, the results that were found for it, and what replaces a result where there is none."""

    __slots__ = ("call", "label", "placeholder", "results")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.label = call.name
        self.placeholder: ToolResult | None = None
        self.results: list[ToolResult] = []


def _is_tidy(calls: Sequence[Call], following: Sequence[Turn]) -> bool:
    """Return whether each call has its one result, in order, as almost every round has it."""
    ids = [call.id for call in calls]
    return (
        ids == [turn.call_id if isinstance(turn, ToolResult) else None for turn in following]
        and all(ids)
        and (len(ids) == 1 or len(set(ids)) == len(ids))
    )


def _name_result(opened: _Open, result: Turn) -> ToolResult:
    outcome = result.outcome if isinstance(result, ToolResult) else "success"
    return ToolResult("tool", result.parts, (), None, opened.call.id, opened.label, outcome)


def _pair_round(
    turn: Turn,
    round_of_calls: Sequence[_Open],
    following: Sequence[Turn],
    paired: list[Turn],
    opened: dict[str, _Open],
    changes: Changes,
) -> None:
    """Add an assistant's turn, the results of its calls, and the turns among those."""
    rest = _distribute(round_of_calls, following)
    kept = _drop_unanswered(round_of_calls, changes)
    opened.update((one.call.id, one) for one in kept)
    calls = _assign_unique_ids([one.call for one in kept])
    paired.append(Turn("assistant", turn.parts, calls, turn.thought))
    for one, call in zip(kept, calls, strict=True):
        if one.results:
            paired.append(replace(_merge_results(one.results, changes), call_id=call.id, name=one.label))
        else:
            changes.append(f"A placeholder is added as the result of the call {one.label}: templates require a result.")
            one.placeholder = ToolResult("tool", call_id=call.id, name=one.label, outcome="missing")
            paired.append(one.placeholder)
    for other in rest:
        if isinstance(other, ToolResult):
            paired.append(_write_late_result(other, opened.get(other.call_id), changes))
        else:
            paired.append(other)


def _distribute(round_of_calls: Sequence[_Open], following: Sequence[Turn]) -> list[Turn]:
    """Return each call its results, and return the turns that are none."""
    by_id: dict[str, deque[_Open]] = {}
    for one in round_of_calls:
        by_id.setdefault(one.call.id, deque()).append(one)
    rest: list[Turn] = []
    for turn in following:
        candidates = by_id.get(turn.call_id) if isinstance(turn, ToolResult) else None
        if candidates is None or not isinstance(turn, ToolResult):
            rest.append(turn)
        else:  # of calls that share an id, each gets one; the last gets what is left
            (candidates.popleft() if len(candidates) > 1 else candidates[0]).results.append(turn)
    return rest


def _drop_unanswered(opened: Sequence[_Open], changes: Changes) -> list[_Open]:
    kept = [one for one in opened if one.results or not one.call.unreadable]
    if len(kept) < len(opened):
        changes.append("A tool call that cannot be read and has no result is left out.")
    return kept


def _label_calls(opened: Sequence[_Open]) -> None:
    """Label each call of a tool by its number, so that labels are unique."""
    if len(opened) == 1:
        return
    counts = Counter(one.call.name for one in opened)
    seen: Counter[str] = Counter()
    for one in opened:
        name = one.call.name
        if counts[name] > 1:
            seen[name] += 1
            one.label = f"{name} ({seen[name]} of {counts[name]})"


def _assign_unique_ids(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Return the calls with ids that no other call of the turn has: a template finds a result's name by it."""
    used: set[str] = set()
    unique: list[Call] = []
    for number, call in enumerate(calls):
        call_id = call.id or f"call_{number}"
        while call_id in used:
            call_id = f"{call_id}_{number}"
        used.add(call_id)
        unique.append(call if call_id == call.id else replace(call, id=call_id))
    return tuple(unique)


def _merge_results(results: Sequence[ToolResult], changes: Changes) -> ToolResult:
    """Merge several results of one call; each states whether it failed."""
    if len(results) == 1:
        return results[0]
    changes.append("Several results of one call are merged into one.")
    texts = [write_result_text(one) for one in results]
    images = [image for one in results for image in one.images]
    return replace(results[0], parts=("\n".join(texts), *images), outcome="success")


def _write_late_result(result: ToolResult, opened: _Open | None, changes: Changes) -> Turn:
    """Return a result that does not follow its call as text; the placeholder of the call then refers to it."""
    if opened is not None:
        if opened.placeholder is not None:
            opened.placeholder.outcome = "later"
        result = replace(result, name=result.name or opened.label)
    changes.append(
        f"The result of {describe_subject(result)} does not follow its call, so it is sent as text in a user message."
    )
    return write_result_as_user(result)


# --- Results in words -------------------------------------------------------------------------------------------------

_SILENT = "(no output)"
_AS_USER: Mapping[Outcome, str] = {
    "success": "Result of {subject}:\n",
    "error": "{Subject} failed:\n",
    "missing": "{Subject} has no result.",
    "later": "The result of {subject} follows below.",
}
_AS_TOOL: Mapping[Outcome, str] = {
    "success": "",
    "error": "The call failed:\n",
    "missing": "The call has no result.",
    "later": "The result of the call follows below.",
}


def describe_subject(result: ToolResult) -> str:
    """Return what a result is the result of, in words."""
    return f"the call {result.name}" if result.name else f"the call with id {result.call_id}"


def write_result_as_user(result: ToolResult) -> Turn:
    """Return a result as a turn of the user, which names the call and its outcome."""
    subject = describe_subject(result)
    heading = _AS_USER[result.outcome].format(subject=subject, Subject=f"{subject[0].upper()}{subject[1:]}")
    if result.outcome in ("missing", "later"):
        return Turn("user", (heading,))
    silent = not result.images and not result.text.strip()
    return Turn("user", (heading, *((_SILENT,) if silent else result.parts)))


def write_result_text(result: ToolResult) -> str:
    """Return a result for a template's own tool role, which has no mark for failure and holds text only."""
    text = result.text
    if result.outcome in ("success", "error") and not text.strip():
        text = _describe_images(len(result.images)) if result.images else _SILENT
    return f"{_AS_TOOL[result.outcome]}{text}"


def _describe_images(count: int) -> str:
    if count == 1:
        return "The result is an image, which follows below."
    return f"The result is {count} images, which follow below."
