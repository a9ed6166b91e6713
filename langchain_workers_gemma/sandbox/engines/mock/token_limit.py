"""Cut a draft of the mock model at stop sequences and at its token limit, as an engine does."""

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
"""The numbers of the tokens that end a turn, and a turn with calls (docs/wire.md section 10)."""
_CALL_MARKUP = 4
"""Tokens that a call costs beside its name and arguments."""
_CONTEXT_LEFT = 12
"""Tokens that are left of the context window where a dialect ends it early."""


def limit_completion(request: ChatRequest, draft: Draft) -> Completion:
    """Cut a reply at a stop sequence and at `max_tokens`, and count its usage."""
    closing = request.habits.closed_calls
    text, stop = _apply_stops(draft.text, request.stop)
    context_ends = request.habits.context_end and request.max_tokens > _CONTEXT_LEFT
    left = _Budget(_CONTEXT_LEFT if context_ends else request.max_tokens)
    reasoning, text = left.take(draft.reasoning), left.take(text)
    calls: list[Call] = []
    for call in draft.calls:
        if left.cut or stop is not None:
            break
        limited, stop = _limit_call(call, left, request)
        calls.append(limited)
    after_calls = ""
    if stop is None:
        after_calls, stop = _apply_stops(draft.after_calls, request.stop)
        after_calls = left.take(after_calls)
    if left.cut and draft.calls and request.forced and not closing:
        raise ServiceError(
            INVALID_DATA, "AiError: Invalid data: max_tokens is too small for the call that tool_choice asks for"
        )
    stop = None if left.cut else stop
    reason = "tool_calls" if calls else "stop"
    if left.cut:
        reason = closing if closing and calls else "length"
    return Completion(
        text=text,
        reasoning=reasoning,
        calls=tuple(calls),
        finish_reason=reason if left.cut else draft.finish_reason or reason,
        prompt_tokens=_count_prompt(request, left, context_ends=context_ends),
        completion_tokens=left.spent,
        reasoning_tokens=len(tokenize(reasoning)),
        cached_tokens=request.cached_tokens,
        stop_reason=stop if stop is not None or left.cut or not request.model.tool_role else _END_TOKENS[bool(calls)],
        after_calls=after_calls,
    )


def _limit_call(call: Call, left: _Budget, request: ChatRequest) -> tuple[Call, str | None]:
    """Cut a call; return it and the stop sequence that did."""
    habits = request.habits
    left.spend(_CALL_MARKUP)
    if left.cut and habits.cut_names:
        return replace(call, name=call.name[: len(call.name) // 2], arguments="{}"), None
    if not habits.closed_calls:
        return replace(call, arguments=left.take(call.arguments)), None
    arguments, stop = _apply_stops(call.arguments, request.stop)
    return replace(call, arguments=close_json(left.take(arguments))), stop


def _count_prompt(request: ChatRequest, left: _Budget, *, context_ends: bool) -> int:
    """Count the prompt; where the context window ended the reply, it fills what the reply did not."""
    if context_ends and left.cut and request.model.usable_context is not None:
        return request.model.usable_context - left.spent
    return count_prompt(request)


def _apply_stops(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Cut a text at the first stop sequence; return the rest and the sequence."""
    at, stop = min(((text.find(stop), stop) for stop in stops if stop in text), default=(len(text), None))
    return text[:at], stop


class _Budget:
    """Takes tokens until none are left."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.spent = 0
        self.cut = False

    def take(self, text: str) -> str:
        tokens = tokenize(text)
        kept = tokens[: self.tokens - self.spent]
        self.spent += len(kept)
        self.cut = self.cut or len(kept) < len(tokens)
        return "".join(kept)

    def spend(self, tokens: int) -> None:
        self.cut = self.cut or self.spent + tokens > self.tokens
        self.spent = min(self.tokens, self.spent + tokens)
