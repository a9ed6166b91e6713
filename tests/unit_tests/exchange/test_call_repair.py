"""`repair_tool_calls`: a call that does not fit its tool is requested once more, constrained to it."""

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
RIGHT = '{"city": "Paris", "people": 2}'
BAD = {
    "a required key is missing": '{"city": "Paris"}',
    "a value is out of range": '{"city": "Paris", "people": 0}',
    "a value has the wrong type": '{"city": "Paris", "people": "two"}',
    "it is cut": '{"city": "Par',
    "it is no object": "[1, 2]",
    "it is nothing": "{}",
}
ways = pytest.mark.parametrize("call_method", [*CALL_METHODS, *EVENT_METHODS])
Written = tuple[str, list[tuple[str, str]]]


class Model:
    """Writes calls natively and under a constraint, both as scripted."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.native: Written = ("", [("book", BAD["a required key is missing"])])
        self.constrained: Callable[[str], str | None] = lambda name: json.dumps(
            {"name": name, "arguments": json.loads(RIGHT)}
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
        said = self.constrained(name)
        if said is None:
            return httpx.Response(429, json={"errors": [{"code": 3040, "message": "Capacity"}]})
        return self._reply(body, said, [])

    def _reply(self, body: dict[str, Any], text: str, calls: list[tuple[str, str]]) -> httpx.Response:
        said = {
            "content": text,
            "tool_calls": [
                {"index": at, "id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for at, (name, arguments) in enumerate(calls)
            ],
        }
        reason = "tool_calls" if calls else "stop"
        if not body.get("stream"):
            result = make_completion(finish_reason=reason, usage=make_usage(10, 5), **said)
            return httpx.Response(200, json={"success": True, "result": result})
        frames = [make_delta(content=text), *(make_delta(tool_calls=[call]) for call in said["tool_calls"])]
        end = {"choices": [], "usage": make_usage(10, 5)}
        content = encode_sse(*frames, make_delta(finish_reason=reason), end, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


@pytest.fixture
def model() -> Iterator[Model]:
    with respx.mock(assert_all_called=False) as router:
        yield Model(router)


def repairing(**arguments: Any) -> ChatWorkersGemma:
    return make_model(repair_tool_calls=True, **arguments)


def called(message: Any) -> list[tuple[str, Any]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


@ways
@pytest.mark.parametrize("bad", BAD)
def test_a_call_that_does_not_fit_is_requested_once_more(model: Model, bad: str, call_method: str) -> None:
    model.native = ("I book.", [("book", BAD[bad])])
    message = call_model(repairing().bind_tools([BOOK, CANCEL]), call_method)
    assert called(message) == [("book", json.loads(RIGHT))]
    assert message.invalid_tool_calls == []
    assert str(message.text) == "I book."
    assert message.tool_calls[0]["id"] == "c0"
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 30
    first, second = model.bodies
    assert "tools" not in second
    constraint = second["response_format"]["json_schema"]["schema"]
    assert constraint["properties"]["name"]["enum"] == ["book"]
    assert constraint["properties"]["arguments"]["required"] == ["city", "people"]
    assert "Your call of book" in second["messages"][-1]["content"]
    assert first["messages"][-1]["content"] in second["messages"][-1]["content"]


@ways
def test_a_call_that_fits_costs_nothing_more(model: Model, call_method: str) -> None:
    model.native = ("", [("book", RIGHT), ("cancel", "{}")])
    assert called(call_model(repairing().bind_tools([BOOK, CANCEL]), call_method)) == [
        ("book", json.loads(RIGHT)),
        ("cancel", {}),
    ]
    assert len(model.bodies) == 1


@ways
def test_without_it_nothing_is_requested_again(model: Model, call_method: str) -> None:
    message = call_model(make_model().bind_tools([BOOK]), call_method)
    assert called(message) == [("book", {"city": "Paris"})]
    assert len(model.bodies) == 1


@ways
def test_of_parallel_calls_each_that_does_not_fit_is_requested(model: Model, call_method: str) -> None:
    model.native = ("", [("book", BAD["it is cut"]), ("book", RIGHT), ("cancel", '{"id": 7}')])
    model.constrained = lambda name: json.dumps(
        {"name": name, "arguments": json.loads(RIGHT) if name == "book" else {"id": "7"}}
    )
    message = call_model(repairing(tool_calling="native").bind_tools([BOOK, CANCEL]), call_method)
    calls = called(message)
    assert calls[:2] == [("book", json.loads(RIGHT)), ("book", json.loads(RIGHT))]
    assert calls[2] == ("cancel", {"id": "7"})
    assert [call["id"] for call in message.tool_calls] == ["c0", "c1", "c2"]


@ways
@pytest.mark.parametrize(
    "still", ['{"name": "book", "arguments": {"city": "Paris"}}', "I cannot.", '{"name": "book"', None]
)
def test_what_cannot_be_repaired_is_unchanged(model: Model, still: str | None, call_method: str) -> None:
    model.constrained = lambda _name: still
    model.native = ("", [("book", BAD["it is cut"])])
    message = call_model(repairing().bind_tools([BOOK]), call_method)
    assert message.tool_calls == []
    assert [call["name"] for call in message.invalid_tool_calls] == ["book"]
    assert len(model.bodies) == 2


@ways
def test_a_misfit_that_cannot_be_repaired_stays_a_call(model: Model, call_method: str) -> None:
    model.constrained = lambda _name: "I cannot."
    assert called(call_model(repairing().bind_tools([BOOK]), call_method)) == [("book", {"city": "Paris"})]


def test_the_forms_of_the_constraint_are_tried(model: Model) -> None:
    model.refuses = {"openai_schema"}
    llm = repairing()
    for count in (3, 5):
        assert called(call_model(llm.bind_tools([BOOK]), "stream")) == [("book", json.loads(RIGHT))]
        assert len(model.bodies) == count


def test_a_forced_call_is_repaired_before_it_fails(model: Model) -> None:
    model.native = ("", [("book", BAD["it is cut"])])
    assert called(call_model(repairing().bind_tools([BOOK], tool_choice="book"), "invoke")) == [
        ("book", json.loads(RIGHT))
    ]
    with pytest.raises(ToolChoiceError):
        call_model(make_model().bind_tools([BOOK], tool_choice="book"), "invoke")


def test_surplus_parallel_calls_are_not_requested(model: Model) -> None:
    model.native = ("", [("book", RIGHT), ("cancel", "{}")])
    message = call_model(repairing().bind_tools([BOOK, CANCEL], parallel_tool_calls=False), "invoke")
    assert called(message) == [("book", json.loads(RIGHT))]
    assert [call["name"] for call in message.invalid_tool_calls] == ["cancel"]
    assert len(model.bodies) == 1


def test_it_may_be_set_for_one_call(model: Model) -> None:
    assert called(make_model().bind_tools([BOOK]).invoke("Go", repair_tool_calls=True)) == [("book", json.loads(RIGHT))]
    with pytest.raises(ValueError, match="repair_tool_calls"):
        make_model().bind_tools([BOOK]).invoke("Go", repair_tool_calls="please")


def test_text_still_streams_while_calls_are_held(model: Model) -> None:
    model.native = ("I book a table.", [("book", BAD["it is cut"])])
    chunks = [chunk for chunk in repairing().bind_tools([BOOK]).stream("Go") if isinstance(chunk, AIMessageChunk)]
    assert chunks[0].text == "I book a table."
    assert called(merge_chunks(chunks)) == [("book", json.loads(RIGHT))]


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def answered(router: respx.MockRouter, reply: dict[str, Any]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if not json.loads(request.content).get("stream"):
            return httpx.Response(200, json={"success": True, "result": reply})
        choice = reply["choices"][0]
        frames = [make_delta(**choice["message"]), make_delta(finish_reason=choice["finish_reason"])]
        content = encode_sse(*frames, {"choices": [], "usage": reply["usage"]}, "[DONE]")
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    router.route().mock(side_effect=answer)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_an_empty_reply_of_thoughts_alone_is_warned_about(
    caplog: pytest.LogCaptureFixture, reason: str, call_method: str
) -> None:
    with respx.mock() as router:
        reply = make_completion(None, reasoning="Let me see ...", finish_reason=reason, usage=make_usage(10, 256))
        answered(router, reply)
        call_model(make_model(), call_method)
    (line,) = warned(caplog)
    assert "256 tokens went into reasoning" in line
    assert "max_tokens" in line
    assert "thinking=False" in line


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_thoughts_that_are_only_counted_are_warned_about_too(
    caplog: pytest.LogCaptureFixture, call_method: str
) -> None:
    with respx.mock() as router:
        details = {"completion_tokens_details": {"reasoning_tokens": 256}}
        answered(router, make_completion("", finish_reason="length", usage=make_usage(10, 256, **details)))
        call_model(make_model(), call_method)
    assert "went into reasoning" in warned(caplog)[0]


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_reply_truncated_by_the_services_default(caplog: pytest.LogCaptureFixture, call_method: str) -> None:
    with respx.mock() as router:
        answered(router, make_completion("A long", finish_reason="length", usage=make_usage(10, 256)))
        call_model(make_model(), call_method)
        (line,) = warned(caplog)
        assert "truncated after 256 tokens by the service's default of 256 tokens: set max_tokens" in line
        caplog.clear()
        for mine in ({"max_tokens": 256}, {"model_kwargs": {"max_completion_tokens": 256}}):
            call_model(make_model(**mine), call_method)
        assert warned(caplog) == []


def test_truncation_that_only_the_count_shows(caplog: pytest.LogCaptureFixture) -> None:
    with respx.mock() as router:
        router.route().respond(
            200, json={"success": True, "result": {"response": "A long", "usage": make_usage(10, 256)}}
        )
        make_model(model=GEMMA_3).invoke("Go")
    assert "set max_tokens" in warned(caplog)[0]


def test_a_limit_that_we_set_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with respx.mock() as router:
        answered(router, make_completion("A long", finish_reason="length", usage=make_usage(10, 5)))
        make_model(thinking=False).bind_tools([BOOK]).invoke("Go")
    assert "max_tokens=4096 that is sent with tools" in warned(caplog)[0]


@pytest.mark.parametrize("model_id", [GEMMA_4, GEMMA_3])
def test_whole_replies_are_not_warned_about(caplog: pytest.LogCaptureFixture, model_id: str) -> None:
    with respx.mock() as router:
        answered(router, make_completion("Hi", reasoning="Hm", usage=make_usage(10, 20)))
        make_model(model=model_id).invoke("Go")
        make_model(model=model_id).bind_tools([BOOK]).invoke("Go")
    assert warned(caplog) == []
