"""What Gemma 4's chat template makes of a tool's declaration (docs/wire.md section 11).

A parameter that the template makes up or leaves out is one matter: the model reads a wrong declaration. A keyword that
it does not show is another: the service accepts the request, and the model never learns of the rule. Words in a
description state both.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAMES = ("description", "type", "properties", "required", "nullable")
"""What the template takes for keywords wherever it expects the names of parameters."""
_SHOWN = {"STRING": "enum", "ARRAY": "items", "OBJECT": "properties"}
"""The keyword that the template shows of parameters of one type alone."""
_VALUES = (
    *("enum", "const", "default", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
"""Keywords whose values a description can state."""
_COUNTS = ("minLength", "minItems", "minProperties")  # at least none of them is no rule
_ALTERNATIVES = ("anyOf", "oneOf")
_ALL_TYPES = frozenset({"string", "number", "boolean", "object", "array"})
_MAX_COMPARED = 100  # characters of a value; a longer one may be shortened in a description


def find_misdeclared(schema: Mapping[str, Any], description: str, path: str) -> Iterator[str]:
    """Yield what the template makes up or leaves out of an object's parameters.

    Args:
        schema: The object's schema.
        description: Its description, which may state what is left out.
        path: Where it is in the request.
    """
    for name, value in _to_mapping(schema.get("properties")).items():
        where, inner = f"{path}.properties.{name}", _to_mapping(value)
        if name in _NAMES:
            if f'"{name}"' not in description:
                yield f"{where} is left out, because {name!r} is a keyword there: name it in the description"
            continue
        if _get_kind(inner) == "OBJECT" and not isinstance(inner.get("properties"), dict):
            if invented := sorted(set(inner) - set(_NAMES)):
                yield (
                    f"{where} has no 'properties', so {invented[0]!r} is declared as a parameter: "
                    "add an empty 'properties'"
                )
            continue
        if _get_kind(inner) == "ARRAY":
            items = _to_mapping(inner.get("items"))
            yield from find_misdeclared(items, _get_description(items), f"{where}.items")
        else:
            yield from find_misdeclared(inner, _get_description(inner), where)


def find_hidden(schema: Mapping[str, Any], description: str, path: str) -> Iterator[str]:
    """Yield the keywords that the template does not show and that no description states.

    Args:
        schema: The schema of a tool's parameters.
        description: The tool's description.
        path: Where the parameters are in the request.
    """
    yield from _describe_missing(schema, _find_alternatives(schema), description, path)
    yield from _find_hidden_of_properties(schema, description, path)


def _find_hidden_of_properties(schema: Mapping[str, Any], description: str, path: str) -> Iterator[str]:
    for name, value in _to_mapping(schema.get("properties")).items():
        inner = _to_mapping(value)
        text = f"{_get_description(inner)} {description}"
        # The description of what holds a parameter counts if it names the parameter.
        heard = text if _is_stated(name, description) else _get_description(inner)
        where = f"{path}.properties.{name}"
        yield from _describe_missing(inner, _find_facts(inner, by_name=name not in _NAMES), heard, where)
        items = _to_mapping(inner.get("items"))
        if _get_kind(inner) == "ARRAY" and items:  # the template shows all keywords of the items, but of no property
            yield from _find_hidden_of_properties(items, f"{_get_description(items)} {text}", f"{where}.items")
        elif _get_kind(inner) == "OBJECT":
            yield from _find_hidden_of_properties(inner, text, where)


def _describe_missing(
    schema: Mapping[str, Any], facts: Iterable[tuple[str, tuple[str, ...]]], text: str, path: str
) -> Iterator[str]:
    for keyword, forms in facts:
        if not any(_is_stated(form, text) for form in forms):
            yield (
                f"{path}: the model does not see {keyword!r} of a parameter of type {schema.get('type', 'any')!r} "
                f"({forms[0][:_MAX_COMPARED]}): state it in the description"
            )


def _find_facts(schema: Mapping[str, Any], *, by_name: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each keyword that the template hides with a value to state, in every form that states it.

    Args:
        schema: A parameter's schema.
        by_name: Whether the template shows the parameter at all.
    """
    shown = _SHOWN.get(_get_kind(schema)) if by_name else None
    for keyword in _VALUES:
        if keyword in schema and keyword != shown and not (keyword in _COUNTS and schema[keyword] == 0):
            for value in _list_scalars(schema[keyword]):
                if value is not None:  # the template shows `nullable`, and a default of null is none
                    yield keyword, _write_forms(value)
    if isinstance(reference := schema.get("$ref"), str):
        yield "$ref", (reference.rpartition("/")[2],)
    if isinstance(items := schema.get("items"), dict) and shown != "items":
        yield from (("items", forms) for _, forms in _find_inner_facts(items, ()))
    yield from _find_alternatives(schema)


def _find_alternatives(schema: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what the alternatives of a union say beyond the type that is shown."""
    kind = schema.get("type")
    for keyword in _ALTERNATIVES:
        members = [one for one in _to_list(schema.get(keyword)) if isinstance(one, dict)]
        types = {str(one.get("type")) for one in members}
        if types >= _ALL_TYPES:
            yield keyword, ("any", "anything")
            continue
        told = {kind} if isinstance(kind, str) else set()
        if schema.get("nullable") is True:
            told.add("null")
        for member in members:
            yield from ((keyword, forms) for _, forms in _find_inner_facts(member, told))


def _find_inner_facts(schema: Mapping[str, Any], told: Iterable[object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield all that a hidden schema says: its type, its values, the names of its parameters."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in told:
        yield "type", (kind,)
    yield from _find_facts(schema, by_name=False)
    for name, value in _to_mapping(schema.get("properties")).items():
        yield "properties", (name,)
        yield from _find_inner_facts(_to_mapping(value), ())


def _list_scalars(value: object) -> list[object]:
    """Return the texts, numbers and constants in a value."""
    if isinstance(value, dict):
        return [one for key, inner in value.items() for one in (key, *_list_scalars(inner))]
    if isinstance(value, list):
        return [one for inner in value for one in _list_scalars(inner)]
    return [value]


def _write_forms(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return str(value).lower(), str(value)
    if isinstance(value, int | float):
        return (str(value), str(int(value))) if float(value).is_integer() else (str(value),)
    return str(value), json.dumps(value, ensure_ascii=False)[1:-1]


def _is_stated(form: str, text: str) -> bool:
    """Return whether a text has a value as a word of its own, so that 1 is not in 10."""
    start = form[:_MAX_COMPARED]
    before = r"(?<![\w.])" if start[:1].isalnum() else ""
    after = r"(?!\w|\.\w)" if start[-1:].isalnum() and len(form) <= _MAX_COMPARED else ""
    return bool(re.search(f"{before}{re.escape(start)}{after}", text, re.IGNORECASE))


def _get_kind(schema: Mapping[str, Any]) -> str:
    return str(schema.get("type")).upper()


def _get_description(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or "")


def _to_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _to_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
