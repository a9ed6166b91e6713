"""Whether a request fits the model's context window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError
from langchain_workers_gemma.sandbox.tokens import count_prompt

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import ChatRequest


def check_context(request: ChatRequest, *, explicit: bool) -> None:
    """Refuse what does not fit.

    Args:
        request: The request.
        explicit: Whether it sets `max_tokens`; a default shrinks to what is left.

    Raises:
        ServiceError: 400, with the words that users report.
    """
    limit = request.model.usable_context
    if limit is None:
        return
    tokens = count_prompt(request)
    wanted = request.max_tokens if explicit else 1
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
