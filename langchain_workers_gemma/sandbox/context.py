"""How many tokens a request takes, and whether they fit the model's context window."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .errors import BAD_INPUT, ServiceError
from .tokens import count

if TYPE_CHECKING:
    from .request import ChatRequest, Turn

_TURN_MARKUP = 4
_IMAGE_TOKENS = 256


def turn_tokens(turn: Turn) -> int:
    """Tokens of one turn as its chat template writes it."""
    calls = sum(count(call.name) + count(call.arguments) for call in turn.calls)
    return count(turn.text) + calls + _IMAGE_TOKENS * len(turn.images) + _TURN_MARKUP


def prompt_tokens(request: ChatRequest) -> int:
    """Tokens of the whole input."""
    if request.prompt is not None and request.body.get("raw"):
        return count(request.prompt)
    tools = sum(count(tool.name + tool.description + json.dumps(tool.parameters)) for tool in request.tools)
    return sum(map(turn_tokens, request.turns)) + tools


def check_context(request: ChatRequest, *, asked: bool) -> None:
    """Refuse what does not fit.

    Args:
        request: The request.
        asked: Whether it asked for a number of tokens; a default shrinks to what is left.

    Raises:
        ServiceError: 400, with the words that users report.
    """
    limit = request.model.usable_context
    if limit is None:
        return
    tokens = prompt_tokens(request)
    wanted = request.max_tokens if asked else 1
    if tokens + wanted <= limit:
        return
    if request.model.raw:
        message = (
            f"AiError: The estimated number of input and maximum output tokens ({tokens + wanted}) exceeded this model "
            f"context window limit ({limit})."
        )
    else:
        message = (
            f"This model's maximum context length is {limit} tokens. However, you requested {tokens + wanted} tokens "
            f"({tokens} in the messages, {wanted} in the completion). Please reduce the length of the messages or "
            "completion."
        )
    raise ServiceError(BAD_INPUT, message)
