"""Check strings and numbers, values of any type, and combinations of schemas."""

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
    are_equal,
    check,
    check_only,
    compile_pattern,
    fits,
    matches,
    show,
)
from langchain_workers_gemma.schemas.formats import FORMATS
from langchain_workers_gemma.schemas.keywords import get_types_of_value
from langchain_workers_gemma.schemas.references import find_target

# --- Any value --------------------------------------------------------------------------------------------------------


def _check_type(place: Place, demanded: Any) -> Iterator[Mismatch]:
    kinds = [demanded] if isinstance(demanded, str) else demanded
    if not get_types_of_value(place.value) & set(kinds):
        yield place.make_mismatch(f"{show(place.value)} is not of type {' or '.join(kinds)}")


def _check_enum(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if not any(are_equal(place.value, one) for one in demanded):
        yield place.make_mismatch(f"{show(place.value)} is not one of {show(demanded)}")


def _check_const(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if not are_equal(place.value, demanded):
        yield place.make_mismatch(f"{show(place.value)} is not {show(demanded)}")


# --- Combinations of schemas ------------------------------------------------------------------------------------------


def _check_ref(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded not in place.open_refs:
        target = find_target(place.root, demanded)
        yield from check(replace(place, schema=target, open_refs=place.open_refs | {demanded}))


def _check_all_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for one in demanded:
        yield from check(place.with_schema(one))


def _check_any_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    matches = [list(islice(check(place.with_schema(one)), MAX_MISMATCHES)) for one in demanded]
    if all(matches):
        yield from find_nearest(place, matches)


def find_nearest(place: Place, matches: list[list[Mismatch]]) -> list[Mismatch]:
    """Return the mismatches of the nearest alternative: the only one that fails inside the value, not at its root."""
    inside = [one for one in matches if all(len(wrong.path) > len(place.path) for wrong in one)]
    if len(inside) == 1:
        return inside[0]
    whys = "; or ".join(str(one[0].why) for one in matches)
    return [place.make_mismatch(f"fits none of the alternatives ({whys})")]


def _check_one_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    fitting = sum(fits(place.with_schema(one)) for one in demanded)
    if not fitting:
        yield from _check_any_of(place, demanded)
    elif fitting > 1:
        yield place.make_mismatch(f"{show(place.value)} fits {fitting} alternatives, and must fit one alone")


def _check_not(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if fits(place.with_schema(demanded)):
        yield place.make_mismatch(f"{show(place.value)} must not fit {show(demanded)}")


def _check_if(place: Place, demanded: Any) -> Iterator[Mismatch]:
    branch = "then" if fits(place.with_schema(demanded)) else "else"
    yield from check(place.with_schema(place.schema.get(branch, True)))


# --- Strings and numbers ----------------------------------------------------------------------------------------------


def _check_pattern(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if compile_pattern(demanded) is not None and not matches(demanded, place.value):
        yield place.make_mismatch(f"{show(place.value)} does not match the pattern {demanded!r}")


def _check_format(place: Place, demanded: Any) -> Iterator[Mismatch]:
    check = FORMATS.get(demanded)
    if check is not None and not check(place.value):
        yield place.make_mismatch(f"{show(place.value)} has not the format {demanded}")


def _check_multiple_of(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded and not (
        math.isfinite(place.value) and (_to_exact(place.value) / _to_exact(demanded)).denominator == 1
    ):
        yield place.make_mismatch(f"{place.value} is not a multiple of {demanded}")


def _to_exact(number: float) -> Fraction:
    """Return the number exactly as it is written: 0.3 is a multiple of 0.1, but not as a binary fraction."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))


def _make_bound_rule(word: str, breaks: Callable[[Any, Any], bool], *, exclusive: str | None = None) -> Rule:
    """Return the rule for a bound of a number. In draft 4, the value of the keyword `exclusive` is true or false."""

    def rule(place: Place, demanded: Any) -> Iterator[Mismatch]:
        if isinstance(demanded, bool):
            return
        at_bound = exclusive is not None and place.schema.get(exclusive) is True and place.value == demanded
        if breaks(place.value, demanded) or at_bound:
            yield place.make_mismatch(f"{place.value} must be {word} {demanded}")

    return rule


def make_size_rule(word: str, breaks: Callable[[Any, Any], bool]) -> Rule:
    """Return the rule for a bound on the number of characters, items or keys."""

    def rule(place: Place, demanded: Any) -> Iterator[Mismatch]:
        if breaks(len(place.value), demanded):
            yield place.make_mismatch(f"{show(place.value)} has {len(place.value)} {word} {demanded}")

    return rule


def is_below(value: Any, bound: Any) -> bool:
    """Return whether a value is less than a bound."""
    return bool(value < bound)


def is_above(value: Any, bound: Any) -> bool:
    """Return whether a value is greater than a bound."""
    return bool(value > bound)


SCALAR_RULES: dict[str, Rule] = (
    {
        "type": _check_type,
        "enum": _check_enum,
        "const": _check_const,
        "$ref": _check_ref,
        "allOf": _check_all_of,
        "anyOf": _check_any_of,
        "oneOf": _check_one_of,
        "not": _check_not,
        "if": _check_if,
    }
    | check_only(
        str,
        {
            "pattern": _check_pattern,
            "format": _check_format,
            "minLength": make_size_rule("characters, fewer than", is_below),
            "maxLength": make_size_rule("characters, more than", is_above),
        },
    )
    | check_only(
        (int, float),
        {
            "minimum": _make_bound_rule("at least", is_below, exclusive="exclusiveMinimum"),
            "maximum": _make_bound_rule("at most", is_above, exclusive="exclusiveMaximum"),
            "exclusiveMinimum": _make_bound_rule("greater than", lambda value, bound: bool(value <= bound)),
            "exclusiveMaximum": _make_bound_rule("less than", lambda value, bound: bool(value >= bound)),
            "multipleOf": _check_multiple_of,
        },
    )
)
"""The rule for each keyword."""
