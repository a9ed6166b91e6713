"""Constrained decoding with a real grammar engine: llguidance allows every byte of the reply.

The engine is used as in a server: before each token it returns a mask of the allowed tokens (here: bytes). If several
are allowed, values from the prompt are preferred, and then the bytes that close the value soonest.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError

from .grammar import EOS, Grammar
from .schema_validation import is_valid
from .value_filler import EXAMPLES
from .work_limit import spend_steps

_MAX_ATTEMPTS = 12
_MAX_SUGGESTIONS = 50
_MAX_OPEN_BYTES = 200
"""Number of bytes after which the walk only closes open strings, arrays and objects."""
_MAX_BYTES = 2000
_PRINTABLE = frozenset(range(0x20, 0x7F)) - {ord("\\")}
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_SPACES = frozenset(b" \t\r\n")
_QUOTATION_MARK, _BACKSLASH = b'"\\'
_QUOTE = frozenset(b'"')
_BRACKETS = frozenset(b"}]")
_BEGINNINGS = (b"", b"[", b"{", b'"', b":", b",")
_LONGER_STRING_PROBABILITY = 0.7
_NUMBER_TERMINATORS = frozenset(b",}]")
_UNLIKELY_STRING = b'"~"'
"""A string that only an unconstrained string value allows."""

_EXAMPLES = [json.dumps(text) for text in EXAMPLES.values()]


def decode(schema: Mapping[str, Any], proposal: object, suggestions: list[str], seed: int) -> str:
    """Decode an instance of a schema.

    Args:
        schema: The schema.
        proposal: A preferred value. The parts that the grammar does not allow are replaced.
        suggestions: Preferred texts for strings.
        seed: The seed of the choices without a preference.

    Raises:
        ServiceError: If the engine refuses the schema, or no instance is found.
    """
    grammar = Grammar(schema)
    wanted = json.dumps(proposal, ensure_ascii=False, separators=(",", ":"))
    if grammar.accepts(wanted) and is_valid(schema, proposal):
        return wanted
    for attempt in range(_MAX_ATTEMPTS):
        walk = _Walk(grammar.make_matcher(), proposal, suggestions, random.Random(f"{seed}/{attempt}"))  # noqa: S311
        text = walk.run()
        if text and is_valid(schema, json.loads(text)):
            return text
        if walk.has_reached_limit and attempt:
            break
    raise ServiceError(BAD_INPUT, "AiError: JSON Mode couldn't be met")


class _Walk:
    """One walk through the grammar, byte by byte."""

    def __init__(self, matcher: Any, proposal: object, suggestions: list[str], rng: random.Random) -> None:
        self._matcher = matcher
        self._by_key: dict[str, list[str]] = {}
        self._suggestions = [json.dumps(text, ensure_ascii=False) for text in suggestions[:_MAX_SUGGESTIONS]]
        self._rng = rng
        self._out = bytearray()
        self._in_string = False
        self._escaped = False
        for key, literal in _iterate_leaves(proposal, ""):
            self._by_key.setdefault(key, []).append(literal)

    def run(self) -> str | None:
        """Return the text, or `None` if the walk found no instance."""
        while len(self._out) < _MAX_BYTES and not self._matcher.is_stopped():
            spend_steps()
            allowed = self._get_allowed()
            if not allowed:
                return None
            if EOS in allowed and (len(allowed) == 1 or self._is_complete()):
                return self._out.decode()
            if not self._take_preferred(allowed):
                self._take(self._choose_byte(allowed))
        return self._out.decode() if self._matcher.is_accepting() else None

    @property
    def has_reached_limit(self) -> bool:
        """Whether the text reached the maximum length."""
        return len(self._out) >= _MAX_BYTES

    def _get_allowed(self) -> set[int]:
        mask = self._matcher.compute_bitmask()
        return {token for token in range(EOS + 1) if mask[token // 8] >> (token % 8) & 1}

    def _is_complete(self) -> bool:
        try:
            json.loads(self._out)
        except ValueError:
            return False
        return True

    def _take(self, *tokens: int) -> None:
        if not self._matcher.consume_tokens(list(tokens)):
            reason = (self._matcher.get_error() or "").partition("\n")[0]
            raise ServiceError(BAD_INPUT, f"AiError: JSON Mode couldn't be met: {reason}")
        self._out.extend(tokens)
        for token in tokens:
            if token == _QUOTATION_MARK and not self._escaped:
                self._in_string = not self._in_string
            self._escaped = token == _BACKSLASH and not self._escaped

    # --- preferences --------------------------------------------------------------------------------------------------
    def _take_preferred(self, allowed: set[int]) -> bool:
        """At the start of a value, take a whole value from the proposal or the prompt. Return whether one fits."""
        if self._out and bytes(self._out[-1:]) not in (b":", b"[", b","):
            return False
        if ord('"') not in allowed and not allowed & set(b"-0123456789tfn"):
            return False
        if self._in_string:
            return False
        known = self._by_key.get(self._get_current_key(), [])
        everything = [literal for literals in self._by_key.values() for literal in literals]
        candidates = [*known, *(literal for literal in everything if literal not in known), *self._suggestions]
        if ord('"') in allowed and not self._fits(_UNLIKELY_STRING):
            candidates += _EXAMPLES
        for literal in dict.fromkeys(candidates):
            data = literal.encode()
            if data[0] in allowed and self._fits(data):
                self._take(*data)
                if literal in known:
                    known.remove(literal)
                return True
        return False

    def _fits(self, data: bytes) -> bool:
        accepted = self._matcher.validate_tokens(list(data))
        if accepted < len(data):
            return False
        if data.endswith(b'"'):
            return True
        # The grammar must allow the number to end here. Otherwise it requires a longer one.
        return any(self._matcher.validate_tokens([*data, end]) > len(data) for end in (*b",}]", EOS))

    def _get_current_key(self) -> str:
        text = bytes(self._out)
        if text.endswith(b":"):
            start = text.rfind(b'"', 0, len(text) - 2)
            return text[start + 1 : -2].decode(errors="replace")
        return ""

    def _choose_byte(self, allowed: set[int]) -> int:
        """Return an allowed byte: one that closes the value, unless the value has just begun, or a printable one."""
        allowed = allowed - {EOS}
        in_string = self._in_string
        last = bytes(self._out[-1:])
        if not in_string and last.isdigit() and allowed & _NUMBER_TERMINATORS:
            return min(allowed & _NUMBER_TERMINATORS, key=b"]},".index)
        closing = sorted(allowed & (_QUOTE if in_string else _BRACKETS))
        if closing and (
            len(self._out) > _MAX_OPEN_BYTES or not (last in _BEGINNINGS or (in_string and self._continues_string()))
        ):
            return closing[0]
        for better in (allowed & _PLAIN, allowed & _PRINTABLE, allowed - _SPACES):
            if better:
                return self._rng.choice(sorted(better))
        return min(allowed)

    def _continues_string(self) -> bool:
        return self._rng.random() < _LONGER_STRING_PROBABILITY


def _iterate_leaves(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Yield the scalars of a value as JSON text, each with its nearest key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _iterate_leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _iterate_leaves(inner, key)
    else:
        yield key, json.dumps(value, ensure_ascii=False)
