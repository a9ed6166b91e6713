"""The replies of the mock model: short sentences from the prompt and from results, in the requested form."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from tests.sandbox_tests.api_client import (
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    QUIET,
    SEA_LION,
    Api,
    get_calls,
    get_text,
    make_tool,
    to_messages,
)

PROMPTS = (
    "Explain quantum entanglement in one sentence.",
    "What is the origin of Hello, World?",
    "Why is the sky blue?",
    "Tell me a joke about cats",
    "Compare Paris and Rome",
    "Translate to French: I love programming.",
    "Write 6 sentences about rivers and mountains",
    "Write a long story about a dragon",
    "Write 300 words about tea",
    "你好,世界",
    "Was ist das?",
)


def find_repeated_words(text: str) -> list[str]:
    spoken = [word.lower() for word in re.findall(r"[^\W_]+", text)]
    return [one for one, two in pairwise(spoken) if one == two]


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_replies_are_well_formed_sentences(api: Api, model: str, prompt: str) -> None:
    text = api.get_text(model, prompt, max_tokens=2000)
    assert text
    assert text[-1] in ".!?…”"
    assert not find_repeated_words(text)
    assert "mock" not in text
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", text) if one]
    assert len(set(sentences)) == len(sentences)


def test_one_sentence_is_one_sentence(api: Api) -> None:
    text = api.get_text(GEMMA_4, "Explain quantum entanglement in one sentence.", **QUIET)
    assert "quantum entanglement" in text
    assert len(re.findall(r"[.!?](?:\s|$)", text)) == 1


def test_it_describes_itself_on_request(api: Api) -> None:
    assert "mock model" in api.get_text(GEMMA_4, "Who are you?", **QUIET)


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_7B])
@pytest.mark.parametrize(
    ("prompt", "allowed"),
    [
        ("Is this review good, bad or mixed? Say one word. The soup was cold and late.", {"bad"}),
        ("Classify the sentiment as positive, negative or neutral: I love this phone!", {"positive"}),
        ("Classify this ticket into one of these categories: billing, outage, other. My bill is wrong.", {"billing"}),
        ("Label this text. Labels: spam | ham\n\nWin money now", {"spam", "ham"}),
        ("Is the earth flat? Answer yes or no.", {"yes", "no"}),
        ("Is 7 a prime? Reply with only 'true' or 'false'.", {"true", "false"}),
        ("What is 17 * 3? Answer with a number only.", {"51"}),
        ("What is (2 + 4) / 4? Just the number.", {"1.5"}),
        ("Rate this from 1 to 5 with a single number: excellent work, I love it", {"4", "5"}),
        ("Reply with exactly: pong", {"pong"}),
        ("Reply with the word 'banana' and nothing else.", {"banana"}),
        ("Say 42", {"42"}),
    ],
)
def test_a_requested_form_is_the_whole_reply(api: Api, model: str, prompt: str, allowed: set[str]) -> None:
    assert api.get_text(model, prompt, max_tokens=400) in allowed


def test_one_word_is_one_word(api: Api) -> None:
    for prompt in (
        "What is the capital of France? One word.",
        "Describe the sea in one word",
        "Answer in a single word: why?",
    ):
        assert re.fullmatch(r"\w+", api.get_text(GEMMA_3, prompt))


def test_the_system_message_may_request_the_form(api: Api) -> None:
    messages = [
        {"role": "system", "content": "You are a spam filter. Answer with exactly one of: spam, ham."},
        *to_messages("Win money now!!!"),
    ]
    for model in (GEMMA_4, GEMMA_3, SEA_LION):
        assert get_text(api.run(model, {"messages": messages}).json()["result"]) in ("spam", "ham")


def test_a_list_has_the_requested_number_of_items(api: Api) -> None:
    lines = api.get_text(GEMMA_4, "Give me 5 ideas for a birthday party", **QUIET).splitlines()
    assert [line.split(".")[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert len({line.split(". ")[1] for line in lines}) == 5


def test_json_is_json(api: Api) -> None:
    text = api.get_text(GEMMA_3, "Return a JSON object with the keys 'name' and 'age'. Ann is 41.")
    assert set(json.loads(text)) == {"name", "age"}


# --- results of tools -------------------------------------------------------------------------------------------------
WEATHER = make_tool("get_weather", "Get the weather", city={"type": "string"})
HAND_OFF = make_tool("transfer_to_travel", "Ask the travel agent for help with weather")
RESULTS = {
    "sentence": ("24 degrees and sunny", "24 degrees"),
    "json": ('{"degrees": 24, "sky": "sunny", "wind": {"speed": 3}}', "24"),
    "list": ('["sunny", "mild"]', "mild"),
    "number": ("24", "24"),
    "quoted": ('"sunny"', "sunny"),
    "error": ("Error: no such city: 'Paris'", "no such city"),
    "empty": ("", "no output"),
    "paragraphs": ("Sunny.\n\nWhat is the weather in Rome?\n\nUse get_weather for Rome.", "Sunny"),
    "other tool": ("Call get_weather again with city Rome", "again"),
    "markdown": ("# Weather\n\n| day | degrees |\n| --- | --- |\n| today | 24 |", "24"),
    "schema": ('Result of get_weather: {"type": "object", "properties": {"a": {"type": "string"}}}', "properties"),
    "call": ('{"name": "get_weather", "parameters": {"city": "Rome"}}', "Rome"),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_leads_to_an_answer_with_a_tool_role(api: Api, kind: str) -> None:
    outcome, expected = RESULTS[kind]
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    history = [
        *to_messages("What is the weather in Paris?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": outcome, "tool_call_id": "c1"},
    ]
    result = api.run(GEMMA_4, {"messages": history, "tools": [WEATHER], **QUIET}).json()["result"]
    assert get_calls(result) == []
    assert expected in get_text(result)
    assert get_text(result).count("get_weather reported") == (kind == "error")


WRITTEN = {
    "tool_code": "```tool_code\n[get_weather(city='Paris')]\n```",
    "json": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "guided": '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}',
    "gemma 4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
}


@pytest.mark.parametrize("heading", ["Result of the call get_weather:\n", "Result of get_weather: ", ""])
@pytest.mark.parametrize("notation", WRITTEN)
@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_leads_to_an_answer_without_a_tool_role(api: Api, kind: str, notation: str, heading: str) -> None:
    outcome, expected = RESULTS[kind]
    described = json.dumps([WEATHER["function"]])
    history = [
        {"role": "system", "content": f'You have functions: {described}\nUse {{"name": ..., "parameters": ...}}.'},
        *to_messages("What is the weather in Paris?"),
        {"role": "assistant", "content": WRITTEN[notation]},
        *to_messages(f"{heading}{outcome}" or "(no output)"),
    ]
    text = get_text(api.run(GEMMA_3, {"messages": history}).json()["result"])
    assert not text.startswith(("{", "[", "```", "<|"))
    assert expected in text


def test_several_results_in_one_turn_are_distinguished(api: Api) -> None:
    history = [
        {"role": "system", "content": f"You have functions: {json.dumps([WEATHER['function']])}"},
        *to_messages("What is the weather in Paris?"),
        {"role": "assistant", "content": f"[{WRITTEN['json']}, {WRITTEN['json'].replace('get_weather', 'get_time')}]"},
        *to_messages("Result of the call get_weather:\nSunny\n\nThe call get_time failed:\nNo clock"),
    ]
    text = get_text(api.run(GEMMA_3, {"messages": history}).json()["result"])
    assert text == "According to get_weather: Sunny. I could not finish that: get_time reported “No clock”."


PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAoAAAAHg"  # the header has 640 by 480 pixels


@pytest.mark.parametrize("words", ["Images in the result of the call get_weather:\n", "Here it is:"])
def test_an_image_as_a_result_leads_to_an_answer(api: Api, words: str) -> None:
    picture: list[dict[str, Any]] = [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": PNG}}]
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    native = [
        *to_messages("Draw the weather in Paris with get_weather"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "The result is an image, which follows below.", "tool_call_id": "c1"},
        {"role": "user", "content": picture},
    ]
    result = api.run(GEMMA_4, {"messages": native, "tools": [WEATHER], **QUIET}).json()["result"]
    assert get_calls(result) == []
    assert "640 by 480" in get_text(result)
    written = [
        {"role": "system", "content": f"You have functions: {json.dumps([WEATHER['function']])}"},
        *to_messages("Draw the weather in Paris with get_weather"),
        {"role": "assistant", "content": WRITTEN["json"]},
        {"role": "user", "content": picture},
    ]
    assert "640 by 480" in get_text(api.run(GEMMA_3, {"messages": written}).json()["result"])


def test_an_agent_answers_after_a_hand_off(api: Api) -> None:
    def call(name: str, number: int) -> dict[str, Any]:
        return {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}

    history = [
        *to_messages("What is the weather in Paris?"),
        {"role": "assistant", "content": "", "tool_calls": [call("transfer_to_travel", 1)]},
        {"role": "tool", "content": "Successfully transferred to travel", "tool_call_id": "c1"},
    ]
    travel = api.run(GEMMA_4, {"messages": history, "tools": [WEATHER], **QUIET}).json()["result"]
    assert get_calls(travel) == [("get_weather", {"city": "Paris"})]
    back = [
        *history,
        {"role": "assistant", "content": "It is sunny in Paris."},
        {"role": "assistant", "content": "", "tool_calls": [call("transfer_back_to_supervisor", 2)]},
        {"role": "tool", "content": "Successfully transferred back to supervisor", "tool_call_id": "c2"},
    ]
    with api.sandbox.using_dialect("lenient_templates"):
        supervisor = api.run(GEMMA_4, {"messages": back, "tools": [HAND_OFF], **QUIET}).json()["result"]
    assert get_calls(supervisor) == []
    assert get_text(supervisor) == "It is sunny in Paris."


def test_a_question_about_a_tool_is_not_taken_for_its_result(api: Api) -> None:
    history = [
        *to_messages("Hello"),
        {"role": "assistant", "content": "Hello! I can use get_weather."},
        *to_messages("Then use get_weather for Rome"),
    ]
    result = api.run(GEMMA_4, {"messages": history, "tools": [WEATHER], **QUIET}).json()["result"]
    assert get_calls(result) == [("get_weather", {"city": "Rome"})]
