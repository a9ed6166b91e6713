"""Structured output from services with unusual errors and replies: each call returns the object or raises."""

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
VALID_JSON = ADA.model_dump_json()
INVALID_JSON = '{"name": "Bob"}'
HOSTS: dict[str, dict[str, Any]] = {
    "server": {"host": "openai_compatible", "base_url": URL, "model": "gemma3:12b"},
    "server, gemma 4": {"host": "openai_compatible", "base_url": URL, "model": "google/gemma-4-31b-it"},
    "cloudflare": {"model": GEMMA_4, "account_id": ACCOUNT_ID, "api_token": API_TOKEN},
}
pytestmark = pytest.mark.lowest
for_each_host = pytest.mark.parametrize("host", HOSTS)
for_each_call_method = pytest.mark.parametrize("call_method", CALL_METHODS)
Reply = Callable[[bool], httpx.Response]


def make_error_response(status: int, payload: Any) -> Reply:
    """Return an error response, for requests with and without `stream`."""
    if isinstance(payload, str):
        return lambda _: httpx.Response(status, text=payload)
    return lambda _: httpx.Response(status, json=payload)


def make_event_response(payload: Any) -> Reply:
    """Return a payload under status 200, as a body or as an event of a stream."""
    return lambda stream: (
        httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(payload))
        if stream
        else httpx.Response(200, json=payload)
    )


def make_reply(content: Any, reason: str = "stop", **more: Any) -> Reply:
    """Return a reply of a model, whole or as a stream."""

    def reply(stream: bool) -> httpx.Response:
        message = {"content": content, **more}
        if not stream:
            return httpx.Response(200, json=make_completion(finish_reason=reason, usage=make_usage(9, 3), **message))
        events = [
            make_delta(**message),
            make_delta(finish_reason=reason),
            {"choices": [], "usage": make_usage(9, 3)},
            "[DONE]",
        ]
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=encode_sse(*events))

    return reply


class ScriptedService:
    """A service that sends its replies one after another, and then valid ones."""

    def __init__(self, router: respx.MockRouter, *replies: Reply) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._replies = list(replies)
        router.route().mock(side_effect=self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append(body)
        reply = self._replies.pop(0) if self._replies else make_reply(VALID_JSON)
        return reply(bool(body.get("stream")))


def make_host_model(host: str) -> ChatWorkersGemma:
    """Return a model on a host, without retries."""
    return ChatWorkersGemma(**{"max_retries": 0, **HOSTS[host]})


def get_form(body: dict[str, Any]) -> str:
    """Return the type of the response format in a request."""
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
    "422 by pydantic": make_error_response(422, ECHO),
    "500 by llama-cpp-python": make_error_response(
        500, {"error": {"message": LLAMA_CPP_PYTHON, "type": "internal_server_error"}}
    ),
    "400 by llama.cpp": make_error_response(
        400, {"error": {"code": 400, "message": LLAMA_CPP, "type": "invalid_request_error"}}
    ),
    "400 without a message": make_error_response(400, ""),
    "400 with an empty object": make_error_response(400, {}),
    "400 with an unknown message": make_error_response(400, {"error": "Nope."}),
    "400 with a list": make_error_response(400, [{"error": {"message": "Unsupported."}}]),
    "400 with null": make_error_response(400, {"error": {"message": None, "type": None}}),
    "400 page": make_error_response(400, PAGE),
    "415": make_error_response(415, {"error": "this output type is unsupported"}),
    "501": make_error_response(501, {"error": "response_format is not implemented"}),
    "error with status 200": make_event_response({"error": {"message": "Grammar error: unknown keyword", "code": 400}}),
    "error text with status 200": make_event_response({"error": "JSON mode is not enabled for this model"}),
}


@for_each_call_method
@for_each_host
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_constraint_is_replaced_by_the_next_form(
    respx_mock: respx.MockRouter, refusal: str, host: str, call_method: str
) -> None:
    service = ScriptedService(respx_mock, REFUSALS[refusal])
    runnable = make_host_model(host).with_structured_output(Person)
    for count in (2, 3):
        assert collect_outputs(runnable, call_method)[-1] == ADA
        assert len(service.bodies) == count
    first, *later = map(get_form, service.bodies)
    assert first == "json_schema"
    assert later == ["json_object", "json_object"]


FAILURES: dict[str, Reply] = {
    "502 page": make_error_response(502, PAGE.replace("400", "502")),
    "500 without a message": make_error_response(500, ""),
    "a body that is not a reply": make_event_response({"detail": "?"}),
    "a page with status 200": make_error_response(200, PAGE),
}


