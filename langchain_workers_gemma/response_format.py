"""The form an answer must have, and the parameter by which each model takes it (`shared/wire.md` sections 2 and 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.schemas import for_constraint, strict_openai


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
    def of_guided_json(cls, schema: object, facts: GemmaModel) -> Answer:
        """The form of a schema bound as `guided_json`.

        Raises:
            ValueError: If it is no schema, or the model has no such parameter.
        """
        if facts.constraint != "guided_json":
            raise ValueError(f"guided_json: {facts.id} has no such parameter. Use response_format instead.")
        if not isinstance(schema, Mapping):
            raise ValueError(f"guided_json must be a JSON Schema, not {schema!r:.80}.")
        return cls("answer", schema, as_given=True)

    def engine_schema(self) -> Mapping[str, Any]:
        """The schema in the form that all grammar engines take; where any JSON object will do, that of one."""
        if self.schema is None:
            return {"type": "object"}
        if self.as_given:
            return self.schema
        return _engine_schema(json.dumps(self.schema, default=str), bool(self.strict))


@lru_cache(maxsize=256)
def _engine_schema(schema: str, strict: bool) -> dict[str, Any]:  # noqa: FBT001 - a key of the cache
    """The converted schema; a chain sends the same one with every call."""
    converted = for_constraint(json.loads(schema))
    return strict_openai(converted) if strict else converted


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
    schema = inner.get("schema")
    if isinstance(schema, Mapping) and "type" not in inner and "properties" not in inner:
        return Answer(str(inner.get("name") or "answer"), schema, inner.get("strict"), inner.get("description"))
    return Answer(str(inner.get("title") or "answer"), inner)


def constraint_parameters(answer: Answer, facts: GemmaModel) -> dict[str, Any]:
    """The parameters that bind a model to a form of answer; none where the model has no such parameter."""
    if facts.constraint is None:
        return {}
    if facts.constraint == "guided_json":
        return {"guided_json": answer.engine_schema()}
    if answer.schema is None:
        return {"response_format": {"type": "json_object"}}
    if facts.constraint == "bare_schema":
        return {"response_format": {"type": "json_schema", "json_schema": answer.engine_schema()}}
    envelope: dict[str, Any] = {"name": answer.name, "schema": answer.engine_schema()}
    if answer.strict is not None:
        envelope["strict"] = answer.strict
    if answer.description is not None:
        envelope["description"] = answer.description
    return {"response_format": {"type": "json_schema", "json_schema": envelope}}
