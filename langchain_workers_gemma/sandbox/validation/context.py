"""Check that a request fits into the model's context window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.errors import BAD_INPUT, ServiceError
from langchain_workers_gemma.sandbox.tokens import count_prompt

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import ChatRequest

    from .constraint import RequestRules


def check_context(request: ChatRequest, rules: RequestRules, *, explicit: bool) -> ChatRequest:
    """Return a request whose `max_tokens` fits, and refuse a request that does not fit.

    Args:
        request: The request.
        rules: What the dialect changes.
        explicit: Whether the request sets `max_tokens`. A default is reduced to the tokens that remain.

    Raises:
        ServiceError: 400, with the message that users report.
    """
    limit = request.model.usable_context if rules.max_model_len is None else rules.max_model_len
    if limit is None:
        return request
    tokens = count_prompt(request)
    max_tokens = request.max_tokens if explicit and not rules.reduces_max_tokens else 1
    total = tokens + max_tokens
    if total <= limit:
        return replace(request, max_tokens=min(request.max_tokens, limit - tokens))
    if tokens < limit < max_tokens:
        message = (
            f"max_tokens={max_tokens} cannot be greater than max_model_len=max_total_tokens={limit}. Please request "
            "fewer output tokens."
        )
    elif request.model.raw:
        message = (
            f"AiError: The estimated number of input and maximum output tokens ({total}) exceeded this model "
            f"context window limit ({limit})."
        )
    else:
        message = (
            f"This model's maximum context length is {limit} tokens. However, you requested {total} tokens "
            f"({tokens} in the messages, {max_tokens} in the completion). Please reduce the length of the messages or "
            "completion."
        )
    raise ServiceError(BAD_INPUT, message)
