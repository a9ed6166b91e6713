"""Every schema that the package sends compiles in real grammar engines, whose instances pass the caller's validation.

The schemas are taken from requests with every method and kind of model.
"""

from __future__ import annotations

import contextlib
import json
from functools import cache
from typing import Any

import httpx
import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import ValidationError

from langchain_workers_gemma import ToolChoiceError
from langchain_workers_gemma.schemas import to_json_schema
from langchain_workers_gemma.structured_output.parser import validate_as
from tests.helpers.model_calls import make_model
from tests.helpers.schema_engines import compile_with_both_engines, generate_instance
from tests.helpers.schema_examples import EXAMPLES
from tests.helpers.structured_calls import SERVICE_VARIANTS, STRUCTURED_METHODS, ServiceVariant

# The other models use one of the same three parameters; `test_structured_output` shows that they get the same schema.
CONSTRAINED = [variant for variant in SERVICE_VARIANTS if variant.name in ("gemma-4", "gemma-3", "gemma-7b")]
NAMES = sorted(EXAMPLES)
INSTANCES_PER_SCHEMA = 8


REQUESTS: list[Any] = []


def _respond(request: httpx.Request) -> httpx.Response:
    REQUESTS.append(json.loads(request.content))
    return httpx.Response(200, json={"result": {"response": "{}"}, "success": True})


CLIENT = httpx.Client(transport=httpx.MockTransport(_respond))


def get_sent_input(variant: ServiceVariant, bind: Any) -> Any:
    """Return the input of the first request of a runnable, and ignore the error that the empty reply causes."""
    REQUESTS.clear()
    with contextlib.suppress(OutputParserException, ToolChoiceError):
        bind(make_model(**variant.arguments, http_client=CLIENT)).invoke("Go")
    return REQUESTS[0]


def get_constraint(data: Any) -> Any:
    """Return the schema in the input of a request."""
    if "guided_json" in data:
        return data["guided_json"]
    inner = data.get("response_format", {}).get("json_schema")
    return inner["schema"] if inner is not None and "schema" in inner and "type" not in inner else inner


@cache
def get_sent_schema(name: str, variant: ServiceVariant, method: str | None, strict: bool | None) -> Any:
    schema = EXAMPLES[name].schema
    return get_constraint(
        get_sent_input(
            variant,
            lambda llm: llm.with_structured_output(schema, method=method, strict=strict),
        )
    )


def list_cases(name: str) -> list[tuple[str, Any, bool, bool]]:
    """Return each different schema of an example, with where it is sent, whether it is for a call, and `strict`."""
    found: dict[str, tuple[str, Any, bool, bool]] = {}
    for variant in CONSTRAINED:
        for method in STRUCTURED_METHODS:
            for strict in (None, True):
                if variant.lacks(method) or method == "json_mode":
                    continue
                schema = get_sent_schema(name, variant, method, strict)
                if schema is not None:
                    where = f"{variant}-{method}-{strict}"
                    found.setdefault(json.dumps(schema), (where, schema, method == "function_calling", bool(strict)))
    return list(found.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_compiles_and_its_instances_are_valid(name: str) -> None:
    example = EXAMPLES[name]
    all_cases = list_cases(name)
    assert {call for _, _, call, _ in all_cases} == {True, False}
    assert {strict for _, _, _, strict in all_cases} == {True, False} or name in UNCHANGED_BY_STRICT
    for where, schema, call, strict in all_cases:
        # outlines-core unrolls recursion to a few levels.
        assert compile_with_both_engines(schema), where
        assert ("$ref" in json.dumps(schema).replace('"$ref":{', "")) >= example.recursive, where
        for seed in range(INSTANCES_PER_SCHEMA):
            text = generate_instance(schema, seed)
            try:
                value = json.loads(text)
            except ValueError:
                assert len(text) >= 3000, where  # the instance reached its maximum length, like a truncated reply
                continue
            if call:
                assert value.keys() == {"name", "arguments"}, where
                value = value["arguments"]
            errors = find_errors(example, value, strict=strict)
            assert errors <= example.unenforced, (where, text, errors)


UNCHANGED_BY_STRICT = frozenset(
    name for name in NAMES if len({json.dumps(case[1]) for case in list_cases(name) if not case[2]}) == 1
)


def find_errors(example: Any, value: Any, *, strict: bool) -> set[str]:
    """Return the errors of a value, validated like the value of a reply."""
    if isinstance(example.schema, dict):
        if not strict:
            return set(example.find_errors(json.dumps(value)))
        # In OpenAI's strict form null means an omitted value.
        return {kind for kind in example.find_errors(json.dumps(_without_nulls(value))) if kind != "required"}
    try:
        validate_as(value, example.schema, strict=strict)
    except ValidationError as error:
        return {detail["type"] for detail in error.errors()}
    return set()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


TOOL = {"title": "look_up", "description": "Look up.", "type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("choice", [None, "any"])
@pytest.mark.parametrize("answer", [False, True])
def test_every_schema_for_tools_compiles(name: str, choice: Any, answer: bool) -> None:
    """One schema covers constrained tools and an answer with its own schema."""
    schema = EXAMPLES[name].schema
    variant = CONSTRAINED[1]

    def bind(llm: Any) -> Any:
        llm.tool_calling = "guided_json"
        tool = {"type": "function", "function": {"name": "tool", "parameters": to_json_schema(schema)}}
        more = {"response_format": {"type": "json_schema", "json_schema": to_json_schema(schema)}} if answer else {}
        return llm.bind_tools([tool, TOOL], tool_choice=choice, **more)

    sent = get_constraint(get_sent_input(variant, bind))
    assert compile_with_both_engines(sent)
