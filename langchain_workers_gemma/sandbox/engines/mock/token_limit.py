"""Truncate a draft of the mock model at stop sequences and at its token limit, as an engine does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_workers_gemma.sandbox.chat import Call, Completion
from langchain_workers_gemma.sandbox.errors import INVALID_DATA, ServiceError
from langchain_workers_gemma.sandbox.tokens import count_prompt, tokenize

from .draft import Draft, close_json

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import ChatRequest

_END_TOKENS = {False: 106, True: 50}
"""The token that ends a turn, for a turn without and with calls (docs/wire.md section 10)."""
_CALL_MARKUP_TOKENS = 4
"""Tokens of a call without its name and arguments."""
_REMAINING_CONTEXT_TOKENS = 12
"""Remaining tokens of the context window if a dialect ends it early."""


def limit_completion(request: ChatRequest, draft: Draft) -> Completion:
    """Truncate a reply at a stop sequence and at `max_tokens`, and count its usage."""
    closing = request.habits.closed_calls
    text, stop = _apply_stops(draft.text, request.stop)
    context_ends = request.habits.context_end and request.max_tokens > _REMAINING_CONTEXT_TOKENS
    budget = _TokenBudget(_REMAINING_CONTEXT_TOKENS if context_ends else request.max_tokens)
    reasoning, text = budget.take(draft.reasoning), budget.take(text)
    calls: list[Call] = []
    for call in draft.calls:
        if budget.is_exceeded or stop is not None:
            break
        truncated, stop = _truncate_call(call, budget, request)
        calls.append(truncated)
    after_calls = ""
    if stop is None:
        after_calls, stop = _apply_stops(draft.after_calls, request.stop)
        after_calls = budget.take(after_calls)
    if budget.is_exceeded and draft.calls and request.is_call_forced and not closing:
        raise ServiceError(
            INVALID_DATA, "AiError: Invalid data: max_tokens is too small for the call that tool_choice requires"
        )
    reason = "tool_calls" if calls else "stop"
    if budget.is_exceeded:
        stop, reason = None, closing if closing and calls else "length"
    has_end_token = stop is None and not budget.is_exceeded and request.model.tool_role
    return Completion(
        text=text,
        reasoning=reasoning,
        calls=tuple(calls),
        finish_reason=reason if budget.is_exceeded else draft.finish_reason or reason,
        prompt_tokens=_count_prompt(request, budget, context_ends=context_ends),
        completion_tokens=budget.spent,
        reasoning_tokens=len(tokenize(reasoning)),
        cached_tokens=request.cached_tokens,
        stop_reason=_END_TOKENS[bool(calls)] if has_end_token else stop,
        after_calls=after_calls,
    )


def _truncate_call(call: Call, budget: _TokenBudget, request: ChatRequest) -> tuple[Call, str | None]:
    """Truncate a call. Return it, and the stop sequence that truncated it."""
    habits = request.habits
    budget.spend(_CALL_MARKUP_TOKENS)
    if budget.is_exceeded and habits.cut_names:
        return replace(call, name=call.name[: len(call.name) // 2], arguments="{}"), None
    if not habits.closed_calls:
        return replace(call, arguments=budget.take(call.arguments)), None
    arguments, stop = _apply_stops(call.arguments, request.stop)
    return replace(call, arguments=close_json(budget.take(arguments))), stop


def _count_prompt(request: ChatRequest, budget: _TokenBudget, *, context_ends: bool) -> int:
    """Count the tokens of the prompt. If the context window ended the reply, prompt and reply fill the window."""
    if context_ends and budget.is_exceeded and request.model.usable_context is not None:
        return request.model.usable_context - budget.spent
    return count_prompt(request)


def _apply_stops(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Truncate a text at the first stop sequence. Return the rest of the text, and the sequence."""
    position, stop = min(((text.find(stop), stop) for stop in stops if stop in text), default=(len(text), None))
    return text[:position], stop


class _TokenBudget:
    """Counts tokens against a limit."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.spent = 0
        self.is_exceeded = False

    def take(self, text: str) -> str:
        """Count the tokens of a text. Return the text, truncated if the limit is exceeded."""
        tokens = tokenize(text)
        kept = tokens[: self.tokens - self.spent]
        self.spent += len(kept)
        self.is_exceeded = self.is_exceeded or len(kept) < len(tokens)
        return "".join(kept)

    def spend(self, tokens: int) -> None:
        """Count a number of tokens."""
        self.is_exceeded = self.is_exceeded or self.spent + tokens > self.tokens
        self.spent = min(self.tokens, self.spent + tokens)
