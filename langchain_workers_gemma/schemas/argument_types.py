"""Find the types of a call's arguments in the tool's JSON Schema, and read arguments by these types.

A Gemma writes `call:find{zip:02134}`: the value is a string if the schema has a string there, not a number. Engines and
models also send `"42"` where the schema has an integer (`docs/wire.md` section 10).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from pydantic_core import from_json

from langchain_workers_gemma.schemas.references import find_target

MAX_DIGITS = 4300
"""The maximum number of digits: Python refuses longer integers, because parsing them takes quadratic time."""

_MAX_NODES = 1000  # schemas for one argument; only a schema that refers to itself has more
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_NULLS = ("null", "None")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*+)")
_BASED_INTEGER = re.compile(r"[+-]?0(?:[xX](?:_?[0-9a-fA-F])++|[oO](?:_?[0-7])++|[bB](?:_?[01])++)")
_FLOAT = re.compile(
    r"[+-]?(?:[0-9](?:_?[0-9])*+(?:\.(?:[0-9](?:_?[0-9])*+)?)?|\.[0-9](?:_?[0-9])*+)(?:[eE][+-]?[0-9]++)?"
)
_LEADING_ZERO = re.compile(r"[+-]?0[0-9_]")
_TYPE_NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "NoneType": "null"}
_TYPE_NAMES |= {"list": "array", "dict": "object"}


class Word(str):
    """A value that the model wrote without quotes: a number, a constant, or a string without its quotes."""

    __slots__ = ()


class Constant(Word):
    """A `Word` in a notation where every string has quotes."""

    __slots__ = ()


def read_constant(word: str) -> Any:
    """Return the value of a word: a number, true, false or null, in JSON's spelling or Python's.

    Args:
        word: The word.

    Raises:
        ValueError: If it is neither, or a number that JSON cannot hold.

    Example:
        >>> read_constant("0x1F"), read_constant("True"), read_constant("1e3")
        (31, True, 1000.0)
    """
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if len(word) > MAX_DIGITS:
        raise ValueError("too long for a number")
    if _INTEGER.fullmatch(word):
        return int(word)
    if _BASED_INTEGER.fullmatch(word):
        return int(word, 0)
    if _LEADING_ZERO.match(word) and not word.strip("+-0_"):
        return 0  # Python reads 00 as 0
    if not is_number(word) or (_LEADING_ZERO.match(word) and not set(word) & set(".eE")):
        raise ValueError("not a constant")
    number = float(word)
    if not math.isfinite(number):
        raise ValueError("too large for a float")
    return number


def is_number(word: str) -> bool:
    """Return whether a word has the form of a number of any size."""
    return bool(_FLOAT.fullmatch(word) or _INTEGER.fullmatch(word))


class ArgumentType:
    """The type of one value in a call's arguments.

    Args:
        schemas: The schemas that apply to the value. It can have the types that any of them allows.
        root: The schema that contains the targets of their references.
        optional: Whether the argument can be left out.
        read_text: Reads a list or an object from a string in another notation than JSON.
    """

    def __init__(
        self,
        schemas: Iterable[Any],
        root: Mapping[str, Any],
        *,
        optional: bool = False,
        read_text: TextReading | None = None,
    ) -> None:
        self._schemas = tuple(schemas)
        self._root = root
        self._optional = optional
        self._read_text = read_text
        self._fields: dict[str, ArgumentType] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the properties, if the value is an object, in order."""
        return tuple(dict.fromkeys(name for node in self._nodes for name in _to_mapping(node.get("properties"))))

    @cached_property
    def types(self) -> frozenset[str] | None:
        """The JSON types that the value can have, `None` for any type."""
        if not self._schemas:
            return None
        return _unite(_find_types(schema, self._root, {}) for schema in self._schemas)

    def get_argument(self, name: str) -> ArgumentType:
        """Return the type of a property, if the value is an object."""
        if name not in self._named:  # names that a model invents are not cached
            return self._others
        if name not in self._fields:
            found = [fields[name] for node in self._nodes if name in (fields := _to_mapping(node.get("properties")))]
            lists = (_to_sequence(node.get("required")) for node in self._nodes)
            required = {key for keys in lists for key in keys if isinstance(key, str)}
            self._fields[name] = self._make_inner(found, optional=name not in required)
        return self._fields[name]

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _others(self) -> ArgumentType:
        """The type of every property whose name is not in the schema."""
        others = (node.get("additionalProperties") for node in self._nodes)
        return self._make_inner([schema for schema in others if isinstance(schema, Mapping)])

    @cached_property
    def item(self) -> ArgumentType:
        """The type of the items, if the value is a list."""
        found = [node["items"] for node in self._nodes if isinstance(node.get("items"), Mapping)]
        return self._make_inner(found)

    def _make_inner(self, schemas: Iterable[Any], *, optional: bool = False) -> ArgumentType:
        return ArgumentType(schemas, self._root, optional=optional, read_text=self._read_text)

    @cached_property
    def _nodes(self) -> tuple[Mapping[str, Any], ...]:
        """All schemas that apply to the value, including the targets of references and the alternatives."""
        found: list[Mapping[str, Any]] = []
        seen: set[str] = set()
        left = list(reversed(self._schemas))
        while left and len(found) < _MAX_NODES:
            node = left.pop()
            if not isinstance(node, Mapping):
                continue
            found.append(node)
            for key in ("allOf", "oneOf", "anyOf"):
                left.extend(reversed(_to_sequence(node.get(key))))
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                left.append(_find_target(self._root, reference))
        return tuple(found)

    def read_word(self, word: str) -> Any:
        """Return the value of a word without quotes, by this type.

        Args:
            word: The word.

        Raises:
            ValueError: If it is a number that JSON cannot hold, or a `Constant` that is not a constant.

        Example:
            >>> find = ArgumentType.of({"properties": {"zip": {"type": "string"}, "limit": {"type": "integer"}}})
            >>> find.get_argument("zip").read_word("02134"), find.get_argument("limit").read_word("5")
            ('02134', 5)
        """
        types = self.types
        if types is not None and "string" in types and word in _NULLS and ("null" in types or self._optional):
            return None
        try:
            value = read_constant(word)
        except ValueError:
            if types is not None and "string" in types:
                return str(word)
            is_code = types is None and not isinstance(word, Constant) and _LEADING_ZERO.match(word)
            if not is_code and (isinstance(word, Constant) or is_number(word)):
                raise
            return str(word)  # where anything is allowed, 02134 is no number
        return str(word) if types is not None and "string" in types and not _fits(value, types) else value

    def read_string(self, text: str) -> Any:
        """Return the value of a string by this type: parsed, if the type is not a string.

        Example:
            >>> limit = ArgumentType.of({"properties": {"limit": {"type": "integer"}}}).get_argument("limit")
            >>> limit.read_string("42"), limit.read_string("many")
            (42, 'many')
        """
        types = self.types
        if types is None or "string" in types:
            return text
        if len(text) > MAX_DIGITS and types.isdisjoint(("array", "object")):
            return text
        try:
            value = _CONSTANTS[text] if text in _CONSTANTS else from_json(text, allow_inf_nan=False)
        except (ValueError, TypeError):  # pydantic-core raises TypeError for a lone surrogate
            value = self._read_container(text, types)
        if isinstance(value, float) and not math.isfinite(value):
            return text
        return value if _fits(value, types) else text

    def _read_container(self, text: str, types: frozenset[str]) -> Any:
        """Return the list or object that a text holds in another notation than JSON, else the text."""
        kind = {"[": "array", "{": "object"}.get(text.lstrip()[:1])
        if self._read_text is None or kind not in types:
            return text
        try:
            return self._read_text(text, self)
        except ValueError:
            return text

    def resolve(self, value: Any) -> Any:
        """Return a value, with every word and string in it read by the schema.

        Args:
            value: A JSON value. A `Word` in it represents text without quotes.

        Raises:
            ValueError: If it holds a number that JSON cannot hold.
        """
        if isinstance(value, Word):
            return self.read_word(value)
        if isinstance(value, str):
            read = self.read_string(value)
            return read if isinstance(read, str) else self.resolve(read)
        if isinstance(value, list):
            return [self.item.resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self.get_argument(key).resolve(item) for key, item in value.items()}
        return value

    @classmethod
    def of(cls, parameters: object, read_text: TextReading | None = None) -> ArgumentType:
        """Return the type of a whole call's arguments.

        Args:
            parameters: The JSON Schema of a tool's parameters. Anything else allows any arguments.
            read_text: Reads a list or an object of a given type from a string in another notation than JSON. It raises
                `ValueError` for any other text.
        """
        schema = parameters if isinstance(parameters, Mapping) else {}
        return cls([schema], schema, read_text=read_text)


