"""JSON Schemas compiled on a real grammar engine, llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError

EOS = 256

# The service decodes without free white space, so that a reply cannot run away in it (docs/wire.md section 7).
_COMPACT: Any = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class _Bytes:
    """A tokenizer whose tokens are the bytes, and the end."""

    eos_token_id = EOS
    bos_token_id = None
    special_token_ids = (EOS,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"<eos>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def _make_tokenizer() -> Any:
    import llguidance

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


class Grammar:
    """A JSON Schema compiled on the engine.

    Raises:
        ServiceError: For a schema that the engine refuses, with the engine's own words.
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
        """Return a fresh run of the grammar."""
        import llguidance

        return llguidance.LLMatcher(_make_tokenizer(), self._grammar)

    def accepts(self, text: str) -> bool:
        """Return whether a text is wholly one that the grammar allows."""
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
    """Return whether a string matches a pattern; one that the engine cannot read forbids nothing.

    The engine takes linear time, where Python's `re` can take exponential time.
    """
    grammar = _compile_pattern(pattern) if isinstance(pattern, str) else None
    return grammar is None or grammar.accepts(json.dumps(value, ensure_ascii=False))
