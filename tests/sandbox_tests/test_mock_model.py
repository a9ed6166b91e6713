"""The mock model is deterministic, and derives its replies from the prompt. `test_answers` checks their text."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from langchain_workers_gemma.sandbox import Sandbox
from langchain_workers_gemma.sandbox.images import read_image
from langchain_workers_gemma.sandbox.tokens import count_tokens, tokenize
from tests.sandbox_tests.api_client import (
    ADD,
    CHAT_MODELS,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    QUIET,
    WEATHER,
    Api,
    get_calls,
    get_text,
    make_tool,
    to_messages,
)


# --- text -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_the_answer_uses_the_prompt_and_a_header_names_the_mock_model(api: Api, model: str) -> None:
    reply = api.send_text(model, "Why is the sky blue?")
    assert "Why is the sky blue?" in get_text(reply.json()["result"])
    assert "mock" not in reply.text.replace("mock-model", "")
    assert reply.headers["x-sandbox-model"] == "mock-model"
    listed = api.http.get(f"{api.account}/ai/models/search", headers=api.auth).json()["result"]
    assert all(entry["description"].endswith("answered by mock-model") for entry in listed)


def test_it_is_deterministic(api: Api) -> None:
    with Sandbox() as other, Api(other) as other_api:
        for model in CHAT_MODELS:
            text = "Write 4 sentences about rivers"
            assert api.get_text(model, text) == api.get_text(model, text) == other_api.get_text(model, text)


def test_a_seed_changes_the_answer_unless_decoding_is_greedy(api: Api) -> None:
    text = "Write 4 sentences about rivers and mountains"
    assert api.get_text(GEMMA_4, text, seed=1) == api.get_text(GEMMA_4, text, seed=1)
    assert len({api.get_text(GEMMA_4, text, seed=seed) for seed in range(1, 6)}) > 1
    assert len({api.get_text(GEMMA_4, text, seed=seed, temperature=0) for seed in range(1, 6)}) == 1


def test_each_sandbox_has_its_own_seed() -> None:
    texts = set()
    for seed in range(4):
        with Sandbox(seed=seed) as sandbox, Api(sandbox) as api:
            texts.add(api.get_text(GEMMA_4, "Write 4 sentences about rivers and mountains"))
    assert len(texts) > 1


@pytest.mark.parametrize("stop", ["can I", ["can I"], ["never said", "can I"]])
def test_it_stops_at_a_stop_sequence(api: Api, stop: object) -> None:
    whole = api.get_text(GEMMA_4, "Hello", **QUIET)
    result = api.get_result(GEMMA_4, "Hello", stop=stop, **QUIET)
    assert get_text(result) == whole[: whole.index("can I")]
    assert result["choices"][0]["finish_reason"] == "stop"
    assert result["choices"][0]["stop_reason"] == "can I"


def test_the_first_stop_sequence_counts(api: Api) -> None:
    assert api.get_text(GEMMA_4, "Hello", stop=["can", "lo"], **QUIET) == "Hel"


def test_the_older_models_have_no_stop(api: Api) -> None:
    assert api.get_text(GEMMA_3, "Hello", stop=["can I"]) == api.get_text(GEMMA_3, "Hello")


@pytest.mark.parametrize("tokens", [1, 7, 20])
def test_max_tokens(api: Api, tokens: int) -> None:
    whole = api.get_text(GEMMA_3, "Write 40 words about tea")
    cut = api.get_text(GEMMA_3, "Write 40 words about tea", max_tokens=tokens)
    assert whole.startswith(cut)
    assert count_tokens(cut) == tokens


@pytest.mark.parametrize(
    ("text", "least"), [("Write 100 words about tea", 100), ("Write a long story", 300), ("Two haiku", 30)]
)
def test_it_writes_the_requested_length(api: Api, text: str, least: int) -> None:
    assert least <= len(api.get_text(GEMMA_4, text, max_tokens=5000).split()) <= least + 150


def test_it_answers_from_earlier_messages(api: Api) -> None:
    history = [
        *to_messages("My name is Ann. I live in Oslo."),
        {"role": "assistant", "content": "Hello, Ann"},
        *to_messages("What is my name?"),
    ]
    assert get_text(api.run(GEMMA_4, {"messages": history}).json()["result"]) == "You said: “My name is Ann.”"


def test_a_prompt_is_a_question_too(api: Api) -> None:
    assert "Hello" in get_text(api.run(GEMMA_3, {"prompt": "Hello"}).json()["result"])


@pytest.mark.parametrize("text", ["", "Hello, world!", "你好 wörld", "a_b__c\n\n\n\n\n\n  1234", "🎉👩‍👩‍👧 'quoted'"])
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokenize(text)) == text


# --- tools ------------------------------------------------------------------------------------------------------------
SEARCH = make_tool(
    "search_flights",
    "Search flights between two cities",
    from_city={"type": "string"},
    to_city={"type": "string"},
    date={"type": "string", "format": "date"},
)
EMAIL = make_tool(
    "send_email", "Send an email to somebody", to={"type": "string", "format": "email"}, body={"type": "string"}
)
CONVERT = make_tool(
    "convert_temperature",
    "Convert a temperature",
    degrees={"type": "number"},
    unit={"type": "string", "enum": ["celsius", "fahrenheit", "kelvin"]},
)
CLOCK = make_tool("current_time", "Tell the current time")
ALL = [WEATHER, ADD, SEARCH, EMAIL, CONVERT, CLOCK]


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's the weather in Lisbon?", [("get_weather", {"city": "Lisbon"})]),
        ("How is the weather in San Francisco, CA today?", [("get_weather", {"city": "San Francisco, CA"})]),
        ("what's the weather like in paris", [("get_weather", {"city": "paris"})]),
        ("Please add 12 and 30", [("add", {"a": 12, "b": 30})]),
        ("What is 1,200 + -7?", [("add", {"a": 1200, "b": -7})]),
        ("Convert 21.5 degrees to kelvin", [("convert_temperature", {"degrees": 21.5, "unit": "kelvin"})]),
        ("What is the current time?", [("current_time", {})]),
        (
            "Search flights from Oslo to New York on 2027-03-01",
            [("search_flights", {"from_city": "Oslo", "to_city": "New York", "date": "2027-03-01"})],
        ),
        (
            "Send an email to ann@example.com saying we are late",
            [("send_email", {"to": "ann@example.com", "body": "we are late"})],
        ),
        ("Call add(3, 4)", [("add", {"a": 3, "b": 4})]),
    ],
)
def test_it_calls_the_requested_tool(
    api: Api, model: str, text: str, expected: list[tuple[str, dict[str, Any]]]
) -> None:
    assert api.get_calls(model, text, *ALL) == expected


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize("text", ["Hello!", "Who are you?", "Thank you, that was all.", "Tell me a joke about cats"])
def test_it_calls_no_tool_without_a_request(api: Api, model: str, text: str) -> None:
    assert api.get_calls(model, text, *ALL) == []


def test_it_calls_several_tools_at_once(api: Api) -> None:
    text = "Tell me the weather in Rome and add 3 and 4"
    assert api.get_calls(GEMMA_4, text, *ALL) == [("get_weather", {"city": "Rome"}), ("add", {"a": 3, "b": 4})]
    assert api.get_calls(GEMMA_4, text, *ALL, parallel_tool_calls=False) == [("get_weather", {"city": "Rome"})]


def test_it_calls_one_tool_for_each_of_several_values(api: Api) -> None:
    calls = api.get_calls(GEMMA_4, "Compare the weather in Paris, New York and Rome", *ALL)
    assert calls == [("get_weather", {"city": city}) for city in ("Paris", "New York", "Rome")]


def test_tool_choice(api: Api) -> None:
    text = "What's the weather in Lisbon?"
    named = {"type": "function", "function": {"name": "add"}}
    assert api.get_calls(GEMMA_4, text, *ALL, tool_choice="none") == []
    assert api.get_calls(GEMMA_4, text, *ALL, tool_choice="auto") == api.get_calls(GEMMA_4, text, *ALL)
    assert [name for name, _ in api.get_calls(GEMMA_4, text, *ALL, tool_choice=named)] == ["add"]
    assert len(api.get_calls(GEMMA_4, "Hello!", *ALL, tool_choice="required")) == 1


@pytest.mark.parametrize("text", ["Hello!", "Plan something for 2 people"])
def test_forced_arguments_are_valid(api: Api, text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    demanding = make_tool(
        "plan",
        "Plan a trip",
        days={"type": "integer", "minimum": 3, "maximum": 5},
        code={"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
        tags={"type": "array", "items": {"type": "string"}, "minItems": 2},
        who={"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]},
        maybe={"anyOf": [{"type": "null"}, {"type": "integer"}]},
    )
    ((_, arguments),) = api.get_calls(GEMMA_4, text, demanding, tool_choice="required")
    jsonschema.validate(arguments, demanding["function"]["parameters"])


@pytest.mark.parametrize(
    "outcome", ["22 degrees and sunny", '{"temperature": 22, "sky": "sunny"}', "Error: no such city"]
)
def test_it_answers_with_the_results_of_tools(api: Api, outcome: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    history = [
        *to_messages("What is the weather in Paris?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": outcome, "tool_call_id": "c1"},
    ]
    result = api.run(GEMMA_4, {"messages": history, "tools": ALL}).json()["result"]
    assert get_calls(result) == []
    assert "get_weather" in get_text(result)
    assert "22" in get_text(result) or "no such city" in get_text(result)


def test_it_continues_with_the_remaining_calls(api: Api) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    history = [
        *to_messages("Tell me the weather in Rome and add 3 and 4"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Sunny", "tool_call_id": "c1"},
    ]
    body = {"messages": history, "tools": ALL, "parallel_tool_calls": False}
    assert [name for name, _ in get_calls(api.run(GEMMA_4, body).json()["result"])] == ["add"]
    again = [*history, {"role": "assistant", "content": "Sunny"}, *to_messages("And the weather in Oslo?")]
    assert get_calls(api.run(GEMMA_4, {**body, "messages": again}).json()["result"]) == [
        ("get_weather", {"city": "Oslo"})
    ]


DEFINITIONS = str([WEATHER["function"], ADD["function"]]).replace("'", '"')


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ("Reply with ```tool_code and Python calls.", "```tool_code\n[add(a=3, b=4)]\n```"),
        (
            'Reply with {"name": its name, "parameters": its arguments}.',
            '{"name": "add", "parameters": {"a": 3, "b": 4}}',
        ),
        (
            'Reply with {"name": its name, "arguments": its arguments}.',
            '{"name": "add", "arguments": {"a": 3, "b": 4}}',
        ),
        ("Reply with ```json and a name.", '```json\n{"name": "add", "parameters": {"a": 3, "b": 4}}\n```'),
        ("Reply with ```tool_call.", '```tool_call\n{"name": "add", "parameters": {"a": 3, "b": 4}}\n```'),
        ("Use <start_function_call>.", "<start_function_call>call:add{a:3,b:4}<end_function_call>"),
        ("Use <|tool_call>.", "<|tool_call>call:add{a:3,b:4}<tool_call|>"),
        ("Call them when you need them.", "```tool_code\n[add(a=3, b=4)]\n```"),
    ],
)
def test_tools_described_in_the_prompt_are_called_in_the_notation_it_teaches(
    api: Api, instructions: str, expected: str
) -> None:
    messages = [
        {"role": "system", "content": f"You have these functions: {DEFINITIONS}\n{instructions}"},
        *to_messages("Add 3 and 4"),
    ]
    assert get_text(api.run(GEMMA_3, {"messages": messages}).json()["result"]) == expected


def test_tools_described_before_the_question_in_one_turn(api: Api) -> None:
    text = f"Be kind.\n\nYou have functions: {DEFINITIONS}\n\nWhat is the weather in Rome?"
    assert api.get_text(GEMMA_7B, text) == '```json\n{"name": "get_weather", "parameters": {"city": "Rome"}}\n```'
    assert api.get_text(GEMMA_7B, text.replace("What is the weather in Rome?", "Hello!")).startswith("Hello!")


def test_a_description_of_several_paragraphs_is_not_taken_for_the_question(api: Api) -> None:
    described = (
        "Functions:\n- add: Add two numbers.\n\nArgs:\n    a: the first, such as 77\n    b (integer): the second"
    )
    schema = {
        "type": "object",
        "properties": {"name": {"const": "add"}, "arguments": ADD["function"]["parameters"]},
        "required": ["name", "arguments"],
    }
    text = f"{described}\n\nWhat do I get for 3 and 4?\n\nAdd them, please."
    assert api.get_result(GEMMA_7B, text, response_format={"type": "json_schema", "json_schema": schema})[
        "response"
    ] == {
        "name": "add",
        "arguments": {"a": 3, "b": 4},
    }


@pytest.mark.parametrize(("demand", "name"), [("You MUST call add.", "add"), ("You must invoke a function now.", None)])
def test_a_prompt_may_demand_a_call(api: Api, demand: str, name: str | None) -> None:
    messages = [{"role": "system", "content": f"Functions: {DEFINITIONS}\n{demand}"}, *to_messages("Hello!")]
    text = get_text(api.run(GEMMA_3, {"messages": messages}).json()["result"])
    assert text.startswith("```tool_code")
    assert name is None or name in text


def test_results_in_a_user_turn_are_read_without_a_tool_role(api: Api) -> None:
    messages = [
        {"role": "system", "content": f"Functions: {DEFINITIONS}"},
        *to_messages("What is the weather in Rome?"),
        {"role": "assistant", "content": "```tool_code\nget_weather(city='Rome')\n```"},
        *to_messages("Result of get_weather: 31 degrees"),
    ]
    text = get_text(api.run(GEMMA_3, {"messages": messages}).json()["result"])
    assert "31 degrees" in text
    assert "tool_code" not in text


# --- JSON that only the prompt requests -------------------------------------------------------------------------------
def test_it_follows_a_schema_in_the_prompt(api: Api) -> None:
    properties = '{"name": {"type": "string"}, "age": {"type": "integer"}}'
    schema = f'{{"type": "object", "properties": {properties}, "required": ["name", "age"]}}'
    instructions = f"Answer with one JSON object that follows this JSON Schema, and nothing else: {schema}"
    expected = '{"name":"Ann","age":41}'
    messages = [{"role": "system", "content": instructions}, *to_messages("Ann is 41")]
    assert get_text(api.run(GEMMA_3, {"messages": messages}).json()["result"]) == expected
    assert api.get_text(GEMMA_7B, f"{instructions}\n\nAnn is 41") == expected
    json_mode = {"messages": messages, "response_format": {"type": "json_object"}}
    assert get_text(api.run(GEMMA_4, json_mode).json()["result"]) == expected


def test_it_answers_in_json_on_request(api: Api) -> None:
    text = "Tell me a joke about cats. Return the result as JSON with 'setup' and 'punchline' keys."
    assert set(json.loads(api.get_text(GEMMA_3, text))) == {"setup", "punchline"}
    assert "JSON" in api.get_text(GEMMA_3, "What is JSON?")


# --- images -----------------------------------------------------------------------------------------------------------
IMAGES = {
    "PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480),
    "GIF": b"GIF89a" + struct.pack("<HH", 640, 480),
    "JPEG": b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc2\x00\x11\x08" + struct.pack(">HH", 480, 640),
    "WebP": b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x7f\x02\x00\xdf\x01\x00",
    "WebP ": b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480),
    "WebP  ": b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(5) + struct.pack("<I", 639 | 479 << 14),
}


@pytest.mark.parametrize("model", [GEMMA_4, GEMMA_3])
@pytest.mark.parametrize("name", IMAGES)
def test_it_describes_an_images_true_size_and_format(api: Api, model: str, name: str) -> None:
    url = f"data:image/png;base64,{base64.b64encode(IMAGES[name]).decode()}"
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    result = api.run(model, {"messages": [{"role": "user", "content": parts}]}).json()["result"]
    assert f"a {name.strip()} image of 640 by 480 pixels" in get_text(result)


@pytest.mark.parametrize(
    "data", [b"", b"hello", *(data[:9] for data in IMAGES.values()), b"RIFF\x00\x00\x00\x00WEBPxxxx"]
)
def test_other_data_is_not_an_image(data: bytes) -> None:
    assert read_image(data) is None
