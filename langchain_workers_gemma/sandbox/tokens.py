"""A simple tokenizer, for the usage of replies and for splitting them into chunks."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from langchain_workers_gemma.token_estimate import IMAGE_TOKENS, MESSAGE_TOKENS, estimate_text_tokens

if TYPE_CHECKING:
    from .chat import ChatRequest, Turn

# As in Gemma's own tokenizer, each digit is a token, and the token of a word includes the space before it.
_TOKEN = re.compile(r"\d| ?[^\W\d_]{1,12}| ?[^\w\s]|_+|\s{1,4}")


def tokenize(text: str) -> list[str]:
    """Split a text into tokens. Joined, they are the text again."""
    tokens: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if match.start() > end:  # pragma: no cover - the pattern covers every character
            tokens.append(text[end : match.start()])
        tokens.append(match.group())
        end = match.end()
    if end < len(text):  # pragma: no cover - the pattern covers every character
        tokens.append(text[end:])
    return tokens


def count_tokens(text: str) -> int:
    """Return the number of tokens of a text."""
    return len(tokenize(text))


def count_turn(turn: Turn) -> int:
    """Return the number of tokens of one turn, including those that the chat template adds."""
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
