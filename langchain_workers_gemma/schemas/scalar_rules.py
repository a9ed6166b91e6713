"""The rules for values of any type, for schemas put together, and for strings and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

from langchain_workers_gemma.schemas.checking import (
    MAX_MISMATCHES,
    Mismatch,
    Place,
    Rule,
    check,
    compiled,
    fits,
    found,
    only,
    same,
    shown,
)
from langchain_workers_gemma.schemas.formats import FORMATS
from langchain_workers_gemma.schemas.keywords import types_of_value
from langchain_workers_gemma.schemas.references import target_of

# --- Any value --------------------------------------------------------------------------------------------------------


def _type(place: Place, demanded: Any) -> Iterator[Mismatch]:
    kinds = [demanded] if isinstance(demanded, str) else demanded
    if not types_of_value(place.value) & set(kinds):
        yield place.wrong(f"{shown(place.value)} is not of type {' or '.join(kinds)}")


def _enum(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if not any(same(place.value, one) for one in demanded):
        yield place.wrong(f"{shown(place.value)} is not one of {shown(demanded)}")


def _const(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if not same(place.value, demanded):
        yield place.wrong(f"{shown(place.value)} is not {shown(demanded)}")


# --- Schemas put together ---------------------------------------------------------------------------------------------


def _ref(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded not in place.open_refs:
        target = target_of(place.root, demanded)
        yield from check(replace(place, schema=target, open_refs=place.open_refs | {demanded}))


def _all_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for one in demanded:
        yield from check(place.same(one))


def _any_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    found = [list(islice(check(place.same(one)), MAX_MISMATCHES)) for one in demanded]
    if all(found):
        yield from nearest(place, found)


def nearest(place: Place, found: list[list[Mismatch]]) -> list[Mismatch]:
    """The mismatches of the alternative that the value comes nearest to: one that fails inside it, not at once."""
    inside = [one for one in found if all(len(wrong.path) > len(place.path) for wrong in one)]
    if len(inside) == 1:
        return inside[0]
    whys = "; or ".join(str(one[0].why) for one in found)
    return [place.wrong(f"fits none of the alternatives ({whys})")]


def _one_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    fitting = sum(fits(place.same(one)) for one in demanded)
    if not fitting:
        yield from _any_of(place, demanded)
    elif fitting > 1:
        yield place.wrong(f"{shown(place.value)} fits {fitting} alternatives, and must fit one alone")


def _not(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if fits(place.same(demanded)):
        yield place.wrong(f"{shown(place.value)} must not fit {shown(demanded)}")


def _if(place: Place, demanded: Any) -> Iterator[Mismatch]:
    branch = "then" if fits(place.same(demanded)) else "else"
    yield from check(place.same(place.schema.get(branch, True)))


# --- Strings and numbers ----------------------------------------------------------------------------------------------


def _pattern(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if compiled(demanded) is not None and not found(demanded, place.value):
        yield place.wrong(f"{shown(place.value)} does not match the pattern {demanded!r}")


def _format(place: Place, demanded: Any) -> Iterator[Mismatch]:
    check = FORMATS.get(demanded)
    if check is not None and not check(place.value):
        yield place.wrong(f"{shown(place.value)} has not the format {demanded}")


def _multiple_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded and not (math.isfinite(place.value) and (_exact(place.value) / _exact(demanded)).denominator == 1):
        yield place.wrong(f"{place.value} is not a multiple of {demanded}")


def _exact(number: float) -> Fraction:
    """The number as it is written: 0.3 is a multiple of 0.1, which it is not as a binary fraction."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))


def _bound(word: str, breaks: Callable[[Any, Any], bool], *, exclusive: str | None = None) -> Rule:
    """The rule for a bound of a number. In draft 4, `exclusive` beside it was true or false."""

    def rule(place: Place, demanded: Any) -> Iterator[Mismatch]:
        if isinstance(demanded, bool):
            return
        at_bound = exclusive is not None and place.schema.get(exclusive) is True and place.value == demanded
        if breaks(place.value, demanded) or at_bound:
            yield place.wrong(f"{place.value} must be {word} {demanded}")

    return rule


def size(word: str, breaks: Callable[[Any, Any], bool]) -> Rule:
    """Return the rule for a bound of how many characters, items or keys a value has."""

    def rule(place: Place, demanded: Any) -> Iterator[Mismatch]:
        if breaks(len(place.value), demanded):
            yield place.wrong(f"{shown(place.value)} has {len(place.value)} {word} {demanded}")

    return rule


def below(value: Any, bound: Any) -> bool:
    """Return whether a value is less than a bound."""
    return bool(value < bound)


def above(value: Any, bound: Any) -> bool:
    """Return whether a value is greater than a bound."""
    return bool(value > bound)


SCALAR_RULES: dict[str, Rule] = (
    {
        "type": _type,
        "enum": _enum,
        "const": _const,
        "$ref": _ref,
        "allOf": _all_of,
        "anyOf": _any_of,
        "oneOf": _one_of,
        "not": _not,
        "if": _if,
    }
    | only(
        str,
        {
            "pattern": _pattern,
            "format": _format,
            "minLength": size("characters, fewer than", below),
            "maxLength": size("characters, more than", above),
        },
    )
    | only(
        (int, float),
        {
            "minimum": _bound("at least", below, exclusive="exclusiveMinimum"),
            "maximum": _bound("at most", above, exclusive="exclusiveMaximum"),
            "exclusiveMinimum": _bound("greater than", lambda value, bound: bool(value <= bound)),
            "exclusiveMaximum": _bound("less than", lambda value, bound: bool(value >= bound)),
            "multipleOf": _multiple_of,
        },
    )
)
"""The rule for each keyword."""
