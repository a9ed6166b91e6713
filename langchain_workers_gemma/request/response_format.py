"""The form an answer must have, and the parameter by which each model takes it (`docs/wire.md` sections 2 and 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.schemas import for_constraint, inline_refs, strict_openai

_SCHEMA_KEYWORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The form an answer must have.

    Attributes:
        name: A name for the schema, which OpenAI's envelope needs.
        schema: A JSON Schema, or `None` for any JSON object.
        strict: OpenAI's flag; `None` to leave it out.
        description: OpenAI's description of the schema; `None` to leave it out.
        as_given: Whether the schema is sent as it is, since the caller bound the parameter itself.
    """

    name: str
    schema: Mapping[str, Any] | None
    strict: bool | None = None
    description: str | None = None
    as_given: bool = False

    @classmethod
    def of_guided_json(cls, schema: object, spec: GemmaModel) -> Answer:
        """The form of a schema bound as `guided_json`.

        Raises:
            ValueError: If it is no schema, or the model has no such parameter.
        """
        if spec.constraint != "guided_json":
            raise ValueError(f"guided_json: {spec.id} has no such parameter. Use response_format instead.")
        if not isinstance(schema, Mapping):
            raise ValueError(f"guided_json must be a JSON Schema, not {schema!r:.80}.")
        return cls("answer", schema, as_given=True)

    def constraint_schema(self) -> Mapping[str, Any]:
        """The schema in the form that all grammar engines take; where any JSON object will do, that of one."""
        if self.schema is None:
            return {"type": "object"}
        if self.as_given:
            return self.schema
        return _engine_schema(_written(self.schema), bool(self.strict))

    def prompt_schema(self) -> Mapping[str, Any] | None:
        """The schema as a model is told of it in the prompt: all of it, without references where that can be."""
        return None if self.schema is None else inline_refs(json.loads(_written(self.schema)))


def _written(schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, default=_plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"response_format: the schema is not JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"it holds {value!r:.80}")


@lru_cache(maxsize=256)
def _engine_schema(schema: str, strict: bool) -> dict[str, Any]:  # noqa: FBT001 - a key of the cache
    """The converted schema; a chain sends the same one with every call."""
    return strict_openai(json.loads(schema)) if strict else for_constraint(json.loads(schema))


def parse_response_format(value: object) -> Answer | None:
    """The answer's form, from OpenAI's `response_format` or from Workers AI's with the bare schema.

    Raises:
        ValueError: If it is in neither form.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"response_format must be a dict such as {{'type': 'json_object'}}, not {value!r:.80}.")
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Answer("answer", None)
    inner = value.get("json_schema")
    if kind != "json_schema" or not isinstance(inner, Mapping):
        raise ValueError(
            "response_format must have type 'text', 'json_object', or 'json_schema' with a 'json_schema' beside it, "
            f"not {value!r:.80}."
        )
    if not inner.keys() & _SCHEMA_KEYWORDS:
        schema = inner.get("schema")
        if not isinstance(schema, Mapping):
            raise ValueError(f"response_format: 'json_schema' holds no schema: {dict(inner)!r:.80}.")
        return Answer(_name(inner.get("name")), schema, inner.get("strict"), inner.get("description"))
    return Answer(_name(inner.get("title")), inner)


def _name(given: object) -> str:
    """A name in the letters that OpenAI's form allows."""
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", str(given or ""))[:64].strip("_") or "answer"


def constraint_parameters(answer: Answer, spec: GemmaModel) -> dict[str, Any]:
    """The parameters that bind a model to a form of answer; none where the model has no such parameter."""
    if spec.constraint is None:
        return {}
    if spec.constraint == "guided_json":
        return {"guided_json": answer.constraint_schema()}
    if answer.schema is None:
        return {"response_format": {"type": "json_object"}}
    if spec.constraint == "bare_schema":
        return {"response_format": {"type": "json_schema", "json_schema": answer.constraint_schema()}}
    envelope: dict[str, Any] = {"name": answer.name, "schema": answer.constraint_schema()}
    if answer.strict is not None:
        envelope["strict"] = answer.strict
    if answer.description is not None:
        envelope["description"] = answer.description
    return {"response_format": {"type": "json_schema", "json_schema": envelope}}
