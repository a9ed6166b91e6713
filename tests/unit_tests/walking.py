"""Grammar engines to try schemas on, and instances that they let through."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np

from langchain_workers_gemma.schemas import for_constraint, json_schema_of
from tests.unit_tests.schema_examples import EXAMPLES

_END = 256


class _Bytes:
    """A tokenizer whose tokens are bytes."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([one]) for one in range(256)), b"<eos>")
    special_token_ids = (_END,)

    def __call__(self, text: Any) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


def grammar(schema: dict[str, Any]) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(schema)


def compile_error(schema: dict[str, Any]) -> str:
    """What llguidance has against a schema; empty if nothing."""
    return llguidance.LLMatcher.validate_grammar(grammar(schema), TOKENIZER)


def walk(schema: dict[str, Any], seed: int, wander: int = 80) -> str:
    """A random instance; after `wander` bytes it takes the shortest way out of strings, numbers, lists and objects."""
    dice = random.Random(seed)
    matcher = llguidance.LLMatcher(TOKENIZER, grammar(schema))
    mask = llguidance.numpy.allocate_token_bitmask(1, TOKENIZER.vocab_size)
    found = bytearray()
    in_string = escaped = False
    while not matcher.is_stopped() and len(found) < 3000:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        assert not matcher.is_error(), matcher.get_error()
        bits = np.unpackbits(mask[0].view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: _END + 1]).tolist()
        if _END in allowed:
            break
        visible = [one for one in allowed if 33 <= one < 127] or allowed
        ways_out = [one for one in (b'"' if in_string else b"}]n,") if one in visible and not escaped]
        leave = ways_out and (len(found) > wander or dice.random() < 0.1)
        choice = ways_out[0] if leave else dice.choice(visible)
        matcher.consume_token(choice)
        found.append(choice)
        in_string ^= choice == ord('"') and not escaped
        escaped = in_string and choice == ord("\\") and not escaped
    return found.decode()


@cache
def instance_of(name: str) -> str:
    """An instance of an example that its own type takes."""
    if name in _WRITTEN:
        return json.dumps(_WRITTEN[name])
    example = EXAMPLES[name]
    schema = for_constraint(json_schema_of(example.schema))
    found = [walk(schema, seed) for seed in range(6)]
    return max((one for one in found if _is_whole(one) and not example.check(one)), key=len)


def _is_whole(text: str) -> bool:
    try:
        return "Infinity" not in json.dumps(json.loads(text))
    except ValueError:
        return False


# Where a rule that no engine can enforce is too seldom met by chance.
_WRITTEN: dict[str, Any] = {
    "constraints": {
        **{"age": 5, "above": 3, "share": 0.5, "ratio": 0.5, "tiny": 0.5, "even": 4, "name": "Ada"},
        **{"code": "abc-1", "clipped": "abc", "tags": ["x"], "scores": {"a": 1}},
    },
    "times": {
        **{"day": "2026-11-21", "at": "2026-11-21T10:00:00Z", "clock": "10:00:00", "lasting": "PT5M", "price": 1.5},
        **{"id": "12345678-1234-5678-1234-567812345678", "maybe": None},
    },
}
