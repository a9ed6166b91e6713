"""The methods of structured output, and the runnable for each."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_workers_gemma.schemas import json_schema_of, schema_description, schema_name
from langchain_workers_gemma.structured_output.parser import StructuredOutputParser
from langchain_workers_gemma.structured_output.raw import RawAndParsed

if TYPE_CHECKING:
    from langchain_workers_gemma.models import GemmaModel


Method: TypeAlias = Literal["guided_json", "json_schema", "json_mode", "function_calling"]
"""How an answer is bound to a schema."""


_METHODS: tuple[Method, ...] = ("guided_json", "json_schema", "json_mode", "function_calling")


def resolve_method(method: str | None, spec: GemmaModel) -> Method | None:
    """The method for a model; `None` where only the prompt can ask for JSON.

    Raises:
        ValueError: If the method is unknown, or one that the model does not have.
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
            f"method={method!r}: {spec.id} has no JSON mode on {spec.host}. Leave method out to ask for JSON in the "
            "prompt, or use method='function_calling'."
        )
    return _METHODS[_METHODS.index(method)]


def structured_runnable(
    llm: Any,
    schema: Any,
    spec: GemmaModel,
    *,
    method: str | None,
    include_raw: bool,
    strict: bool | None,
    options: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """The runnable that answers in the form of a schema. See `ChatWorkersGemma.with_structured_output`."""
    resolved = resolve_method(method, spec)
    if schema is None and resolved != "json_mode":
        raise ValueError("schema is missing: give a Pydantic class, a TypedDict, a JSON Schema, or OpenAI's tool form.")
    json_schema = None if schema is None else json_schema_of(schema)
    traced = {
        "ls_structured_output_format": {
            "kwargs": {"method": resolved or "prompt"},
            "schema": _traced(schema, json_schema),
        }
    }
    if resolved == "function_calling":
        name = schema_name(json_schema)
        tool = {
            "type": "function",
            "function": _function(name, schema_description(json_schema), json_schema or {}, strict=strict),
        }
        asked = {"tool_choice": name, "parallel_tool_calls": False, "keep_invalid_calls": True, **options, **traced}
        bound = llm.bind_tools([tool], **asked)
    elif resolved == "json_mode" or json_schema is None:
        bound = llm.bind(response_format={"type": "json_object"}, **options, **traced)
    else:
        envelope: dict[str, Any] = {"name": schema_name(json_schema), "schema": json_schema}
        if strict is not None:
            envelope["strict"] = strict
        bound = llm.bind(response_format={"type": "json_schema", "json_schema": envelope}, **options, **traced)
    parser = StructuredOutputParser(schema=schema, from_call=resolved == "function_calling", strict=bool(strict))
    return cast("Runnable[LanguageModelInput, Any]", bound | (RawAndParsed(parser=parser) if include_raw else parser))


def _traced(schema: Any, json_schema: Mapping[str, Any] | None) -> Any:
    """The schema for tracing, in a form that core can convert: it raises all sorts of errors on a few of them."""
    forms: tuple[Any, ...] = (schema, json_schema)
    for form in forms:
        with contextlib.suppress(Exception):  # such as a TypeError for a field called "$ref"
            convert_to_json_schema(form)
            return form
    return {}


def _function(name: str, description: str, json_schema: Mapping[str, Any], *, strict: bool | None) -> dict[str, Any]:
    parameters = {key: value for key, value in json_schema.items() if key not in ("title", "description")}
    function = {"name": name, "description": description or name, "parameters": parameters}
    return function if strict is None else {**function, "strict": strict}
