"""The forms of whole replies (docs/wire.md section 3)."""

from __future__ import annotations

import pytest

from langchain_workers_gemma.models import MODELS, get_model
from tests.sandbox_tests.api_client import (
    ADD,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    QUIET,
    SEA_LION,
    WEATHER,
    Api,
    get_text,
    to_messages,
)


def test_gemma_3_answers_in_the_native_shape(api: Api) -> None:
    reply = api.send_text(GEMMA_3, "Hello").json()
    assert set(reply) == {"result", "success", "errors", "messages"}
    assert (reply["success"], reply["errors"], reply["messages"]) == (True, [], [])
    assert set(reply["result"]) == {"response", "tool_calls", "usage"}
    assert reply["result"]["tool_calls"] == []


def test_gemma_3_calls_in_the_native_shape(api: Api) -> None:
    result = api.get_result(GEMMA_3, "What is the weather in Paris?", tools=[WEATHER])
    assert result["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    assert result["response"] == ""


def test_gemma_4_answers_with_choices_in_the_envelope(api: Api) -> None:
    result = api.get_result(GEMMA_4, "Hello")
    (choice,) = result["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert result["model"] == GEMMA_4


def test_gemma_4_calls_with_ids_and_arguments_as_text(api: Api) -> None:
    (choice,) = api.get_result(GEMMA_4, "What is the weather in Paris?", tools=[WEATHER])["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "tool_calls"


def test_ids_of_calls_differ_within_and_between_replies(api: Api) -> None:
    text = "Add 3 and 4 and tell me the weather in Paris"
    replies = [api.get_result(GEMMA_4, words, tools=[WEATHER, ADD]) for words in (text, f"{text} now")]
    ids = [call["id"] for reply in replies for call in reply["choices"][0]["message"]["tool_calls"]]
    assert len(set(ids)) == 4


def test_sea_lion_completes_a_prompt_with_a_text(api: Api) -> None:
    result = api.run(SEA_LION, {"prompt": "Hello"}).json()["result"]
    assert result["object"] == "text_completion"
    assert result["choices"][0]["text"]
    assert "message" in api.get_result(SEA_LION, "Hello")["choices"][0]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_usage_adds_up(api: Api, model: str) -> None:
    usage = api.get_result(model, "Hello there, how are you?")["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert isinstance(usage["neurons"], float)
    longer = api.get_result(model, "Hello there, how are you? " * 20)["usage"]
    assert longer["prompt_tokens"] > usage["prompt_tokens"]
    assert longer["neurons"] > usage["neurons"]


def test_neurons_follow_the_published_prices(api: Api) -> None:
    usage = api.get_result(GEMMA_4, "Hello")["usage"]
    model = get_model(GEMMA_4)
    assert model is not None
    dollars = model.cost_usd(usage["prompt_tokens"], usage["completion_tokens"])
    assert usage["neurons"] * 0.011 / 1000 == pytest.approx(dollars)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_the_default_of_max_tokens(api: Api, model: str) -> None:
    default = MODELS["cloudflare", model].default_max_tokens
    usage = api.get_result(model, "Write a story of 5000 words")["usage"]
    assert usage["completion_tokens"] == default


def test_a_truncated_reply_has_the_finish_reason_length(api: Api) -> None:
    cut = api.get_result(GEMMA_4, "Hello", max_tokens=5)
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    whole = api.get_text(GEMMA_4, "Hello", **QUIET)
    assert whole.startswith(api.get_text(GEMMA_4, "Hello", max_tokens=5, **QUIET))


def test_max_tokens_truncates_the_arguments_of_a_call(api: Api) -> None:
    (choice,) = api.get_result(GEMMA_4, "What is the weather in Paris?", tools=[WEATHER], max_tokens=8, **QUIET)[
        "choices"
    ]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"city"'
    native = api.get_result(GEMMA_3, "What is the weather in Paris?", tools=[WEATHER], max_tokens=8)
    assert native["tool_calls"] == [{"name": "get_weather", "arguments": '{"city"'}]


def test_reasoning_is_counted(api: Api) -> None:
    result = api.get_result(GEMMA_4, "Hello")
    assert result["choices"][0]["message"]["reasoning_content"]
    assert 0 < result["usage"]["completion_tokens_details"]["reasoning_tokens"] < result["usage"]["completion_tokens"]
    quiet = api.get_result(GEMMA_4, "Hello", **QUIET)["usage"]
    assert quiet["completion_tokens_details"]["reasoning_tokens"] == 0


def test_a_session_caches_earlier_turns(api: Api) -> None:
    headers = {"x-session-affinity": "ses_cache"}
    turns = to_messages("Hello, this is a beginning that is worth caching")

    def count_cached_tokens(messages: list[dict[str, str]], **more: str) -> int:
        reply = api.run(GEMMA_4, {"messages": messages}, headers={**headers, **more})
        tokens: int = reply.json()["result"]["usage"]["prompt_tokens_details"]["cached_tokens"]
        return tokens

    assert count_cached_tokens(turns) == 0
    longer = [*turns, {"role": "assistant", "content": "Hi"}, *to_messages("Go on")]
    assert 0 < count_cached_tokens(longer) < count_cached_tokens(longer)
    assert count_cached_tokens(longer, **{"x-session-affinity": "another"}) == 0


def test_several_choices(api: Api) -> None:
    result = api.get_result(GEMMA_4, "Hello", n=3, seed=1)
    assert [choice["index"] for choice in result["choices"]] == [0, 1, 2]
    single = api.get_result(GEMMA_4, "Hello", seed=1)
    assert result["usage"]["completion_tokens"] > single["usage"]["completion_tokens"]


def test_json_mode_of_the_older_models_returns_the_object(api: Api) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    bare = {"type": "json_schema", "json_schema": schema}
    assert api.get_result(GEMMA_7B, "Ann is 41", response_format=bare)["response"] == {"age": 41}
    assert api.get_result(GEMMA_3, "Ann is 41", guided_json=schema)["response"] == '{"age":41}'
    openai = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert get_text(api.get_result(GEMMA_4, "Ann is 41", response_format=openai)) == '{"age":41}'


def test_json_mode_of_the_older_models_does_not_stream(api: Api) -> None:
    response = api.send_text(GEMMA_7B, "Hello", response_format={"type": "json_object"}, stream=True)
    assert response.headers["content-type"] == "application/json"
    assert isinstance(response.json()["result"]["response"], dict)


def test_the_openai_route_returns_choices_for_every_model(api: Api) -> None:
    for model in CHAT_MODELS:
        reply = api.send_chat({"model": model, "messages": to_messages("Hello")}).json()
        assert reply["choices"][0]["message"]["content"]
        assert reply["usage"]["total_tokens"] > 0
