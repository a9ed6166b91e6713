"""The last call of a reply is valid only if the reply was not truncated (docs/wire.md section 10)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage

from tests.helpers.model_calls import get_tool_calls
from tests.unit_tests.response.engine_recordings import (
    ReplayService,
    collect_message,
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


def make_service(
    *, native: bool = False, ending: dict[str, Any], tokens: int, total: int, text_after: bool
) -> ReplayService:
    """Return a service whose reply has two calls, which may be followed by text."""
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


def call_with_tool(service: ReplayService, *, streamed: bool, **options: Any) -> AIMessage:
    """Return the message of a model with a tool and a token limit."""
    return collect_message(
        make_replay_model(service, max_tokens=LIMIT).bind_tools([WRITE], **options), streamed=streamed
    )


ENDINGS: dict[str, tuple[dict[str, Any], int, int, bool]] = {
    "the model ended it": ({"finish_reason": "tool_calls", "stop_reason": 50}, 20, 400, False),
    "the model ended it at the limit": ({"finish_reason": "tool_calls", "stop_reason": 50}, LIMIT, 400, False),
    "no field shows why it ended": ({"finish_reason": "tool_calls", "stop_reason": None}, 20, 400, False),
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
    "another server's stop reason for a complete reply": (
        {"finish_reason": "stop", "stop_reason": "end_turn"},
        20,
        400,
        False,
    ),
    "context window": ({"finish_reason": "tool_calls", "stop_reason": None}, 20, WINDOW, True),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ENDINGS)
def test_the_last_call_is_valid_unless_the_reply_was_truncated(case: str, *, streamed: bool) -> None:
    ending, tokens, total, is_truncated = ENDINGS[case]
    message = call_with_tool(
        make_service(ending=ending, tokens=tokens, total=total, text_after=False), streamed=streamed
    )
    assert get_tool_calls(message) == ([FIRST] if is_truncated else [FIRST, LAST])
    assert [call["name"] for call in message.invalid_tool_calls] == (["write"] if is_truncated else [])


@pytest.mark.parametrize("case", ENDINGS)
@pytest.mark.parametrize("rest", ["", "}"], ids=["an empty piece", "the last piece"])
def test_text_in_the_event_of_the_last_call_does_not_show_that_it_is_complete(case: str, rest: str) -> None:
    """The order of text and call within one event is unknown."""
    ending, tokens, total, is_truncated = ENDINGS[case]
    service = make_service(ending=ending, tokens=tokens, total=total, text_after=False)
    call = service.events[1]["choices"][0]["delta"]["tool_calls"][0]["function"]
    call["arguments"] = call["arguments"].removesuffix(rest)
    shared = {"content": "And", "tool_calls": [{"index": 1, "function": {"arguments": rest}}]}
    service.events.insert(2, {"choices": [{"index": 0, "delta": shared}]})
    assert get_tool_calls(call_with_tool(service, streamed=True)) == ([FIRST] if is_truncated else [FIRST, LAST])


@pytest.mark.parametrize("case", ENDINGS)
def test_text_after_the_last_call_shows_that_it_is_complete(case: str) -> None:
    ending, tokens, total, _ = ENDINGS[case]
    message = call_with_tool(make_service(ending=ending, tokens=tokens, total=total, text_after=True), streamed=True)
    assert get_tool_calls(message) == [FIRST, LAST]
    assert message.content == "And"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("tokens", "total"), [(LIMIT, 400), (20, WINDOW)])
def test_usage_shows_that_a_native_reply_was_truncated(tokens: int, total: int, *, streamed: bool) -> None:
    service = make_service(native=True, ending={}, tokens=tokens, total=total, text_after=False)
    assert get_tool_calls(call_with_tool(service, streamed=streamed)) == [FIRST]
    whole = make_service(native=True, ending={}, tokens=20, total=400, text_after=False)
    assert get_tool_calls(call_with_tool(whole, streamed=streamed)) == [FIRST, LAST]


def test_the_error_of_a_truncated_call_names_reason_and_cure() -> None:
    ending = {"finish_reason": "tool_calls", "stop_reason": None}
    message = call_with_tool(make_service(ending=ending, tokens=LIMIT, total=400, text_after=False), streamed=False)
    (call,) = message.invalid_tool_calls
    assert call["error"] == "The reply was truncated at max_tokens=100: raise max_tokens."
    message = call_with_tool(
        make_service(
            ending={"finish_reason": "tool_calls", "stop_reason": "END"}, tokens=20, total=400, text_after=False
        ),
        streamed=False,
    )
    (call,) = message.invalid_tool_calls
    assert "stop sequence 'END'" in str(call["error"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_max_tokens_is_sent_with_tools_to_detect_truncation(*, streamed: bool) -> None:
    service = make_service(ending={"finish_reason": "stop"}, tokens=20, total=400, text_after=False)
    collect_message(make_replay_model(service).bind_tools([WRITE]), streamed=streamed)
    sent_limit = service.requests[-1]["max_tokens"]
    assert sent_limit >= 4096
    truncated = make_service(
        ending={"finish_reason": "stop"}, tokens=sent_limit, total=400 + sent_limit, text_after=False
    )
    assert get_tool_calls(collect_message(make_replay_model(truncated).bind_tools([WRITE]), streamed=streamed)) == [
        FIRST
    ]


def test_a_stop_sequence_that_equals_a_stop_reason_truncates() -> None:
    ending = {"finish_reason": "tool_calls", "stop_reason": "stop"}
    service = make_service(ending=ending, tokens=20, total=400, text_after=False)
    assert get_tool_calls(collect_message(make_replay_model(service).bind_tools([WRITE]), streamed=False)) == [
        FIRST,
        LAST,
    ]
    assert get_tool_calls(
        collect_message(make_replay_model(service, stop=["stop"]).bind_tools([WRITE]), streamed=False)
    ) == [FIRST]


def test_max_completion_tokens_of_the_caller_is_a_limit() -> None:
    service = make_service(ending={"finish_reason": "stop"}, tokens=64, total=400, text_after=False)
    llm = make_replay_model(service, model_kwargs={"max_completion_tokens": 64}).bind_tools([WRITE])
    assert get_tool_calls(collect_message(llm, streamed=False)) == [FIRST]
    assert "max_tokens" not in service.requests[-1]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("arguments", ["", "{}"])
def test_a_call_truncated_within_its_name_is_omitted(arguments: str, *, streamed: bool) -> None:
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "wri", "arguments": arguments}}
    ending = {"finish_reason": "tool_calls", "stop_reason": None}
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}], "usage": usage}
    message = call_with_tool(ReplayService(whole, events), streamed=streamed)
    assert not message.tool_calls
    assert not message.invalid_tool_calls


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("arguments", ["", "{}"])
@pytest.mark.parametrize("reason", ["length", "tool_calls"])
def test_calls_before_a_call_truncated_within_its_name_are_kept(reason: str, arguments: str, *, streamed: bool) -> None:
    sent = [("write", '{"path": "/a"}'), ("write", '{"path": "/b"}'), ("wri", arguments)]
    calls = [
        {"id": f"c{index}", "type": "function", "index": index, "function": {"name": name, "arguments": text}}
        for index, (name, text) in enumerate(sent)
    ]
    ending = {"finish_reason": reason, "stop_reason": None}
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [
        *({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls),
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": calls}, **ending}], "usage": usage}
    message = call_with_tool(ReplayService(whole, events), streamed=streamed)
    assert get_tool_calls(message) == [("write", {"path": "/a"}), ("write", {"path": "/b"})]
    assert not message.invalid_tool_calls


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_finished_call_of_an_unknown_tool_is_kept(*, streamed: bool) -> None:
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "nope", "arguments": "{}"}}
    ending = {"finish_reason": "tool_calls", "stop_reason": 50}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
    ]
    whole = {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}]}
    assert get_tool_calls(call_with_tool(ReplayService(whole, events), streamed=streamed)) == [("nope", {})]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_only_the_first_call_is_valid_without_parallel_tool_calls(*, streamed: bool) -> None:
    service = make_service(
        ending={"finish_reason": "tool_calls", "stop_reason": 50}, tokens=20, total=400, text_after=False
    )
    message = call_with_tool(service, streamed=streamed, parallel_tool_calls=False)
    assert get_tool_calls(message) == [FIRST]
    (call,) = message.invalid_tool_calls
    assert call["name"] == "write"
    if not streamed:  # langchain-core drops the errors of streamed calls
        assert "parallel_tool_calls=False" in str(call["error"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_invalid_tool_call_errors_are_reported_whole_and_streamed(*, streamed: bool) -> None:
    service = make_service(ending={"finish_reason": "length"}, tokens=20, total=400, text_after=False)
    message = call_with_tool(service, streamed=streamed)
    (reason,) = message.response_metadata["invalid_tool_call_errors"]
    assert "max_tokens=100" in reason


GUIDED_CALLS = (
    '{"tool_calls": [{"name": "write", "arguments": {"path": "/a"}}, {"name": "write", "arguments": {"path": "/b"}}'
)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("missing", "valid"), [(0, 2), (1, 1), (2, 1), (8, 1), (40, 1), (56, 0)])
def test_a_guided_call_is_valid_if_its_object_is_closed(missing: int, valid: int, *, streamed: bool) -> None:
    text = GUIDED_CALLS[: len(GUIDED_CALLS) - missing]
    usage = {"prompt_tokens": 300, "completion_tokens": LIMIT, "total_tokens": 400}
    events = [*({"response": character} for character in text), {"response": "", "usage": usage}]
    llm = make_replay_model(
        ReplayService({"response": text, "usage": usage}, events), max_tokens=LIMIT, tool_calling="guided_json"
    )
    message = collect_message(llm.bind_tools([WRITE]), streamed=streamed)
    assert get_tool_calls(message) == [("write", {"path": "/a"}), ("write", {"path": "/b"})][:valid]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", [case for case, ending in ENDINGS.items() if ending[3]])
def test_a_truncated_call_is_not_structured_output(case: str, *, streamed: bool) -> None:
    ending, tokens, total, _ = ENDINGS[case]
    call = {"id": "c", "type": "function", "index": 0, "function": {"name": "write", "arguments": '{"path": "/home"}'}}
    usage = {"prompt_tokens": total - tokens, "completion_tokens": tokens, "total_tokens": total}
    events = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, **ending}]},
        {"choices": [], "usage": usage},
    ]
    service = ReplayService(
        {"choices": [{"message": {"content": None, "tool_calls": [call]}, **ending}], "usage": usage}, events
    )
    schema = {"title": "write", "description": "d", **WRITE["function"]["parameters"]}
    llm = make_replay_model(service, max_tokens=LIMIT).with_structured_output(schema, method="function_calling")
    with pytest.raises(OutputParserException, match="max_tokens"):
        _ = list(llm.stream("Go")) if streamed else llm.invoke("Go")
    assert len(service.requests) == 1  # a second reply would be truncated too
