"""Check one value against one schema, by calling the rule for each keyword."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

MAX_MISMATCHES = 8
"""The maximum number of mismatches in a report: more would not help a model to correct its answer."""

_MAX_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where a value does not match its schema.

    Attributes:
        path: The keys and indexes that lead to the place.
        why: A description of what is wrong.
    """

    path: tuple[str | int, ...]
    why: str

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return f"{''.join(steps).removeprefix('.') or 'the value'}: {self.why}"


@dataclass(frozen=True, slots=True)
class Place:
    """A value together with the schema that it must match.

    Attributes:
        schema: The schema.
        value: The value.
        path: The keys and indexes that lead to the value.
        root: The schema that contains the targets of references.
        open_refs: The references that were followed without going deeper into the value.
    """

    schema: Any
    value: Any
    path: tuple[str | int, ...]
    root: dict[str, Any]
    open_refs: frozenset[str] = field(default_factory=frozenset)

    def with_schema(self, schema: Any) -> Place:
        """Return the same value with another schema."""
        return replace(self, schema=schema)

    def enter(self, step: str | int, schema: Any) -> Place:
        """Return the item or property at `step`, with its schema."""
        return Place(schema, self.value[step], (*self.path, step), self.root)

    def make_mismatch(self, why: str) -> Mismatch:
        """Return a mismatch at this place."""
        return Mismatch(self.path, why)


Rule: TypeAlias = Callable[[Place, Any], Iterator[Mismatch]]
"""Checks one keyword, given its value in the schema."""

RULES: dict[str, Rule] = {}
"""The rule for each keyword; `validation` fills it."""


def check(place: Place) -> Iterator[Mismatch]:
    """Yield the mismatches between a value and its schema."""
    schema = place.schema
    if schema is False:
        yield place.make_mismatch("must not be there")
    if not isinstance(schema, dict) or (place.value is None and schema.get("nullable") is True):
        return
    for keyword, demanded in schema.items():
        rule = RULES.get(keyword)
        if rule is not None:
            yield from rule(place, demanded)


def fits(place: Place) -> bool:
    """Return whether a value matches its schema."""
    return next(check(place), None) is None


def show(value: Any) -> str:
    """Return a value as short text for an error message."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 4]} ..."


def make_key(value: Any) -> Any:
    """Return a key that is equal for values that are equal in JSON: 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, dict):
        return frozenset((name, make_key(one)) for name, one in value.items())
    if isinstance(value, list):
        return tuple(map(make_key, value))
    return value


def are_equal(left: Any, right: Any) -> bool:
    """Return whether two values are equal in JSON."""
    return bool(make_key(left) == make_key(right))


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return the compiled pattern; `None` if Python cannot read it."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches anywhere in a text."""
    readable = compile_pattern(pattern)
    return readable is not None and readable.search(text) is not None


def check_only(kind: type | tuple[type, ...], rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Limit rules to values of one kind."""

    def limit_rule(rule: Rule) -> Rule:
        def check_kind(place: Place, demanded: Any) -> Iterator[Mismatch]:
            value = place.value
            if isinstance(value, kind) and not isinstance(value, bool):
                yield from rule(place, demanded)

        return check_kind

    return {keyword: limit_rule(rule) for keyword, rule in rules.items()}
