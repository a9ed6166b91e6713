"""Convert TypedDicts to JSON Schemas with Pydantic, in all notations that LangChain supports."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache, partial, reduce
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pydantic import Field, PlainValidator, TypeAdapter, WithJsonSchema
from pydantic_core import to_json
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from langchain_workers_gemma.schemas.generator import PydanticGenerator
from langchain_workers_gemma.schemas.keywords import JSONSchema
from langchain_workers_gemma.schemas.references import add_definitions, make_unique_name
from langchain_workers_gemma.schemas.traversal import map_schemas

_MARKER = "x-typed-dict"


def convert_typed_dict(typed_dict: Any) -> JSONSchema:
    """Return the JSON Schema of a TypedDict, with LangChain's additions to the notation.

    Each class is rebuilt as a TypedDict of `typing_extensions`, because Pydantic refuses those of `typing` before
    Python 3.12, and supports neither LangChain's `Annotated[str, ..., "description"]` nor the `Args:` of a docstring.
    For Pydantic, a marker replaces each TypedDict inside another, so that recursion is no problem; later a reference
    replaces the marker.
    """
    found: list[Any] = [typed_dict]
    rebuilt = [_rebuild(one, found) for one in found]  # `_rebuild` appends to `found`
    adapters = [(at, "validation", TypeAdapter(new)) for at, new in enumerate(rebuilt)]
    made, shared = TypeAdapter.json_schemas(adapters, schema_generator=PydanticGenerator)  # type: ignore[arg-type]
    definitions: dict[str, Any] = dict(shared.get("$defs", {}))
    bodies: list[JSONSchema] = []
    for at, one in enumerate(found):
        body: JSONSchema = made[at, "validation"]
        while "$ref" in body:  # Pydantic moves some classes to the definitions
            body = definitions.pop(body["$ref"].rpartition("/")[2])
        text = _parse_docstring(one)[0]
        rest = {key: value for key, value in body.items() if key != "description"}
        bodies.append({"description": text, **rest} if text else rest)
    names: list[str] = []
    for one in found:
        names.append(make_unique_name(one.__name__, {*definitions, *names}))
    definitions.update(zip(names, bodies, strict=True))
    marked = {name: _replace_markers(body, names) for name, body in definitions.items()}
    return add_definitions(_replace_markers(bodies[0], names), marked)


@lru_cache(maxsize=256)
def make_typed_dict_adapter(typed_dict: Any) -> TypeAdapter[Any]:
    """Return Pydantic's adapter for a TypedDict, also for one of `typing` before Python 3.12 or in LangChain's form."""
    return TypeAdapter(_rebuild(typed_dict, [typed_dict]))


def _check_nested(typed_dict: Any, value: Any) -> Any:
    return make_typed_dict_adapter(typed_dict).validate_json(to_json(value))


def _replace_markers(schema: Any, names: list[str]) -> Any:
    """Replace the markers of TypedDicts with references."""
    if isinstance(schema, dict) and _MARKER in schema:
        rest = {key: value for key, value in schema.items() if key not in (_MARKER, "title")}
        return {"$ref": f"#/$defs/{names[schema[_MARKER]]}", **rest}
    return map_schemas(schema, lambda child: _replace_markers(child, names))


def _rebuild(typed_dict: Any, found: list[Any]) -> Any:
    descriptions = _parse_docstring(typed_dict)[1]
    fields: dict[str, Any] = {}
    for key, hint in get_type_hints(typed_dict, include_extras=True).items():
        plain, required, extras = _unwrap(hint, required=key in typed_dict.__required_keys__)
        plain = _replace_typed_dicts(plain, found)
        for extra in [*extras, *([Field(description=descriptions[key])] if key in descriptions else [])]:
            plain = _annotate(plain, extra)
        fields[key] = Required[plain] if required else NotRequired[plain]
    return TypedDict(typed_dict.__name__, fields)  # type: ignore[operator]


def _unwrap(hint: Any, *, required: bool) -> tuple[Any, bool, list[Any]]:
    """Remove `Required`, `NotRequired`, `ReadOnly` and `Annotated` from a field's hint, in any order."""
    from typing_extensions import ReadOnly  # new in 4.9

    extras: list[Any] = []
    while (origin := get_origin(hint)) in (Annotated, NotRequired, ReadOnly, Required):
        hint, *notes = get_args(hint)
        if origin in (NotRequired, Required):
            required = origin is Required
        elif notes:
            required = required and not _has_default(notes)
            extras = [*_read_langchain_notation(notes), *extras]
    return hint, required, extras


def _has_default(notes: list[Any]) -> bool:
    return len(notes) > 1 and isinstance(notes[1], str) and notes[0] is not ...


def _read_langchain_notation(notes: list[Any]) -> list[Any]:
    """Read `Annotated[X, default or ..., "description"]`, and the shorter `Annotated[X, "description"]`, as fields."""
    if len(notes) > 1 and isinstance(notes[1], str):
        default = {"default": notes[0]} if _has_default(notes) else {}
        return [Field(description=notes[1], json_schema_extra=default)]
    return [Field(description=note) if isinstance(note, str) else note for note in notes if note is not ...]


def _annotate(hint: Any, extra: Any) -> Any:
    return Annotated[hint, extra]


def _replace_typed_dicts(hint: Any, found: list[Any]) -> Any:
    """Replace every TypedDict in a hint with a marker that holds its index in `found`; append new ones to `found`."""
    if is_typeddict(hint):
        if hint not in found:
            found.append(hint)
        check = PlainValidator(partial(_check_nested, hint))
        return _annotate(_annotate(Any, check), WithJsonSchema({_MARKER: found.index(hint)}))
    origin, given = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return reduce(_annotate, _read_langchain_notation(list(given[1:])), _replace_typed_dicts(given[0], found))
    new = tuple(_replace_typed_dicts(one, found) for one in given) if origin is not Literal else given
    if new == given:
        return hint
    return Union[new] if origin in (Union, UnionType) else origin[new]  # noqa: UP007


def _parse_docstring(cls: Any) -> tuple[str, dict[str, str]]:
    """Split a Google-style docstring into its text and the descriptions under `Args:` or `Attributes:`."""
    text, descriptions, name, indent = [], {}, "", None
    in_fields = False
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if line in ("Args:", "Attributes:"):
            in_fields = True
        elif not in_fields or (line and not line.startswith(" ")):
            in_fields = False
            text.append(line)
        elif (match := re.match(r"( +)(\w+)(?: \([^)]*\))?: *(.*)", line)) and indent in (None, match[1]):
            indent, name = match[1], match[2]
            descriptions[name] = match[3]
        elif name:
            descriptions[name] = f"{descriptions[name]} {line.strip()}".strip()
    return "\n".join(text).strip(), descriptions