TextReading: TypeAlias = Callable[[str, ArgumentType], Any]
"""Reads a value of a given type from a string."""


def _find_types(
    schema: object, root: Mapping[str, Any], known: dict[str, frozenset[str] | None]
) -> frozenset[str] | None:
    """Return the types that a schema allows; `known` holds the types of the references that were followed so far."""
    if not isinstance(schema, Mapping):
        return None
    allowed = _find_own_types(schema)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in known:
            known[reference] = None  # a recursive reference adds no type
            known[reference] = _find_types(_find_target(root, reference), root, known)
        allowed = _intersect(allowed, known[reference])
    for key in ("anyOf", "oneOf"):
        if alternatives := _to_sequence(schema.get(key)):
            allowed = _intersect(allowed, _unite([_find_types(one, root, known) for one in alternatives]))
    for part in _to_sequence(schema.get("allOf")):
        allowed = _intersect(allowed, _find_types(part, root, known))
    if allowed is not None and schema.get("nullable") is True:
        return allowed | {"null"}
    return allowed


def _find_own_types(schema: Mapping[str, Any]) -> frozenset[str] | None:
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    if kinds := _to_sequence(kind):
        return frozenset(map(str, kinds))
    values = [schema["const"]] if "const" in schema else _to_sequence(schema.get("enum"))
    if values:
        return frozenset(_TYPE_NAMES.get(type(value).__name__, "string") for value in values)
    if "properties" in schema:
        return frozenset({"object"})
    return frozenset({"array"}) if "items" in schema else None


def _unite(types: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    union: frozenset[str] = frozenset()
    for one in types:
        if one is None:
            return None
        union |= one
    return union


def _intersect(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    both = one & other
    return both | {"integer"} if {"integer", "number"} <= one ^ other else both


def _fits(value: object, types: frozenset[str]) -> bool:
    name = _TYPE_NAMES.get(type(value).__name__, "string")
    return name in types or (name == "integer" and "number" in types)


def _find_target(root: Mapping[str, Any], reference: str) -> object:
    try:
        return find_target(dict(root), reference)
    except ValueError:
        return None  # a reference without a target adds no type


def _to_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _to_sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