@for_each_call_method
@for_each_host
@pytest.mark.parametrize("failure", FAILURES)
def test_other_failures_raise_a_typed_error(
    respx_mock: respx.MockRouter, failure: str, host: str, call_method: str
) -> None:
    service = ScriptedService(respx_mock, *[FAILURES[failure]] * 9)
    with pytest.raises(WorkersGemmaError) as caught:
        collect_outputs(make_host_model(host).with_structured_output(Person), call_method)
    assert isinstance(caught.value, InternalServerError)
    assert len(service.bodies) <= 2  # an empty stream is requested again without `stream`


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "Person", "arguments": VALID_JSON}}
UNUSABLE: dict[str, Reply] = {
    "empty": make_reply(""),
    "null": make_reply(None),
    "white space": make_reply(" \n "),
    "plain text": make_reply("It is Ada."),
    "another object": make_reply(INVALID_JSON),
    "a list": make_reply(f"[{VALID_JSON}]"),
    "a number": make_reply("3"),
    "a string": make_reply('"Ada"'),
    "null in text": make_reply("null"),
    "plain text beside reasoning": make_reply("Done.", reasoning=f"I would say {VALID_JSON}"),
    "a call instead": make_reply("", "tool_calls", tool_calls=[CALL]),
    "the schema": make_reply(json.dumps(Person.model_json_schema())),
}


@for_each_call_method
@for_each_host
@pytest.mark.parametrize("reply", UNUSABLE)
def test_an_unusable_reply_is_requested_once_more(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = ScriptedService(respx_mock, UNUSABLE[reply])
    assert collect_outputs(make_host_model(host).with_structured_output(Person), call_method)[-1] == ADA
    assert len(service.bodies) == 2
    service = ScriptedService(respx_mock, *[UNUSABLE[reply]] * 3)
    with pytest.raises(OutputParserException):
        collect_outputs(make_host_model(host).with_structured_output(Person), call_method)
    assert len(service.bodies) == 2


USABLE: dict[str, Reply] = {
    "in a fence": make_reply(f"```json\n{VALID_JSON}\n```"),
    "in a fence without a language": make_reply(f"Sure!\n```\n{VALID_JSON}\n```\nAnything else?"),
    "in an open fence": make_reply(f"```json\n{VALID_JSON}"),
    "within text": make_reply(f"Here you are: {VALID_JSON} Good luck!"),
    "after braces that are not JSON": make_reply(f"The set {{x}} is: {VALID_JSON}"),
    "twice": make_reply(f"{VALID_JSON}\n{VALID_JSON}"),
    "with a byte order mark": make_reply(f"\ufeff{VALID_JSON}"),
    "in the reasoning": make_reply("", reasoning=f"Maybe {INVALID_JSON}? No: {VALID_JSON}"),
    "in parts": make_reply([{"type": "text", "text": VALID_JSON}]),
    "with white space until the end": make_reply(VALID_JSON + "\n" * 40, "length"),
}


@for_each_call_method
@for_each_host
@pytest.mark.parametrize("reply", USABLE)
def test_a_usable_reply_is_not_requested_again(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = ScriptedService(respx_mock, *[USABLE[reply]] * 2)
    assert collect_outputs(make_host_model(host).with_structured_output(Person), call_method)[-1] == ADA
    assert len(service.bodies) == 1


TRUNCATED: dict[str, Reply] = {
    "open": make_reply(VALID_JSON[:-4], "length"),
    "closed by the engine": make_reply(VALID_JSON, "length"),
    "closed by the engine, of another form": make_reply('{"name": "Ad"}', "length"),
    "an open string": make_reply('{"name": "Ad', "length"),
    "in a fence": make_reply(f"```json\n{VALID_JSON[:-4]}", "length"),
    "nothing": make_reply("", "length"),
    "only white space": make_reply("\n" * 90, "length"),
    "without a reason": make_reply(VALID_JSON[:-4]),
}


@for_each_call_method
@for_each_host
@pytest.mark.parametrize("reply", TRUNCATED)
def test_a_truncated_reply_names_max_tokens(
    respx_mock: respx.MockRouter, reply: str, host: str, call_method: str
) -> None:
    service = ScriptedService(respx_mock, *[TRUNCATED[reply]] * 2)
    with pytest.raises(OutputParserException, match="max_tokens"):
        collect_outputs(make_host_model(host).with_structured_output(Person), call_method)
    assert len(service.bodies) == 1
