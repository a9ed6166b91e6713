"""Structured output of each kind of model: the request that must be sent, and the response of the service."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest.mock import ANY

import pytest
from pydantic import BaseModel, Field

from langchain_workers_gemma.models import resolve_model
from langchain_workers_gemma.request.template_data import get_template_data
from langchain_workers_gemma.schemas import (
    describe_hidden_keywords,
    get_schema_description,
    get_schema_name,
    to_constraint_schema,
    to_json_schema,
    to_tool_parameters,
)
from tests.helpers.mock_service import MockService, make_completion, make_delta, make_usage
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, GEMMA_7B, GEMMA_7B_LORA, SEA_LION, run_async


@dataclass(frozen=True)
class ServiceVariant:
    """A kind of model and API that needs its own parameters for structured output.

    Attributes:
        arguments: The arguments of the model.
        parameter: The request parameter that takes a schema, `None` if there is none.
        forces_calls: Whether it has `tool_choice`, so that a request can require a tool call.
        openai: Whether its replies have OpenAI's form.
    """

    name: str
    arguments: dict[str, Any] = field(hash=False)
    parameter: Literal["guided_json", "bare", "openai"] | None
    forces_calls: bool = False
    openai: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def default_method(self) -> str | None:
        """The structured output method that is used if none is named."""
        if self.parameter is None:
            return None
        return "guided_json" if self.parameter == "guided_json" else "json_schema"

    def lacks(self, method: str | None) -> bool:
        """Return whether the service does not support a structured output method."""
        if method == "guided_json":
            return self.parameter != "guided_json"
        return method in ("json_schema", "json_mode") and self.parameter is None


SERVICE_VARIANTS = [
    ServiceVariant("gemma-4", {"model": GEMMA_4}, "openai", forces_calls=True, openai=True),
    ServiceVariant("gemma-4-openai", {"model": GEMMA_4, "api": "openai"}, "openai", forces_calls=True, openai=True),
    ServiceVariant("gemma-3", {"model": GEMMA_3}, "guided_json"),
    ServiceVariant("gemma-3-openai", {"model": GEMMA_3, "api": "openai"}, "guided_json", openai=True),
    ServiceVariant("dataoorts", {"host": "dataoorts"}, "guided_json"),
    ServiceVariant("gemma-7b", {"model": GEMMA_7B}, "bare"),
    ServiceVariant("sea-lion", {"model": SEA_LION}, "bare"),
    ServiceVariant("gemma-7b-lora", {"model": GEMMA_7B_LORA}, None),
    ServiceVariant("aimlapi", {"host": "aimlapi"}, None, openai=True),
]
VARIANTS_BY_NAME = {variant.name: variant for variant in SERVICE_VARIANTS}
STRUCTURED_METHODS = (None, "guided_json", "json_schema", "json_mode", "function_calling")
VARIANT_METHOD_PAIRS = [
    (variant, method) for variant in SERVICE_VARIANTS for method in STRUCTURED_METHODS if not variant.lacks(method)
]
for_each_pair = pytest.mark.parametrize(("variant", "method"), VARIANT_METHOD_PAIRS, ids=str)


def get_request_input(service: MockService) -> dict[str, Any]:
    """Return the model's input in the last request, without Dataoorts' wrapper."""
    sent = json.loads(service.requests[-1].content)
    data = sent.get("data", sent)
    assert isinstance(data, dict)
    return data


def get_structured_parameters(data: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request that ask for structured output."""
    others = {"model", "messages", "max_tokens", "stream", "stream_options"}
    return {key: value for key, value in data.items() if key not in others}


def make_constraint_parameters(variant: ServiceVariant, schema: Any, name: str, **more: Any) -> dict[str, Any]:
    """Return the request parameters that constrain the output to a schema."""
    if variant.parameter is None:
        return {}
    if variant.parameter == "guided_json":
        return {"guided_json": schema}
    if variant.parameter == "bare":
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **more}}}


