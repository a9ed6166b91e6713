"""The grammar engines that servers use for schemas (llguidance and Outlines), and helpers for tests of schemas."""

from __future__ import annotations

import json
import random
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
from outlines_core import json_schema as outlines  # type: ignore[import-untyped]

from langchain_workers_gemma.schemas import inline_refs, to_constraint_schema, to_strict_openai, to_tool_parameters
from langchain_workers_gemma.schemas.traversal import list_children

SCHEMA_TRANSFORMS = [inline_refs, to_constraint_schema, to_tool_parameters, to_strict_openai]


def iterate_subschemas(schema: Any) -> Any:
    """Yield a schema and all schemas inside it."""
    if isinstance(schema, dict):
        yield schema
        for child in list_children(schema):
            yield from iterate_subschemas(child)


class _ByteTokenizer:
    eos_token_id = 256
    bos_token_id = None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<eos>"]  # noqa: RUF012
    special_token_ids = [256]  # noqa: RUF012

    def __call__(self, text: Any) -> Any:
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_ByteTokenizer()))


def make_grammar(schema: dict[str, Any]) -> str:
    """Return llguidance's grammar for a schema."""
    return llguidance.LLMatcher.grammar_from_json_schema(schema)


def compile_with_both_engines(schema: dict[str, Any]) -> str:
    """Compile a schema with llguidance and Outlines, and return the regular expression of Outlines."""
    assert llguidance.LLMatcher.validate_grammar(make_grammar(schema), TOKENIZER) == ""
    return str(outlines.build_regex_from_schema(json.dumps(schema)))


def accepts_value(schema: dict[str, Any], value: Any) -> bool:
    """Return whether llguidance accepts a value, or JSON text, for a schema."""
    text = (value if isinstance(value, str) else json.dumps(value)).encode()
    matcher = llguidance.LLMatcher(TOKENIZER, make_grammar(schema))
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()


def generate_instance(schema: dict[str, Any], seed: int, free_bytes: int = 80) -> str:
    """Return a random instance of a schema as JSON.

    After `free_bytes` bytes it closes strings, numbers, arrays and objects as soon as the schema allows.
    """
    dice = random.Random(seed)
    matcher = llguidance.LLMatcher(TOKENIZER, make_grammar(schema))
    mask = llguidance.numpy.allocate_token_bitmask(1, TOKENIZER.vocab_size)
    found = bytearray()
    in_string = escaped = False
    while not matcher.is_stopped() and len(found) < 3000:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        assert not matcher.is_error(), matcher.get_error()
        allowed = np.flatnonzero(np.unpackbits(mask[0].view(np.uint8), bitorder="little")[:257]).tolist()
        if 256 in allowed:
            break
        visible = [token for token in allowed if 33 <= token < 127] or allowed
        closers = [token for token in (b'"' if in_string else b"}]n,") if token in visible and not escaped]
        close = closers and (len(found) > free_bytes or dice.random() < 0.1)
        choice = closers[0] if close else dice.choice(visible)
        matcher.consume_token(choice)
        found.append(choice)
        in_string ^= choice == ord('"') and not escaped
        escaped = in_string and choice == ord("\\") and not escaped
    return found.decode()
