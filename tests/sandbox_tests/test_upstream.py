"""A server behind the sandbox: here a second sandbox, whose OpenAI route is one as good as any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from langchain_workers_gemma import ChatWorkersGemma, ContextOverflowError
from langchain_workers_gemma.sandbox import Sandbox
from tests.sandbox_tests.talking import (
    ADD,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    QUIET,
    WEATHER,
    Api,
    calls_of,
    error_of,
    read_events,
    text_of,
    user,
)
from tests.sandbox_tests.test_streams import USAGE, calls_in, text_in

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@dataclass
class Pair:
    """Yield the sandbox in front, and the one behind it."""

    front: Api
    back: Sandbox

    @property
    def passed_on(self) -> dict[str, object]:
        """The last request that the server behind received."""
        body: dict[str, object] = self.back.requests[-1].json
        return body


@pytest.fixture(scope="module")
def behind() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def running_pair(behind: Sandbox) -> Iterator[Pair]:
    url = f"{behind.base_url}/accounts/{behind.account_id}/ai/v1"
    with Sandbox(upstream=url, upstream_model=GEMMA_4, upstream_api_key=behind.api_token) as front, Api(front) as api:
        yield Pair(api, behind)


@pytest.fixture
def pair(running_pair: Pair) -> Pair:
    running_pair.back.clear()
    running_pair.front.sandbox.clear()
    return running_pair


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_7B])
def test_its_answer_comes_in_the_native_form(pair: Pair, model: str) -> None:
    result = pair.front.result(model, "Hello")
    assert "Hello" in result["response"]
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + result["usage"]["completion_tokens"]
    assert pair.passed_on["model"] == GEMMA_4
    assert pair.passed_on["max_tokens"] == 256


def test_its_answer_comes_with_choices(pair: Pair) -> None:
    message = pair.front.result(GEMMA_4, "Hello")["choices"][0]["message"]
    assert message["content"]
    assert message["reasoning_content"]


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_its_stream_comes_in_the_models_form(pair: Pair, model: str) -> None:
    events = pair.front.events(model, "Hello", **USAGE)
    assert events[-1] == "[DONE]"
    assert text_in(events) == pair.front.text(model, "Hello")
    assert events[-2]["usage"] == pair.front.result(model, "Hello")["usage"]
    assert ("response" in events[0]) is (model == GEMMA_3)


@pytest.mark.parametrize("model", [GEMMA_3, GEMMA_4])
def test_its_calls_come_in_the_models_form(pair: Pair, model: str) -> None:
    text = "Add 3 and 4 and tell me the weather in Paris"
    expected = [("add", {"a": 3, "b": 4}), ("get_weather", {"city": "Paris"})]
    assert pair.front.calls(model, text, ADD, WEATHER) == expected
    streamed = calls_in(pair.front.events(model, text, tools=[ADD, WEATHER]))
    assert [(call["name"], json.loads(call["arguments"])) for call in streamed.values()] == expected


def test_a_conversation_with_tools_is_passed_on(pair: Pair) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": 4}'}}
    history = [
        *user("Add 3 and 4"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
    ]
    result = pair.front.run(GEMMA_4, {"messages": history, "tools": [ADD], "tool_choice": "auto"}).json()["result"]
    assert calls_of(result) == []
    assert "According to add: 7" in text_of(result)
    assert pair.passed_on["tool_choice"] == "auto"


def test_guided_json_is_passed_on_as_response_format(pair: Pair) -> None:
    assert json.loads(pair.front.text(GEMMA_3, "Ann is 41", guided_json=SCHEMA)) == {"age": 41}
    form = pair.passed_on["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
    assert text_in(pair.front.events(GEMMA_3, "Ann is 41", guided_json=SCHEMA)) == '{"age":41}'


def test_guided_json_is_passed_on_in_the_form_of_llama_cpp(behind: Sandbox) -> None:
    url = f"{behind.base_url}/accounts/{behind.account_id}/ai/v1/"
    front = Sandbox(
        upstream=url, upstream_model=GEMMA_4, upstream_api_key=behind.api_token, upstream_schema="json_object"
    )
    with front, Api(front) as api:
        json.loads(api.text(GEMMA_3, "Ann is 41", guided_json=SCHEMA))
    assert behind.requests[-1].json["response_format"] == {"type": "json_object", "schema": SCHEMA}


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
    """Servers that know `json_object` alone, whether they refuse or ignore `json_schema`, need no option."""
    with Sandbox() as back, Sandbox(upstream=back.openai_url, upstream_model="google/gemma-3-12b-it") as front:
        back.dialect = dialects
        with Api(front) as api:
            for _ in range(2):
                reply = api.say(GEMMA_3, "Ann is 41", guided_json=SCHEMA, stream=stream)
                if form is None:
                    assert error_of(reply)[:2] == (400, 5006)
                    continue
                text = text_in(read_events(reply.text)) if stream else text_of(reply.json()["result"])
                assert json.loads(text) == {"age": 41}
        tried = [request.json["response_format"]["type"] for request in back.requests]
    if form == "json_schema":
        assert tried == ["json_schema"] * 2
    elif form == "both":
        assert tried == ["json_schema", "json_object", "json_object"]  # what was found out is remembered


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
def test_an_overflow_there_is_an_overflow_here(pair: Pair, status: int, message: str, stream: bool) -> None:
    sandbox = pair.front.sandbox
    llm = ChatWorkersGemma(
        base_url=sandbox.base_url, account_id=sandbox.account_id, api_token=sandbox.api_token, max_retries=0
    )
    pair.back.fail(status=status, message=message)
    with pytest.raises(ContextOverflowError):
        list(llm.stream("Hello")) if stream else llm.invoke("Hello")


def test_sampling_is_passed_on(pair: Pair) -> None:
    pair.front.say(GEMMA_3, "Hello", temperature=0, seed=7, top_k=5, top_p=0.5)
    assert {"temperature": 0, "seed": 7, "top_k": 5, "top_p": 0.5}.items() <= pair.passed_on.items()
    pair.front.say(GEMMA_4, "Hello", stop=["a"], **QUIET)
    assert pair.passed_on["stop"] == ["a"]
    assert pair.passed_on["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_prompt_is_passed_on_as_a_message(pair: Pair) -> None:
    assert "Hello" in text_of(pair.front.run(GEMMA_3, {"prompt": "Hello"}).json()["result"])
    assert pair.passed_on["messages"] == user("Hello")


def test_what_the_rules_forbid_never_reaches_it(pair: Pair) -> None:
    assert pair.front.run(GEMMA_3, {"messages": []}).status_code == 400
    assert pair.back.requests == []


@pytest.mark.parametrize(
    ("theirs", "ours"), [(400, (400, 5006)), (422, (400, 5006)), (429, (429, 3040)), (500, (502, 502))]
)
@pytest.mark.parametrize("stream", [False, True])
def test_its_refusals_become_the_services(pair: Pair, theirs: int, ours: tuple[int, int], stream: bool) -> None:
    pair.back.fail(status=theirs, message="Because")
    response = pair.front.say(GEMMA_3, "Hello", stream=stream)
    assert error_of(response)[:2] == ours


def test_its_garbage_becomes_an_error(pair: Pair) -> None:
    pair.back.garbage()
    assert error_of(pair.front.say(GEMMA_3, "Hello"))[0] == 502
    pair.back.script({"unexpected": True})
    assert error_of(pair.front.say(GEMMA_3, "Hello"))[0] == 502


def test_a_server_without_usage_is_counted_for(pair: Pair) -> None:
    pair.back.script({"choices": [{"message": {"content": "Hello there"}}]})
    assert pair.front.result(GEMMA_3, "Hello")["usage"]["completion_tokens"] == 2


def test_a_stream_that_breaks_off_there_breaks_off_here(pair: Pair) -> None:
    pair.back.cut(after_events=3)
    text = pair.front.say(GEMMA_3, "Hello", stream=True).text
    assert "[DONE]" not in text
    assert '"errors"' in text


def test_a_server_that_is_not_there() -> None:
    with Sandbox() as gone:
        url = f"http://127.0.0.1:{gone.port}/v1"
    with Sandbox(upstream=url, upstream_model="gemma3") as front, Api(front) as api:
        assert error_of(api.say(GEMMA_3, "Hello"))[0] == 502


def test_an_upstream_needs_a_model() -> None:
    with pytest.raises(ValueError, match="upstream_model"):
        Sandbox(upstream="http://127.0.0.1:1/v1")
