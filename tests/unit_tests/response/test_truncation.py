"""Whether the last call of a reply may run is decided by how the reply ended (docs/wire.md section 10)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage

from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
    get_tool_calls,
    make_replay_model,
)

pytestmark = pytest.mark.lowest

WRITE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "write",
        "description": "d",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
}
FIRST, LAST = ("write", {"path": "/a"}), ("write", {"path": "/home/me/do"})
LIMIT, WINDOW = 100, 131_072


def reply(*, native: bool = False, ending: dict[str, Any], tokens: int, total: int, text_after: bool) -> ReplayService:
    """A reply with two calls, whole and as a stream, which may continue with text."""
    calls = [
        {
            "id": f"c{index}",
            "type": "function",
            "index": index,
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for index, (name, arguments) in enumerate((FIRST, LAST))
    ]
    usage = {"prompt_tokens": total - tokens, "completion_tokens": tokens, "total_tokens": total}
    if native:
        events: list[Any] = [{"tool_calls": [call]} for call in calls]
        events += [{"response": "And"}] * text_after
        return ReplayService(
            {"response": "", "tool_calls": calls, "usage": usage}, [*events, {"response": "", "usage": usage}]
        )
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
    events += [{"choices": [{"index": 0, "delta": {"content": "And"}}]}] * text_after
    events += [{"choices": [{"index": 0, "delta": {}, **ending}]}, {"choices": [], "usage": usage}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    return ReplayService({"choices": [{"index": 0, "message": message, **ending}], "usage": usage}, events)


def answered(player: ReplayService, *, streamed: bool, **options: Any) -> AIMessage:
    return collect_message(
        make_replay_model(player, max_tokens=LIMIT).bind_tools([WRITE], **options), streamed=streamed
    )


ENDINGS: dict[str, tuple[dict[str, Any], int, int, bool]] = {
    "the model ended it": ({"finish_reason": "tool_calls", "stop_reason": 50}, 20, 400, False),
    "the model ended it at the limit": ({"finish_reason": "tool_calls", "stop_reason": 50}, LIMIT, 400, False),
    "nothing tells": ({"finish_reason": "tool_calls", "stop_reason": None}, 20, 400, False),
    "a stop sequence that closes a call": (
        {"finish_reason": "tool_calls", "stop_reason": "<tool_call|>"},
        20,
        400,
        False,
    ),
    "finish reason": ({"finish_reason": "length", "stop_reason": None}, 20, 400, True),
    "finish reason of another server": ({"finish_reason": "MAX_TOKENS"}, 20, 400, True),
    "content filter": ({"finish_reason": "content_filter"}, 20, 400, True),
    "token limit": ({"finish_reason": "tool_calls", "stop_reason": None}, LIMIT, 400, True),
    "beyond the token limit": ({"finish_reason": "stop"}, LIMIT + 1, 400, True),
    "stop sequence": ({"finish_reason": "tool_calls", "stop_reason": "END"}, 20, 400, True),
    "a server's word for an end that nothing cut": (
        {"finish_reason": "stop", "stop_reason": "end_turn"},
        20,
        400,
        False,
    ),
    "context window": ({"finish_reason": "tool_calls", "stop_reason": None}, 20, WINDOW, True),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ENDINGS)
def test_the_last_call_is_valid_only_if_nothing_cut_it(case: str, *, streamed: bool) -> None:
    ending, tokens, total, is_cut = ENDINGS[case]
    message = answered(reply(ending=ending, tokens=tokens, total=total, text_after=False), streamed=streamed)
    assert get_tool_calls(message) == ([FIRST] if is_cut else [FIRST, LAST])
    assert [call["name"] for call in message.invalid_tool_calls] == (["write"] if is_cut else [])


@pytest.mark.parametrize("case", ENDINGS)
@pytest.mark.parametrize("rest", ["", "}"], ids=["an empty piece", "the last piece"])
def test_text_beside_a_piece_of_the_last_call_shows_nothing(case: str, rest: str) -> None:
    """The order of what shares an event is not known."""
    ending, tokens, total, is_cut = ENDINGS[case]
    player = reply(ending=ending, tokens=tokens, total=total, text_after=False)
    call = player.events[1]["choices"][0]["delta"]["tool_calls"][0]["function"]
    call["arguments"] = call["arguments"].removesuffix(rest)
    shared = {"content": "And", "tool_calls": [{"index": 1, "function": {"arguments": rest}}]}
    player.events.insert(2, {"choices": [{"index": 0, "delta": shared}]})
    assert get_tool_calls(answered(player, streamed=True)) == ([FIRST] if is_cut else [FIRST, LAST])


@pytest.mark.parametrize("case", ENDINGS)
def test_text_behind_the_last_call_shows_that_it_is_whole(case: str) -> None:
    ending, tokens, total, _ = ENDINGS[case]
    message = answered(reply(ending=ending, tokens=tokens, total=total, text_after=True), streamed=True)
    assert get_tool_calls(message) == [FIRST, LAST]
    assert message.content == "And"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("tokens", "total"), [(LIMIT, 400), (20, WINDOW)])
def test_a_native_reply_with_usage_alone(tokens: int, total: int, *, streamed: bool) -> None:
    player = reply(native=True, ending={}, tokens=tokens, total=total, text_after=False)
    assert get_tool_calls(answered(player, streamed=streamed)) == [FIRST]
    whole = reply(native=True, ending={}, tokens=20, total=400, text_after=False)
    assert get_tool_calls(answered(whole, streamed=streamed)) == [FIRST, LAST]


def test_the_reason_names_what_cut_the_call_and_the_cure() -> None:
    ending = {"finish_reason": "tool_calls", "stop_reason": None}
    message = answered(reply(ending=ending, tokens=LIMIT, total=400, text_after=False), streamed=False)
    (call,) = message.invalid_tool_calls
    assert call["error"] == "The reply was truncated at max_tokens=100: raise max_tokens."
    message = answered(
        reply(ending={"finish_reason": "tool_calls", "stop_reason": "END"}, tokens=20, total=400, text_after=False),
        streamed=False,
    )
    (call,) = message.invalid_tool_calls
    assert "stop sequence 'END'" in str(call["error"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_limit_is_sent_with_tools_so_that_a_cut_is_seen(*, streamed: bool) -> None:
    player = reply(ending={"finish_reason": "stop"}, tokens=20, total=400, text_after=False)
    collect_message(make_replay_model(player).bind_tools([WRITE]), streamed=streamed)
    sent = player.requests[-1]["max_tokens"]
    assert sent >= 4096
    cut = reply(ending={"finish_reason": "stop"}, tokens=sent, total=400 + sent, text_after=False)
    assert get_tool_calls(collect_message(make_replay_model(cut).bind_tools([WRITE]), streamed=streamed)) == [FIRST]


def test_a_stop_sequence_that_is_such_a_word_cuts() -> None:
    ending = {"finish_reason": "tool_calls", "stop_reason": "stop"}
    player = reply(ending=ending, tokens=20, total=400, text_after=False)
    assert get_tool_calls(collect_message(make_replay_model(player).bind_tools([WRITE]), streamed=False)) == [
        FIRST,
        LAST,
    ]
    assert get_tool_calls(
        collect_message(make_replay_model(player, stop=["stop"]).bind_tools([WRITE]), streamed=False)
    ) == [FIRST]


def test_a_limit_that_the_caller_sends_by_its_other_name_counts() -> None:
    player = reply(ending={"finish_reason": "stop"}, tokens=64, total=400, text_after=False)
    llm = make_replay_model(player, model_kwargs={"max_completion_tokens": 64}).bind_tools([WRITE])
    assert get_tool_calls(collect_message(llm, streamed=False)) == [FIRST]
    assert "max_tokens" not in player.requests[-1]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("arguments", ["", "{}"])
def test_a_call_cut_in_its_name_is_no_call(arguments: str, *, streamed: bool) -> None:
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "wri", "arguments": arguments}}
    ending = {"finish_reason": "tool_calls", "stop_reason": None}
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}], "usage": usage}
    message = answered(ReplayService(whole, events), streamed=streamed)
    assert not message.tool_calls
    assert not message.invalid_tool_calls


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("arguments", ["", "{}"])
@pytest.mark.parametrize("reason", ["length", "tool_calls"])
def test_calls_before_one_that_was_cut_in_its_name_stay(reason: str, arguments: str, *, streamed: bool) -> None:
    written = [("write", '{"path": "/a"}'), ("write", '{"path": "/b"}'), ("wri", arguments)]
    calls = [
        {"id": f"c{index}", "type": "function", "index": index, "function": {"name": name, "arguments": text}}
        for index, (name, text) in enumerate(written)
    ]
    ending = {"finish_reason": reason, "stop_reason": None}
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [
        *({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls),
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": calls}, **ending}], "usage": usage}
    message = answered(ReplayService(whole, events), streamed=streamed)
    assert get_tool_calls(message) == [("write", {"path": "/a"}), ("write", {"path": "/b"})]
    assert not message.invalid_tool_calls


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_call_of_an_unknown_tool_that_is_whole_is_kept(*, streamed: bool) -> None:
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "nope", "arguments": "{}"}}
    ending = {"finish_reason": "tool_calls", "stop_reason": 50}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}]}
    assert get_tool_calls(answered(ReplayService(whole, events), streamed=streamed)) == [("nope", {})]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_one_call_where_parallel_calls_are_forbidden(*, streamed: bool) -> None:
    player = reply(ending={"finish_reason": "tool_calls", "stop_reason": 50}, tokens=20, total=400, text_after=False)
    message = answered(player, streamed=streamed, parallel_tool_calls=False)
    assert get_tool_calls(message) == [FIRST]
    (call,) = message.invalid_tool_calls
    assert call["name"] == "write"
    if not streamed:  # core keeps no reasons for the calls of a stream
        assert "parallel_tool_calls=False" in str(call["error"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_reasons_are_reported_by_every_method(*, streamed: bool) -> None:
    player = reply(ending={"finish_reason": "length"}, tokens=20, total=400, text_after=False)
    message = answered(player, streamed=streamed)
    (reason,) = message.response_metadata["invalid_tool_call_errors"]
    assert "max_tokens=100" in reason


GUIDED = (
    '{"tool_calls": [{"name": "write", "arguments": {"path": "/a"}}, {"name": "write", "arguments": {"path": "/b"}}'
)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("lost", "valid"), [(0, 2), (1, 1), (2, 1), (8, 1), (40, 1), (56, 0)])
def test_a_call_under_a_constraint_is_whole_once_its_object_is(lost: int, valid: int, *, streamed: bool) -> None:
    text = GUIDED[: len(GUIDED) - lost]
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [*({"response": character} for character in text), {"response": "", "usage": usage}]
    llm = make_replay_model(
        ReplayService({"response": text, "usage": usage}, events), max_tokens=LIMIT, tool_calling="guided_json"
    )
    message = collect_message(llm.bind_tools([WRITE]), streamed=streamed)
    assert get_tool_calls(message) == [("write", {"path": "/a"}), ("write", {"path": "/b"})][:valid]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", [case for case, ending in ENDINGS.items() if ending[3]])
def test_a_cut_call_is_no_structured_output(case: str, *, streamed: bool) -> None:
    ending, tokens, total, _ = ENDINGS[case]
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "write", "arguments": '{"path": "/home"}'}}
    usage = {"prompt_tokens": total - tokens, "completion_tokens": tokens, "total_tokens": total}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    player = ReplayService(
        {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}], "usage": usage}, events
    )
    schema = {"title": "write", "description": "d", **WRITE["function"]["parameters"]}
    llm = make_replay_model(player, max_tokens=LIMIT).with_structured_output(schema, method="function_calling")
    with pytest.raises(OutputParserException, match="max_tokens"):
        _ = list(llm.stream("Go")) if streamed else llm.invoke("Go")
    assert len(player.requests) == 1  # requesting again would be truncated again
