"""Instances of the example schemas, as a model under a constraint would write them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from langchain_workers_gemma.schemas import for_constraint, to_json_schema
from tests.helpers.schema_engines import walk
from tests.helpers.schema_examples import EXAMPLES


@cache
def instance_of(name: str) -> str:
    """An instance of an example that its own type takes."""
    if name in _WRITTEN:
        return json.dumps(_WRITTEN[name])
    example = EXAMPLES[name]
    schema = for_constraint(to_json_schema(example.schema))
    found = [walk(schema, seed) for seed in range(6)]
    return max((one for one in found if _is_whole(one) and not example.check(one)), key=len)


def _is_whole(text: str) -> bool:
    try:
        return "Infinity" not in json.dumps(json.loads(text))
    except ValueError:
        return False


# Where a rule that no engine enforces is rarely met by chance.
_WRITTEN: dict[str, Any] = {
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
