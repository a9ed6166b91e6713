"""Pair each tool call with exactly one result: every chat template requires that, but not every history has it.

Templates write the results of a round in the order of its calls, some by position. So results are sorted in that order;
a call without a result gets a result that states this; and a result whose call is not in the nearest round becomes text
that names the call. If turns reuse an id, it means the nearest call before the result.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_workers_gemma.request.turns import Call, Changes, Outcome, ToolResult, Turn


def pair_results(turns: Sequence[Turn], changes: Changes) -> list[Turn]:
    """Return the turns with exactly one result after every call, and every other result as a user's text.

    Args:
        turns: The conversation.
        changes: The list to which descriptions of changes are added.
    """
    paired: list[Turn] = []
    opened: dict[str, _OpenCall] = {}  # the nearest earlier call, by its id
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
            round_of_calls = [_OpenCall(call) for call in turn.calls]
            _label_calls(round_of_calls)
            following = turns[at:end]
            if _is_paired(turn.calls, following):
                paired.append(turn)
                paired.extend(_name_result(one, result) for one, result in zip(round_of_calls, following, strict=True))
                opened.update((one.call.id, one) for one in round_of_calls)
            else:
                _pair_round(turn, round_of_calls, following, paired, opened, changes)
            at = end
        else:
            paired.append(turn)
    return paired


class _OpenCall:
    """A call with the results found for it, and the placeholder if there is none.

    Attributes:
        call: The call.
        label: The name of its tool, with a number if several calls have that name.
        placeholder: The result that was added because none was found; `None` if there is none.
        results: The results that were found.
    """

    __slots__ = ("call", "label", "placeholder", "results")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.label = call.name
        self.placeholder: ToolResult | None = None
        self.results: list[ToolResult] = []


def _is_paired(calls: Sequence[Call], following: Sequence[Turn]) -> bool:
    """Return whether each call has exactly one result, in the order of the calls. Most rounds do."""
    ids = [call.id for call in calls]
    return (
        ids == [turn.call_id if isinstance(turn, ToolResult) else None for turn in following]
        and all(ids)
        and (len(ids) == 1 or len(set(ids)) == len(ids))
    )


def _name_result(opened: _OpenCall, result: Turn) -> ToolResult:
    outcome = result.outcome if isinstance(result, ToolResult) else "success"
    return ToolResult("tool", result.parts, (), None, opened.call.id, opened.label, outcome)


def _pair_round(
    turn: Turn,
    round_of_calls: Sequence[_OpenCall],
    following: Sequence[Turn],
    paired: list[Turn],
    opened: dict[str, _OpenCall],
    changes: Changes,
) -> None:
    """Add an assistant's turn to `paired`, then the results of its calls, then the other turns between those."""
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


def _distribute(round_of_calls: Sequence[_OpenCall], following: Sequence[Turn]) -> list[Turn]:
    """Assign results to their calls, and return the turns that are not results of these calls."""
    by_id: dict[str, deque[_OpenCall]] = {}
    for one in round_of_calls:
        by_id.setdefault(one.call.id, deque()).append(one)
    rest: list[Turn] = []
    for turn in following:
        candidates = by_id.get(turn.call_id) if isinstance(turn, ToolResult) else None
        if candidates is None or not isinstance(turn, ToolResult):
            rest.append(turn)
        else:  # calls that share an id get one result each, the last call gets the rest
            (candidates.popleft() if len(candidates) > 1 else candidates[0]).results.append(turn)
    return rest


def _drop_unanswered(opened: Sequence[_OpenCall], changes: Changes) -> list[_OpenCall]:
    kept = [one for one in opened if one.results or not one.call.unreadable]
    if len(kept) < len(opened):
        changes.append("A tool call that cannot be read and has no result is left out.")
    return kept


def _label_calls(opened: Sequence[_OpenCall]) -> None:
    """Add numbers to the labels of calls that have the same name."""
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
    """Return the calls with ids that are unique in the turn: templates find a result's tool name by the id."""
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
    """Merge several results of one call; the text of each states whether it failed."""
    if len(results) == 1:
        return results[0]
    changes.append("Several results of one call are merged into one.")
    texts = [write_result_text(one) for one in results]
    images = [image for one in results for image in one.images]
    return replace(results[0], parts=("\n".join(texts), *images), outcome="success")


def _write_late_result(result: ToolResult, opened: _OpenCall | None, changes: Changes) -> Turn:
    """Return a result that does not follow its call as text, and let the placeholder of the call refer to it."""
    if opened is not None:
        if opened.placeholder is not None:
            opened.placeholder.outcome = "later"
        result = replace(result, name=result.name or opened.label)
    changes.append(
        f"The result of {describe_subject(result)} does not follow its call, so it is sent as text in a user message."
    )
    return write_result_as_user(result)


# --- The text of results ----------------------------------------------------------------------------------------------

_NO_OUTPUT = "(no output)"
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
    """Return a description of the call that a result belongs to."""
    return f"the call {result.name}" if result.name else f"the call with id {result.call_id}"


def write_result_as_user(result: ToolResult) -> Turn:
    """Return a result as a user turn that names the call and its outcome."""
    subject = describe_subject(result)
    heading = _AS_USER[result.outcome].format(subject=subject, Subject=f"{subject[0].upper()}{subject[1:]}")
    if result.outcome in ("missing", "later"):
        return Turn("user", (heading,))
    is_empty = not result.images and not result.text.strip()
    return Turn("user", (heading, *((_NO_OUTPUT,) if is_empty else result.parts)))


def write_result_text(result: ToolResult) -> str:
    """Return the text of a result for a template's tool role, which holds text only and has no sign for failure."""
    text = result.text
    if result.outcome in ("success", "error") and not text.strip():
        text = _describe_images(len(result.images)) if result.images else _NO_OUTPUT
    return f"{_AS_TOOL[result.outcome]}{text}"


def _describe_images(count: int) -> str:
    if count == 1:
        return "The result is an image, which follows below."
    return f"The result is {count} images, which follow below."
