"""Validate a value against a JSON Schema, within the work limit of one reply."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from langchain_workers_gemma.sandbox.errors import ServiceError

from .grammar import Grammar, matches
from .work_limit import MAX_SCHEMA_CHARACTERS, make_too_complex_error, spend_steps


def is_valid(schema: Mapping[str, Any], value: object) -> bool:
    """Return whether a value is valid by a schema, including formats. No value is valid by an invalid schema.

    Raises:
        ServiceError: 400 if the schema takes too much work.
    """
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise make_too_complex_error()
    if "patternProperties" in text:  # the validator would match it with Python's `re`
        return _is_accepted(schema, value)
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    validator = _make_validator_class()
    try:
        validator.check_schema(dict(schema))
        return bool(validator(dict(schema), format_checker=validator.FORMAT_CHECKER).is_valid(value))
    except (SchemaError, Unresolvable, RecursionError):
        return False


def _is_accepted(schema: Mapping[str, Any], value: object) -> bool:
    try:
        return Grammar(schema).accepts(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except ServiceError:
        return False


@cache
def _make_validator_class() -> Any:
    """Return a validator class that counts its steps and matches patterns in linear time."""
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import ValidationError

    def add_step_count(check: Any) -> Any:
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            spend_steps()
            yield from check(validator, value, instance, schema) or ()

        return run

    def check_pattern(validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "string") and not matches(instance, value):
            yield ValidationError(f"{instance!r} does not match {value!r}")

    keywords = {name: add_step_count(check) for name, check in Draft202012Validator.VALIDATORS.items()}
    extend: Any = validators.extend
    return extend(Draft202012Validator, validators={**keywords, "pattern": add_step_count(check_pattern)})
