"""Schemas of parameters that Gemma 4's chat template does not render completely (docs/wire.md section 11).

Each schema has the words that its description must contain.
"""

from __future__ import annotations

from typing import Any

DESCRIBED_SCHEMAS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "enum of numbers": ({"type": "integer", "enum": [1, 2, 30]}, ("1", "2", "30")),
    "enum of strings": ({"type": "string", "enum": ["red", "blue"]}, ("red", "blue")),
    "enum of both": ({"enum": ["auto", 4.5]}, ("auto", "4.5")),
    "const": ({"const": "fixed"}, ("fixed",)),
    "const number": ({"const": 7}, ("7",)),
    "range": ({"type": "integer", "minimum": 0, "maximum": 17}, ("at least 0", "at most 17")),
    "open range": (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5},
        ("more than 0", "less than 1.5"),
    ),
    "multiple": ({"type": "integer", "multipleOf": 5}, ("multiple of 5",)),
    "pattern": ({"type": "string", "pattern": "^[a-z]{2}$"}, ("^[a-z]{2}$",)),
    "format": ({"type": "string", "format": "date-time"}, ("date-time",)),
    "lengths": ({"type": "string", "minLength": 2, "maxLength": 9}, ("at least 2", "at most 9")),
    "default": ({"type": "string", "default": "metric"}, ('"metric"',)),
    "default that is falsy": ({"type": "boolean", "default": False}, ("default: false",)),
    "default zero": ({"type": "integer", "default": 0}, ("default: 0",)),
    "default list": ({"type": "array", "items": {"type": "string"}, "default": ["a"]}, ('default: ["a"]',)),
    "union": ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ("string", "integer")),
    "list of types": ({"type": ["string", "boolean"]}, ("string", "boolean")),
    "one of": (
        {"oneOf": [{"type": "object", "properties": {"x": {"type": "integer"}}}, {"type": "string"}]},
        ('"x"', "integer", "string"),
    ),
    "free-form object": ({"type": "object", "additionalProperties": True}, ("any keys",)),
    "map": ({"type": "object", "additionalProperties": {"type": "number"}}, ("any keys", "number")),
    "object with more keys": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
        ("further keys", "integer"),
    ),
    "tuple": ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}, ("string", "integer")),
    "counts": (
        {"type": "array", "items": {}, "minItems": 1, "maxItems": 3, "uniqueItems": True},
        ("at least 1", "at most 3", "twice"),
    ),
    "optional": ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, ("at least 3",)),
    "anything": ({}, ("any JSON value",)),
    "items with rules": ({"type": "array", "items": {"type": "integer", "minimum": 4}}, ("4",)),
}
