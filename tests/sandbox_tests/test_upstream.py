"""A sandbox with an upstream server, here the OpenAI route of a second sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from langchain_workers_gemma import ChatWorkersGemma, ContextOverflowError
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.api_client import (
    ADD,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    QUIET,
    WEATHER,
    Api,
    get_calls,
    get_error,
    get_text,
    read_events,
    to_messages,
)
from tests.sandbox_tests.test_streams import USAGE, get_stream_text, merge_calls

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@dataclass
class Pair:
    """A sandbox, and the sandbox that is its upstream server."""

    front: Api
    back: Sandbox

    @property
    def last_request(self) -> dict[str, object]:
        """The body of the last request that the upstream sandbox received."""
        body: dict[str, object] = self.back.requests[-1].json
        return body


@pytest.fixture(scope="module")
def upstream_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def running_pair(upstream_sandbox: Sandbox) -> Iterator[Pair]:
    url = f"{upstream_sandbox.base_url}/accounts/{upstream_sandbox.account_id}/ai/v1"
    with (
        Sandbox(upstream=url, upstream_model=GEMMA_4, upstream_api_key=upstream_sandbox.api_token) as front,
        Api(front) as api,
    ):
        yield Pair(api, upstream_sandbox)


@pytest.fixture
def pair(running_pair: Pair) -> Pair:
    running_pair.back.clear()
    running_pair.front.sandbox.clear()
    return running_pair


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_the_reply_has_the_native_form(pair: Pair, model: str) -> None:
    result = pair.front.get_result(model, "Hello")
    assert "Hello" in result["response"]
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + result["usage"]["completion_tokens"]
    assert pair.last_request["model"] == GEMMA_4
    assert pair.last_request["max_tokens"] == 256


def test_the_reply_has_choices(pair: Pair) -> None:
    message = pair.front.get_result(GEMMA_4, "Hello")["choices"][0]["message"]
    assert message["content"]
    assert message["reasoning_content"]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_the_stream_has_the_form_of_the_model(pair: Pair, model: str) -> None:
    events = pair.front.get_events(model, "Hello", **USAGE)
    assert events[-1] == "[DONE]"
    assert get_stream_text(events) == pair.front.get_text(model, "Hello")
    assert events[-2]["usage"] == pair.front.get_result(model, "Hello")["usage"]
    assert ("response" in events[0]) is (model == GEMMA_3)


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_calls_have_the_form_of_the_model(pair: Pair, model: str) -> None:
    text = "Add 3 and 4 and tell me the weather in Paris"
    expected = [("add", {"a": 3, "b": 4}), ("get_weather", {"city": "Paris"})]
    assert pair.front.get_calls(model, text, ADD, WEATHER) == expected
    streamed = merge_calls(pair.front.get_events(model, text, tools=[ADD, WEATHER]))
    assert [(call["name"], json.loads(call["arguments"])) for call in streamed.values()] == expected


def test_a_conversation_with_tools_is_forwarded(pair: Pair) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": 4}'}}
    history = [
        *to_messages("Add 3 and 4"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
    ]
    result = pair.front.run(GEMMA_4, {"messages": history, "tools": [ADD], "tool_choice": "auto"}).json()["result"]
    assert get_calls(result) == []
    assert "According to add: 7" in get_text(result)
    assert pair.last_request["tool_choice"] == "auto"


def test_guided_json_is_forwarded_as_response_format(pair: Pair) -> None:
    assert json.loads(pair.front.get_text(GEMMA_3, "Ann is 41", guided_json=SCHEMA)) == {"age": 41}
    form = pair.last_request["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
    assert get_stream_text(pair.front.get_events(GEMMA_3, "Ann is 41", guided_json=SCHEMA)) == '{"age":41}'


def test_guided_json_is_forwarded_in_the_form_of_llama_cpp(upstream_sandbox: Sandbox) -> None:
    url = f"{upstream_sandbox.base_url}/accounts/{upstream_sandbox.account_id}/ai/v1/"
    front = Sandbox(
        upstream=url, upstream_model=GEMMA_4, upstream_api_key=upstream_sandbox.api_token, upstream_schema="json_object"
    )
    with front, Api(front) as api:
        json.loads(api.get_text(GEMMA_3, "Ann is 41", guided_json=SCHEMA))
    assert upstream_sandbox.requests[-1].json["response_format"] == {"type": "json_object", "schema": SCHEMA}


@pytest.mark.parametrize(
    ("dialects", "form"),
    [
        ((), "json_schema"),
        (("refuse_schema_envelope",), "both"),
        (("ignore_schema_envelope",), "both"),
        (("refuse_schema_envelope", "refuse_json_object"), None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_receives_the_form_that_it_accepts(dialects: tuple[str, ...], form: str | None, stream: bool) -> None:
    """A server that supports only `json_object` needs no option, whether it refuses or ignores `json_schema`."""
    with Sandbox() as back, Sandbox(upstream=back.openai_url, upstream_model="google/gemma-3-12b-it") as front:
        back.dialect = dialects
        with Api(front) as api:
            for _ in range(2):
                reply = api.send_text(GEMMA_3, "Ann is 41", guided_json=SCHEMA, stream=stream)
                if form is None:
                    assert get_error(reply)[:2] == (400, 5006)
                    continue
                text = get_stream_text(read_events(reply.text)) if stream else get_text(reply.json()["result"])
                assert json.loads(text) == {"age": 41}
        tried = [request.json["response_format"]["type"] for request in back.requests]
    if form == "json_schema":
        assert tried == ["json_schema"] * 2
    elif form == "both":
        assert tried == ["json_schema", "json_object", "json_object"]  # the form that works is kept


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"),
        (
            400,
            "the request exceeds the available context size. try increasing the context size or enable context shift",
        ),
        (500, "context window exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_context_overflow_of_the_upstream_is_a_context_overflow(
    pair: Pair, status: int, message: str, stream: bool
) -> None:
    sandbox = pair.front.sandbox
    llm = ChatWorkersGemma(
        base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token, max_retries=0
    )
    pair.back.fail(status=status, message=message)
    with pytest.raises(ContextOverflowError):
        list(llm.stream("Hello")) if stream else llm.invoke("Hello")


def test_sampling_parameters_are_forwarded(pair: Pair) -> None:
    pair.front.send_text(GEMMA_3, "Hello", temperature=0, seed=7, top_k=5, top_p=0.5)
    assert {"temperature": 0, "seed": 7, "top_k": 5, "top_p": 0.5}.items() <= pair.last_request.items()
    pair.front.send_text(GEMMA_4, "Hello", stop=["a"], **QUIET)
    assert pair.last_request["stop"] == ["a"]
    assert pair.last_request["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_prompt_is_forwarded_as_a_message(pair: Pair) -> None:
    assert "Hello" in get_text(pair.front.run(GEMMA_3, {"prompt": "Hello"}).json()["result"])
    assert pair.last_request["messages"] == to_messages("Hello")


def test_an_invalid_request_is_not_forwarded(pair: Pair) -> None:
    assert pair.front.run(GEMMA_3, {"messages": []}).status_code == 400
    assert pair.back.requests == []


@pytest.mark.parametrize(
    ("theirs", "ours"), [(400, (400, 5006)), (422, (400, 5006)), (429, (429, 3040)), (500, (502, 502))]
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_upstream_become_errors_of_the_service(
    pair: Pair, theirs: int, ours: tuple[int, int], stream: bool
) -> None:
    pair.back.fail(status=theirs, message="Because")
    response = pair.front.send_text(GEMMA_3, "Hello", stream=stream)
    assert get_error(response)[:2] == ours


def test_an_unreadable_reply_of_the_upstream_is_an_error(pair: Pair) -> None:
    pair.back.garbage()
    assert get_error(pair.front.send_text(GEMMA_3, "Hello"))[0] == 502
    pair.back.script({"unexpected": True})
    assert get_error(pair.front.send_text(GEMMA_3, "Hello"))[0] == 502


def test_missing_usage_is_counted(pair: Pair) -> None:
    pair.back.script({"choices": [{"message": {"content": "Hello there"}}]})
    assert pair.front.get_result(GEMMA_3, "Hello")["usage"]["completion_tokens"] == 2


def test_an_interrupted_stream_of_the_upstream_is_interrupted(pair: Pair) -> None:
    pair.back.cut(after_events=3)
    text = pair.front.send_text(GEMMA_3, "Hello", stream=True).text
    assert "[DONE]" not in text
    assert '"errors"' in text


def test_an_unreachable_upstream_is_an_error() -> None:
    with Sandbox() as gone:
        url = f"http://127.0.0.1:{gone.port}/v1"
    with Sandbox(upstream=url, upstream_model="gemma3") as front, Api(front) as api:
        assert get_error(api.send_text(GEMMA_3, "Hello"))[0] == 502


def test_an_upstream_needs_a_model() -> None:
    with pytest.raises(ValueError, match="upstream_model"):
        Sandbox(upstream="http://127.0.0.1:1/v1")
