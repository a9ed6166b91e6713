"""Choose the method of structured output, and build its runnable."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_workers_gemma.client.call_settings import check_max_repairs
from langchain_workers_gemma.request.constraint_forms import get_forms
from langchain_workers_gemma.request.response_format import parse_response_format
from langchain_workers_gemma.schemas import get_schema_description, get_schema_name, to_json_schema
from langchain_workers_gemma.structured_output.parser import AnswerReader
from langchain_workers_gemma.structured_output.runnable import ModelForms, StructuredOutput

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel


Method: TypeAlias = Literal["guided_json", "json_schema", "json_mode", "function_calling"]
"""A way to get an answer in the form of a schema."""

_METHODS: tuple[Method, ...] = ("guided_json", "json_schema", "json_mode", "function_calling")


def resolve_method(method: str | None, spec: GemmaModel) -> Method | None:
    """Return the method for a model; `None` if JSON can only be requested in the prompt.

    Raises:
        ValueError: If the method is unknown, or the model does not support it.
    """
    if method is None:
        if spec.constraint is None:
            return None
        return "guided_json" if spec.constraint == "guided_json" else "json_schema"
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, or None, not {method!r}.")
    if method == "guided_json" and spec.constraint != "guided_json":
        cure = "leave method out" if spec.constraint is None else "use method='json_schema', or leave it out"
        raise ValueError(f"method='guided_json': {spec.id} has no such parameter; {cure}.")
    if method in ("json_schema", "json_mode") and spec.constraint is None:
        raise ValueError(
            f"method={method!r}: {spec.id} has no JSON mode on {spec.host}. Leave method out to request JSON in the "
            "prompt, or use method='function_calling'."
        )
    return _METHODS[_METHODS.index(method)]


def build_structured_runnable(
    llm: Any,
    schema: Any,
    spec: GemmaModel,
    *,
    method: str | None,
    include_raw: bool,
    strict: bool | None,
    max_repairs: int,
    options: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """Return the runnable that returns answers in the form of a schema.

    Args:
        llm: The chat model.
        schema: The caller's schema.
        spec: The facts about the model.
        method: The method; `None` for the model's best one.
        include_raw: Whether the reply and the error accompany the object.
        strict: OpenAI's `strict` flag; `None` to leave it out.
        max_repairs: How often an answer in the wrong form is requested again.
        options: Further arguments of each call.

    Raises:
        ValueError: If the model does not support the method, or the schema cannot be used.
    """
    resolved = resolve_method(method, spec)
    if schema is None and resolved != "json_mode":
        raise ValueError("schema is missing: pass a Pydantic class, a TypedDict, a JSON Schema, or OpenAI's tool form.")
    check_max_repairs(max_repairs)
    json_schema = None if schema is None else to_json_schema(schema)
    bound = {
        "keep_invalid_answer": True,
        "max_repairs": max_repairs,
        **options,
        "ls_structured_output_format": {
            "kwargs": {"method": resolved or "prompt"},
            "schema": _build_traced_schema(schema, json_schema),
        },
    }
    response_format = _build_response_format(json_schema, strict=strict, any_object=resolved == "json_mode")
    again = llm.bind(response_format=response_format, **bound)
    answer = parse_response_format(response_format)
    if answer is None:
        raise ValueError("schema must describe a JSON object.")
    from_call = resolved == "function_calling"
    return StructuredOutput(
        first=_bind_call(llm, json_schema or {}, strict=strict, options=bound) if from_call else again,
        again=again,
        reader=AnswerReader(schema, answer, from_call=from_call),
        forms=ModelForms(
            spec.host,
            spec.id,
            get_forms(spec.constraint, any_object=answer.schema is None or answer.any_object),
            llm,
        ),
        include_raw=include_raw,
        max_repairs=max_repairs,
    )


def _build_response_format(
    json_schema: Mapping[str, Any] | None, *, strict: bool | None, any_object: bool
) -> dict[str, Any]:
    if json_schema is None:
        return {"type": "json_object"}
    envelope: dict[str, Any] = {"name": get_schema_name(json_schema), "schema": json_schema}
    if strict is not None:
        envelope["strict"] = strict
    return {"type": "json_object" if any_object else "json_schema", "json_schema": envelope}


def _bind_call(
    llm: Any, json_schema: Mapping[str, Any], *, strict: bool | None, options: Mapping[str, Any]
) -> Runnable[LanguageModelInput, Any]:
    """Return the model, bound to one tool that it must call."""
    name = get_schema_name(json_schema)
    function = _build_function(name, get_schema_description(json_schema), json_schema, strict=strict)
    forced = {"tool_choice": name, "parallel_tool_calls": False, "keep_invalid_calls": True, **options}
    return cast(
        "Runnable[LanguageModelInput, Any]", llm.bind_tools([{"type": "function", "function": function}], **forced)
    )


def _build_traced_schema(schema: Any, json_schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the schema for tracing, already converted: core would convert a class in every call, which is slow."""
    forms: tuple[Any, ...] = (schema, json_schema)
    for form in forms:
        with contextlib.suppress(Exception):  # for example a TypeError for a field called "$ref"
            return convert_to_json_schema(form)
    return {}


def _build_function(
    name: str, description: str, json_schema: Mapping[str, Any], *, strict: bool | None
) -> dict[str, Any]:
    parameters = {key: value for key, value in json_schema.items() if key not in ("title", "description")}
    function = {"name": name, "description": description or name, "parameters": parameters}
    return function if strict is None else {**function, "strict": strict}
