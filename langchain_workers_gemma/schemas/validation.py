"""Checks a value against a JSON Schema, by every keyword, those that grammar engines ignore included.

`jsonschema` would do the same, but cannot be installed where Python Workers run: it needs a compiled library that has
no build for Pyodide. Tests hold this module to it.

Lenient where models and schemas in use are: OpenAPI's `nullable`, lists under `items` and boolean `exclusiveMinimum`
are understood in every draft, a `pattern` that Python cannot read and an unknown `format` are left unchecked, and a
time needs no zone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

from langchain_workers_gemma.schemas.formats import FORMATS
from langchain_workers_gemma.schemas.keywords import types_of_value
from langchain_workers_gemma.schemas.references import target_of

MAX_MISMATCHES = 8
"""How many mismatches are reported: more would not help a model to correct its answer."""

_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where a value does not fit its schema.

    Attributes:
        path: The keys and indexes that lead there.
        why: What is wrong.
    """

    path: tuple[str | int, ...]
    why: str

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return f"{''.join(steps).removeprefix('.') or 'the value'}: {self.why}"


def mismatches(value: Any, schema: Mapping[str, Any]) -> list[Mismatch]:
    """Where a value does not fit a schema; empty if it fits.

    Args:
        value: JSON, as Python has it.
        schema: A JSON Schema.

    Returns:
        At most `MAX_MISMATCHES` places.

    Raises:
        ValueError: If a reference leads nowhere, or the value is nested too deep.

    Examples:
        >>> schema = {"properties": {"ages": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}}}
        >>> [str(one) for one in mismatches({"ages": [1, "x", 1]}, schema)]
        ["ages[1]: 'x' is not of type integer", 'ages: holds the same item twice']
    """
    place = _Place(dict(schema), value, (), dict(schema))
    try:
        return list(islice(_check(place), MAX_MISMATCHES))
    except RecursionError:
        raise ValueError("the value is nested too deep") from None


def value_problems(value: dict[str, Any], schema: Mapping[str, Any], *, strict: bool) -> list[Mismatch]:
    """Where an answer does not fit its schema.

    Args:
        value: The answer. Nulls that stand for what was left out are taken out of it.
        schema: A JSON Schema.
        strict: Whether OpenAI's strict form was asked for, where every key is required, and null stands for nothing.

    Raises:
        ValueError: See `mismatches`.
    """
    found = mismatches(value, schema)
    if strict and found and _drop_nulls(value, found):
        return mismatches(value, schema)
    return found


def _drop_nulls(value: Any, found: Iterable[Mismatch]) -> bool:
    dropped = False
    for one in found:
        inside = value
        for step in one.path[:-1]:
            inside = inside[step]
        if one.path and isinstance(inside, dict) and inside.get(str(one.path[-1]), "") is None:
            del inside[str(one.path[-1])]
            dropped = True
    return dropped


@dataclass(frozen=True, slots=True)
class _Place:
    """A value beside the schema that it must fit."""

    schema: Any
    value: Any
    path: tuple[str | int, ...]
    root: dict[str, Any]
    open_refs: frozenset[str] = field(default_factory=frozenset)  # followed without going deeper into the value

    def same(self, schema: Any) -> _Place:
        """The same value under another schema."""
        return replace(self, schema=schema)

    def inside(self, step: str | int, schema: Any) -> _Place:
        """What is inside the value, under the schema for it."""
        return _Place(schema, self.value[step], (*self.path, step), self.root)

    def wrong(self, why: str) -> Mismatch:
        """The mismatch here."""
        return Mismatch(self.path, why)


Rule: TypeAlias = Callable[[_Place, Any], Iterator[Mismatch]]
"""Checks one keyword, given its value in the schema."""


def _check(place: _Place) -> Iterator[Mismatch]:
    schema = place.schema
    if schema is False:
        yield place.wrong("must not be there")
    if not isinstance(schema, dict) or (place.value is None and schema.get("nullable") is True):
        return
    for keyword, demanded in schema.items():
        rule = _RULES.get(keyword)
        if rule is not None:
            yield from rule(place, demanded)


