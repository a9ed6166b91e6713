"""One test for each published rule of tools and constraints, as in `test_validation.py`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox_tests.api_client import (
    ADD,
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    OLDER_MODELS,
    SEA_LION,
    WEATHER,
    Api,
    assert_refused,
    to_messages,
)


# --- tools ------------------------------------------------------------------------------------------------------------
def build_native_tools(**changes: Any) -> list[dict[str, Any]]:
    function = {**WEATHER["function"], **changes}
    return [{"type": "function", "function": {key: value for key, value in function.items() if value is not None}}]


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_tools_in_openai_form(api: Api, model: str) -> None:
    assert api.send_text(model, "Hello", tools=[WEATHER, ADD]).status_code == 200


@pytest.mark.parametrize("model", OLDER_MODELS)
def test_the_older_models_accept_tools_in_the_flat_form_too(api: Api, model: str) -> None:
    assert api.send_text(model, "Hello", tools=[WEATHER["function"]]).status_code == 200


@pytest.mark.parametrize("model", CHAT_MODELS)
@pytest.mark.parametrize("tools", ["get_weather", {}, [None], ["get_weather"]])
def test_tools_that_are_not_a_list_of_objects(api: Api, model: str, tools: object) -> None:
    assert_refused(api, model, {"messages": to_messages("Hello"), "tools": tools}, "/tools")


@pytest.mark.parametrize("model", OLDER_MODELS)
@pytest.mark.parametrize("missing", ["name", "description", "parameters"])
def test_the_older_models_require_name_description_and_parameters_of_a_tool(api: Api, model: str, missing: str) -> None:
    body = {"messages": to_messages("Hello"), "tools": build_native_tools(**{missing: None})}
    assert_refused(api, model, body, "required properties at '/tools/0/function' are 'name,description,parameters'")


@pytest.mark.parametrize("model", OLDER_MODELS)
@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"type": "object"}, "required properties at '/tools/0/function/parameters' are 'type,properties'"),
        ({"properties": {}}, "required properties at '/tools/0/function/parameters' are 'type,properties'"),
        ({"type": ["object"], "properties": {}}, "/tools/0/function/parameters/type"),
        ({"type": "object", "properties": []}, "/tools/0/function/parameters/properties"),
        ({"type": "object", "properties": {}, "required": "a"}, "/tools/0/function/parameters/required"),
        ({"type": "object", "properties": {}, "required": [5]}, "/tools/0/function/parameters/required/0"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "properties/a' are 'type,description'"),
        ({"type": "object", "properties": {"a": {"description": "a"}}}, "properties/a' are 'type,description'"),
        ({"type": "object", "properties": {"a": "string"}}, "/tools/0/function/parameters/properties/a"),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "null"], "description": "a"}}},
            "/tools/0/function/parameters/properties/a/type",
        ),
    ],
)
def test_the_older_models_require_type_and_description_of_parameters(
    api: Api, model: str, parameters: object, path: str
) -> None:
    assert_refused(
        api, model, {"messages": to_messages("Hello"), "tools": build_native_tools(parameters=parameters)}, path
    )


def test_gemma_4_requires_only_the_name_of_a_tool(api: Api) -> None:
    assert api.send_text(GEMMA_4, "Hello", tools=[{"type": "function", "function": {"name": "f"}}]).status_code == 200


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"function": None}, "/tools/0' are 'type,function'"),
        ({"type": None}, "/tools/0' are 'type,function'"),
        ({"type": "custom"}, "enum custom not in function"),
        ({"function": {}}, "/tools/0/function' are 'name'"),
        ({"function": {"name": 5}}, "/tools/0/function/name"),
        ({"function": {"name": "f", "parameters": []}}, "/tools/0/function/parameters"),
        ({"function": {"name": "f", "description": 5}}, "/tools/0/function/description"),
        ({"function": {"name": "f", "strict": "yes"}}, "/tools/0/function/strict"),
    ],
)
def test_gemma_4_refuses_invalid_tools(api: Api, changed: dict[str, Any], path: str) -> None:
    tool = {key: value for key, value in {**WEATHER, **changed}.items() if value is not None}
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), "tools": [tool]}, path)


@pytest.mark.parametrize("choice", ["sometimes", 5, {"type": "function"}, {"type": "function", "function": {}}])
def test_an_invalid_tool_choice(api: Api, choice: object) -> None:
    assert_refused(
        api, GEMMA_4, {"messages": to_messages("Hello"), "tools": [ADD], "tool_choice": choice}, "/tool_choice"
    )


def test_a_tool_choice_that_cannot_be_met(api: Api) -> None:
    named = {"type": "function", "function": {"name": "subtract"}}
    assert_refused(
        api,
        GEMMA_4,
        {"messages": to_messages("Hello"), "tools": [ADD], "tool_choice": named},
        "'subtract'",
        code=8006,
    )
    assert_refused(
        api, GEMMA_4, {"messages": to_messages("Hello"), "tool_choice": "required"}, "needs tools", code=8006
    )


def test_a_max_tokens_that_is_too_small_for_a_forced_call(api: Api) -> None:
    body = {"messages": to_messages("Add 3 and 4"), "tools": [ADD], "tool_choice": "required", "max_tokens": 5}
    assert_refused(api, GEMMA_4, body, "max_tokens", code=8006)


@pytest.mark.parametrize("model", OLDER_MODELS)
def test_models_without_tool_choice_ignore_it(api: Api, model: str) -> None:
    result = api.get_result(model, "Hello", tools=[WEATHER], tool_choice="required")
    assert "get_weather" not in str(result)


@pytest.mark.parametrize("model", OLDER_MODELS)
@pytest.mark.parametrize("functions", ["f", [{"name": "f"}], [{"code": "x"}], [{"name": 5, "code": "x"}], [5]])
def test_the_deprecated_functions(api: Api, model: str, functions: object) -> None:
    assert api.send_text(model, "Hello", functions=[{"name": "f", "code": "x"}]).status_code == 200
    assert_refused(api, model, {"messages": to_messages("Hello"), "functions": functions}, "/functions")


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ({}, "/messages/1/tool_calls/0' are 'id,type,function'"),
        ({"id": "c1", "type": "function", "function": {}}, "tool_calls/0/function' are 'name,arguments'"),
        ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}, "function/arguments"),
        ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}, "text of an object"),
        ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}, "text of an object"),
        ({"id": "c1", "type": "other", "function": {"name": "f", "arguments": "{}"}}, "enum other not in function"),
        ("f", "Type mismatch of '/messages/1/tool_calls/0'"),
    ],
)
def test_tool_calls_in_a_history_of_gemma_4(api: Api, call: object, path: str) -> None:
    messages = [
        *to_messages("Hello"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        *to_messages("Go on"),
    ]
    assert_refused(api, GEMMA_4, {"messages": messages}, path)


def test_a_tool_result_of_gemma_4_names_its_call(api: Api) -> None:
    messages = [*to_messages("Hello"), {"role": "tool", "content": "7"}]
    assert_refused(
        api, GEMMA_4, {"messages": messages}, "required properties at '/messages/1' are 'role,content,tool_call_id'"
    )


# --- constraints ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("schema", ["{}", 5, [], None])
def test_guided_json_is_an_object(api: Api, schema: object) -> None:
    assert_refused(
        api, GEMMA_3, {"messages": to_messages("Hello"), "guided_json": schema}, "Type mismatch of '/guided_json'"
    )


@pytest.mark.parametrize("model", [GEMMA_7B, GEMMA_2B_LORA, SEA_LION])
@pytest.mark.parametrize("form", ["json", 5, {"type": "yaml"}, {"type": "json_schema", "json_schema": "x"}])
def test_response_format_of_the_older_models(api: Api, model: str, form: object) -> None:
    assert_refused(api, model, {"messages": to_messages("Hello"), "response_format": form}, "/response_format")


@pytest.mark.parametrize(
    "form",
    [
        "json",
        {},
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": 5, "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": "x"}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": "yes"}},
    ],
)
def test_response_format_of_gemma_4(api: Api, form: object) -> None:
    assert_refused(api, GEMMA_4, {"messages": to_messages("Hello"), "response_format": form}, "/response_format")
