"""A simple tokenizer: enough for usage that adds up and for streams that come in pieces."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from langchain_workers_gemma.token_estimate import IMAGE_TOKENS, MESSAGE_TOKENS, estimate_text_tokens

if TYPE_CHECKING:
    from .chat import ChatRequest, Turn

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
    """Return the number of tokens of a text."""
    return len(tokenize(text))


def count_turn(turn: Turn) -> int:
    """Return the number of tokens of one turn in its chat template."""
    calls = sum(estimate_text_tokens(call.name + call.arguments) for call in turn.calls)
    return estimate_text_tokens(turn.text) + calls + IMAGE_TOKENS * len(turn.images) + MESSAGE_TOKENS


def count_prompt(request: ChatRequest) -> int:
    """Return the number of tokens of the whole input."""
    if request.prompt is not None and request.body.get("raw"):
        return estimate_text_tokens(request.prompt)
    tools = sum(
        estimate_text_tokens(tool.name + tool.description + json.dumps(tool.parameters)) for tool in request.tools
    )
    return sum(map(count_turn, request.turns)) + tools
