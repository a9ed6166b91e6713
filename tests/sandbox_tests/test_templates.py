"""The histories and tools that the chat template of each generation accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_workers_gemma import ChatWorkersGemma
from langchain_workers_gemma.sandbox import Sandbox
from langchain_workers_gemma.schemas import to_json_schema
from tests.helpers.hidden_keywords import DESCRIBED_SCHEMAS
from tests.helpers.schema_examples import EXAMPLES
from tests.sandbox_tests.api_client import (
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    SEA_LION,
    Api,
    get_error,
)

ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
NO_SYSTEM = "System role not supported"
LATE_SYSTEM = "System message must be at the beginning"


def build_turns(letters: str) -> list[dict[str, Any]]:
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool", "x": "narrator"}
    return [{"role": roles[letter], "content": f"Turn {at}"} for at, letter in enumerate(letters)]


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA])
@pytest.mark.parametrize("history", ["u", "uau", "uauau", "ua"])
def test_gemma_1_and_2_accept(api: Api, model: str, history: str) -> None:
    assert api.run(model, {"messages": build_turns(history)}).status_code == 200


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
    assert get_error(api.run(model, {"messages": build_turns(history)})) == (500, 8001, f"AiError: {words}")


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, GEMMA_7B_LORA])
@pytest.mark.parametrize("history", ["su", "us", "suau"])
def test_gemma_1_and_2_name_the_alternative_to_a_system_message(api: Api, model: str, history: str) -> None:
    """The page of Gemma 7B shows a system message, but its chat template refuses one: docs/wire.md section 6."""
    status, code, message = get_error(api.run(model, {"messages": build_turns(history)}))
    assert (status, code) == (400, 8001)
    assert message.startswith(f"AiError: {NO_SYSTEM}")
    assert "first user message" in message


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION])
@pytest.mark.parametrize("history", ["u", "su", "suau", "uau"])
def test_gemma_3_accepts(api: Api, model: str, history: str) -> None:
    assert api.run(model, {"messages": build_turns(history)}).status_code == 200


@pytest.mark.parametrize("model", [GEMMA_3, SEA_LION])
@pytest.mark.parametrize("history", ["suu", "ssu", "uu", "a", "sau", "uas", "usau", "uat", "uatu", "uaa", "x"])
def test_gemma_3_refuses(api: Api, model: str, history: str) -> None:
    assert get_error(api.run(model, {"messages": build_turns(history)})) == (500, 8001, f"AiError: {ALTERNATE}")


@pytest.mark.parametrize("history", ["u", "su", "du", "suau", "uu", "au", "suauu"])
def test_gemma_4_accepts(api: Api, history: str) -> None:
    assert api.run(GEMMA_4, {"messages": build_turns(history)}).status_code == 200


@pytest.mark.parametrize("history", ["ssu", "us", "suas", "sdu"])
def test_gemma_4_has_one_system_message_first(api: Api, history: str) -> None:
    assert get_error(api.run(GEMMA_4, {"messages": build_turns(history)})) == (400, 8001, f"AiError: {LATE_SYSTEM}")


def test_gemma_4_refuses_other_roles(api: Api) -> None:
    assert get_error(api.run(GEMMA_4, {"messages": build_turns("ux")}))[:2] == (400, 8001)


def build_conversation(*call_ids: str, results: tuple[str, ...]) -> list[dict[str, Any]]:
    calls = [{"id": one, "type": "function", "function": {"name": "add", "arguments": "{}"}} for one in call_ids]
    answers = [{"role": "tool", "content": "7", "tool_call_id": one} for one in results]
    return [*build_turns("u"), {"role": "assistant", "content": "", "tool_calls": calls}, *answers]


@pytest.mark.parametrize("results", [("a", "b"), ("b", "a")])
def test_gemma_4_accepts_results_of_the_calls_before(api: Api, results: tuple[str, ...]) -> None:
    assert api.run(GEMMA_4, {"messages": build_conversation("a", "b", results=results)}).status_code == 200


def test_gemma_4_accepts_null_content_beside_calls(api: Api) -> None:
    messages = build_conversation("a", results=("a",))
    messages[1]["content"] = None
    assert api.run(GEMMA_4, {"messages": messages}).status_code == 200
    del messages[1]["content"]
    assert api.run(GEMMA_4, {"messages": messages}).status_code == 200


def test_gemma_4_refuses_a_result_without_its_call(api: Api) -> None:
    for messages in (
        build_conversation("a", results=("z",)),
        [*build_turns("u"), {"role": "tool", "content": "7", "tool_call_id": "a"}],
        [
            *build_conversation("a", results=()),
            *build_turns("u"),
            {"role": "tool", "content": "7", "tool_call_id": "a"},
        ],
    ):
        status, code, message = get_error(api.run(GEMMA_4, {"messages": messages}))
        assert (status, code) == (400, 8001)
        assert "does not answer a tool call" in message


def build_conversation_with_text(text: str) -> list[dict[str, Any]]:
    messages = build_conversation("a", results=("a",))
    messages[1]["content"] = text
    return messages


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (build_conversation_with_text("Let me see."), "text is rendered after the results"),
        ([*build_conversation_with_text("Let me see."), *build_turns("au")], "text is rendered after the results"),
        (build_conversation("a", results=()), "has no result"),
        (build_conversation("a", "b", results=("a",)), "'b' has no result"),
        ([*build_conversation("a", results=()), *build_turns("u")], "has no result"),
        (build_conversation("a", results=("a", "a")), "several results"),
        ([*build_turns("ua"), *build_conversation("a", results=("a",))[1:]], "outside of any turn"),
    ],
)
def test_gemma_4_refuses_what_its_template_renders_wrongly(
    api: Api, messages: list[dict[str, Any]], problem: str
) -> None:
    """See docs/wire.md section 11. The service itself returns no error."""
    status, code, message = get_error(api.run(GEMMA_4, {"messages": messages}))
    assert (status, code) == (400, 8001)
    assert problem in message
    with api.sandbox.using_dialect("lenient_templates"):
        assert api.run(GEMMA_4, {"messages": messages}).status_code == 200


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"o": {"type": "object", "additionalProperties": True}}, "properties.o has no 'properties', so 'additional"),
        ({"o": {"type": "object", "anyOf": [{"type": "object"}]}}, "so 'anyOf' is declared as a parameter"),
        ({"type": {"type": "string"}}, "properties.type is omitted"),
        (
            {"o": {"type": "object", "properties": {"required": {"type": "string"}}}},
            "properties.required is omitted",
        ),
        (
            {"l": {"type": "array", "items": {"type": "object", "properties": {"nullable": {"type": "string"}}}}},
            "properties.l.items.properties.nullable is omitted",
        ),
    ],
)
def test_gemma_4_refuses_tools_that_its_template_declares_wrongly(
    api: Api, properties: dict[str, Any], problem: str
) -> None:
    """See docs/wire.md section 11. The service itself returns no error."""
    parameters = {"type": "object", "properties": properties}
    function = {"name": "f", "description": "Do it.", "parameters": parameters}
    body = {"messages": build_turns("u"), "tools": [{"type": "function", "function": function}]}
    status, code, message = get_error(api.run(GEMMA_4, body))
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
def test_gemma_4_accepts_tools_that_its_template_declares_correctly(
    api: Api, properties: dict[str, Any], description: str
) -> None:
    function = {
        "name": "f",
        "description": description,
        "parameters": {"type": "object", "properties": properties},
    }
    body = {"messages": build_turns("u"), "tools": [{"type": "function", "function": function}]}
    assert api.run(GEMMA_4, body).status_code == 200


def test_a_prompt_has_no_template(api: Api) -> None:
    assert api.run(GEMMA_3, {"prompt": "Hello", "raw": True}).status_code == 200


# --- Keywords that Gemma 4's template does not show -------------------------------------------------------------------

HIDDEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "enum of numbers": ({"type": "integer", "enum": [3, 30]}, "'enum'", "3 or 30"),
    "enum without a type": ({"enum": ["fast", "slow"]}, "'enum'", "fast or slow"),
    "enum of a list of types": ({"type": ["string", "null"], "enum": ["fast", None]}, "'enum'", "fast"),
    "const": ({"type": "string", "const": "v2"}, "'const'", "v2"),
    "minimum": ({"type": "integer", "minimum": 1}, "'minimum'", "1"),
    "maximum": ({"type": "number", "maximum": 0.75}, "'maximum'", "0.75"),
    "exclusive bounds": ({"type": "number", "exclusiveMinimum": -2}, "'exclusiveMinimum'", "-2"),
    "multiple": ({"type": "integer", "multipleOf": 15}, "'multipleOf'", "15"),
    "pattern": ({"type": "string", "pattern": "^[A-Z]{3}$"}, "'pattern'", "^[A-Z]{3}$"),
    "format": ({"type": "string", "format": "ipv6"}, "'format'", "ipv6"),
    "lengths": ({"type": "string", "maxLength": 12}, "'maxLength'", "12"),
    "counts": ({"type": "array", "items": {"type": "string"}, "minItems": 2}, "'minItems'", "2"),
    "default": ({"type": "string", "default": "celsius"}, "'default'", "celsius"),
    "default that is false": ({"type": "boolean", "default": False}, "'default'", "false"),
    "default list": ({"type": "array", "items": {"type": "string"}, "default": ["news"]}, "'default'", "news"),
    "anyOf": ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "'anyOf'", "integer or boolean"),
    "anyOf with null": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "'anyOf'", "an integer or null"),
    "oneOf": ({"type": "string", "oneOf": [{"const": "a1"}, {"const": "b2"}]}, "'oneOf'", "a1 or b2"),
    "oneOf of objects": (
        {"type": "string", "oneOf": [{"type": "object", "properties": {"zip": {"type": "string"}}}]},
        "'oneOf'",
        'object {"zip": string}',
    ),
    "reference": ({"$ref": "#/$defs/Address"}, "'$ref'", "an Address"),
}
"""The schema of a parameter, the keyword that the model does not see, and a text that states it."""

NESTED: dict[str, Any] = {
    "p": lambda one: {"p": one},
    "o.properties.p": lambda one: {"o": {"type": "object", "properties": {"p": one}}},
    "l.items.properties.p": lambda one: {"l": {"type": "array", "items": {"type": "object", "properties": {"p": one}}}},
    "o.properties.l.items.properties.p": lambda one: {
        "o": {
            "type": "object",
            "properties": {"l": {"type": "array", "items": {"type": "object", "properties": {"p": one}}}},
        }
    },
}


def build_body(properties: dict[str, Any], description: str = "Do it.") -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    function = {"name": "f", "description": description, "parameters": parameters}
    return {"messages": build_turns("u"), "tools": [{"type": "function", "function": function}]}


@pytest.mark.parametrize("where", NESTED)
@pytest.mark.parametrize("case", HIDDEN)
def test_the_strict_dialect_refuses_keywords_that_the_model_does_not_see(api: Api, case: str, where: str) -> None:
    """The service accepts them, and so does the sandbox without this dialect."""
    schema, keyword, words = HIDDEN[case]
    body = build_body(NESTED[where](schema))
    assert api.run(GEMMA_4, body).status_code == 200
    with api.sandbox.using_dialect("strict_declarations"):
        status, code, message = get_error(api.run(GEMMA_4, body))
        assert (status, code) == (400, 8001)
        assert f"tools[0].function.parameters.properties.{where}: " in message
        assert keyword in message
        assert "state it in the description" in message
        stated = build_body(NESTED[where]({**schema, "description": f"It is {words}."}))
        assert api.run(GEMMA_4, stated).status_code == 200
        for description, accepted in ((f'The parameter "p" is {words}.', True), (f"It is {words}.", False)):
            body_with_description = build_body(NESTED[where](schema), description)
            assert (api.run(GEMMA_4, body_with_description).status_code == 200) is accepted


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "enum": ["fast", "slow"]},
        {"type": "STRING", "enum": ["fast", "slow"]},
        {"type": "integer", "description": "One of 3, 30.", "enum": [3, 30]},
        {"type": "array", "items": {"type": "integer", "minimum": 4, "enum": [4, 5]}},
        {"type": "string", "default": None, "title": "P", "examples": ["x"]},
        {"type": "integer", "nullable": True, "anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": ["string", "null"]},
        {"type": "string", "minLength": 0},
        {},
    ],
)
def test_the_strict_dialect_accepts_what_the_model_sees(api: Api, schema: dict[str, Any]) -> None:
    with api.sandbox.using_dialect("strict_declarations"):
        assert api.run(GEMMA_4, build_body({"p": schema})).status_code == 200


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "From 10 on."),
        ({"type": "integer", "minimum": 1}, "At least 1.5."),
        ({"type": "integer", "enum": [3, 30]}, "One of 30."),
        ({"type": "string", "default": "cel"}, "In celsius."),
    ],
)
def test_a_part_of_a_word_does_not_state_a_value(api: Api, schema: dict[str, Any], words: str) -> None:
    with api.sandbox.using_dialect("strict_declarations"):
        body = build_body({"p": {**schema, "description": words}})
        assert get_error(api.run(GEMMA_4, body))[0] == 400


def test_the_strict_dialect_refuses_a_union_of_all_parameters(api: Api) -> None:
    members = [{"type": "object", "properties": {name: {"type": "string"}}} for name in ("isbn", "title")]
    body = build_body({"isbn": {"type": "string"}, "title": {"type": "string"}})
    body["tools"][0]["function"]["parameters"]["anyOf"] = members
    with api.sandbox.using_dialect("strict_declarations"):
        assert "'anyOf'" in get_error(api.run(GEMMA_4, body))[2]
        body["tools"][0]["function"]["description"] = "By isbn or by title, each a string."
        assert api.run(GEMMA_4, body).status_code == 200


@pytest.mark.parametrize("case", [*DESCRIBED_SCHEMAS, *EXAMPLES])
def test_the_client_states_every_keyword(sandbox: Sandbox, case: str) -> None:
    schema = (
        {"type": "object", "properties": {"p": DESCRIBED_SCHEMAS[case][0]}}
        if case in DESCRIBED_SCHEMAS
        else EXAMPLES[case].schema
    )
    with sandbox.using_dialect("strict_declarations"):
        bound = make_llm(sandbox).bind_tools([make_tool_definition("f", to_json_schema(schema))])
        assert isinstance(bound.invoke("Hello"), AIMessage)


_NAMES = st.sampled_from(["a", "b_c", "type", "properties", "required", "nullable", "description", "items", "p"])


def _make_objects(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    objects = st.builds(
        lambda named: {"type": "object", "properties": named, "required": sorted(named)[:1]},
        st.dictionaries(_NAMES, children, max_size=4),
    )
    return st.one_of(objects, st.builds(lambda one: {"type": "array", "items": one}, objects))


def test_the_client_states_every_keyword_of_any_tool(sandbox: Sandbox) -> None:
    leaves = st.sampled_from([schema for schema, _ in DESCRIBED_SCHEMAS.values()])
    llm = make_llm(sandbox)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_make_objects(st.recursive(leaves, _make_objects, max_leaves=6)).filter(lambda one: one["type"] == "object"))
    def check_tool(parameters: dict[str, Any]) -> None:
        assert isinstance(llm.bind_tools([make_tool_definition("f", parameters)]).invoke("Hello"), AIMessage)

    with sandbox.using_dialect("strict_declarations"):
        check_tool()


def make_tool_definition(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "Do it.", "parameters": parameters}}


def make_llm(sandbox: Sandbox) -> ChatWorkersGemma:
    return ChatWorkersGemma(
        model=GEMMA_4,
        base_url=sandbox.base_url,
        account_id=sandbox.account_id,
        api_token=sandbox.api_token,
        max_retries=0,
    )
