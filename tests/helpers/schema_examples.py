"""Example schemas as users write them, by name, for every test that sends a schema.

`EXAMPLES["name"].find_errors(text)` validates JSON as the caller's type would. It returns Pydantic's error types, or
the names of the JSON Schema keywords that the JSON violates.
"""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NotRequired, Optional, Required, Union
from uuid import UUID

import jsonschema
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_workers_gemma.schemas import to_json_schema


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    """Where somebody lives."""

    street: str
    city: str = Field(description="The town's name")


class Person(BaseModel):
    """A person."""

    name: str
    age: int
    address: Address
    former: list[Address] = []


class Enums(BaseModel):
    color: Color
    level: Level = Level.LOW
    size: Literal["s", "m", "l"]
    only: Literal["this"]
    mixed: Literal["a", 1, None, True]  # noqa: PYI061


class Optionals(BaseModel):
    needed: Optional[int]  # noqa: UP045
    free: str | None = None
    address: Address | None = Field(default=None, description="If known")


class Unions(BaseModel):
    value: int | str
    which: Union[Address, Person]  # noqa: UP007
    many: list[int | bool | None]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Pets(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []


class Node(BaseModel):
    """A tree."""

    value: int
    left: Node | None = None
    children: list[Node] = []


class Left(BaseModel):
    right: Right | None


class Right(BaseModel):
    left: Left | None
    color: Color


class Mutual(BaseModel):
    left: Left
    address: Address


class Defaults(BaseModel):
    count: int = 3
    name: str = "none"
    tags: list[str] = Field(default_factory=list)
    options: dict[str, int] = {"a": 1}


class Constraints(BaseModel):
    age: int = Field(ge=0, le=120)
    above: int = Field(gt=0, lt=10)
    share: float = Field(ge=0, le=1)
    ratio: float = Field(gt=0, lt=1)
    tiny: float = Field(gt=1e-20, lt=1e300)
    even: int = Field(multiple_of=2)
    name: str = Field(min_length=2, max_length=5)
    code: str = Field(pattern="^[a-z]{3}-[0-9]+$")
    clipped: str = Field(pattern="^a", max_length=4)
    tags: list[str] = Field(min_length=1, max_length=3, description="Some tags")
    scores: dict[str, int] = Field(min_length=1)


class Aliases(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    full_name: str = Field(alias="fullName")
    kind: str = Field(validation_alias="$type")


class Maps(BaseModel):
    counts: dict[str, int]
    people: dict[str, Address]
    anything: dict[str, Any]
    by_color: dict[Color, int]
    by_pattern: dict[Annotated[str, Field(pattern="^x")], int]


class Sequences(BaseModel):
    numbers: list[int]
    pair: tuple[int, str]
    row: tuple[int, ...]
    empty: tuple[()]
    unique: set[int]
    nested: list[list[tuple[float, float]]]
    people: list[Address]


class Times(BaseModel):
    day: date
    at: datetime
    clock: time
    lasting: timedelta
    id: UUID
    price: Decimal
    maybe: Decimal | None = None


class Anything(BaseModel):
    value: Any
    values: list[Any]
    free: dict[str, Any] | None = None
    nothing: None = None


class Empty(BaseModel):
    """Empty."""


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class Keywords(BaseModel):
    """Fields named as keywords are."""

    type: str
    pattern: int
    items: list[int]
    title: str
    default: bool
    properties: dict[str, int]
    required: bool
    ref: str = Field(alias="$ref")
    defs: Address = Field(alias="$defs")
    anyOf: int  # noqa: N815
    enum: Color
    description: str
    allOf: str  # noqa: N815


class Unicode(BaseModel):
    ключ: str
    wert: Literal["schön", "日本", 'a"b', "new\nline", "é"]
    emoji: str = Field(alias="🙂", description="“Smile”")


class Choice(RootModel[Union[Cat, Dog]]):  # noqa: UP007
    """A cat or a dog."""


class Place(TypedDict):
    """A place."""

    name: Annotated[str, ..., "What it is called"]
    height: Annotated[float | None, None, "Metres"]


class Trip(TypedDict, total=False):
    """A trip.

    Args:
        days: How many days
            it takes.
        stops: Where to stop.
    """

    days: Required[int]
    stops: list[Place]
    note: Annotated[str, Field(description="Anything else", max_length=5)]
    back: NotRequired[Place | None]


class Branch(TypedDict):
    value: int
    children: list[Branch]


class OldPlace(typing.TypedDict):
    """A place, by the standard library's TypedDict."""

    name: Annotated[str, ..., "What it is called"]
    near: typing.NotRequired[list[OldPlace]]
    color: Annotated[Color, "Its color"]


JSON_SCHEMA = {
    "title": "joke",
    "description": "A joke.",
    "type": "object",
    "properties": {
        "setup": {"type": "string", "description": "The setup"},
        "rating": {"type": ["integer", "null"], "minimum": 1, "maximum": 10, "default": None},
    },
    "required": ["setup"],
}
JSON_SCHEMA_DEFS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Order",
    "type": "object",
    "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "ship_to": {"$ref": "#/$defs/address", "description": "Where to", "default": {"city": "Bonn"}},
        "same": {"$ref": "#/properties/lines/items"},
    },
    "required": ["lines", "ship_to"],
    "$defs": {
        "line": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "to": {"$ref": "#/$defs/address"}},
            "required": ["sku"],
        },
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
JSON_SCHEMA_ALL_OF = {
    "title": "Employee",
    "allOf": [
        {"$ref": "#/definitions/person"},
        {"type": "object", "properties": {"salary": {"type": "number", "minimum": 0}}, "required": ["salary"]},
    ],
    "definitions": {
        "person": {
            "type": "object",
            "properties": {"name": {"allOf": [{"$ref": "#/definitions/name"}], "description": "Full name"}},
            "required": ["name"],
        },
        "name": {"type": "string", "minLength": 1},
    },
}
JSON_SCHEMA_ODD = {
    "title": "odd",
    "type": "object",
    "properties": {
        "either": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        "one": {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
        "not_empty": {"type": "string", "not": {"const": ""}, "examples": ["x"]},
        "if": {"type": "object", "if": {"required": ["x"]}, "then": {"required": ["y"]}},
        "yes": True,
        "no": False,
        "old_tuple": {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
        "old_bound": {"type": "integer", "minimum": 3, "exclusiveMinimum": True},
        "openapi": {"type": "string", "nullable": True, "format": "password", "example": "x"},
        "untyped": {"minLength": 2},
        "unique": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "contains": {"const": 1}},
        "email": {"type": "string", "format": "email"},
        "encoded": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
        "dependent": {"type": "object", "dependentRequired": {"a": ["b"]}, "propertyNames": {"maxLength": 3}},
        "$ref": {"type": "string"},
    },
    "required": ["either", "yes", "$ref"],
    "x-vendor": {"type": "nonsense"},
}
SELF_REFERENCE = {
    "title": "Comment",
    "type": "object",
    "properties": {"text": {"type": "string"}, "replies": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["text", "replies"],
}
OPENAI_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks up the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"], "default": "c"}},
            "required": ["city"],
        },
        "strict": True,
    },
}
OPENAI_FUNCTION = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
}


