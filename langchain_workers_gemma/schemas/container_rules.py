"""The rules for objects and arrays, those that look at what other keywords have spoken of included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from langchain_workers_gemma.schemas.checking import Mismatch, Place, Rule, check, fits, found, key, only, shown
from langchain_workers_gemma.schemas.references import target_of
from langchain_workers_gemma.schemas.scalar_rules import above, below, size

# --- Objects ----------------------------------------------------------------------------------------------------------


def _properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from check(place.inside(name, schema))


def _pattern_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for pattern, schema in demanded.items():
        for name in place.value:
            if found(pattern, name):
                yield from check(place.inside(name, schema))


def _additional_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name in _additional_names(place):
        if demanded is False:
            yield place.wrong(f"{name!r} is not one of its keys")
        else:
            yield from check(place.inside(name, demanded))


def _additional_names(place: Place) -> list[str]:
    named = place.schema.get("properties", {})
    patterns = place.schema.get("patternProperties", {})
    return [name for name in place.value if name not in named and not any(found(one, name) for one in patterns)]


def _property_names(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name in place.value:
        for wrong in check(Place(demanded, name, place.path, place.root)):
            yield place.wrong(f"the key {name!r}: {wrong.why}")


def _required(place: Place, demanded: Any) -> Iterator[Mismatch]:
    # Draft 3 has `required: true` within a property, which says nothing here.
    for name in demanded if isinstance(demanded, list) else ():
        if name not in place.value:
            yield place.wrong(f"the required key {name!r} is missing")


def _dependent_required(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, needed in demanded.items():
        missing = [other for other in needed if other not in place.value] if name in place.value else []
        if missing:
            yield place.wrong(f"{name!r} needs {', '.join(map(repr, missing))} beside it")


def _dependent_schemas(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for name, schema in demanded.items():
        if name in place.value:
            yield from check(place.same(schema))


def _dependencies(place: Place, demanded: Any) -> Iterator[Mismatch]:
    """Of drafts up to 7, which had one word for both."""
    for name, needed in demanded.items():
        rule = _dependent_required if isinstance(needed, list) else _dependent_schemas
        yield from rule(place, {name: needed})


def _unevaluated_properties(place: Place, demanded: Any) -> Iterator[Mismatch]:
    known = _evaluated_names(place)
    for name in place.value:
        if name not in known:
            if demanded is False:
                yield place.wrong(f"{name!r} is not one of its keys")
            else:
                yield from check(place.inside(name, demanded))


def _evaluated_names(place: Place) -> set[str]:
    """The keys that some other keyword of a schema speaks of."""
    schema = place.schema
    if "additionalProperties" in schema:
        return set(place.value)
    names = set(place.value) - set(_additional_names(place))
    for other in _in_place(place):
        names |= set(place.value) if "unevaluatedProperties" in other.schema else _evaluated_names(other)
    return names


def _in_place(place: Place) -> Iterator[Place]:
    """The schemas inside a schema that the same value fits."""
    schema = place.schema
    candidates = [*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if isinstance(place.value, dict):
        candidates += [one for name, one in schema.get("dependentSchemas", {}).items() if name in place.value]
    if "if" in schema:
        branch = "then" if fits(place.same(schema["if"])) else "else"
        candidates += [schema["if"], schema.get(branch, True)]
    if "$ref" in schema and schema["$ref"] not in place.open_refs:
        target = target_of(place.root, schema["$ref"])
        if isinstance(target, dict):
            yield replace(place, schema=target, open_refs=place.open_refs | {schema["$ref"]})
    yield from (at for one in candidates if isinstance(one, dict) and fits(at := place.same(one)))


# --- Arrays -----------------------------------------------------------------------------------------------------------


def _prefix_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    for at, schema in enumerate(demanded[: len(place.value)]):
        yield from check(place.inside(at, schema))


def _items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(demanded, list):
        yield from _prefix_items(place, demanded)
    else:
        yield from _items_from(place, len(place.schema.get("prefixItems", ())), demanded)


def _additional_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if isinstance(first := place.schema.get("items"), list):
        yield from _items_from(place, len(first), demanded)


def _items_from(place: Place, start: int, schema: Any) -> Iterator[Mismatch]:
    for at in range(start, len(place.value)):
        yield from check(place.inside(at, schema))


def _contains(place: Place, demanded: Any) -> Iterator[Mismatch]:
    count = len(_containing(place, demanded))
    least, most = place.schema.get("minContains", 1), place.schema.get("maxContains", math.inf)
    if not least <= count <= most:
        yield place.wrong(
            f"{count} of its items fit {shown(demanded)}, which is too {'few' if count < least else 'many'}"
        )


def _containing(place: Place, schema: Any) -> set[int]:
    return {at for at in range(len(place.value)) if fits(place.inside(at, schema))}


def _unique_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    if demanded is True and len(set(map(key, place.value))) < len(place.value):
        yield place.wrong("holds the same item twice")


def _unevaluated_items(place: Place, demanded: Any) -> Iterator[Mismatch]:
    known = _evaluated_items(place)
    for at in range(len(place.value)):
        if at not in known:
            yield from check(place.inside(at, demanded))


def _evaluated_items(place: Place) -> set[int]:
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


CONTAINER_RULES: dict[str, Rule] = only(
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
        "minProperties": size("keys, fewer than", below),
        "maxProperties": size("keys, more than", above),
    },
) | only(
    list,
    {
        "prefixItems": _prefix_items,
        "items": _items,
        "additionalItems": _additional_items,
        "contains": _contains,
        "uniqueItems": _unique_items,
        "unevaluatedItems": _unevaluated_items,
        "minItems": size("items, fewer than", below),
        "maxItems": size("items, more than", above),
    },
)
"""The rule for each keyword."""
