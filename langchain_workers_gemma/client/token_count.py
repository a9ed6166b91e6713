"""Count the tokens of LangChain messages, with an estimate or with the caller's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, MessageLikeRepresentation, convert_to_messages

from langchain_workers_gemma.request.tools import to_openai_tool
from langchain_workers_gemma.token_estimate import (
    MESSAGE_TOKENS,
    estimate_content_tokens,
    estimate_text_tokens,
    estimate_tools_tokens,
)


def count_text(text: str, token_ids: Callable[[str], list[int]] | None) -> int:
    """Count the tokens of a text.

    Args:
        text: The text.
        token_ids: The caller's own tokenizer, `None` for the estimate.
    """
    return estimate_text_tokens(text) if token_ids is None else len(token_ids(text))


def get_ids(text: str, token_ids: Callable[[str], list[int]] | None) -> list[int]:
    """Return the ids of the tokens of a text.

    Args:
        text: The text.
        token_ids: The caller's own tokenizer.

    Raises:
        ValueError: If there is no tokenizer. Core would use that of GPT-2.
    """
    if token_ids is None:
        raise ValueError(
            "get_token_ids needs custom_get_token_ids=..., a function that returns the token ids of a text: this "
            "package does not include Gemma's tokenizer. get_num_tokens estimates the number of tokens without it."
        )
    return token_ids(text)


def count_messages(
    messages: Iterable[MessageLikeRepresentation],
    tools: Sequence[Any] | None,
    token_ids: Callable[[str], list[int]] | None,
) -> int:
    """Count the tokens of messages, including tool calls and images, and of bound tools.

    Args:
        messages: The messages.
        tools: Tools in any form that `bind_tools` accepts.
        token_ids: The caller's own tokenizer, `None` for the estimate.
    """

    def count(text: str) -> int:
        return count_text(text, token_ids)

    total = sum(_count_message(message, count) for message in convert_to_messages(messages))
    return total + (estimate_tools_tokens(map(to_openai_tool, tools), count) if tools else 0)


def _count_message(message: BaseMessage, count: Callable[[str], int]) -> int:
    total = MESSAGE_TOKENS + estimate_content_tokens(message.content, count)
    if isinstance(message, AIMessage):
        calls = [*message.tool_calls, *message.invalid_tool_calls]
        total += sum(count(_write_call(call["name"], call["args"])) for call in calls)
    return total


def _write_call(name: str | None, arguments: object) -> str:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    return f"{name}{written}"
