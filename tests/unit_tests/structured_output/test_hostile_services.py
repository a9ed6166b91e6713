"""Structured output from services that fail in forms of their own: each ends in the value or in a typed error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel, Field

from langchain_workers_gemma import ChatWorkersGemma, InternalServerError, WorkersGemmaError
from tests.helpers.mock_service import encode_sse, make_completion, make_delta, make_usage
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, CALL_METHODS, GEMMA_4
from tests.helpers.structured_calls import collect_outputs

URL = "http://127.0.0.1:8000/v1"


class Person(BaseModel):
    """A person."""

    name: str
    tags: list[str] = Field(min_length=1)


ADA = Person(name="Ada", tags=["x"])
RIGHT = ADA.model_dump_json()
OTHER = '{"name": "Bob"}'
HOSTS: dict[str, dict[str, Any]] = {
    "server": {"host": "openai_compatible", "base_url": URL, "model": "gemma3:12b"},
    "server, gemma 4": {"host": "openai_compatible", "base_url": URL, "model": "google/gemma-4-31b-it"},
    "cloudflare": {"model": GEMMA_4, "account_id": ACCOUNT_ID, "api_token": API_TOKEN},
}
hosts = pytest.mark.parametrize("host", HOSTS)
ways = pytest.mark.parametrize("call_method", CALL_METHODS)
Reply = Callable[[bool], httpx.Response]


def error(status: int, payload: Any) -> Reply:
    """An error reply, in a stream and without."""
    if isinstance(payload, str):
        return lambda _: httpx.Response(status, text=payload)
    return lambda _: httpx.Response(status, json=payload)


def event(payload: Any) -> Reply:
    """An error under status 200: a body, or an event of a stream."""
    return lambda stream: (
        httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(payload))
        if stream
        else httpx.Response(200, json=payload)
    )


def says(content: Any, reason: str = "stop", **more: Any) -> Reply:
    """A reply of a model."""

    def reply(stream: bool) -> httpx.Response:
        message = {"content": content, **more}
        if not stream:
            return httpx.Response(200, json=make_completion(finish_reason=reason, usage=make_usage(9, 3), **message))
        frames = [
            make_delta(**message),
            make_delta(finish_reason=reason),
            {"choices": [], "usage": make_usage(9, 3)},
            "[DONE]",
        ]
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(*frames))

    return reply


class Scripted:
    """Gives its replies one after another, then the right one."""

    def __init__(self, router: respx.MockRouter, *replies: Reply) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._replies = list(replies)
        router.route().mock(side_effect=self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        reply = self._replies.pop(0) if self._replies else says(RIGHT)
        return reply(bool(body.get("stream")))


def connect(host: str) -> ChatWorkersGemma:
    return ChatWorkersGemma(**{"max_retries": 0, **HOSTS[host]})


def form(body: dict[str, Any]) -> str:
    return str(body.get("response_format", {}).get("type"))


PAGE = "<html><head><title>400 Bad Request</title></head><body><h1>Bad Request</h1><hr>nginx</body></html>"
ECHO = {
    "detail": [
        {
            "type": "literal_error",
            "loc": ["body", "response_format", "type"],
            "msg": "Input should be 'text' or 'json_object'",
            "input": "json_schema",
        }
    ]
}
LLAMA_CPP_PYTHON = (
    "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or "
    "'json_object'\", 'input': 'json_schema', 'ctx': {'expected': \"'text' or 'json_object'\"}}]"
)
LLAMA_CPP = "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: x"
REFUSALS: dict[str, Reply] = {
    "422 by pydantic": error(422, ECHO),
    "500 by llama-cpp-python": error(500, {"error": {"message": LLAMA_CPP_PYTHON, "type": "internal_server_error"}}),
    "400 by llama.cpp": error(400, {"error": {"code": 400, "message": LLAMA_CPP, "type": "invalid_request_error"}}),
    "400 without words": error(400, ""),
    "400 with an empty object": error(400, {}),
    "400 with odd words": error(400, {"error": "Nope."}),
    "400 with a list": error(400, [{"error": {"message": "Unsupported."}}]),
    "400 with null": error(400, {"error": {"message": None, "type": None}}),
    "400 page": error(400, PAGE),
    "415": error(415, {"error": "this output type is unsupported"}),
    "501": error(501, {"error": "response_format is not implemented"}),
    "error under 200": event({"error": {"message": "Grammar error: unknown keyword", "code": 400}}),
    "error text under 200": event({"error": "JSON mode is not enabled for this model"}),
}


@ways
@hosts
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_in_any_form(respx_mock: respx.MockRouter, refusal: str, host: str, call_method: str) -> None:
    service = Scripted(respx_mock, REFUSALS[refusal])
    runnable = connect(host).with_structured_output(Person)
    for count in (2, 3):
        assert collect_outputs(runnable, call_method)[-1] == ADA
        assert len(service.bodies) == count
    first, *later = map(form, service.bodies)
    assert first == "json_schema"
    assert later == ["json_object", "json_object"]


FAILURES: dict[str, Reply] = {
    "502 page": error(502, PAGE.replace("400", "502")),
    "500 without words": error(500, ""),
    "a body that is no reply": event({"detail": "?"}),
    "a page under 200": error(200, PAGE),
}


@ways
@hosts
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_that_is_no_refusal_is_typed(
    respx_mock: respx.MockRouter, failure: str, host: str, call_method: str
) -> None:
    service = Scripted(respx_mock, *[FAILURES[failure]] * 9)
    with pytest.raises(WorkersGemmaError) as caught:
        collect_outputs(connect(host).with_structured_output(Person), call_method)
    assert isinstance(caught.value, InternalServerError)
    assert len(service.bodies) <= 2  # an empty stream is requested again without a stream


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "Person", "arguments": RIGHT}}
UNUSABLE: dict[str, Reply] = {
    "empty": says(""),
    "null": says(None),
    "white space": says(" \n "),
    "prose": says("It is Ada."),
    "another object": says(OTHER),
    "a list": says(f"[{RIGHT}]"),
    "a number": says("3"),
    "a string": says('"Ada"'),
    "null in text": says("null"),
    "prose beside thoughts": says("Done.", reasoning=f"I would say {RIGHT}"),
    "a call in its place": says("", "tool_calls", tool_calls=[CALL]),
    "the schema": says(json.dumps(Person.model_json_schema())),
}


@ways
@hosts
@pytest.mark.parametrize("reply", UNUSABLE)
def test_a_reply_that_cannot_be_used_is_asked_for_once_more(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = Scripted(respx_mock, UNUSABLE[reply])
    assert collect_outputs(connect(host).with_structured_output(Person), call_method)[-1] == ADA
    assert len(service.bodies) == 2
    service = Scripted(respx_mock, *[UNUSABLE[reply]] * 3)
    with pytest.raises(OutputParserException):
        collect_outputs(connect(host).with_structured_output(Person), call_method)
    assert len(service.bodies) == 2


USABLE: dict[str, Reply] = {
    "in a fence": says(f"```json\n{RIGHT}\n```"),
    "in a fence without a language": says(f"Sure!\n```\n{RIGHT}\n```\nAnything else?"),
    "in an open fence": says(f"```json\n{RIGHT}"),
    "within prose": says(f"Here you are: {RIGHT} Good luck!"),
    "after braces that are no JSON": says(f"The set {{x}} is: {RIGHT}"),
    "twice": says(f"{RIGHT}\n{RIGHT}"),
    "with a byte order mark": says(f"\ufeff{RIGHT}"),
    "in thoughts": says("", reasoning=f"Maybe {OTHER}? No: {RIGHT}"),
    "in parts": says([{"type": "text", "text": RIGHT}]),
    "with white space until the end": says(RIGHT + "\n" * 40, "length"),
}


@ways
@hosts
@pytest.mark.parametrize("reply", USABLE)
def test_a_reply_that_can_be_used_is_not_asked_for_again(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = Scripted(respx_mock, *[USABLE[reply]] * 2)
    assert collect_outputs(connect(host).with_structured_output(Person), call_method)[-1] == ADA
    assert len(service.bodies) == 1


TRUNCATED: dict[str, Reply] = {
    "open": says(RIGHT[:-4], "length"),
    "closed by the engine": says(RIGHT, "length"),
    "closed by the engine, of another form": says('{"name": "Ad"}', "length"),
    "an open string": says('{"name": "Ad', "length"),
    "in a fence": says(f"```json\n{RIGHT[:-4]}", "length"),
    "nothing": says("", "length"),
    "only white space": says("\n" * 90, "length"),
    "without a reason": says(RIGHT[:-4]),
}


@ways
@hosts
@pytest.mark.parametrize("reply", TRUNCATED)
def test_a_truncated_reply_names_max_tokens(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = Scripted(respx_mock, *[TRUNCATED[reply]] * 2)
    with pytest.raises(OutputParserException, match="max_tokens"):
        collect_outputs(connect(host).with_structured_output(Person), call_method)
    assert len(service.bodies) == 1
