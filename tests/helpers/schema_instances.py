"""Instances of the example schemas, as a constrained model would write them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from langchain_workers_gemma.schemas import to_constraint_schema, to_json_schema
from tests.helpers.schema_engines import generate_instance
from tests.helpers.schema_examples import EXAMPLES


@cache
def get_instance(name: str) -> str:
    """Return an instance of an example as JSON that the type of the example accepts."""
    if name in _HAND_WRITTEN:
        return json.dumps(_HAND_WRITTEN[name])
    example = EXAMPLES[name]
    schema = to_constraint_schema(to_json_schema(example.schema))
    found = [generate_instance(schema, seed) for seed in range(6)]
    return max((text for text in found if _is_valid_json(text) and not example.find_errors(text)), key=len)


def _is_valid_json(text: str) -> bool:
    try:
        return "Infinity" not in json.dumps(json.loads(text))
    except ValueError:
        return False


# For schemas with rules that no engine enforces and random instances rarely satisfy.
_HAND_WRITTEN: dict[str, Any] = {
    "constraints": {
        "age": 5,
        "above": 3,
        "share": 0.5,
        "ratio": 0.5,
        "tiny": 0.5,
        "even": 4,
        "name": "Ada",
        "code": "abc-1",
        "clipped": "abc",
        "tags": ["x"],
        "scores": {"a": 1},
    },
    "times": {
        "day": "2026-11-21",
        "at": "2026-11-21T10:00:00Z",
        "clock": "10:00:00",
        "lasting": "PT5M",
        "price": 1.5,
        "id": "12345678-1234-5678-1234-567812345678",
        "maybe": None,
    },
}