def _fits(place: _Place) -> bool:
    return next(_check(place), None) is None


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def _key(value: Any) -> Any:
    """What is equal for values that are equal in JSON: 1 and 1.0 are, true and 1 are not."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, dict):
        return frozenset((name, _key(one)) for name, one in value.items())
    if isinstance(value, list):
        return tuple(map(_key, value))
    return value


def _same(left: Any, right: Any) -> bool:
    return bool(_key(left) == _key(right))


# --- Any value --------------------------------------------------------------------------------------------------------


def _type(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    kinds = [demanded] if isinstance(demanded, str) else demanded
    if not types_of_value(place.value) & set(kinds):
        yield place.wrong(f"{_shown(place.value)} is not of type {' or '.join(kinds)}")


def _enum(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if not any(_same(place.value, one) for one in demanded):
        yield place.wrong(f"{_shown(place.value)} is not one of {_shown(demanded)}")


def _const(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if not _same(place.value, demanded):
        yield place.wrong(f"{_shown(place.value)} is not {_shown(demanded)}")


# --- Schemas put together ---------------------------------------------------------------------------------------------


def _ref(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded not in place.open_refs:
        target = target_of(place.root, demanded)
        yield from _check(replace(place, schema=target, open_refs=place.open_refs | {demanded}))


def _all_of(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for one in demanded:
        yield from _check(place.same(one))


def _any_of(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    found = [list(islice(_check(place.same(one)), MAX_MISMATCHES)) for one in demanded]
    if all(found):
        yield from _nearest(place, found)


def _nearest(place: _Place, found: list[list[Mismatch]]) -> list[Mismatch]:
    """The mismatches of the alternative that the value comes nearest to: one that fails inside it, not at once."""
    inside = [one for one in found if all(len(wrong.path) > len(place.path) for wrong in one)]
    if len(inside) == 1:
        return inside[0]
    whys = "; or ".join(str(one[0].why) for one in found)
    return [place.wrong(f"fits none of the alternatives ({whys})")]


def _one_of(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    fitting = sum(_fits(place.same(one)) for one in demanded)
    if not fitting:
        yield from _any_of(place, demanded)
    elif fitting > 1:
        yield place.wrong(f"{_shown(place.value)} fits {fitting} alternatives, and must fit one alone")


def _not(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if _fits(place.same(demanded)):
        yield place.wrong(f"{_shown(place.value)} must not fit {_shown(demanded)}")


def _if(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    branch = "then" if _fits(place.same(demanded)) else "else"
    yield from _check(place.same(place.schema.get(branch, True)))


# --- Objects ----------------------------------------------------------------------------------------------------------


def _properties(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from _check(place.inside(name, schema))


def _pattern_properties(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for pattern, schema in demanded.items():
        for name in place.value:
            if _found(pattern, name):
                yield from _check(place.inside(name, schema))


def _additional_properties(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for name in _additional_names(place):
        if demanded is False:
            yield place.wrong(f"{name!r} is not one of its keys")
        else:
            yield from _check(place.inside(name, demanded))


def _additional_names(place: _Place) -> list[str]:
    named = place.schema.get("properties", {})
    patterns = place.schema.get("patternProperties", {})
    return [name for name in place.value if name not in named and not any(_found(one, name) for one in patterns)]


def _property_names(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for name in place.value:
        for wrong in _check(_Place(demanded, name, place.path, place.root)):
            yield place.wrong(f"the key {name!r}: {wrong.why}")


def _required(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    # Draft 3 has `required: true` within a property, which says nothing here.
    for name in demanded if isinstance(demanded, list) else ():
        if name not in place.value:
            yield place.wrong(f"the required key {name!r} is missing")


def _dependent_required(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for name, needed in demanded.items():
        missing = [other for other in needed if other not in place.value] if name in place.value else []
        if missing:
            yield place.wrong(f"{name!r} needs {', '.join(map(repr, missing))} beside it")


def _dependent_schemas(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from _check(place.same(schema))


def _dependencies(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    """Of drafts up to 7, which had one word for both."""
    for name, needed in demanded.items():
        rule = _dependent_required if isinstance(needed, list) else _dependent_schemas
        yield from rule(place, {name: needed})


def _unevaluated_properties(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    known = _evaluated_names(place)
    for name in place.value:
        if name not in known:
            if demanded is False:
                yield place.wrong(f"{name!r} is not one of its keys")
            else:
                yield from _check(place.inside(name, demanded))


def _evaluated_names(place: _Place) -> set[str]:
    """The keys that some other keyword of a schema speaks of."""
    schema = place.schema
    if "additionalProperties" in schema:
        return set(place.value)
    names = set(place.value) - set(_additional_names(place))
    for other in _in_place(place):
        names |= set(place.value) if "unevaluatedProperties" in other.schema else _evaluated_names(other)
    return names


def _in_place(place: _Place) -> Iterator[_Place]:
    """The schemas inside a schema that the same value fits."""
    schema = place.schema
    candidates = [*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if isinstance(place.value, dict):
        candidates += [one for name, one in schema.get("dependentSchemas", {}).items() if name in place.value]
    if "if" in schema:
        branch = "then" if _fits(place.same(schema["if"])) else "else"
        candidates += [schema["if"], schema.get(branch, True)]
    if "$ref" in schema and schema["$ref"] not in place.open_refs:
        target = target_of(place.root, schema["$ref"])
        if isinstance(target, dict):
            yield replace(place, schema=target, open_refs=place.open_refs | {schema["$ref"]})
    yield from (at for one in candidates if isinstance(one, dict) and _fits(at := place.same(one)))


# --- Arrays -----------------------------------------------------------------------------------------------------------


def _prefix_items(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    for at, schema in enumerate(demanded[: len(place.value)]):
        yield from _check(place.inside(at, schema))


def _items(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(demanded, list):
        yield from _prefix_items(place, demanded)
    else:
        yield from _items_from(place, len(place.schema.get("prefixItems", ())), demanded)


def _additional_items(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(first := place.schema.get("items"), list):
        yield from _items_from(place, len(first), demanded)


def _items_from(place: _Place, start: int, schema: Any) -> Iterator[Mismatch]:
    for at in range(start, len(place.value)):
        yield from _check(place.inside(at, schema))


def _contains(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    count = len(_containing(place, demanded))
    least, most = place.schema.get("minContains", 1), place.schema.get("maxContains", math.inf)
    if not least <= count <= most:
        yield place.wrong(
            f"{count} of its items fit {_shown(demanded)}, which is too {'few' if count < least else 'many'}"
        )


def _containing(place: _Place, schema: Any) -> set[int]:
    return {at for at in range(len(place.value)) if _fits(place.inside(at, schema))}


def _unique_items(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded is True and len(set(map(_key, place.value))) < len(place.value):
        yield place.wrong("holds the same item twice")


def _unevaluated_items(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    known = _evaluated_items(place)
    for at in range(len(place.value)):
        if at not in known:
            yield from _check(place.inside(at, demanded))


def _evaluated_items(place: _Place) -> set[int]:
    schema = place.schema
    everything = set(range(len(place.value)))
    items = schema.get("items")
    if (items is not None and not isinstance(items, list)) or "additionalItems" in schema:
        return everything
    known = set(range(len(schema.get("prefixItems", items or ()))))
    if "contains" in schema:
        known |= _containing(place, schema["contains"])
    for other in _in_place(place):
        known |= everything if "unevaluatedItems" in other.schema else _evaluated_items(other)
    return known


# --- Strings and numbers ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None  # another dialect's


def _found(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search(text) is not None


def _pattern(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if _compiled(demanded) is not None and not _found(demanded, place.value):
        yield place.wrong(f"{_shown(place.value)} does not match the pattern {demanded!r}")


def _format(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    check = FORMATS.get(demanded)
    if check is not None and not check(place.value):
        yield place.wrong(f"{_shown(place.value)} has not the format {demanded}")


def _multiple_of(place: _Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded and not (math.isfinite(place.value) and (_exact(place.value) / _exact(demanded)).denominator == 1):
        yield place.wrong(f"{place.value} is not a multiple of {demanded}")


def _exact(number: float) -> Fraction:
    """The number as it is written: 0.3 is a multiple of 0.1, which it is not as a binary fraction."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))


