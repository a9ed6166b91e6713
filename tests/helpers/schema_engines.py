"""The grammar engines that read schemas on the wire, and what else the tests of schemas share."""

from __future__ import annotations

import json
import random
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
from outlines_core import json_schema as outlines  # type: ignore[import-untyped]

from langchain_workers_gemma.schemas import for_constraint, for_tool, inline_refs, to_strict_openai
from langchain_workers_gemma.schemas.traversal import list_children

FUNCTIONS = [inline_refs, for_constraint, for_tool, to_strict_openai]


def inner_schemas(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for child in list_children(schema):
            yield from inner_schemas(child)


class _Bytes:
    eos_token_id = 256
    bos_token_id = None
    tokens = [*(bytes([one]) for one in range(256)), b"<eos>"]  # noqa: RUF012
    special_token_ids = [256]  # noqa: RUF012

    def __call__(self, text: Any) -> Any:
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


def grammar(schema: dict[str, Any]) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(schema)


def compile_everywhere(schema: dict[str, Any]) -> str:
    assert llguidance.LLMatcher.validate_grammar(grammar(schema), TOKENIZER) == ""
    return str(outlines.build_regex_from_schema(json.dumps(schema)))


def accepts(schema: dict[str, Any], value: Any) -> bool:
    text = (value if isinstance(value, str) else json.dumps(value)).encode()
    matcher = llguidance.LLMatcher(TOKENIZER, grammar(schema))
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()


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
        allowed = np.flatnonzero(np.unpackbits(mask[0].view(np.uint8), bitorder="little")[:257]).tolist()
        if 256 in allowed:
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
