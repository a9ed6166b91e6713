"""Users' schemas, turned into JSON Schemas fit for the wire.

`json_schema_of` makes a plain JSON Schema of whatever a user hands in; `inline_refs` makes it self-contained;
`for_constraint`, `for_tool` and `strict_openai` fit it to a place on the wire. All are pure: they copy their input, and
the only error they raise is `ValueError`.

What the grammar engines behind `guided_json` and `response_format` do with each keyword was tried on `llguidance` 1.9.1
and `outlines-core` 0.2.14 (`tests/unit_tests/test_schemas.py` tries it again); what is said of `xgrammar` is vLLM's
own list of what it lacks (`has_xgrammar_unsupported_json_features` in `vllm/v1/structured_output/backend_xgrammar.py`).
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import reduce
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
)
from urllib.parse import unquote

from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic_core.core_schema import DecimalSchema

JSONSchema: TypeAlias = dict[str, Any]
"""A JSON Schema that is an object: keywords and their values."""

_MAX_DEPTH = 100  # levels of JSON; deeper schemas would run into Python's recursion limit inside a caller's own stack
_MAX_SIZE = 200_000  # values in the schema as given; only one that contains itself or is generated gets there
_MAX_INLINED = 20_000  # keywords after inlining; diamond-shaped references double with each level

# Where schemas stand inside a schema. Everything else in it is data, and the keys under `properties` are names: a
# property called "pattern" or "$ref" is no keyword.
_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset(
    {"items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties"}
    | {"propertyNames", "not", "if", "then", "else", "contentSchema"}
)
_DEFINITIONS = frozenset({"$defs", "definitions"})
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
    | {"$schema", "$id", "$anchor", "$defs", "definitions", "discriminator", "xml", "externalDocs"}
)
_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")


# What users hand in ---------------------------------------------------------------------------------------------------


def json_schema_of(schema: Any) -> JSONSchema:
    """Makes a plain JSON Schema of an object from any kind of schema that LangChain users write.

    LangChain's own `convert_to_json_schema` is not used: it cuts recursive models off, drops titles and keeps only
    what Pydantic's v1 layer understands of a `TypedDict`.

    Args:
        schema: A Pydantic model class (v2 or v1), a `TypedDict` class, a JSON Schema, or a tool in OpenAI's form.

    Returns:
        A JSON Schema of an object, with `title` and `description` where known; references are left as they are.

    Raises:
        ValueError: If `schema` is anything else, or describes something that is not a JSON object.

    Examples:
        >>> json_schema_of({"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}})
        {'title': 'f', 'type': 'object', 'properties': {'x': {'type': 'string'}}}
        >>> json_schema_of("Person")
        Traceback (most recent call last):
        ...
        ValueError: `schema` must be a Pydantic model class, ... an OpenAI tool dict, not 'Person' (str).
    """
    found = _schema_of_dict(_plain(schema)) if isinstance(schema, Mapping) else _schema_of_class(schema)
    if not _describes_object(found, found, set()):
        kind = found.get("type", "something else")
        msg = f"`schema` must describe a JSON object, not {kind!r}: put it into a field of a model or of an object."
        raise ValueError(msg)
    if not any(key in found for key in ("type", "$ref", "anyOf", "oneOf", "allOf")):
        head: JSONSchema = {key: found.pop(key) for key in ("title", "description") if key in found}
        return {**head, "type": "object", **found}
    return found


def schema_name(schema: Any) -> str:
    """Names a schema in the letters that OpenAI's form allows: `[a-zA-Z0-9_-]{1,64}`.

    Args:
        schema: Anything that `json_schema_of` takes.

    Returns:
        The schema's title or tool name with other letters replaced, or `output`.

    Examples:
        >>> schema_name({"title": "Box[int]", "type": "object"})
        'Box_int'
    """
    title = str(json_schema_of(schema).get("title", ""))
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", title)[:64].strip("_") or "output"


def schema_description(schema: Any) -> str:
    """Describes a schema in its author's words.

    Args:
        schema: Anything that `json_schema_of` takes.

    Returns:
        The description, docstring or tool description; empty where there is none.

    Examples:
        >>> schema_description({"name": "f", "description": "Adds.", "parameters": {"type": "object"}})
        'Adds.'
    """
    return str(json_schema_of(schema).get("description", ""))


class _Generator(GenerateJsonSchema):
    """Pydantic's own generator, but for `Decimal`: offered "a number or a string", a model may write any string."""

    def decimal_schema(self, schema: DecimalSchema) -> JSONSchema:
        made = super().decimal_schema(schema)
        return next((one for one in made.get("anyOf", []) if one.get("type") == "number"), made)


def _refusal(schema: Any) -> ValueError:
    return ValueError(
        "`schema` must be a Pydantic model class, a TypedDict class, a JSON Schema dict of an object (with `type` or "
        f"`properties`) or an OpenAI tool dict, not {repr(schema)[:80]} ({type(schema).__name__})."
    )


def _schema_of_class(schema: Any) -> JSONSchema:
    from langchain_core.utils.pydantic import is_basemodel_subclass
    from pydantic.errors import PydanticUserError
    from typing_extensions import is_typeddict

    try:
        if is_typeddict(schema):
            return _plain(_schema_of_typed_dict(schema))
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            # v1 classes come from `pydantic.v1`, whose method is called `schema`.
            model: Any = schema
            new = hasattr(model, "model_json_schema")
            return _plain(model.model_json_schema(schema_generator=_Generator) if new else model.schema())
    except (PydanticUserError, NameError, TypeError) as error:
        # A field of a type that JSON has no form for, or a forward reference to a name that is not there.
        msg = f"`schema` {schema.__name__} has no JSON Schema: {error}"
        raise ValueError(msg) from error
    raise _refusal(schema)


def _schema_of_dict(schema: JSONSchema) -> JSONSchema:
    for kind in ("function", "json_schema"):  # OpenAI's envelopes of a tool and of a response format
        if schema.get("type") == kind and isinstance(schema.get(kind), dict):
            schema = schema[kind]
            break
    if isinstance(name := schema.get("name"), str) and not schema.keys() & {"properties", "$ref", "anyOf", "title"}:
        # "parameters" is OpenAI's word, "input_schema" Anthropic's, "schema" that of OpenAI's response format.
        bodies = (schema[key] for key in ("parameters", "input_schema", "schema") if isinstance(schema.get(key), dict))
        body: JSONSchema = next(bodies, {"properties": {}})
        head = {"title": name}
        if isinstance(text := schema.get("description") or body.get("description"), str):
            head["description"] = text
        return {**head, **{key: value for key, value in body.items() if key not in head}}
    if not schema.keys() & {"type", "properties", "title", "$ref", "anyOf", "oneOf", "allOf"}:
        raise _refusal(schema)
    return schema if schema.keys() - {"title", "description"} else {**schema, "properties": {}}


def _describes_object(schema: Any, root: JSONSchema, seen: set[str]) -> bool:
    """Whether only objects can meet a schema, as far as its type and alternatives tell."""
    if not isinstance(schema, dict):
        return False
    if "type" in schema:
        return schema["type"] in ("object", ["object"])
    if "$ref" in schema:
        target = _target(root, schema["$ref"])
        if schema["$ref"] in seen:
            return True
        seen.add(schema["$ref"])
        return _describes_object(target, root, seen)
    for key, enough in (("anyOf", all), ("oneOf", all), ("allOf", any)):
        if isinstance(members := schema.get(key), list) and members and "properties" not in schema:
            return enough([_describes_object(member, root, seen) for member in members])
    return "properties" in schema


# TypedDicts -----------------------------------------------------------------------------------------------------------

_MARKER = "x-typed-dict"


def _schema_of_typed_dict(typed_dict: Any) -> JSONSchema:
    """Describes a TypedDict by Pydantic, with what LangChain adds to the notation.

    Each class is rebuilt as one of `typing_extensions`, because Pydantic refuses those of `typing` before Python 3.12
    and knows neither LangChain's `Annotated[str, ..., "description"]` nor the `Args:` of a docstring. A TypedDict
    inside another is a marker in Pydantic's eyes, so that recursion does not matter, and a reference afterwards.
    """
    from pydantic import TypeAdapter

    found: list[Any] = [typed_dict]
    rebuilt = [_rebuild(one, found) for one in found]  # `found` grows while it is gone through
    adapters = [(at, "validation", TypeAdapter(new)) for at, new in enumerate(rebuilt)]
    made, shared = TypeAdapter.json_schemas(adapters, schema_generator=_Generator)  # type: ignore[arg-type]
    definitions: dict[str, Any] = dict(shared.get("$defs", {}))
    bodies: list[JSONSchema] = []
    for at, one in enumerate(found):
        body: JSONSchema = made[at, "validation"]
        while "$ref" in body:  # Pydantic moves some classes among the definitions by itself
            body = definitions.pop(body["$ref"].rpartition("/")[2])
        text = _docstring(one)[0]
        rest = {key: value for key, value in body.items() if key != "description"}
        bodies.append({"description": text, **rest} if text else rest)
    names: list[str] = []
    for one in found:
        names.append(_fresh(one.__name__, {*definitions, *names}))
    definitions.update(zip(names, bodies, strict=True))
    marked = {name: _references(body, names) for name, body in definitions.items()}
    return _with_definitions(_references(bodies[0], names), marked)


def _references(schema: Any, names: list[str]) -> Any:
    """Turns the markers that stand for TypedDicts into references."""
    if isinstance(schema, dict) and _MARKER in schema:
        rest = {key: value for key, value in schema.items() if key not in (_MARKER, "title")}
        return {"$ref": f"#/$defs/{names[schema[_MARKER]]}", **rest}
    return _map(schema, lambda child: _references(child, names))


def _rebuild(typed_dict: Any, found: list[Any]) -> Any:
    from pydantic import Field
    from typing_extensions import TypedDict, get_type_hints

    told = _docstring(typed_dict)[1]
    fields: dict[str, Any] = {}
    for key, hint in get_type_hints(typed_dict, include_extras=True).items():
        plain, required, extras = _unwrapped(hint, required=key in typed_dict.__required_keys__)
        plain = _without_typed_dicts(plain, found)
        for extra in [*extras, *([Field(description=told[key])] if key in told else [])]:
            plain = _annotated(plain, extra)
        fields[key] = Required[plain] if required else NotRequired[plain]
    return TypedDict(typed_dict.__name__, fields)  # type: ignore[operator]


def _unwrapped(hint: Any, *, required: bool) -> tuple[Any, bool, list[Any]]:
    """Takes a field's hint out of `Required`, `NotRequired`, `ReadOnly` and `Annotated`, in any order."""
    from typing_extensions import ReadOnly

    extras: list[Any] = []
    while (origin := get_origin(hint)) in (Annotated, NotRequired, ReadOnly, Required):
        hint, *notes = get_args(hint)
        if origin in (NotRequired, Required):
            required = origin is Required
        elif notes:
            required = required and not _has_default(notes)
            extras = [*_langchain_notation(notes), *extras]
    return hint, required, extras


def _has_default(notes: list[Any]) -> bool:
    return len(notes) > 1 and isinstance(notes[1], str) and notes[0] is not ...


def _langchain_notation(notes: list[Any]) -> list[Any]:
    """Reads `Annotated[X, default or ..., "description"]`, and the shorter `Annotated[X, "description"]`, as fields."""
    from pydantic import Field

    if len(notes) > 1 and isinstance(notes[1], str):
        default = {"default": notes[0]} if _has_default(notes) else {}
        return [Field(description=notes[1], json_schema_extra=default)]
    return [Field(description=note) if isinstance(note, str) else note for note in notes if note is not ...]


def _annotated(hint: Any, extra: Any) -> Any:
    return Annotated[hint, extra]


def _without_typed_dicts(hint: Any, found: list[Any]) -> Any:
    """Replaces every TypedDict in a hint by a marker with its place in `found`, where new ones are added."""
    from pydantic import WithJsonSchema
    from typing_extensions import is_typeddict

    if is_typeddict(hint):
        if hint not in found:
            found.append(hint)
        return _annotated(Any, WithJsonSchema({_MARKER: found.index(hint)}))
    origin, given = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return reduce(_annotated, _langchain_notation(list(given[1:])), _without_typed_dicts(given[0], found))
    new = tuple(_without_typed_dicts(one, found) for one in given) if origin is not Literal else given
    if new == given:
        return hint
    return Union[new] if origin in (Union, UnionType) else origin[new]  # noqa: UP007


def _docstring(cls: Any) -> tuple[str, dict[str, str]]:
    """Splits a docstring in Google's style into its text and the descriptions under `Args:` or `Attributes:`."""
    text, told, name, indent = [], {}, "", None
    in_fields = False
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if line in ("Args:", "Attributes:"):
            in_fields = True
        elif not in_fields or (line and not line.startswith(" ")):
            in_fields = False
            text.append(line)
        elif (match := re.match(r"( +)(\w+)(?: \([^)]*\))?: *(.*)", line)) and indent in (None, match[1]):
            indent, name = match[1], match[2]
            told[name] = match[3]
        elif name:
            told[name] = f"{told[name]} {line.strip()}".strip()
    return "\n".join(text).strip(), told


# References -----------------------------------------------------------------------------------------------------------


def inline_refs(schema: Mapping[str, Any]) -> JSONSchema:
    """Puts what a schema refers to in the place of its references.

    Definitions that refer to themselves cannot be inlined: references to them stay, and `$defs` at the root keeps just
    those. The same goes for all definitions of a schema that would grow beyond reason.

    Args:
        schema: A JSON Schema with `$ref`s to places inside itself.

    Returns:
        A schema whose only references are to recursive definitions under its own `$defs`, never at its root.

    Raises:
        ValueError: If a reference leads out of the schema, to nowhere or only to itself, or the schema is not JSON or
            too deep.

    Examples:
        >>> inline_refs({"properties": {"a": {"$ref": "#/$defs/A", "title": "T"}}, "$defs": {"A": {"type": "null"}}})
        {'properties': {'a': {'type': 'null', 'title': 'T'}}}
    """
    root = _plain(schema)
    kept = _kept(root)
    names: dict[str, str] = {}
    for ref in kept:
        title = root.get("title") if ref == "#" else ref.rpartition("/")[2]
        wanted = re.sub(r"[^\w.-]+", "_", unquote(str(title or "Root")), flags=re.ASCII) or "Definition"
        names[ref] = _fresh(wanted, set(names.values()))

    def expand(node: Any, *, at_root: bool = False) -> Any:
        if not isinstance(node, dict):
            return node
        ref = node.get("$ref")
        rest = {key: value for key, value in node.items() if key not in _DEFINITIONS and key != "$ref"}
        rest = _map(rest, expand)
        if ref is None:
            return rest
        if ref in names and not at_root:
            return {"$ref": f"#/$defs/{names[ref]}", **rest}
        return _overlay(expand(_target(root, ref), at_root=at_root), rest)

    found = expand(root, at_root=True)
    if not isinstance(found, dict):
        msg = f"The schema as a whole is {json.dumps(found)}: describe an object."
        raise ValueError(msg)
    return _with_definitions(found, {name: expand(_target(root, ref)) for ref, name in names.items()})


def _kept(root: JSONSchema) -> list[str]:
    """Which references must stay: those that lead back to themselves, or all where inlining would explode."""
    refs_in: dict[str, list[tuple[int, int, str]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    waiting = [""]
    while waiting:  # every place that is referred to, once; "" is the root
        ref = waiting.pop()
        if ref not in refs_in:
            target = root if not ref else _target(root, ref)
            places = list(_survey(target))
            sizes[ref] = (sum(size for _, size, _ in places), max((depth for depth, _, _ in places), default=0))
            refs_in[ref] = [(depth, size, to) for depth, size, to in places if to is not None]
            waiting.extend(to for _, _, to in refs_in[ref])
    for ref in refs_in:
        _check_alias(root, ref)
    leads_to = {ref: {to for _, _, to in places} for ref, places in refs_in.items()}
    leaves_first, rest = _peel(leads_to)
    back = {ref: {one for one in rest if ref in leads_to[one]} for ref in rest}
    heads_first, recursive = _peel(back)
    for ref in [*leaves_first, *reversed(heads_first)]:
        size, deepest = sizes[ref]
        inlined = [(depth, *sizes[to]) for depth, _, to in refs_in[ref] if to not in recursive]
        sizes[ref] = (size + sum(one for _, one, _ in inlined), max([deepest, *(d + more for d, _, more in inlined)]))
    largest = (max(size for size, _ in sizes.values()), max(depth for _, depth in sizes.values()))
    everything = largest[0] > _MAX_INLINED or largest[1] > _MAX_DEPTH
    return [ref for ref in refs_in if ref and (everything or ref in recursive)]


def _peel(graph: dict[str, set[str]]) -> tuple[list[str], list[str]]:
    """Takes away, again and again, the nodes from which no arrow leads on; returns them in that order, and the rest."""
    left = {node: len(to) for node, to in graph.items()}
    users: dict[str, list[str]] = {}
    for node, to in graph.items():
        for one in to:
            users.setdefault(one, []).append(node)
    ready, order = [node for node, count in left.items() if not count], []
    while ready:
        order.append(node := ready.pop())
        for user in users.get(node, []):
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    return order, [node for node, count in left.items() if count]


def _survey(schema: Any, depth: int = 0) -> Iterator[tuple[int, int, str | None]]:
    """Yields depth, size and reference of every schema inside a schema, but for its definitions."""
    if isinstance(schema, dict):
        ref, enum = schema.get("$ref"), schema.get("enum")
        if ref is not None and not isinstance(ref, str):
            msg = f"$ref must be a string, not {ref!r}."
            raise ValueError(msg)
        yield depth, len(schema) + (len(enum) if isinstance(enum, list) else 0), ref
        for child in _children({key: value for key, value in schema.items() if key not in _DEFINITIONS}):
            yield from _survey(child, depth + 1)


def _target(root: JSONSchema, ref: Any) -> Any:
    """Finds what a JSON Pointer in a `$ref` points to."""
    if not isinstance(ref, str) or not ref.startswith("#"):
        msg = f"$ref {ref!r} leads out of the schema: put what it refers to under `$defs` and use '#/$defs/NAME'."
        raise ValueError(msg)
    node: Any = root
    head, *parts = unquote(ref).split("/")
    for part in parts if head == "#" else ["?"]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            node = None
            break
    if not isinstance(node, dict | bool):
        msg = f"$ref {ref!r} leads to no schema: nothing of that name is defined in the schema."
        raise ValueError(msg)
    return node


def _check_alias(root: JSONSchema, ref: str) -> None:
    seen = {ref}
    target = _target(root, ref or "#")
    while isinstance(target, dict) and "$ref" in target:
        if (ref := target["$ref"]) in seen:
            msg = f"$ref {ref!r} leads to nothing but itself."
            raise ValueError(msg)
        seen.add(ref)
        target = _target(root, ref)


def _overlay(target: Any, siblings: JSONSchema) -> Any:
    """Joins what a `$ref` led to with the keywords beside it."""
    notes = {key: value for key, value in siblings.items() if key in _ANNOTATIONS}
    rules = {key: value for key, value in siblings.items() if key not in _ANNOTATIONS}
    if not siblings or target is False:
        return target
    if rules:
        return {"allOf": [target, rules], **notes}
    return {**({} if target is True else target), **notes}


def _with_definitions(root: JSONSchema, definitions: Mapping[str, Any]) -> JSONSchema:
    """Adds those definitions to a schema that it leads to."""
    needed: dict[str, Any] = {}
    waiting: list[Any] = [root]
    while waiting:
        for _, _, ref in _survey(waiting.pop()):
            name = ref.rpartition("/")[2] if ref else None
            if name is not None and name not in needed:
                needed[name] = definitions[name]
                waiting.append(definitions[name])
    return {**root, "$defs": {name: definitions[name] for name in definitions if name in needed}} if needed else root


def _fresh(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


# Constrained decoding -------------------------------------------------------------------------------------------------

_FORMATS = frozenset({"date", "date-time", "time", "uuid"})
"""The formats that all engines know and get right.

`llguidance` refuses a format it does not know, `outlines-core` has only these, `email` and `uri`, and its patterns for
those two let a bare `"` into the string, so that the JSON around it falls apart.
"""

_PHRASES: dict[str, str] = {
    "minItems": "at least {} item{}",
    "maxItems": "at most {} item{}",
    "minProperties": "at least {0} entr{2}",
    "maxProperties": "at most {0} entr{2}",
    "minLength": "at least {} character{}",
    "maxLength": "at most {} character{}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
_TOLD = (*_PHRASES, "pattern", "format", "uniqueItems", "contains", "minContains", "maxContains", "patternProperties")
_TOLD = (*_TOLD, "propertyNames", "dependentRequired", "dependentSchemas", "not", "if", "then", "else")
_TOLD = (*_TOLD, "contentEncoding", "contentMediaType", "default")
"""The keywords that a model should still hear of when the engines do not."""

_KEYWORDS: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "unevaluatedProperties", "minProperties"})
    | {"maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"},
    "array": frozenset({"items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems"})
    | {"uniqueItems", "contains", "minContains", "maxContains"},
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
_KEYWORDS["integer"] = _KEYWORDS["number"]
_OF_ONE_TYPE = frozenset().union(*_KEYWORDS.values())

_ANYTHING: JSONSchema = {"anyOf": [{"type": kind} for kind in _TYPES if kind != "integer"]}
"""What `{}` means; `outlines-core` writes `{}` as alternatives without parentheses, which spoils all around them."""

_DECIMAL = "^(?!^[-+.]*$)"
"""How the pattern begins with which some releases of Pydantic offer a string beside the number for a `Decimal`."""

_MAX_BRANCHES = 64  # alternatives that joining two schemas may make
_LEAST, _MOST = 1e-6, 2**53  # sizes of numeric bounds; llguidance fails on 1e-20 or 1e300
_MAX_LENGTH = 4096  # a length bound is unrolled into states by `outlines-core`


def for_constraint(schema: Mapping[str, Any]) -> JSONSchema:
    """Rewrites a schema in what `llguidance`, `outlines-core` and `xgrammar` all take and take alike.

    What is left is `type`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `anyOf`, `enum`,
    `const`, numeric bounds, string lengths, four formats, descriptions and recursive references. The rest is said in
    the description, for the model to read; whether it was kept is for the caller's own type to check. What no keyword
    of an engine can express is loosened, so everything the schema means to allow stays allowed, with four exceptions:

    - Objects with `properties` and no word about others are closed: `llguidance` takes an open object literally and
      lets the model make up keys until its tokens run out, while the other engines close it anyway.
    - Objects that `allOf` joins are read as one object, whose parts may each have been closed.
    - Tuples have all their items: `outlines-core` knows no shorter ones.
    - A `Decimal` that some releases of Pydantic write as a number or a string with a pattern is a number: no engine
      takes the pattern, and without it any string would do.

    Args:
        schema: A JSON Schema.

    Returns:
        The schema to constrain a reply by. `for_constraint` of it is the same again.

    Raises:
        ValueError: If the schema cannot be read (see `inline_refs`), or no value at all can meet it.

    Examples:
        >>> for_constraint({"properties": {"tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}}})
        ... # doctest: +NORMALIZE_WHITESPACE
        {'type': 'object',
         'properties': {'tags': {'type': 'array', 'items': {'type': 'string'}, 'description': '(at least 1 item)'}},
         'additionalProperties': False}
    """
    root, definitions = _prepared(schema)
    found = _constrain(root)
    done = {name: _constrain(one) for name, one in definitions.items()}
    if found is False or False in done.values():
        msg = "No value can meet this schema: look for contradicting types, bounds or enums."
        raise ValueError(msg)
    # An alternative that was the only one left may have put a reference to the root, or ended a recursion.
    return inline_refs(_with_definitions(found, done))


def _prepared(schema: Mapping[str, Any]) -> tuple[JSONSchema, dict[str, Any]]:
    """Inlines references and merges every `allOf`; returns the root and its definitions."""
    root = inline_refs(schema)
    definitions = {name: _merged(one) for name, one in root.pop("$defs", {}).items()}
    merged = _merged(root)
    return merged if isinstance(merged, dict) else {"not": {}}, definitions


def _constrain(schema: Any) -> Any:
    """Constrains one schema, without `allOf`; `False` if nothing can meet it."""
    if isinstance(schema, bool):
        return dict(_ANYTHING) if schema else False
    if "$ref" in schema:  # engines differ on rules beside a reference
        return _noted({"$ref": schema["$ref"]}, schema)
    if schema.get("not") in ({}, True):
        return False
    if "const" in schema or "enum" in schema:
        return _of_values(schema)
    if (branches := _branches(schema)) is not None:
        return _any_of([_constrain(branch) for branch in branches], schema)
    kind = _kind(schema)
    if kind is None:
        return _noted(_ANYTHING, schema)
    rules, taken = _BY_TYPE[kind](schema) if kind in _BY_TYPE else ({}, frozenset[str]())
    if rules is None:
        return False
    return _noted({"type": kind, **rules}, schema, taken | (_OF_ONE_TYPE - _KEYWORDS.get(kind, frozenset())))


def _noted(rules: JSONSchema, schema: JSONSchema, taken: frozenset[str] = frozenset()) -> JSONSchema:
    """Adds the description to `rules`, with what is said in `schema` by keywords that are not `taken`."""
    text = schema.get("description")
    notes = [_note(key, schema[key]) for key in _TOLD if key in schema and key not in taken]
    said = [text] if isinstance(text, str) and text else []
    if any(notes):
        said.append(f"({', '.join(note for note in notes if note)})")
    return {**rules, "description": " ".join(said)} if said else dict(rules)


def _note(key: str, value: Any) -> str:
    if key == "default" and (value is None or isinstance(value, dict | list)):
        return ""  # JSON in a prompt beside a constraint provokes endless white space (wire.md section 7)
    if key == "uniqueItems":
        return "no item twice" if value is True else ""
    if key in _PHRASES:
        return _PHRASES[key].format(value, "s" if value != 1 else "", "ies" if value != 1 else "y") if value else ""
    if key == "patternProperties":
        return f"keys match {' or '.join(value)}"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{key}: {shown if len(shown) <= 200 else shown[:199] + '…'}"


def _kind(schema: JSONSchema) -> str | None:
    """The type of a schema, also when only its keywords tell: `outlines-core` takes no rule without a `type`."""
    for kind in _types(schema) or ():
        if kind not in _TYPES:
            msg = f"type {kind!r} is none of JSON Schema's: use one of {', '.join(_TYPES)}."
            raise ValueError(msg)
        return kind
    return next((one for one in ("object", "array", "string", "number") if schema.keys() & _KEYWORDS[one]), None)


def _of_values(schema: JSONSchema) -> Any:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    if not isinstance(values, list):
        msg = f"enum must be a list of values, not {values!r}."
        raise ValueError(msg)
    kinds = _types(schema)
    wanted = [value for value in values if kinds is None or _type_of(value) & kinds]
    if "const" in schema:
        wanted = [value for value in wanted if _same(value, schema["const"])][:1]
    if not wanted:
        return False
    rules = {"const": wanted[0]} if "const" in schema else {"enum": wanted}
    if isinstance(kind := schema.get("type"), str) and all(kind in _type_of(value) for value in wanted):
        rules = {"type": kind, **rules}
    return _noted(rules, schema, _OF_ONE_TYPE)


def _types(schema: JSONSchema) -> frozenset[str] | None:
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind
    if kinds is None:
        return None
    if not isinstance(kinds, list) or not kinds or not all(isinstance(one, str) for one in kinds):
        msg = f"type must be a string or a list of strings, not {kind!r}."
        raise ValueError(msg)
    return frozenset(kinds) | ({"null"} if schema.get("nullable") is True else frozenset())


def _type_of(value: Any) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return frozenset({"integer", "number"})
    names = {str: "string", float: "number", list: "array", dict: "object"}
    return frozenset({names.get(type(value), "null")})


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _branches(schema: JSONSchema) -> list[Any] | None:
    """The alternatives of a schema, each with the rules beside them: engines read either the one or the other."""
    rest = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if rest.pop("nullable", None) is True:  # OpenAPI 3.0
        return [rest, {"type": "null"}]
    for key in ("anyOf", "oneOf"):  # "exactly one of" is beyond engines; which one is for the caller's type to see
        if key in rest:
            members = rest.pop(key)
            numbers = any(isinstance(one, dict) and one.get("type") == "number" for one in members)
            return [_both(rest, one) for one in members if not (numbers and _is_decimal(one))]
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind in (_types(schema) or ())]
        return [{**rest, "type": kind} for kind in kinds if not (kind == "integer" and "number" in kinds)]
    return None


def _is_decimal(schema: Any) -> bool:
    return isinstance(schema, dict) and str(schema.get("pattern", "")).startswith(_DECIMAL)


def _any_of(branches: list[Any], schema: JSONSchema) -> Any:
    possible: list[JSONSchema] = []
    for branch in branches:
        if branch is not False and branch not in possible:
            possible.append(branch)
    if not possible:
        return False
    said: JSONSchema = {key: schema[key] for key in ("description", "default") if key in schema}
    if len(possible) > 1:
        return _noted({"anyOf": possible}, said)
    return _noted(
        possible[0], {**said, "description": _joined(said.get("description"), possible[0].get("description"))}
    )


def _joined(one: Any, other: Any) -> str:
    texts = [text for text in (one, other) if isinstance(text, str) and text]
    return texts[0] if len(texts) == 2 and texts[1] in texts[0] else " ".join(texts)


_Found: TypeAlias = tuple[JSONSchema | None, frozenset[str]]
"""The rules for one type, `None` if nothing can meet them, and the keywords that need no more saying."""


def _object(schema: JSONSchema) -> _Found:
    properties = {key: _constrain(value) for key, value in schema.get("properties", {}).items()}
    required = _names(schema)
    for key in required:
        properties.setdefault(key, dict(_ANYTHING))
        if properties[key] is False:
            return None, frozenset()
    properties = {key: value for key, value in properties.items() if value is not False}
    extra = _extra(schema)
    rules: JSONSchema = {}
    if properties or extra is False:  # `outlines-core` takes `additionalProperties: false` only beside `properties`
        rules["properties"] = properties
    if required:
        rules["required"] = required
    if properties or extra is not True:
        rules["additionalProperties"] = extra
    return rules, frozenset()


def _extra(schema: JSONSchema) -> Any:
    """The schema of what an object holds beside its `properties`."""
    extra = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    if schema.get("patternProperties") and (extra is None or extra is False):
        extra = {"anyOf": list(schema["patternProperties"].values())}
    if extra is None:
        return "properties" not in schema
    extra = _constrain(extra)
    return True if extra == _ANYTHING else extra


def _array(schema: JSONSchema) -> _Found:
    low, high = _number(schema, "minItems") or 0, _number(schema, "maxItems", math.inf)
    rest = schema.get("items", schema.get("unevaluatedItems", True))
    if low > high:
        return None, frozenset()
    if schema.get("prefixItems"):
        return _tuple(schema, low, high)
    each = _constrain(rest)
    if each is False or high == 0:
        return (None if low else {"const": []}), frozenset({"minItems", "maxItems"})
    return ({} if each == _ANYTHING else {"items": each}), frozenset()


def _tuple(schema: JSONSchema, low: float, high: float) -> _Found:
    parts = [_constrain(part) for part in schema["prefixItems"]]
    parts = parts[: int(min(high, len(parts)))]
    rest = _constrain(schema.get("items", schema.get("unevaluatedItems", low > len(parts))))
    closed = high <= len(parts) or rest is False or ("items" not in schema and low <= len(parts))
    if not parts or False in parts or (closed and low > len(parts)):
        return ({"const": []} if not high else None), frozenset({"minItems", "maxItems"})
    count = len(parts)
    if closed:
        return {"prefixItems": parts, "minItems": count, "maxItems": count}, frozenset({"minItems", "maxItems"})
    taken = frozenset({"minItems"} if low <= count else ())
    return {"prefixItems": parts, "items": rest, "minItems": count}, taken


def _string(schema: JSONSchema) -> _Found:
    low, high = _number(schema, "minLength") or 0, _number(schema, "maxLength", math.inf)
    if low > high:
        return None, frozenset()
    if str(schema.get("format")) in _FORMATS:
        # With a length beside it xgrammar heeds the format only, outlines-core the length only.
        return {"format": schema["format"]}, frozenset({"format"})
    kept = {
        key: int(at) for key, at in (("minLength", low), ("maxLength", high)) if key in schema and at <= _MAX_LENGTH
    }
    return {key: at for key, at in kept.items() if at or key == "maxLength"}, frozenset(kept)


def _numeric(schema: JSONSchema) -> _Found:
    low, high = _number(schema, "minimum", -math.inf), _number(schema, "maximum", math.inf)
    above, below = _number(schema, "exclusiveMinimum", -math.inf), _number(schema, "exclusiveMaximum", math.inf)
    if low > high or max(low, above) >= below or above >= high:
        return None, frozenset()
    bounds = {"minimum": low, "maximum": high, "exclusiveMinimum": above, "exclusiveMaximum": below}
    given = {key: at for key, at in bounds.items() if key in schema}
    kept = {key: at for key, at in given.items() if not at or _LEAST <= abs(at) <= _MOST}
    if _kind(schema) == "integer":
        return _whole(kept), frozenset(kept)
    return kept, frozenset(kept)


def _whole(bounds: dict[str, float]) -> JSONSchema | None:
    """Writes bounds of an integer as `minimum` and `maximum`, which more engines know than the exclusive ones."""
    make: dict[str, Callable[[float], int]] = {"minimum": math.ceil, "exclusiveMinimum": lambda at: math.floor(at) + 1}
    make |= {"maximum": math.floor, "exclusiveMaximum": lambda at: math.ceil(at) - 1}
    lows = [make[key](at) for key, at in bounds.items() if key.endswith("inimum")]
    highs = [make[key](at) for key, at in bounds.items() if key.endswith("aximum")]
    if lows and highs and max(lows) > min(highs):
        return None
    return {**({"minimum": max(lows)} if lows else {}), **({"maximum": min(highs)} if highs else {})}


_BY_TYPE: dict[str, Callable[[JSONSchema], _Found]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _numeric,
    "integer": _numeric,
}


# Joining schemas ------------------------------------------------------------------------------------------------------


def _merged(schema: Any) -> Any:
    """Merges every `allOf` in a schema; `outlines-core` would write its members one after the other."""
    if not isinstance(schema, dict):
        return schema
    schema = _modern(_map(schema, _merged))
    if "allOf" not in schema:
        return schema
    members = schema.pop("allOf")
    notes = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
    rules = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    both: Any = reduce(_both, [*members, rules], cast("Any", {}))
    return {**both, **notes} if isinstance(both, dict) else both


def _modern(schema: JSONSchema) -> JSONSchema:
    """Says in one way what drafts of JSON Schema, OpenAPI and Pydantic say in several."""
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(strict), bool) and schema.pop(strict) and bound in schema:  # draft 4
            schema[strict] = schema.pop(bound)
    if isinstance(schema.get("items"), list):  # up to draft 7
        schema["prefixItems"] = schema.pop("items")
        schema |= {"items": schema.pop("additionalItems")} if "additionalItems" in schema else {}
    keys = schema.get("propertyNames")
    if isinstance(keys, dict) and isinstance(keys.get("enum"), list) and not schema.get("properties"):
        # dict[Literal["a", "b"], X]: an object that may have just these
        value = schema.get("additionalProperties", True)
        schema = {key: one for key, one in schema.items() if key != "propertyNames"}
        schema["properties"] = {key: value for key in keys["enum"] if isinstance(key, str)}
        schema["additionalProperties"] = False
    return schema


def _both(one: Any, other: Any) -> Any:
    """Makes the schema that says what two say; `False` if nothing can meet both."""
    if one is False or other is False:
        return False
    if one is True or other is True:
        return other if one is True else one
    found = dict(one)
    for key, value in other.items():
        if key not in found or found[key] == value:
            found[key] = value
        elif key in _JOIN:
            found[key] = _JOIN[key](found[key], value)
            if found[key] is None:
                return False
        elif key not in _ANNOTATIONS:  # two of a kind that cannot be one: the second is at least said
            found["description"] = _joined(found.get("description"), f"({_note(key, value)})")
    return found


def _both_types(one: Any, other: Any) -> Any:
    ones, others = _types({"type": one}) or (), _types({"type": other}) or ()
    kinds = [kind for kind in _TYPES if kind in ones and kind in others]
    if "integer" not in kinds and {"integer", "number"} <= {*ones, *others}:
        kinds.append("integer")
    return kinds[0] if len(kinds) == 1 else (kinds or None)


def _both_values(one: Any, other: Any) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        return None
    known = {json.dumps(value, sort_keys=True) for value in other}
    return [value for value in one if json.dumps(value, sort_keys=True) in known] or None


def _both_maps(one: JSONSchema, other: JSONSchema) -> JSONSchema:
    return {key: _both(one.get(key, True), other.get(key, True)) for key in {**one, **other}}


def _both_tuples(one: list[Any], other: list[Any]) -> list[Any]:
    longer = max(one, other, key=len)
    return [_both(*pair) for pair in zip(one, other, strict=False)] + longer[min(len(one), len(other)) :]


def _both_alternatives(one: list[Any], other: list[Any]) -> list[Any] | None:
    if len(one) * len(other) > _MAX_BRANCHES:
        return one
    pairs = [_both(left, right) for left in one for right in other]
    return [pair for pair in pairs if pair is not False] or None


def _both_names(one: Any, other: Any) -> list[str]:
    return list(dict.fromkeys([*_names({"required": one}), *_names({"required": other})]))


def _highest(one: Any, other: Any) -> float:
    return max(_number({"bound": one}, "bound"), _number({"bound": other}, "bound"))


def _lowest(one: Any, other: Any) -> float:
    return min(_number({"bound": one}, "bound"), _number({"bound": other}, "bound"))


_JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "type": _both_types,
    "enum": _both_values,
    "const": lambda *_: None,
    "required": _both_names,
    "description": _joined,
    "uniqueItems": lambda *_: True,
    "prefixItems": _both_tuples,
    **dict.fromkeys(("anyOf", "oneOf"), _both_alternatives),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), _both_maps),
    **dict.fromkeys(("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"), _both),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _highest),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _lowest),
}