@dataclass(frozen=True)
class Example:
    """A schema, and the rules of it that no grammar engine can enforce.

    Attributes:
        schema: The schema that a user passes.
        unenforced: The errors that the caller's type may report for an instance that the engines accept.
        recursive: Whether it has a definition that refers to itself.
    """

    schema: Any
    unenforced: frozenset[str] = field(default_factory=frozenset)
    recursive: bool = False

    def find_errors(self, text: str) -> set[str]:
        """Validate JSON as the caller would, and return the kinds of errors."""
        if isinstance(self.schema, dict) or self.schema is OldPlace:
            # Pydantic does not accept a TypedDict of `typing` before Python 3.12.
            validator = jsonschema.Draft202012Validator(_upgrade_draft(to_json_schema(self.schema)))
            return {str(error.validator) for error in validator.iter_errors(json.loads(text))}
        try:
            TypeAdapter(self.schema).validate_json(text)
        except ValidationError as error:
            return {detail["type"] for detail in error.errors()}
        return set()


def _upgrade_draft(schema: Any) -> Any:
    """Rewrite draft-4 and draft-7 keywords in the newest draft, which `jsonschema` validates."""
    if isinstance(schema, list):
        return [_upgrade_draft(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    new = {key: _upgrade_draft(value) for key, value in schema.items()}
    if isinstance(new.get("items"), list):
        new["prefixItems"] = new.pop("items")
        new["items"] = new.pop("additionalItems", True)
    if new.get("exclusiveMinimum") is True:
        new["exclusiveMinimum"] = new.pop("minimum")
    if new.pop("nullable", False) is True:
        new["type"] = [new["type"], "null"]
    return new


def _make_example(schema: Any, *unenforced: str, recursive: bool = False) -> Example:
    return Example(schema, frozenset(unenforced), recursive)


# Engines accept 29 February in every year, and leap seconds (23:59:60).
_CLOCK = ("date_from_datetime_parsing", "time_parsing", "datetime_from_date_parsing", "datetime_parsing")

EXAMPLES: dict[str, Example] = {
    "nested": _make_example(Person),
    "enums": _make_example(Enums),
    "optional": _make_example(Optionals),
    "union": _make_example(Unions),
    "discriminated_union": _make_example(Pets),
    "recursive": _make_example(Node, recursive=True),
    "mutually_recursive": _make_example(Mutual, recursive=True),
    "defaults": _make_example(Defaults),
    "constraints": _make_example(
        Constraints,
        *("multiple_of", "string_pattern_mismatch", "string_too_long", "too_short", "too_long"),
        *("greater_than", "less_than"),
    ),
    "aliases": _make_example(Aliases),
    "maps": _make_example(Maps, "string_pattern_mismatch"),
    "sequences": _make_example(Sequences),
    "times": _make_example(Times, *_CLOCK, "time_delta_parsing"),
    "anything": _make_example(Anything),
    "empty": _make_example(Empty),
    "open": _make_example(Open),
    "closed": _make_example(Closed),
    "keywords": _make_example(Keywords),
    "unicode": _make_example(Unicode),
    "root_union": _make_example(Choice),
    # A default in LangChain's notation makes a key optional. Pydantic ignores it and requires the key.
    "typed_dict": _make_example(Trip, "missing"),
    "typed_dict_annotated": _make_example(Place, "missing"),
    "typed_dict_recursive": _make_example(Branch, recursive=True),
    "typed_dict_of_typing": _make_example(OldPlace, recursive=True),
    "json_schema": _make_example(JSON_SCHEMA),
    "json_schema_defs": _make_example(JSON_SCHEMA_DEFS),
    "json_schema_all_of": _make_example(JSON_SCHEMA_ALL_OF),
    "json_schema_odd": _make_example(
        JSON_SCHEMA_ODD,
        *("oneOf", "not", "if", "required", "uniqueItems", "contains", "dependentRequired", "maxLength"),
    ),
    "self_reference": _make_example(SELF_REFERENCE, recursive=True),
    "openai_tool": _make_example(OPENAI_TOOL),
    "openai_function": _make_example(OPENAI_FUNCTION),
}
