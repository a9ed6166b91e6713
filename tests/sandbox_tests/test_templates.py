"""What each generation's chat template accepts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox_tests.talking import (
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    SEA_LION,
    Api,
    error_of,
)

ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
NO_SYSTEM = "System role not supported"
LATE_SYSTEM = "System message must be at the beginning"


def turns(letters: str) -> list[dict[str, Any]]:
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool", "x": "narrator"}
    return [{"role": roles[letter], "content": f"Turn {at}"} for at, letter in enumerate(letters)]


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA])
@pytest.mark.parametrize("history", ["u", "uau", "uauau", "ua"])
def test_gemma_1_and_2_accept(api: Api, model: str, history: str) -> None:
    assert api.run(model, {"messages": turns(history)}).status_code == 200


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA])
@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("uu", ALTERNATE),
        ("au", ALTERNATE),
        ("uaa", ALTERNATE),
        ("uat", ALTERNATE),
        ("x", ALTERNATE),
    ],
)
def test_gemma_1_and_2_refuse(api: Api, model: str, history: str, words: str) -> None:
    assert error_of(api.run(model, {"messages": turns(history)})) == (500, 8001, f"AiError: {words}")


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA])
@pytest.mark.parametrize("history", ["su", "us", "suau"])
def test_gemma_1_and_2_name_the_place_of_a_system_message(api: Api, model: str, history: str) -> None:
    """The page of Gemma 7B shows a system message, and its own template refuses one: docs/wire.md section 6."""
    status, code, message = error_of(api.run(model, {"messages": turns(history)}))
    assert (status, code) == (400, 8001)
    assert message.startswith(f"AiError: {NO_SYSTEM}")
    assert "first user message" in message


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION])
@pytest.mark.parametrize("history", ["u", "su", "suau", "uau"])
def test_gemma_3_accepts(api: Api, model: str, history: str) -> None:
    assert api.run(model, {"messages": turns(history)}).status_code == 200


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION])
@pytest.mark.parametrize("history", ["suu", "ssu", "uu", "a", "sau", "uas", "usau", "uat", "uatu", "uaa", "x"])
def test_gemma_3_refuses(api: Api, model: str, history: str) -> None:
    assert error_of(api.run(model, {"messages": turns(history)})) == (500, 8001, f"AiError: {ALTERNATE}")


@pytest.mark.parametrize("history", ["u", "su", "du", "suau", "uu", "au", "suauu"])
def test_gemma_4_accepts(api: Api, history: str) -> None:
    assert api.run(GEMMA_4, {"messages": turns(history)}).status_code == 200


@pytest.mark.parametrize("history", ["ssu", "us", "suas", "sdu"])
def test_gemma_4_has_one_system_message_first(api: Api, history: str) -> None:
    assert error_of(api.run(GEMMA_4, {"messages": turns(history)})) == (400, 8001, f"AiError: {LATE_SYSTEM}")


def test_gemma_4_refuses_other_roles(api: Api) -> None:
    assert error_of(api.run(GEMMA_4, {"messages": turns("ux")}))[:2] == (400, 8001)


def conversation(*call_ids: str, results: tuple[str, ...]) -> list[dict[str, Any]]:
    calls = [{"id": one, "type": "function", "function": {"name": "add", "arguments": "{}"}} for one in call_ids]
    answers = [{"role": "tool", "content": "7", "tool_call_id": one} for one in results]
    return [*turns("u"), {"role": "assistant", "content": "", "tool_calls": calls}, *answers]


@pytest.mark.parametrize("results", [("a", "b"), ("b", "a")])
def test_gemma_4_takes_results_of_the_calls_before(api: Api, results: tuple[str, ...]) -> None:
    assert api.run(GEMMA_4, {"messages": conversation("a", "b", results=results)}).status_code == 200


def test_gemma_4_takes_null_content_beside_calls_as_its_published_type_has_it(api: Api) -> None:
    messages = conversation("a", results=("a",))
    messages[1]["content"] = None
    assert api.run(GEMMA_4, {"messages": messages}).status_code == 200
    del messages[1]["content"]
    assert api.run(GEMMA_4, {"messages": messages}).status_code == 200


def test_gemma_4_refuses_a_result_without_its_call(api: Api) -> None:
    for messages in (
        conversation("a", results=("z",)),
        [*turns("u"), {"role": "tool", "content": "7", "tool_call_id": "a"}],
        [*conversation("a", results=()), *turns("u"), {"role": "tool", "content": "7", "tool_call_id": "a"}],
    ):
        status, code, message = error_of(api.run(GEMMA_4, {"messages": messages}))
        assert (status, code) == (400, 8001)
        assert "does not answer a tool call" in message


def with_text(text: str) -> list[dict[str, Any]]:
    messages = conversation("a", results=("a",))
    messages[1]["content"] = text
    return messages


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (with_text("Let me see."), "text is rendered behind the results"),
        ([*with_text("Let me see."), *turns("au")], "text is rendered behind the results"),
        (conversation("a", results=()), "has no result"),
        (conversation("a", "b", results=("a",)), "'b' has no result"),
        ([*conversation("a", results=()), *turns("u")], "has no result"),
        (conversation("a", results=("a", "a")), "several results"),
        ([*turns("ua"), *conversation("a", results=("a",))[1:]], "outside any turn"),
    ],
)
def test_gemma_4_refuses_what_its_template_renders_wrongly(
    api: Api, messages: list[dict[str, Any]], problem: str
) -> None:
    """docs/wire.md section 11; the service itself returns no error."""
    status, code, message = error_of(api.run(GEMMA_4, {"messages": messages}))
    assert (status, code) == (400, 8001)
    assert problem in message
    with api.sandbox.using_dialect("lenient_templates"):
        assert api.run(GEMMA_4, {"messages": messages}).status_code == 200


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"o": {"type": "object", "additionalProperties": True}}, "properties.o has no 'properties', so 'additional"),
        ({"o": {"type": "object", "anyOf": [{"type": "object"}]}}, "so 'anyOf' is declared as a parameter"),
        ({"type": {"type": "string"}}, "properties.type is left out"),
        (
            {"o": {"type": "object", "properties": {"required": {"type": "string"}}}},
            "properties.required is left out",
        ),
        (
            {"l": {"type": "array", "items": {"type": "object", "properties": {"nullable": {"type": "string"}}}}},
            "properties.l.items.properties.nullable is left out",
        ),
    ],
)
def test_gemma_4_refuses_tools_that_its_template_declares_wrongly(
    api: Api, properties: dict[str, Any], problem: str
) -> None:
    """docs/wire.md section 11; the service itself returns no error."""
    parameters = {"type": "object", "properties": properties}
    function = {"name": "f", "description": "Do it.", "parameters": parameters}
    body = {"messages": turns("u"), "tools": [{"type": "function", "function": function}]}
    status, code, message = error_of(api.run(GEMMA_4, body))
    assert (status, code) == (400, 8001)
    assert problem in message
    with api.sandbox.using_dialect("lenient_templates"):
        assert api.run(GEMMA_4, body).status_code == 200


@pytest.mark.parametrize(
    ("properties", "description"),
    [
        ({"o": {"type": "object", "additionalProperties": True, "properties": {}}}, "Do it."),
        ({"o": {"type": "object", "description": "Anything."}}, "Do it."),
        ({"type": {"type": "string"}}, 'Do it. Parameter "type" (string): Its kind.'),
        ({"l": {"type": "array", "items": {"type": "object", "additionalProperties": True}}}, "Do it."),
    ],
)
def test_gemma_4_accepts_tools_that_its_template_declares_rightly(
    api: Api, properties: dict[str, Any], description: str
) -> None:
    function = {
        "name": "f",
        "description": description,
        "parameters": {"type": "object", "properties": properties},
    }
    body = {"messages": turns("u"), "tools": [{"type": "function", "function": function}]}
    assert api.run(GEMMA_4, body).status_code == 200


def test_a_prompt_has_no_template(api: Api) -> None:
    assert api.run(GEMMA_3, {"prompt": "Hello", "raw": True}).status_code == 200
