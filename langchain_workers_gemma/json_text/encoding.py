"""JSON as it is sent: compact UTF-8, without lone surrogates."""

from __future__ import annotations

import json

from pydantic_core import PydanticSerializationError, to_json


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which `from_json` refuses with a `TypeError`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encode_json(value: object) -> bytes:
    """JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD.

    Example:
        >>> encode_json({"city": "Zürich"}).decode()
        '{"city":"Zürich"}'
    """
    try:
        return to_json(value)
    except (PydanticSerializationError, UnicodeEncodeError):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
