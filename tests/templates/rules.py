"""Rules for every rendered prompt: nothing is missing, repeated, invented or in the wrong order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from tests.templates.marking import MARK, Expected, MarkedHistory
from tests.templates.prompt import Item, read_prompt
from tests.templates.templates import ChatTemplate

# All texts that the client may add to the history and to the instructions for tools.
CLIENT_TEXTS = re.compile(
    r"\(The conversation begins\.\)|\(The conversation continues\.\)"
    r"|Result of the call [^\n:]*:|The call( [^\n:]*)? failed[.:]|The call( [^\n:]*)? gave no output\."
    r"|The call( [^\n:]*)? has no result\.|The result of the call( [^\n:]*)? follows below\."
    r"|Images? in the result of the call [^\n]*:|The result is an image, which follows below\."
    r"|The result is \d+ images, which follow below\.|\[Left out: [^\n]*\.\]|\(no output\)"
)


def check_prompt(
    history: MarkedHistory,
    body: Mapping[str, Any],
    template: ChatTemplate,
    *,
    instructions: str = "",
    one_call: bool = False,
) -> None:
    """Render a request, and check the prompt.

    Args:
        history: The history of the request.
        body: The body of the request.
        template: The model's template.
        instructions: The text that describes tools in the prompt.
        one_call: Whether each of several calls of one message is directly followed by its result.

    Raises:
        AssertionError: If the prompt violates a rule.
    """
    prompt = template.render(body)
    items = read_prompt(prompt)
    tokens = template.has_tool_tokens and not instructions
    try:
        _check_end(items, may_be_closed=template.closes_answers_after_results and _ends_with_answer(body))
        _check_marks(history, items, tokens=tokens, one_call=one_call)
        if tokens:
            _check_rounds(items)
        _check_texts(history, items)
        _check_words(history, items, instructions)
        assert sum(item.kind == "image" for item in items) == history.images, "each image must occur once"
    except AssertionError as error:
        raise AssertionError(f"{error}\n{prompt}\n{json.dumps(body, ensure_ascii=False, indent=1)[:6000]}") from error


def _ends_with_answer(body: Mapping[str, Any]) -> bool:
    roles = [message["role"] for message in body["messages"][-2:]]
    return roles == ["tool", "assistant"]


def _check_end(items: Sequence[Item], *, may_be_closed: bool) -> None:
    """Assert that the prompt ends where the model must continue."""
    assert not any(item.kind == "open result" for item in items), "a result is not closed"
    last = items[-1]
    if may_be_closed and last.kind == "end":
        return
    assert last.role == "model", "the last turn must be the model's"
    assert last.kind in ("turn", "result"), f"the model's turn must be empty or end with a result: {last}"


def _check_rounds(items: Sequence[Item]) -> None:
    """Assert that calls are in the model's turn, that each has its result, and that text ends the turn."""
    for before, item in zip([None, *items], items, strict=False):
        if item.kind in ("call", "result", "thought"):
            assert item.role == "model", f"{item.kind} is in a turn of {item.role}"
        if before is not None and before.kind == "text" and before.role == "model":
            assert item.kind == "end", f"text of the model is followed by {item.kind}"
        if before is not None and before.kind == "result" and item.kind == "turn":
            assert item.role == "user"
    for calls, results in _iterate_rounds(items):
        assert calls == results, f"calls {calls} with results {results}"


def _iterate_rounds(items: Sequence[Item]) -> Iterator[tuple[list[str], list[str]]]:
    calls: list[str] = []
    results: list[str] = []
    for item in items:
        if item.kind == "call" and results:
            yield calls, results
            calls, results = [], []
        if item.kind in ("call", "result"):
            (calls if item.kind == "call" else results).append(item.name)
    yield calls, results


_ALL_SPEAKERS = (frozenset({"system", "user", "assistant", "call", "result", "thought"}),)
_CALLS_SEPARATELY = (frozenset({"call"}), _ALL_SPEAKERS[0] - {"call"})


def _check_marks(history: MarkedHistory, items: Sequence[Item], *, tokens: bool, one_call: bool) -> None:
    """Assert that each text is in the prompt once, in the right order and in the right turn."""
    found = [(mark, item) for item in items for mark in MARK.findall(item.text)]
    order = [expected.mark for expected in history.expected]
    marks = [mark for mark, _ in found]
    assert len(set(marks)) == len(marks), f"some marks are repeated: {marks}"
    item_by_mark = dict(found)
    for speakers in _CALLS_SEPARATELY if one_call else _ALL_SPEAKERS:
        expected_marks = [one.mark for one in history.expected if one.speaker in speakers and one.mark in item_by_mark]
        assert [mark for mark in marks if mark in expected_marks] == expected_marks, (
            f"the order is {marks}, not {order}"
        )
    last_user = max((at for at, item in enumerate(items) if item.kind == "turn" and item.role == "user"), default=-1)
    for expected in history.expected:
        item = item_by_mark.get(expected.mark)
        if item is None:
            assert _may_be_missing(expected, history, item_by_mark, items, last_user, tokens=tokens), (
                f"missing: {expected}"
            )
        else:
            heading = _get_turn_text(items, items.index(item)) + item.text[: item.text.index(expected.mark)]
            assert _is_in_the_right_place(expected, item, heading, tokens=tokens), f"{expected} is in {item}"


