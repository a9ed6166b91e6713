"""Check objects and arrays, with the keywords that depend on what other keywords have evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from langchain_workers_gemma.schemas.checking import (
    Mismatch,
    Place,
    Rule,
    check,
    check_only,
    fits,
    make_key,
    matches,
    show,
)
from langchain_workers_gemma.schemas.references import find_target
from langchain_workers_gemma.schemas.scalar_rules import is_above, is_below, make_size_rule

# --- Objects ----------------------------------------------------------------------------------------------------------


def _check_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from check(place.enter(name, schema))


def _check_pattern_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for pattern, schema in demanded.items():
        for name in place.value:
            if matches(pattern, name):
                yield from check(place.enter(name, schema))


def _check_additional_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name in _list_additional_names(place):
        if demanded is False:
            yield place.make_mismatch(f"{name!r} is not one of its keys")
        else:
            yield from check(place.enter(name, demanded))


def _list_additional_names(place: Place) -> list[str]:
    named = place.schema.get("properties", {})
    patterns = place.schema.get("patternProperties", {})
    return [name for name in place.value if name not in named and not any(matches(one, name) for one in patterns)]


def _check_property_names(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name in place.value:
        for wrong in check(Place(demanded, name, place.path, place.root)):
            yield place.make_mismatch(f"the key {name!r}: {wrong.why}")


def _check_required(place: Place, demanded: Any) -> Iterator[Mismatch]:
    # Draft 3 has `required: true` within a property, which does not count here.
    for name in demanded if isinstance(demanded, list) else ():
        if name not in place.value:
            yield place.make_mismatch(f"the required key {name!r} is missing")


def _check_dependent_required(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, needed in demanded.items():
        missing = [other for other in needed if other not in place.value] if name in place.value else []
        if missing:
            yield place.make_mismatch(f"{name!r} needs {', '.join(map(repr, missing))} beside it")


def _check_dependent_schemas(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from check(place.with_schema(schema))


def _check_dependencies(place: Place, demanded: Any) -> Iterator[Mismatch]:
    """Check `dependencies`, which drafts up to 7 have for both keywords above."""
    for name, needed in demanded.items():
        rule = _check_dependent_required if isinstance(needed, list) else _check_dependent_schemas
        yield from rule(place, {name: needed})


def _check_unevaluated_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    known = _find_evaluated_names(place)
    for name in place.value:
        if name not in known:
            if demanded is False:
                yield place.make_mismatch(f"{name!r} is not one of its keys")
            else:
                yield from check(place.enter(name, demanded))


def _find_evaluated_names(place: Place) -> set[str]:
    """Return the keys that other keywords of the schema evaluate."""
    schema = place.schema
    if "additionalProperties" in schema:
        return set(place.value)
    names = set(place.value) - set(_list_additional_names(place))
    for other in _iterate_in_place(place):
        names |= set(place.value) if "unevaluatedProperties" in other.schema else _find_evaluated_names(other)
    return names


def _iterate_in_place(place: Place) -> Iterator[Place]:
    """Yield the value with each schema inside its schema that it matches."""
    schema = place.schema
    candidates = [*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if isinstance(place.value, dict):
        candidates += [one for name, one in schema.get("dependentSchemas", {}).items() if name in place.value]
    if "if" in schema:
        branch = "then" if fits(place.with_schema(schema["if"])) else "else"
        candidates += [schema["if"], schema.get(branch, True)]
    if "$ref" in schema and schema["$ref"] not in place.open_refs:
        target = find_target(place.root, schema["$ref"])
        if isinstance(target, dict):
            yield replace(place, schema=target, open_refs=place.open_refs | {schema["$ref"]})
    yield from (at for one in candidates if isinstance(one, dict) and fits(at := place.with_schema(one)))


# --- Arrays -----------------------------------------------------------------------------------------------------------


def _check_prefix_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for at, schema in enumerate(demanded[: len(place.value)]):
        yield from check(place.enter(at, schema))


def _check_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(demanded, list):
        yield from _check_prefix_items(place, demanded)
    else:
        yield from _check_items_from(place, len(place.schema.get("prefixItems", ())), demanded)


def _check_additional_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(first := place.schema.get("items"), list):
        yield from _check_items_from(place, len(first), demanded)


def _check_items_from(place: Place, start: int, schema: Any) -> Iterator[Mismatch]:
    for at in range(start, len(place.value)):
        yield from check(place.enter(at, schema))


def _check_contains(place: Place, demanded: Any) -> Iterator[Mismatch]:
    count = len(_find_containing(place, demanded))
    least, most = place.schema.get("minContains", 1), place.schema.get("maxContains", math.inf)
    if not least <= count <= most:
        yield place.make_mismatch(
            f"{count} of its items fit {show(demanded)}, which is too {'few' if count < least else 'many'}"
        )


def _find_containing(place: Place, schema: Any) -> set[int]:
    return {at for at in range(len(place.value)) if fits(place.enter(at, schema))}


def _check_unique_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded is True and len(set(map(make_key, place.value))) < len(place.value):
        yield place.make_mismatch("holds the same item twice")


def _check_unevaluated_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    known = _find_evaluated_items(place)
    for at in range(len(place.value)):
        if at not in known:
            yield from check(place.enter(at, demanded))


def _find_evaluated_items(place: Place) -> set[int]:
    schema = place.schema
    everything = set(range(len(place.value)))
    items = schema.get("items")
    if (items is not None and not isinstance(items, list)) or "additionalItems" in schema:
        return everything
    known = set(range(len(schema.get("prefixItems", items or ()))))
    if "contains" in schema:
        known |= _find_containing(place, schema["contains"])
    for other in _iterate_in_place(place):
        known |= everything if "unevaluatedItems" in other.schema else _find_evaluated_items(other)
    return known


CONTAINER_RULES: dict[str, Rule] = check_only(
    dict,
    {
        "properties": _check_properties,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
        "propertyNames": _check_property_names,
        "required": _check_required,
        "dependentRequired": _check_dependent_required,
        "dependentSchemas": _check_dependent_schemas,
        "dependencies": _check_dependencies,
        "unevaluatedProperties": _check_unevaluated_properties,
        "minProperties": make_size_rule("keys, fewer than", is_below),
        "maxProperties": make_size_rule("keys, more than", is_above),
    },
) | check_only(
    list,
    {
        "prefixItems": _check_prefix_items,
        "items": _check_items,
        "additionalItems": _check_additional_items,
        "contains": _check_contains,
        "uniqueItems": _check_unique_items,
        "unevaluatedItems": _check_unevaluated_items,
        "minItems": make_size_rule("items, fewer than", is_below),
        "maxItems": make_size_rule("items, more than", is_above),
    },
)
"""The rule for each keyword."""