def make_call_schema(name: str, parameters: Any) -> Any:
    """Return the schema that constrains the output to a call of one tool."""
    return to_constraint_schema(
        {
            "type": "object",
            "properties": {"name": {"type": "string", "enum": [name]}, "arguments": parameters},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
    )


def build_expected_parameters(variant: ServiceVariant, method: str | None, schema: Any) -> dict[str, Any]:
    """Return the parameters that a request must have besides messages and `max_tokens`."""
    plain, name = to_json_schema(schema), get_schema_name(schema)
    if method == "json_mode":
        any_object = variant.parameter == "guided_json"
        return {"guided_json": {"type": "object"}} if any_object else {"response_format": {"type": "json_object"}}
    if method != "function_calling":
        return make_constraint_parameters(variant, to_constraint_schema(plain), name)
    parameters = {key: value for key, value in plain.items() if key not in ("title", "description")}
    if not variant.forces_calls:
        return make_constraint_parameters(variant, ANY, "reply")  # other tests check its schema
    # Details of parameters that Gemma 4's template does not render go into the description (tests/unit_tests/request).
    declarations = get_template_data(resolve_model(GEMMA_4, "cloudflare")).declarations
    converted = to_tool_parameters(parameters, engine_types=True)
    declared, lines = describe_hidden_keywords(converted, declarations) if declarations else (parameters, [])
    function = {
        "name": name,
        "description": "\n".join([get_schema_description(schema) or name, *lines]),
        "parameters": declared,
    }
    return {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": name}},
        "parallel_tool_calls": False,
    }


def write_object(variant: ServiceVariant, method: str | None, schema: Any, text: str) -> tuple[str, list[Any]]:
    """Return the text and the tool calls with which a model returns an object."""
    if method != "function_calling":
        return text, []
    name = get_schema_name(schema)
    if variant.forces_calls:
        return "", [{"id": "c1", "type": "function", "function": {"name": name, "arguments": text}}]
    key = "parameters" if variant.parameter is None else "arguments"
    return f'{{"name": {json.dumps(name)}, "{key}": {text}}}', []


def respond_with_object(
    service: MockService, variant: ServiceVariant, method: str | None, schema: Any, text: str, call_method: str
) -> None:
    """Make the service return an object."""
    text_reply, calls = write_object(variant, method, schema, text)
    more: dict[str, Any] = {"tool_calls": calls} if calls else {}
    if call_method in ("invoke", "ainvoke"):
        result: Any = make_completion(text_reply, **more) if variant.openai else {"response": text_reply, **more}
        service.respond_with_results(result) if variant.arguments.get(
            "api"
        ) != "openai" else service.respond_with_bodies(result)
    elif variant.openai:
        pieces = [make_delta(text_reply[start : start + 5]) for start in range(0, len(text_reply), 5)]
        if calls:
            pieces = [
                make_delta(
                    tool_calls=[
                        {"index": 0, "id": "c1", "function": {"name": get_schema_name(schema), "arguments": ""}}
                    ]
                )
            ]
            pieces += [
                make_delta(tool_calls=[{"index": 0, "function": {"arguments": text[start : start + 5]}}])
                for start in range(0, len(text), 5)
            ]
        service.respond_with_events(*pieces, make_delta(finish_reason="stop"), "[DONE]")
    else:
        pieces = [{"response": text_reply[start : start + 5]} for start in range(0, len(text_reply), 5)]
        service.respond_with_events(*pieces, {"response": "", "usage": make_usage(1, 1)}, "[DONE]")


def collect_outputs(runnable: Any, call_method: str, model_input: Any = "Go") -> list[Any]:
    """Return all outputs of a call method: one, or those of the stream."""
    if call_method == "invoke":
        return [runnable.invoke(model_input)]
    if call_method == "ainvoke":
        return [run_async(runnable.ainvoke(model_input))]
    if call_method == "stream":
        return list(runnable.stream(model_input))

    async def collect() -> list[Any]:
        return [value async for value in runnable.astream(model_input)]

    found = run_async(collect())
    assert isinstance(found, list)
    return found


def parse_as_caller(schema: Any, text: str) -> Any:
    """Return the object that `with_structured_output(schema)` must return for a JSON text."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_validate_json(text)
    return json.loads(text)


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="The setup")
    rating: int | None = None