# Tools and OpenAI's strict form ---------------------------------------------------------------------------------------

_NOISE = _ANNOTATIONS - {"description", "default", "examples", "example"}


def for_tool(schema: Mapping[str, Any]) -> JSONSchema:
    """Rewrites a schema as the parameters of a tool, in the form that Workers AI publishes for them.

    Workers AI wants `{"type": "object", "properties": {...}, "required": [...]}` where every property has a `type` that
    is one string, and a `description` (seed 004). Nothing constrains the model here: all other keywords are kept as
    documentation for it.

    - `Optional[X]` is X; one that is required says in its description that it may be null.
    - A union has the `type` of its first member and keeps `anyOf`. So it is for reading, not for checking arguments.
    - A missing description is made of the title or the name.

    Args:
        schema: A JSON Schema of an object.

    Returns:
        The parameters, with `properties` even if there are none; recursive definitions stay under `$defs`.

    Raises:
        ValueError: If the schema cannot be read (see `inline_refs`).

    Examples:
        >>> for_tool({"title": "F", "properties": {"user_id": {"type": ["integer", "null"]}}})
        {'type': 'object', 'properties': {'user_id': {'type': 'integer', 'description': 'User id'}}}
    """
    root, definitions = _prepared(schema)
    # A union of objects has no `properties` of its own: list those of its members.
    members = [one for key in ("anyOf", "oneOf") for one in root.get(key, []) if isinstance(one, dict)]
    named = [pair for one in [*members, root] for pair in one.get("properties", {}).items()]
    properties = {key: value for key, value in named if value is not False}
    shared = {key for key in properties if members and all(key in _names(one) for one in members)}
    required = list(dict.fromkeys([*_names(root), *(key for key in properties if key in shared)]))
    whole = _tool({**root, "type": "object", "properties": properties, "required": required})
    found = {"type": "object", "properties": whole.get("properties", {})}
    found |= {key: whole[key] for key in ("required", "additionalProperties", "anyOf") if key in whole}
    return inline_refs(_with_definitions(found, {name: _tool(one) for name, one in definitions.items()}))


