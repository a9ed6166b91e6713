"""Find what Gemma 4's chat template renders wrongly or omits in a tool's declaration (docs/wire.md section 11).

If the template invents or omits a parameter, the declaration in the prompt is wrong. If it does not show a keyword, the
service accepts the request, but the model does not see the rule. A description can state both in words.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_KEYWORD_NAMES = ("description", "type", "properties", "required", "nullable")
"""Names that the template always reads as keywords, even if they are names of parameters."""
_KEYWORD_OF_TYPE = {"STRING": "enum", "ARRAY": "items", "OBJECT": "properties"}
"""The keyword that the template shows only for parameters of one type."""
_VALUE_KEYWORDS = (
    *("enum", "const", "default", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
"""Keywords whose values a description can state."""
_MINIMUM_KEYWORDS = ("minLength", "minItems", "minProperties")  # a minimum of 0 is no rule
_ALTERNATIVES = ("anyOf", "oneOf")
_ALL_TYPES = frozenset({"string", "number", "boolean", "object", "array"})
_MAX_COMPARED = 100  # characters of a value; a longer one may be shortened in a description


def find_misdeclared(schema: Mapping[str, Any], description: str, path: str) -> Iterator[str]:
    """Yield a text for each parameter of an object that the template invents or omits.

    Args:
        schema: The object's schema.
        description: The object's description, which may name omitted parameters.
        path: The path of the schema in the request.
    """
    for name, value in _to_mapping(schema.get("properties")).items():
        where, inner = f"{path}.properties.{name}", _to_mapping(value)
        if name in _KEYWORD_NAMES:
            if f'"{name}"' not in description:
                yield f"{where} is omitted, because {name!r} is a keyword of the template: name it in the description"
            continue
        if _get_kind(inner) == "OBJECT" and not isinstance(inner.get("properties"), dict):
            if invented := sorted(set(inner) - set(_KEYWORD_NAMES)):
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
        path: The path of the parameters in the request.
    """
    yield from _describe_missing(schema, _find_alternatives(schema), description, path)
    yield from _find_hidden_of_properties(schema, description, path)


def _find_hidden_of_properties(schema: Mapping[str, Any], description: str, path: str) -> Iterator[str]:
    for name, value in _to_mapping(schema.get("properties")).items():
        inner = _to_mapping(value)
        text = f"{_get_description(inner)} {description}"
        # The description of the enclosing object also counts if it names the parameter.
        relevant = text if _is_stated(name, description) else _get_description(inner)
        where = f"{path}.properties.{name}"
        yield from _describe_missing(inner, _find_rules(inner, is_shown=name not in _KEYWORD_NAMES), relevant, where)
        items = _to_mapping(inner.get("items"))
        if (
            _get_kind(inner) == "ARRAY" and items
        ):  # the template shows all keywords of items, but not of their properties
            yield from _find_hidden_of_properties(items, f"{_get_description(items)} {text}", f"{where}.items")
        elif _get_kind(inner) == "OBJECT":
            yield from _find_hidden_of_properties(inner, text, where)


def _describe_missing(
    schema: Mapping[str, Any], rules: Iterable[tuple[str, tuple[str, ...]]], text: str, path: str
) -> Iterator[str]:
    for keyword, forms in rules:
        if not any(_is_stated(form, text) for form in forms):
            yield (
                f"{path}: the model does not see {keyword!r} of a parameter of type {schema.get('type', 'any')!r} "
                f"({forms[0][:_MAX_COMPARED]}): state it in the description"
            )


def _find_rules(schema: Mapping[str, Any], *, is_shown: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each keyword that the template does not show, with the texts of which one must state its value.

    Args:
        schema: A parameter's schema.
        is_shown: Whether the template shows the parameter at all.
    """
    shown = _KEYWORD_OF_TYPE.get(_get_kind(schema)) if is_shown else None
    for keyword in _VALUE_KEYWORDS:
        if keyword in schema and keyword != shown and not (keyword in _MINIMUM_KEYWORDS and schema[keyword] == 0):
            for value in _list_scalars(schema[keyword]):
                if value is not None:  # the template shows `nullable`, and a default of null is no rule
                    yield keyword, _write_forms(value)
    if isinstance(reference := schema.get("$ref"), str):
        yield "$ref", (reference.rpartition("/")[2],)
    if isinstance(items := schema.get("items"), dict) and shown != "items":
        yield from (("items", forms) for _, forms in _find_inner_rules(items, ()))
    yield from _find_alternatives(schema)


def _find_alternatives(schema: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the rules of a union's alternatives, except for the types that the template shows."""
    kind = schema.get("type")
    for keyword in _ALTERNATIVES:
        members = [one for one in _to_list(schema.get(keyword)) if isinstance(one, dict)]
        types = {str(one.get("type")) for one in members}
        if types >= _ALL_TYPES:
            yield keyword, ("any", "anything")
            continue
        shown_types = {kind} if isinstance(kind, str) else set()
        if schema.get("nullable") is True:
            shown_types.add("null")
        for member in members:
            yield from ((keyword, forms) for _, forms in _find_inner_rules(member, shown_types))


def _find_inner_rules(
    schema: Mapping[str, Any], shown_types: Iterable[object]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield all rules of a schema that the template does not show: type, values and names of parameters."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in shown_types:
        yield "type", (kind,)
    yield from _find_rules(schema, is_shown=False)
    for name, value in _to_mapping(schema.get("properties")).items():
        yield "properties", (name,)
        yield from _find_inner_rules(_to_mapping(value), ())


def _list_scalars(value: object) -> list[object]:
    """Return the keys, strings, numbers and constants in a value."""
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
    """Return whether a text contains a value as a separate word, so that 1 is not found in 10."""
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
