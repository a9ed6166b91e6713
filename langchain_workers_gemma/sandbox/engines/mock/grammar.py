"""JSON Schemas compiled by a real grammar engine, llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError

EOS = 256

# Without optional white space a reply cannot end in endless white space (docs/wire.md section 7).
_COMPACT: Any = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class _ByteTokenizer:
    """A tokenizer with one token for each byte, and one for the end."""

    eos_token_id = EOS
    bos_token_id = None
    special_token_ids = (EOS,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"<eos>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def _make_tokenizer() -> Any:
    import llguidance

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_ByteTokenizer()))


class Grammar:
    """A compiled JSON Schema.

    Raises:
        ServiceError: If the engine refuses the schema, with the message of the engine.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import llguidance

        self.schema = schema
        try:
            self._grammar = llguidance.LLMatcher.grammar_from_json_schema(dict(schema), defaults=_COMPACT)
            problem = llguidance.LLMatcher.validate_grammar(self._grammar, _make_tokenizer())
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ServiceError(BAD_INPUT, f"AiError: JSON Mode couldn't be met: {problem}")

    def make_matcher(self) -> Any:
        """Return a matcher at the start of the grammar."""
        import llguidance

        return llguidance.LLMatcher(_make_tokenizer(), self._grammar)

    def accepts(self, text: str) -> bool:
        """Return whether the grammar matches the whole text."""
        matcher = self.make_matcher()
        data = list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


@lru_cache(maxsize=256)
def _compile_pattern(pattern: str) -> Grammar | None:
    try:
        return Grammar({"type": "string", "pattern": pattern})
    except ServiceError:
        return None


def matches(value: str, pattern: object) -> bool:
    """Return whether a string matches a pattern. A pattern that the engine does not support matches every string.

    The engine takes linear time, while Python's `re` can take exponential time.
    """
    grammar = _compile_pattern(pattern) if isinstance(pattern, str) else None
    return grammar is None or grammar.accepts(json.dumps(value, ensure_ascii=False))
