"""A simple tokenizer: enough for usage that adds up and for streams that come in pieces."""

from __future__ import annotations

import re

# Digits come one by one, as Gemma's own tokenizer has them; a word takes the space before it along.
_TOKEN = re.compile(r"\d| ?[^\W\d_]{1,12}| ?[^\w\s]|_+|\s{1,4}")


def tokenize(text: str) -> list[str]:
    """Split a text into tokens that join to the same text."""
    tokens: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        if found.start() > end:  # pragma: no cover - the pattern covers every character
            tokens.append(text[end : found.start()])
        tokens.append(found.group())
        end = found.end()
    if end < len(text):  # pragma: no cover - the pattern covers every character
        tokens.append(text[end:])
    return tokens


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(tokenize(text))