def _bound(word: str, breaks: Callable[[Any, Any], bool], *, exclusive: str | None = None) -> Rule:
    """The rule for a bound of a number. In draft 4, `exclusive` beside it was true or false."""

    def rule(place: _Place, demanded: Any) -> Iterator[Mismatch]:
        if isinstance(demanded, bool):
            return
        at_bound = exclusive is not None and place.schema.get(exclusive) is True and place.value == demanded
        if breaks(place.value, demanded) or at_bound:
            yield place.wrong(f"{place.value} must be {word} {demanded}")

    return rule


def _size(word: str, breaks: Callable[[Any, Any], bool]) -> Rule:
    def rule(place: _Place, demanded: Any) -> Iterator[Mismatch]:
        if breaks(len(place.value), demanded):
            yield place.wrong(f"{_shown(place.value)} has {len(place.value)} {word} {demanded}")

    return rule


def _below(value: Any, bound: Any) -> bool:
    return bool(value < bound)


def _above(value: Any, bound: Any) -> bool:
    return bool(value > bound)


def _only(kind: type | tuple[type, ...], rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Rules that speak of values of one kind alone."""

    def limited(rule: Rule) -> Rule:
        def check(place: _Place, demanded: Any) -> Iterable[Mismatch]:
            value = place.value
            return rule(place, demanded) if isinstance(value, kind) and not isinstance(value, bool) else ()

        return check  # type: ignore[return-value]

    return {keyword: limited(rule) for keyword, rule in rules.items()}


_RULES: dict[str, Rule] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    **_only(
        dict,
        {
            "properties": _properties,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "propertyNames": _property_names,
            "required": _required,
            "dependentRequired": _dependent_required,
            "dependentSchemas": _dependent_schemas,
            "dependencies": _dependencies,
            "unevaluatedProperties": _unevaluated_properties,
            "minProperties": _size("keys, fewer than", _below),
            "maxProperties": _size("keys, more than", _above),
        },
    ),
    **_only(
        list,
        {
            "prefixItems": _prefix_items,
            "items": _items,
            "additionalItems": _additional_items,
            "contains": _contains,
            "uniqueItems": _unique_items,
            "unevaluatedItems": _unevaluated_items,
            "minItems": _size("items, fewer than", _below),
            "maxItems": _size("items, more than", _above),
        },
    ),
    **_only(
        str,
        {
            "pattern": _pattern,
            "format": _format,
            "minLength": _size("characters, fewer than", _below),
            "maxLength": _size("characters, more than", _above),
        },
    ),
    **_only(
        (int, float),
        {
            "minimum": _bound("at least", _below, exclusive="exclusiveMinimum"),
            "maximum": _bound("at most", _above, exclusive="exclusiveMaximum"),
            "exclusiveMinimum": _bound("greater than", lambda value, bound: bool(value <= bound)),
            "exclusiveMaximum": _bound("less than", lambda value, bound: bool(value >= bound)),
            "multipleOf": _multiple_of,
        },
    ),
}
