"""`repair_tool_calls`: a call that does not match its tool is requested once more with a constraint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessageChunk

from langchain_workers_gemma import ChatWorkersGemma, ToolChoiceError
from tests.helpers.mock_service import encode_sse, make_completion, make_delta, make_usage
from tests.helpers.model_calls import (
    CALL_METHODS,
    EVENT_METHODS,
    GEMMA_3,
    GEMMA_4,
    call_model,
    get_tool_calls,
    make_model,
    merge_chunks,
)
from tests.helpers.unreliable_service import get_constraint_form

BOOK = {
    "type": "function",
    "function": {
        "name": "book",
        "description": "Book a table.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
            "required": ["city", "people"],
        },
    },
}
CANCEL = {
    "type": "function",
    "function": {"name": "cancel", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
}
VALID_ARGUMENTS = '{"city": "Paris", "people": 2}'
INVALID_ARGUMENTS = {
    "a required key is missing": '{"city": "Paris"}',
    "a value is out of range": '{"city": "Paris", "people": 0}',
    "a value has the wrong type": '{"city": "Paris", "people": "two"}',
    "it is truncated": '{"city": "Par',
    "it is not an object": "[1, 2]",
    "it is empty": "{}",
}
for_each_call_method = pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
TextAndCalls = tuple[str, list[tuple[str, str]]]


class ScriptedService:
    """Answers with scripted native calls, and with scripted texts to constrained requests."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.native: TextAndCalls = ("", [("book", INVALID_ARGUMENTS["a required key is missing"])])
        self.constrained: Callable[[str], str | None] = lambda name: json.dumps(
            {"name": name, "arguments": json.loads(VALID_ARGUMENTS)}
        )
        self.refuses: set[str] = set()
        router.route().mock(side_effect=self._answer)

    @property
    def forms(self) -> list[str]:
        return list(map(get_constraint_form, self.bodies))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        form = get_constraint_form(body)
        if form in self.refuses:
            return httpx.Response(400, json={"errors": [{"code": 5006, "message": "Grammar error: no"}]})
        if form == "prompt" and body.get("tools"):
            return self._reply(body, *self.native)
        name = "cancel" if "Your call of cancel" in body["messages"][-1]["content"] else "book"
        text = self.constrained(name)
        if text is None:
            return httpx.Response(429, json={"errors": [{"code": 3040, "message": "Capacity"}]})
        return self._reply(body, text, [])

    def _reply(self, body: dict[str, Any], text: str, calls: list[tuple[str, str]]) -> httpx.Response:
        message = {
            "content": text,
            "tool_calls": [
                {
                    "index": index,
                    "id": f"c{index}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for index, (name, arguments) in enumerate(calls)
            ],
        }
        reason = "tool_calls" if calls else "stop"
        if not body.get("stream"):
            result = make_completion(finish_reason=reason, usage=make_usage(10, 5), **message)
            return httpx.Response(200, json={"success": True, "result": result})
        events = [make_delta(content=text), *(make_delta(tool_calls=[call]) for call in message["tool_calls"])]
        end = {"choices": [], "usage": make_usage(10, 5)}
        content = encode_sse(*events, make_delta(finish_reason=reason), end, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with respx.mock(assert_all_called=False) as router:
        yield ScriptedService(router)


def make_repairing_model(**arguments: Any) -> ChatWorkersGemma:
    """Return a model that repairs tool calls."""
    return make_model(repair_tool_calls=True, **arguments)


@for_each_call_method
@pytest.mark.parametrize("case", INVALID_ARGUMENTS)
def test_an_invalid_call_is_requested_once_more(service: ScriptedService, case: str, call_method: str) -> None:
    service.native = ("I book.", [("book", INVALID_ARGUMENTS[case])])
    message = call_model(make_repairing_model().bind_tools([BOOK, CANCEL]), call_method)
    assert get_tool_calls(message) == [("book", json.loads(VALID_ARGUMENTS))]
    assert message.invalid_tool_calls == []
    assert str(message.text) == "I book."
    assert message.tool_calls[0]["id"] == "c0"
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 30
    first, second = service.bodies
    assert "tools" not in second
    constraint = second["response_format"]["json_schema"]["schema"]
    assert constraint["properties"]["name"]["enum"] == ["book"]
    assert constraint["properties"]["arguments"]["required"] == ["city", "people"]
    assert "Your call of book" in second["messages"][-1]["content"]
    assert first["messages"][-1]["content"] in second["messages"][-1]["content"]


@for_each_call_method
def test_valid_calls_need_no_second_request(service: ScriptedService, call_method: str) -> None:
    service.native = ("", [("book", VALID_ARGUMENTS), ("cancel", "{}")])
    assert get_tool_calls(call_model(make_repairing_model().bind_tools([BOOK, CANCEL]), call_method)) == [
        ("book", json.loads(VALID_ARGUMENTS)),
        ("cancel", {}),
    ]
    assert len(service.bodies) == 1


@for_each_call_method
def test_calls_are_not_requested_again_by_default(service: ScriptedService, call_method: str) -> None:
    message = call_model(make_model().bind_tools([BOOK]), call_method)
    assert get_tool_calls(message) == [("book", {"city": "Paris"})]
    assert len(service.bodies) == 1


@for_each_call_method
def test_each_invalid_parallel_call_is_requested_again(service: ScriptedService, call_method: str) -> None:
    service.native = (
        "",
        [("book", INVALID_ARGUMENTS["it is truncated"]), ("book", VALID_ARGUMENTS), ("cancel", '{"id": 7}')],
    )
    service.constrained = lambda name: json.dumps(
        {"name": name, "arguments": json.loads(VALID_ARGUMENTS) if name == "book" else {"id": "7"}}
    )
    message = call_model(make_repairing_model(tool_calling="native").bind_tools([BOOK, CANCEL]), call_method)
    calls = get_tool_calls(message)
    assert calls[:2] == [("book", json.loads(VALID_ARGUMENTS)), ("book", json.loads(VALID_ARGUMENTS))]
    assert calls[2] == ("cancel", {"id": "7"})
    assert [call["id"] for call in message.tool_calls] == ["c0", "c1", "c2"]


@for_each_call_method
@pytest.mark.parametrize(
    "second_reply", ['{"name": "book", "arguments": {"city": "Paris"}}', "I cannot.", '{"name": "book"', None]
)
def test_a_truncated_call_that_cannot_be_repaired_stays_invalid(
    service: ScriptedService, second_reply: str | None, call_method: str
) -> None:
    service.constrained = lambda _name: second_reply
    service.native = ("", [("book", INVALID_ARGUMENTS["it is truncated"])])
    message = call_model(make_repairing_model().bind_tools([BOOK]), call_method)
    assert message.tool_calls == []
    assert [call["name"] for call in message.invalid_tool_calls] == ["book"]
    assert len(service.bodies) == 2


@for_each_call_method
def test_a_mismatching_call_that_cannot_be_repaired_stays_valid(service: ScriptedService, call_method: str) -> None:
    service.constrained = lambda _name: "I cannot."
    assert get_tool_calls(call_model(make_repairing_model().bind_tools([BOOK]), call_method)) == [
        ("book", {"city": "Paris"})
    ]


def test_a_refused_form_of_the_constraint_is_replaced(service: ScriptedService) -> None:
    service.refuses = {"openai_schema"}
    llm = make_repairing_model()
    for count in (3, 5):
        assert get_tool_calls(call_model(llm.bind_tools([BOOK]), "stream")) == [("book", json.loads(VALID_ARGUMENTS))]
        assert len(service.bodies) == count


def test_a_forced_call_is_repaired_before_it_fails(service: ScriptedService) -> None:
    service.native = ("", [("book", INVALID_ARGUMENTS["it is truncated"])])
    assert get_tool_calls(call_model(make_repairing_model().bind_tools([BOOK], tool_choice="book"), "invoke")) == [
        ("book", json.loads(VALID_ARGUMENTS))
    ]
    with pytest.raises(ToolChoiceError):
        call_model(make_model().bind_tools([BOOK], tool_choice="book"), "invoke")


def test_extra_parallel_calls_are_not_requested_again(service: ScriptedService) -> None:
    service.native = ("", [("book", VALID_ARGUMENTS), ("cancel", "{}")])
    message = call_model(make_repairing_model().bind_tools([BOOK, CANCEL], parallel_tool_calls=False), "invoke")
    assert get_tool_calls(message) == [("book", json.loads(VALID_ARGUMENTS))]
    assert [call["name"] for call in message.invalid_tool_calls] == ["cancel"]
    assert len(service.bodies) == 1


def test_repair_tool_calls_may_be_set_for_one_call(service: ScriptedService) -> None:
    assert get_tool_calls(make_model().bind_tools([BOOK]).invoke("Go", repair_tool_calls=True)) == [
        ("book", json.loads(VALID_ARGUMENTS))
    ]
    with pytest.raises(ValueError, match="repair_tool_calls"):
        make_model().bind_tools([BOOK]).invoke("Go", repair_tool_calls="please")


def test_text_is_streamed_while_calls_are_held_back(service: ScriptedService) -> None:
    service.native = ("I book a table.", [("book", INVALID_ARGUMENTS["it is truncated"])])
    chunks = [
        chunk for chunk in make_repairing_model().bind_tools([BOOK]).stream("Go") if isinstance(chunk, AIMessageChunk)
    ]
    assert chunks[0].text == "I book a table."
    assert get_tool_calls(merge_chunks(chunks)) == [("book", json.loads(VALID_ARGUMENTS))]


# --- Warnings ---------------------------------------------------------------------------------------------------------


def get_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged warnings."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def mock_reply(router: respx.MockRouter, reply: dict[str, Any]) -> None:
    """Answer every request with a reply, as a stream if the request asks for one."""

    def respond(request: httpx.Request) -> httpx.Response:
        if not json.loads(request.content).get("stream"):
            return httpx.Response(200, json={"success": True, "result": reply})
        choice = reply["choices"][0]
        events = [make_delta(**choice["message"]), make_delta(finish_reason=choice["finish_reason"])]
        content = encode_sse(*events, {"choices": [], "usage": reply["usage"]}, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    router.route().mock(side_effect=respond)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_an_empty_reply_with_reasoning_logs_a_warning(
    caplog: pytest.LogCaptureFixture, reason: str, call_method: str
) -> None:
    with respx.mock() as router:
        reply = make_completion(None, reasoning="Let me see ...", finish_reason=reason, usage=make_usage(10, 256))
        mock_reply(router, reply)
        call_model(make_model(), call_method)
    (line,) = get_warnings(caplog)
    assert "256 tokens went into reasoning" in line
    assert "max_tokens" in line
    assert "thinking=False" in line


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_empty_reply_with_reasoning_tokens_logs_a_warning(
    caplog: pytest.LogCaptureFixture, call_method: str
) -> None:
    with respx.mock() as router:
        details = {"completion_tokens_details": {"reasoning_tokens": 256}}
        mock_reply(router, make_completion("", finish_reason="length", usage=make_usage(10, 256, **details)))
        call_model(make_model(), call_method)
    assert "went into reasoning" in get_warnings(caplog)[0]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_reply_truncated_by_the_default_limit_logs_a_warning(
    caplog: pytest.LogCaptureFixture, call_method: str
) -> None:
    with respx.mock() as router:
        mock_reply(router, make_completion("A long", finish_reason="length", usage=make_usage(10, 256)))
        call_model(make_model(), call_method)
        (line,) = get_warnings(caplog)
        assert "truncated after 256 tokens by the service's default of 256 tokens: set max_tokens" in line
        caplog.clear()
        for limit in ({"max_tokens": 256}, {"model_kwargs": {"max_completion_tokens": 256}}):
            call_model(make_model(**limit), call_method)
        assert get_warnings(caplog) == []


def test_a_reply_with_exactly_the_default_limit_of_tokens_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with respx.mock() as router:
        router.route().respond(
            200, json={"success": True, "result": {"response": "A long", "usage": make_usage(10, 256)}}
        )
        make_model(model=GEMMA_3).invoke("Go")
    assert "set max_tokens" in get_warnings(caplog)[0]


def test_the_warning_names_a_limit_set_by_the_package(caplog: pytest.LogCaptureFixture) -> None:
    with respx.mock() as router:
        mock_reply(router, make_completion("A long", finish_reason="length", usage=make_usage(10, 5)))
        make_model(thinking=False).bind_tools([BOOK]).invoke("Go")
    assert "max_tokens=4096 that is sent with tools" in get_warnings(caplog)[0]


@pytest.mark.parametrize("model_id", [GEMMA_4, GEMMA_3])
def test_complete_replies_log_no_warning(caplog: pytest.LogCaptureFixture, model_id: str) -> None:
    with respx.mock() as router:
        mock_reply(router, make_completion("Hi", reasoning="Hm", usage=make_usage(10, 20)))
        make_model(model=model_id).invoke("Go")
        make_model(model=model_id).bind_tools([BOOK]).invoke("Go")
    assert get_warnings(caplog) == []