def _tool(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    schema, _ = _without_null(schema)
    schema = {key: value for key, value in schema.items() if key not in _NOISE}
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")
    required = _names(schema)
    if not required:
        schema.pop("required", None)
    within = _map({key: schema[key] for key in ("items", "prefixItems", "anyOf") if key in schema}, _tool)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        within["additionalProperties"] = _tool(extra) if extra else True
    if "properties" in schema:
        named = schema["properties"].items()
        within["properties"] = {key: _property(key, one, required) for key, one in named if one is not False}
    rest = {key: value for key, value in schema.items() if key != "type"}
    return {"type": _tool_type(schema) or "string", **rest, **within}


def _property(name: str, schema: Any, required: list[str]) -> JSONSchema:
    schema = {} if schema is True else schema
    found = _tool(schema)
    said = found.get("description") or schema.get("title") or name.replace("_", " ").strip().capitalize() or name
    if name in required and _without_null(schema)[1]:
        said = f"{said} (may be null)"
    if _tool_type(_without_null(schema)[0]) is None:
        said = f"{said} (any JSON value)"
    return {
        "type": found.pop("type"),
        "description": str(said),
        **{key: found[key] for key in found if key != "description"},
    }


def _without_null(schema: JSONSchema) -> tuple[JSONSchema, bool]:
    """Makes `Optional[X]` X and a list of types one, and tells whether null was among them."""
    schema = {key: value for key, value in schema.items() if key != "nullable" and (key, value) != ("default", None)}
    kinds = schema.get("type")
    if isinstance(kinds, list) and _types(schema):
        left = [kind for kind in kinds if kind != "null"] or kinds
        schema["type"] = left[0]
        if len(left) > 1:
            schema.setdefault("anyOf", [{"type": kind} for kind in left])
        return schema, len(left) < len(kinds)
    for key in ("anyOf", "oneOf"):
        members = schema.get(key, [])
        others = [one for one in members if not (isinstance(one, dict) and one.get("type") == "null")]
        if len(others) == 1 and isinstance(others[0], dict):
            rest = {name: value for name, value in schema.items() if name != key}
            return _without_null({**_both_or_first(rest, others[0])})[0], len(members) > 1
        if len(others) < len(members):
            return schema, True
    return schema, False


def _both_or_first(rest: JSONSchema, member: JSONSchema) -> JSONSchema:
    notes = {key: value for key, value in rest.items() if key in _ANNOTATIONS}
    both = _both(member, {key: value for key, value in rest.items() if key not in _ANNOTATIONS})
    return {**(both if isinstance(both, dict) else member), **notes}


def _tool_type(schema: JSONSchema) -> str | None:
    """The one type to name for a schema; `None` where anything goes."""
    members = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    if isinstance(schema.get("type"), str) or "$ref" in schema:
        return _kind(schema) or "object"
    for value in [schema["const"]] if "const" in schema else schema.get("enum", []):
        if value is not None:
            return next(
                kind for kind in _TYPES if kind in _type_of(value) and (kind != "number" or isinstance(value, float))
            )
    for member in members:
        if isinstance(member, dict) and (kind := _tool_type(_without_null(member)[0])) not in (None, "null"):
            return kind
    return _kind(schema)


def strict_openai(schema: Mapping[str, Any]) -> JSONSchema:
    """Rewrites a schema in OpenAI's strict form, for an envelope with `strict: true`.

    Every property is required and no other is allowed, at every depth. One that was optional may be null instead,
    unless it has a default: then the model has to give a value, as most such fields take no null. What `for_constraint`
    does is done here too, since the same engines read the schema. A `dict[str, X]` stays as it is: OpenAI refuses it,
    and closing it would leave nothing but `{}`.

    Args:
        schema: A JSON Schema of an object.

    Returns:
        The strict schema.

    Raises:
        ValueError: As `for_constraint` does.

    Examples:
        >>> strict_openai({"properties": {"a": {"type": "string"}}})  # doctest: +NORMALIZE_WHITESPACE
        {'type': 'object', 'properties': {'a': {'anyOf': [{'type': 'string'}, {'type': 'null'}]}},
         'required': ['a'], 'additionalProperties': False}
    """
    root, definitions = _prepared(schema)
    return for_constraint({**_strict(root), "$defs": {name: _strict(one) for name, one in definitions.items()}})


def _strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    schema = _map(schema, _strict)
    required = _names(schema)
    if "properties" not in schema and not required:
        return schema
    named = schema.get("properties", {})
    properties = {key: one for key, one in named.items() if one is not False or key in required}
    rest = {key: value for key, value in schema.items() if key not in ("patternProperties", "unevaluatedProperties")}
    return {
        **rest,
        "properties": {key: one if key in required else _nullable(one) for key, one in properties.items()},
        "required": list(dict.fromkeys([*properties, *required])),
        "additionalProperties": False,
    }


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict) or schema.get("default") is not None or _takes_null(schema):
        return schema
    notes = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
    rules = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    members = rules.get("anyOf") if rules.keys() == {"anyOf"} else [rules]
    return {**notes, "anyOf": [*(members or []), {"type": "null"}]}


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is True
    if schema.get("nullable") is True or not schema.keys() - _ANNOTATIONS:
        return True
    if "enum" in schema or "const" in schema:
        return None in schema.get("enum", [schema.get("const")])
    if members := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        return any(_takes_null(one) for one in members)
    return "null" in (_types(schema) or ())


