"""Build the bounds of strings and numbers that the grammar engines enforce."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from langchain_workers_gemma.schemas.keywords import JSONSchema, find_one_type
from langchain_workers_gemma.schemas.traversal import read_number

TypeRules: TypeAlias = tuple[JSONSchema | None, frozenset[str]]
"""The rules for one type, `None` if no value can meet them, and the keywords that need no description."""

_FORMATS = frozenset({"date", "date-time", "time", "uuid"})
"""The formats that all engines support without errors.

`llguidance` refuses unknown formats. `outlines-core` supports only these, `email` and `uri`, and its patterns for those
two allow a bare `"` in the string, which breaks the JSON around it.
"""

_MIN_BOUND, _MAX_BOUND = 1e-6, 2**53  # sizes of numeric bounds; llguidance fails on 1e-20 or 1e300
_MAX_LENGTH = 4096  # `outlines-core` makes one state for each character of a length bound


def build_string_rules(schema: JSONSchema) -> TypeRules:
    """Constrain a string by a format or by its length."""
    low, high = read_number(schema, "minLength") or 0, read_number(schema, "maxLength", math.inf)
    if low > high:
        return None, frozenset()
    if str(schema.get("format")) in _FORMATS:
        # If there is a length as well, xgrammar applies the format only, and outlines-core the length only.
        return {"format": schema["format"]}, frozenset({"format"})
    kept = {
        key: int(at) for key, at in (("minLength", low), ("maxLength", high)) if key in schema and at <= _MAX_LENGTH
    }
    return {key: at for key, at in kept.items() if at or key == "maxLength"}, frozenset(kept)


def build_number_rules(schema: JSONSchema) -> TypeRules:
    """Constrain a number or an integer by its bounds."""
    low, high = read_number(schema, "minimum", -math.inf), read_number(schema, "maximum", math.inf)
    above, below = read_number(schema, "exclusiveMinimum", -math.inf), read_number(schema, "exclusiveMaximum", math.inf)
    if low > high or max(low, above) >= below or above >= high:
        return None, frozenset()
    bounds = {"minimum": low, "maximum": high, "exclusiveMinimum": above, "exclusiveMaximum": below}
    given = {key: at for key, at in bounds.items() if key in schema}
    kept = {key: at for key, at in given.items() if not at or _MIN_BOUND <= abs(at) <= _MAX_BOUND}
    if find_one_type(schema) == "integer":
        return _to_whole_bounds(kept), frozenset(kept)
    return kept, frozenset(kept)


def _to_whole_bounds(bounds: dict[str, float]) -> JSONSchema | None:
    """Write the bounds of an integer as `minimum` and `maximum`, which more engines support than the exclusive ones."""
    make: dict[str, Callable[[float], int]] = {"minimum": math.ceil, "exclusiveMinimum": lambda at: math.floor(at) + 1}
    make |= {"maximum": math.floor, "exclusiveMaximum": lambda at: math.ceil(at) - 1}
    lows = [make[key](at) for key, at in bounds.items() if key.endswith("inimum")]
    highs = [make[key](at) for key, at in bounds.items() if key.endswith("aximum")]
    if lows and highs and max(lows) > min(highs):
        return None
    return {**({"minimum": max(lows)} if lows else {}), **({"maximum": min(highs)} if highs else {})}
