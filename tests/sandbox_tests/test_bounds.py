"""The sandbox replies to any request in bounded time and memory, and stops when the client disconnects."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx
import pytest

from langchain_workers_gemma.sandbox import Sandbox
from langchain_workers_gemma.sandbox.bounded import BoundedDict
from langchain_workers_gemma.sandbox.json_body import MAX_DEPTH, parse_body
from langchain_workers_gemma.sandbox.records import ReceivedRequest, RequestLog
from tests.sandbox_tests.api_client import (
    GEMMA_3,
    GEMMA_4,
    QUIET,
    SEA_LION,
    WEATHER,
    Api,
    get_error,
    get_text,
    to_messages,
)


def make_doubling_schema(keyword: str) -> dict[str, Any]:
    """Return a schema of 2 kB that doubles at each of 40 levels."""
    references = {
        f"a{at}": {keyword: [{"$ref": f"#/$defs/a{at + 1}"}, {"$ref": f"#/$defs/a{at + 1}"}]} for at in range(40)
    }
    return {
        "$defs": {**references, "a40": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "$ref": "#/$defs/a0",
    }


def make_nested_schema(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


WIDE = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(5000)}}
RECURSIVE = {
    "$defs": {"n": {"type": "object", "properties": {key: {"allOf": [{"$ref": "#/$defs/n"}] * 9} for key in "abc"}}},
    "$ref": "#/$defs/n",
}
EVIL = "^(([a-z])+.)+[A-Z]([a-z])+$"
SCHEMAS: dict[str, dict[str, Any]] = {
    "all of": make_doubling_schema("allOf"),
    "any of": make_doubling_schema("anyOf"),
    "one of": make_doubling_schema("oneOf"),
    "recursive": RECURSIVE,
    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 5_000_000},
    "prefix items": {"type": "array", "prefixItems": [{"type": "integer"}] * 3, "minItems": 10**9},
    "length": {"type": "string", "minLength": 10**8},
    "pattern": {"type": "string", "pattern": EVIL},
    "pattern properties": {"type": "object", "patternProperties": {EVIL: {}}, "additionalProperties": False},
    "long pattern": {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
    "deep": make_nested_schema(50),
    "wide": {**WIDE, "required": list(WIDE["properties"])},
    "enum": {"enum": [f"v{at}" for at in range(50_000)]},
    "itself": {"$ref": "#"},
    "all of itself": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "odd numbers": {"type": "integer", "minimum": 10**400, "multipleOf": 0},
    "wrong types": {"type": 7, "properties": [], "required": "a", "anyOf": {}, "items": "x", "minItems": "many"},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_schema_blocks_the_sandbox(api: Api, name: str) -> None:
    """Without limits, each of these takes minutes, gigabytes or the whole stack. The client waits one minute."""
    text = f"Find the aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! {'a' * 40} 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb!'"
    schema = SCHEMAS[name]
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    bound = {"type": "function", "function": {"name": "find", "description": "Find", "parameters": parameters}}
    replies = [
        api.send_text(GEMMA_3, text, guided_json=schema),
        api.send_text(SEA_LION, text, response_format={"type": "json_schema", "json_schema": schema}),
        api.send_text(GEMMA_4, text, response_format=wrapped, **QUIET),
        api.send_text(GEMMA_4, text, tools=[bound], tool_choice="required", **QUIET),
        api.send_text(GEMMA_3, f"{text} Answer in JSON by this schema: {json.dumps(schema)}"),
    ]
    for reply in replies:
        assert reply.status_code in (200, 400), reply.text[:500]
        assert len(reply.content) < 1_000_000


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 200_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_json_is_refused(api: Api, depth: int, brackets: str) -> None:
    opening = "[" if brackets == "[]" else '{"a":'
    inner = opening * depth + "1" + brackets[1] * depth
    body = f'{{"messages": [{{"role": "user", "content": "Hello"}}], "extra": {inner}}}'
    url = f"{api.account}/ai/run/{GEMMA_3}"
    status, code, message = get_error(api.http.post(url, content=body, headers=api.auth))
    assert (status, code) == (400, 5006)
    assert "levels deep" in message
    assert api.sandbox.requests[-1].json is None


@pytest.mark.parametrize(
    "value",
    [r'"\ud800 lone"', r'"\udfff"', r'"\ud83d\ud83d\ude00"', r'{"\ud800": "\udc00"}', '"\\ud800" , "b": "\\udbff"'],
)
def test_unpaired_surrogates_become_the_replacement_character(api: Api, value: str) -> None:
    content = value if value.startswith('"') else '"Hello"'
    body = f'{{"messages": [{{"role": "user", "content": {content}}}], "x": {value.split(" , ")[0]}, "max_tokens": 64}}'
    if " , " in value:
        body = '{"messages": [{"role": "user", "content": "Hello \\ud800"}]}'
    for model in (GEMMA_3, GEMMA_4):
        reply = api.http.post(f"{api.account}/ai/run/{model}", content=body, headers=api.auth)
        assert reply.status_code == 200
        reply.content.decode()  # valid UTF-8


def test_a_paired_surrogate_is_a_character() -> None:
    assert parse_body(rb'["\ud83d\ude00", "\ud83d"]') == ["\N{GRINNING FACE}", "\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "9" * 400, "1" + "0" * 300 + ".5"]
)
@pytest.mark.parametrize("key", ["max_tokens", "temperature", "seed", "n", "unknown"])
def test_numbers_of_any_size_are_accepted_or_refused(api: Api, number: str, key: str) -> None:
    for model in (GEMMA_4, "@cf/google/gemma-7b-it-lora"):
        body = f'{{"messages": [{{"role": "user", "content": "Hello"}}], "{key}": {number}}}'
        reply = api.http.post(f"{api.account}/ai/run/{model}", content=body, headers=api.auth)
        assert reply.status_code in (200, 400), reply.text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe{}", b"\xed\xa0\x80", b"[1]", b"null", b'"a"', b'{"a": 1}}', b"{" * 9])
def test_a_body_that_is_not_a_json_object_is_refused(api: Api, body: bytes) -> None:
    reply = api.http.post(f"{api.account}/ai/run/{GEMMA_3}", content=body, headers=api.auth)
    assert get_error(reply)[:2] == (400, 5006)


def test_an_error_message_is_bounded(api: Api) -> None:
    reply = api.run(GEMMA_3, {"messages": [{"role": 1, "content": at} for at in range(20_000)]})
    assert reply.status_code == 400
    assert len(reply.content) < 5_000


# --- memory -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_beyond_the_limit_is_refused_and_not_stored(chunked: bool) -> None:
    with Sandbox(max_body=1_000) as sandbox, Api(sandbox) as api:
        body = b'{"messages": "' + b"a" * 3_000_000 + b'"}'
        content = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
        reply = api.http.post(f"{api.account}/ai/run/{GEMMA_3}", content=content, headers=api.auth)
        assert get_error(reply)[:2] == (413, 3006)
        (record,) = sandbox.requests
        assert (record.truncated, record.json, len(record.body)) == (True, None, 1_000)
        assert api.send_text(GEMMA_3, "Hello").status_code == 200


def test_the_record_of_requests_is_bounded() -> None:
    def request(body: bytes) -> ReceivedRequest:
        return ReceivedRequest("POST", "/", {}, {}, None, body)

    log = RequestLog(max_requests=3, max_bytes=100)
    for size in (1, 2, 3, 4):
        log.add(request(b"a" * size))
    assert [len(one.body) for one in log.all()] == [2, 3, 4]
    log.add(request(b"a" * 98))
    assert [len(one.body) for one in log.all()] == [98]
    log.clear()
    assert log.all() == []


def test_a_bounded_dictionary_removes_its_oldest_entry() -> None:
    held: BoundedDict[str, int] = BoundedDict(2)
    held["a"], held["b"] = 1, 2
    held["a"] = 3
    held["c"] = 4
    assert held == {"a": 3, "c": 4}


# --- clients that disconnect ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("streamed", [True, False])
def test_the_upstream_stops_when_the_client_disconnects(streamed: bool) -> None:
    with Sandbox() as back:
        back.stall(600, after_events=3 if streamed else 0)
        with Sandbox(upstream=back.openai_url, upstream_model="google/gemma-4-26b-a4b-it") as front, Api(front) as api:
            body = {"messages": to_messages("Hello"), "stream": streamed, **QUIET}
            with pytest.raises(httpx.ReadTimeout):
                api.http.post(f"{api.account}/ai/run/{GEMMA_4}", json=body, headers=api.auth, timeout=1)
            assert back.requests
            deadline = time.perf_counter() + 30
            while count_connections(back) and time.perf_counter() < deadline:
                time.sleep(0.01)
            assert count_connections(back) == 0


def test_a_client_that_disconnects_while_its_body_is_sent(sandbox: Sandbox, api: Api) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as connection:
        connection.sendall(b"POST /run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
    assert api.send_text(GEMMA_3, "Hello").status_code == 200


def test_the_sandbox_closes_while_a_paced_stream_runs() -> None:
    with Sandbox(tokens_per_second=0.5) as sandbox, Api(sandbox) as api:
        url = f"{api.account}/ai/run/{GEMMA_4}"
        with api.http.stream(
            "POST", url, json={"messages": to_messages("Hello"), "stream": True}, headers=api.auth
        ) as reply:
            pieces = reply.iter_raw()
            next(pieces)
            sandbox.close()
            with pytest.raises(httpx.TransportError):
                list(pieces)


def count_connections(sandbox: Sandbox) -> int:
    assert sandbox._running is not None
    return len(sandbox._running.connections)


# --- the speed of streams ---------------------------------------------------------------------------------------------
def test_a_paced_stream_is_slower_and_otherwise_equal(sandbox: Sandbox, api: Api) -> None:
    whole = api.get_text(GEMMA_4, "Write 3 sentences about tea", **QUIET)
    events = api.get_events(GEMMA_4, "Write 3 sentences about tea", **QUIET)
    sandbox.tokens_per_second = 400
    try:
        started_at = time.perf_counter()
        paced = api.get_events(GEMMA_4, "Write 3 sentences about tea", **QUIET)
        duration = time.perf_counter() - started_at
    finally:
        sandbox.tokens_per_second = None
    text = "".join(choice["delta"].get("content", "") for event in paced[:-1] for choice in event["choices"])
    assert text == whole
    assert len(paced) == len(events)
    assert duration >= (len(events) - 10) / 400


@pytest.mark.parametrize("pace", [0, -1, float("inf"), float("nan")])
def test_tokens_per_second_must_be_a_positive_number(pace: float) -> None:
    with pytest.raises(ValueError, match="tokens_per_second="):
        Sandbox(tokens_per_second=pace)


# --- web pages --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "evil.example:80"}, {"origin": "https://evil.example"}, {"origin": "null"}],
)
def test_a_foreign_page_cannot_use_the_sandbox(api: Api, headers: dict[str, str]) -> None:
    assert api.run(GEMMA_4, {"messages": to_messages("Hello"), **QUIET}, headers=headers).status_code == 403
    assert api.run(GEMMA_4, {"messages": to_messages("Hello"), "tools": [WEATHER]}).status_code == 200
    assert get_text(api.send_text(GEMMA_3, "Hello").json()["result"])
