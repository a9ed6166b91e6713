"""Encode values as compact JSON in UTF-8, without lone surrogates, and write Python values that JSON cannot hold."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json


def replace_lone_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, which `from_json` refuses with a `TypeError`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encode_json(value: object) -> bytes:
    """Return a value as JSON in UTF-8. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.

    Raises:
        ValueError: If JSON cannot hold the value.

    Example:
        >>> encode_json({"city": "Zürich"}).decode()
        '{"city":"Zürich"}'
    """
    try:
        return to_json(value)
    except (PydanticSerializationError, UnicodeEncodeError):
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"{error}") from None
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # `json.dumps` would create one for each call
_MAX_DEPTH = 100  # chat templates write nested values recursively, and can handle this depth


def dump_json(value: object) -> str:
    """Return a value as JSON text, whatever types it holds.

    JSON has no infinity, no dates and no sets: they are written as strings or lists.

    Args:
        value: The value.

    Raises:
        ValueError: If it is nested too deeply, or contains itself.

    Example:
        >>> dump_json({"limit": float("inf"), "day": date(2026, 5, 30), "tags": {"a"}})
        '{"limit": "Infinity", "day": "2026-05-30", "tags": ["a"]}'
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return _ENCODER.encode(_to_jsonable(value, 0))


def _to_jsonable(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"a value is nested more than {_MAX_DEPTH} levels deep, or contains itself.")
    if isinstance(value, Mapping):
        return {_to_key(key): _to_jsonable(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [_to_jsonable(one, depth + 1) for one in value]
    if isinstance(value, BaseModel):
        return _to_jsonable(value.model_dump(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_jsonable(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    return _to_plain(value)


def _to_key(key: object) -> str:
    plain = _to_plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _to_plain(value: object) -> object:
    if isinstance(value, Enum):
        return _to_plain(value.value)
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return _decode_bytes(bytes(value))
    return str(value)


def _decode_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