# Walking --------------------------------------------------------------------------------------------------------------


def _map(schema: JSONSchema, change: Callable[[Any], Any]) -> JSONSchema:
    """Copies a schema with every schema directly inside it changed."""
    return {key: _changed(key, value, change) for key, value in schema.items()}


def _changed(key: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if key in _MAPS_OF_SCHEMAS:
        return {name: change(_checked(key, one)) for name, one in _is(dict, key, value).items()}
    if key in _LISTS_OF_SCHEMAS or (key == "items" and isinstance(value, list)):
        return [change(_checked(key, one)) for one in _is(list, key, value)]
    return change(_checked(key, value)) if key in _SCHEMAS else value


def _children(schema: JSONSchema) -> list[Any]:
    found: list[Any] = []
    _map(schema, found.append)
    return found


def _checked(key: str, value: Any) -> Any:
    return value if isinstance(value, bool) else _is(dict, key, value)


def _is(kind: type, key: str, value: Any) -> Any:
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        msg = f"The schema cannot be read: {key!r} must hold {wanted}, not {repr(value)[:80]}."
        raise ValueError(msg)
    return value


def _names(schema: JSONSchema) -> list[str]:
    names = _is(list, "required", schema.get("required", []))
    if not all(isinstance(name, str) for name in names):
        msg = f"The schema cannot be read: 'required' must list names, not {repr(names)[:80]}."
        raise ValueError(msg)
    return list(dict.fromkeys(names))


def _number(schema: JSONSchema, key: str, default: float = 0) -> float:
    value = schema.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"The schema cannot be read: {key!r} must be a number, not {repr(value)[:80]}."
        raise ValueError(msg)
    return value


def _plain(schema: Mapping[str, Any]) -> JSONSchema:
    """Copies a schema and makes sure that it is JSON, of sane size and depth: what follows walks it recursively."""
    left = _MAX_SIZE

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > _MAX_DEPTH or left < 0:
            msg = (
                f"The schema is too deep or too large: at most {_MAX_DEPTH} levels and {_MAX_SIZE} values can be read."
            )
            raise ValueError(msg)
        if isinstance(value, Enum):
            return copy(value.value, depth + 1)
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {str(key): copy(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [copy(one, depth + 1) for one in value]
        if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        msg = f"The schema holds {repr(value)[:80]}, which is not JSON: write it as JSON would have it."
        raise ValueError(msg)

    return cast("JSONSchema", copy(schema, 0))