def _get_turn_text(items: Sequence[Item], at: int) -> str:
    """Return the text of a turn before one of its items."""
    texts: list[str] = []
    while items[at].kind != "turn":
        at -= 1
        texts.append(items[at].text)
    return "".join(reversed(texts))


def _may_be_missing(
    expected: Expected,
    history: MarkedHistory,
    item_by_mark: Mapping[str, Item],
    items: Sequence[Item],
    last_user: int,
    *,
    tokens: bool,
) -> bool:
    """Return whether a prompt may omit a text.

    Templates omit thoughts and texts beside calls before the last user turn, and if they have no tokens for them.
    """
    if expected.speaker == "thought" and not (tokens and expected.beside_calls):
        return True
    if expected.speaker not in ("thought", "assistant") or not expected.beside_calls:
        return False
    call = next(one for one in history.expected if one.message == expected.message and one.speaker == "call")
    return not tokens or items.index(item_by_mark[call.mark]) < last_user


_HEADING = re.compile(r"(?:of the|The) call (?!failed|has|gave)(?P<name>[^\s:]+)")


def _is_in_the_right_place(expected: Expected, item: Item, heading: str, *, tokens: bool) -> bool:
    speaker, kind, role = expected.speaker, item.kind, item.role
    if speaker == "system":
        return kind == "text" and role in ("system", "user")
    if speaker == "user":
        return kind == "text" and role == "user"
    if speaker == "thought":
        return kind == "thought"
    if speaker == "assistant":
        return (kind == "text" and role == "model") or (kind == "thought" and tokens)
    if speaker == "call":
        return kind == "call" and item.name == expected.name if tokens else (kind, role) == ("text", "model")
    if tokens and not expected.late:
        return kind == "result" and item.name == expected.name and (not expected.failed or "failed" in item.text)
    names = list(_HEADING.finditer(heading))
    named = not expected.name or (bool(names) and names[-1]["name"] == expected.name)
    failed = not expected.failed or (bool(names) and "failed" in heading[names[-1].end() :])
    return kind == "text" and role == "user" and named and failed


def _check_texts(history: MarkedHistory, items: Sequence[Item]) -> None:
    """Assert that the texts are complete."""
    whole = "\0".join(item.text for item in items)
    escaped = whole.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")  # for answers in JSON
    for expected in history.expected:
        text = expected.text.strip()
        if expected.speaker != "call" and expected.mark in whole:
            assert text in whole or text in escaped or json.dumps(text)[1:-1] in whole, f"changed: {expected}"


def _check_words(history: MarkedHistory, items: Sequence[Item], instructions: str) -> None:
    """Assert that all words come from the history, the instructions or the client's own texts."""
    texts = sorted((one.text.strip() for one in history.expected if one.speaker != "call"), key=len, reverse=True)
    for item in items:
        if item.kind not in ("text", "result", "thought"):
            continue
        rest = item.text.replace(instructions.strip(), "") if instructions else item.text
        if item.role == "model" and item.kind == "text":
            rest = _remove_json(rest, history)
        for text in texts:
            rest = rest.replace(text, "")
        rest = CLIENT_TEXTS.sub("", rest)
        assert not rest.strip(), f"invented in a turn of {item.role}: {rest!r}"


def _remove_json(text: str, history: MarkedHistory) -> str:
    """Return the text without its calls and answers in JSON. The calls must be those of the history."""
    known = [(name, args) for calls in history.calls.values() for name, args in calls]
    starts = [at for at in (text.find('{"'), text.find('[{"')) if at >= 0]
    if not starts:
        return text
    start = min(starts)
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return text
    if isinstance(value, dict) and set(value) == {"answer"} and isinstance(value["answer"], str):
        return text[:start] + value["answer"] + text[end:]
    calls = value.get("tool_calls", [value]) if isinstance(value, dict) else value
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        return text  # JSON in the text of a message
    for call in calls:
        arguments = call.get("parameters", call.get("arguments"))
        marks = MARK.findall(json.dumps(arguments))
        match = next((one for one in known if one[0] == call["name"] and MARK.findall(str(one[1])) == marks), None)
        assert match is not None, f"a call that is not in the history: {call}"
        assert arguments.keys() == match[1].keys()
    return text[:start] + text[end:]


def check_constraint(body: Mapping[str, Any]) -> None:
    """Check that the assistant's messages match the request's own schema.

    Raises:
        AssertionError: If a message does not match it.
    """
    schema = body.get("guided_json") or body["response_format"]["json_schema"]
    validator = jsonschema.Draft202012Validator(schema.get("schema", schema))
    for message in body["messages"]:
        assert "tool_calls" not in message
        if message["role"] == "assistant":
            try:
                value = json.loads(message["content"])
            except ValueError as error:
                raise AssertionError(f"{message['content']} is invalid JSON") from error
            errors = [error.message for error in validator.iter_errors(value)]
            assert not errors, f"{message['content']} does not match the schema: {errors}"
