"""Parse the form that a caller requires of an answer, and find out why a reply does not have it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from langchain_workers_gemma.exchange.request import Problem
from langchain_workers_gemma.json_text.finder import NoJsonError, find_json, is_truncated_json
from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.tool_prompts import write_answer_instructions
from langchain_workers_gemma.schemas import inline_refs, to_constraint_schema, to_strict_openai
from langchain_workers_gemma.schemas.validation import find_mismatches, find_value_problems

MAX_QUOTED = 20_000
"""The maximum number of characters of an unusable reply that are quoted to the model."""

_SCHEMA_KEYWORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The form that an answer must have.

    Attributes:
        name: A name for the schema, which OpenAI's envelope needs.
        schema: A JSON Schema, or `None` for any JSON object.
        strict: OpenAI's `strict` flag; `None` to leave it out.
        description: OpenAI's description of the schema; `None` to leave it out.
        as_given: Whether the schema is sent unchanged, since the caller bound the request parameter itself.
        any_object: Whether the request demands any JSON object, even if there is a schema.
    """

    name: str
    schema: Mapping[str, Any] | None
    strict: bool | None = None
    description: str | None = None
    as_given: bool = False
    any_object: bool = False

    @classmethod
    def from_guided_json(cls, schema: object, spec: GemmaModel) -> Answer:
        """Return the form of a schema bound as `guided_json`.

        Raises:
            ValueError: If it is not a schema, or the model has no such parameter.
        """
        if spec.constraint != "guided_json":
            raise ValueError(f"guided_json: {spec.id} has no such parameter. Use response_format instead.")
        if not isinstance(schema, Mapping):
            raise ValueError(f"guided_json must be a JSON Schema, not {schema!r:.80}.")
        return cls("answer", schema, as_given=True)

    def build_constraint_schema(self) -> Mapping[str, Any]:
        """Return the schema in the form that all grammar engines accept, or that of any JSON object."""
        if self.schema is None:
            return {"type": "object"}
        if self.as_given:
            return self.schema
        return _build_engine_schema(_write_schema(self.schema), bool(self.strict))

    def write_instructions(self) -> str:
        """Return instructions for the prompt, with the schema, since an engine may ignore the constraint."""
        return (
            write_answer_instructions(None)
            if self.schema is None
            else _write_schema_instructions(_write_schema(self.schema))
        )

    def find_problem(self, text: str) -> Problem | None:
        """Return why a text is not the answer; `None` if it has the form.

        Example:
            >>> Answer("age", {"properties": {"age": {"type": "integer"}}}).find_problem('{"age": "36"}').why
            "age: '36' is not of type integer"
        """
        try:
            value = find_json(text)
        except (NoJsonError, RecursionError) as error:
            if is_truncated_json(text):
                return None  # another reply would be truncated as well
            return Problem(str(error), is_ignored_constraint=True)
        if not isinstance(value, dict):
            return Problem("it is not a JSON object", is_ignored_constraint=True)
        if self.schema is None:
            return None
        try:
            found = find_value_problems(value, self.schema, strict=bool(self.strict))
        except ValueError:  # a schema in the caller's own form, which only the engine can read
            return None
        return Problem("; ".join(map(str, found)), self.is_ignored_by(value)) if found else None

    def is_ignored_by(self, value: Any) -> bool:
        """Return whether a value shows that the engine ignored the constraint."""
        return not self.any_object and bool(find_mismatches(value, self.build_constraint_schema()))


def write_correction_request(problem: str) -> str:
    """Return the message to the model after a reply that cannot be used."""
    return f"Your reply cannot be used: {problem}. Reply again with one JSON object in the form asked for, alone."


@lru_cache(maxsize=256)
def _write_schema_instructions(schema: str) -> str:
    """Return the instructions for a schema, with references inlined if possible. Chains repeat the same schema."""
    return write_answer_instructions(inline_refs(json.loads(schema)))


def _write_schema(schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, default=_to_plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"response_format: the schema is not JSON: {error}") from None


def _to_plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"it holds {value!r:.80}")


@lru_cache(maxsize=256)
def _build_engine_schema(schema: str, strict: bool) -> dict[str, Any]:  # noqa: FBT001 - a key of the cache
    """Return the converted schema. Chains send the same schema with every call."""
    return to_strict_openai(json.loads(schema)) if strict else to_constraint_schema(json.loads(schema))


def parse_response_format(value: object) -> Answer | None:
    """Return the form of the answer from a `response_format`: OpenAI's, or Workers AI's with the bare schema.

    Raises:
        ValueError: If it has neither form.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"response_format must be a dict such as {{'type': 'json_object'}}, not {value!r:.80}.")
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _parse_any_object(value)
    inner = value.get("json_schema")
    if kind != "json_schema" or not isinstance(inner, Mapping):
        raise ValueError(
            "response_format must have type 'text', 'json_object', or 'json_schema' together with a key 'json_schema', "
            f"not {value!r:.80}."
        )
    if not inner.keys() & _SCHEMA_KEYWORDS:
        schema = inner.get("schema")
        if not isinstance(schema, Mapping):
            raise ValueError(f"response_format: 'json_schema' holds no schema: {dict(inner)!r:.80}.")
        return Answer(_clean_name(inner.get("name")), schema, inner.get("strict"), inner.get("description"))
    return Answer(_clean_name(inner.get("title")), inner)


def _parse_any_object(value: Mapping[str, Any]) -> Answer:
    """Return the form for type `json_object`: any object, or one that matches the schema llama.cpp accepts there."""
    schema, described = value.get("schema"), value.get("json_schema")
    if isinstance(schema, Mapping):
        return Answer(_clean_name(schema.get("title")), schema)
    if isinstance(described, Mapping) and isinstance(described.get("schema"), Mapping):
        return Answer(_clean_name(described.get("name")), described["schema"], described.get("strict"), any_object=True)
    return Answer("answer", None)


def _clean_name(given: object) -> str:
    """Return a name with only the characters that OpenAI allows."""
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", str(given or ""))[:64].strip("_") or "answer"
