"""The mock model as an engine: a whole reply, or the same reply piece by piece."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zlib import crc32

from langchain_workers_gemma.sandbox.chat import Call, CallDelta, Completion, End, ReasoningDelta, TextDelta
from langchain_workers_gemma.sandbox.errors import INVALID_DATA, ServiceError
from langchain_workers_gemma.sandbox.tokens import count_prompt, tokenize

from .constrained_decoding import decode
from .conversation import Conversation, read_conversation
from .draft import Draft, apply_habits, close_json
from .hints import read_hints
from .notation import find_taught_notation, write_calls
from .prompt_tools import find_tools
from .prose import write_answer, write_reasoning
from .requested_schema import ANY_OBJECT, find_requested_schema
from .tool_selection import select_calls
from .value_filler import ValueFiller
from .work_limit import limit_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_workers_gemma.sandbox.chat import ChatRequest, Delta

_MAX_RUNAWAY = 16_384
"""Tokens of white space in a runaway reply: the output limit that users report (docs/wire.md section 2)."""
_END_TOKENS = {False: 106, True: 50}
"""The numbers of the tokens that end a turn, and a turn with calls (docs/wire.md section 10)."""
_CALL_MARKUP = 4
"""Tokens that a call costs beside its name and arguments."""
_CONTEXT_LEFT = 12
"""Tokens that are left of the context window where a dialect ends it early."""


class MockModel:
    """Answers requests, the same request always in the same way."""

    description = "mock-model"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    async def complete(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        if request.schema is None and not request.tools:
            return self.answer(request)
        return await asyncio.to_thread(self.answer, request)  # the grammar engine would block other requests

    async def stream(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Yield the reply piece by piece."""
        completion = await self.complete(request)
        for piece in split_completion(completion):
            yield piece

    async def close(self) -> None:
        """No-op."""

    def answer(self, request: ChatRequest) -> Completion:
        """Return the whole reply."""
        with limit_work():
            return self._write_answer(request)

    def _write_answer(self, request: ChatRequest) -> Completion:
        rng = random.Random(self._get_seed(request))  # noqa: S311 - a mock model, not a secret
        tools = find_tools(request)
        conversation = read_conversation(request.turns, tools)
        wanted = select_calls(tools, conversation, request)
        text, calls = self._write_reply(request, conversation, wanted, rng)
        reasoning = write_reasoning(conversation) if request.thinking else ""
        if reasoning and request.habits.thinking_as_text:
            reasoning, text = "", f"<|channel>thought\n{reasoning}<channel|>{text}"
        return _limit(request, apply_habits(Draft(reasoning, text, calls), request))

    def _get_seed(self, request: ChatRequest) -> int:
        # Greedy decoding ignores the seed.
        seed = 0 if request.temperature == 0 else request.seed or 0
        history = "\0".join(f"{turn.role}:{turn.text}" for turn in request.turns)
        return crc32(f"{self.seed}/{seed}/{history}".encode())

    def _write_reply(
        self,
        request: ChatRequest,
        conversation: Conversation,
        wanted: tuple[tuple[str, dict[str, Any]], ...],
        rng: random.Random,
    ) -> tuple[str, tuple[Call, ...]]:
        habits = request.habits
        if request.forced and habits.empty_for_required:
            return "", ()
        if request.forced and habits.prose_for_required:
            wanted = ()
        if request.schema is not None and request.tools and wanted:
            if habits.call_breaks_constraint:
                raise ServiceError(None, "Internal server error: the grammar does not accept the token", status=500)
            if habits.whole_reply_constraint:
                wanted = ()
        calls = tuple(Call(_make_call_id(rng), name, _dump(arguments)) for name, arguments in wanted)
        if calls and request.tools:
            return ("", calls) if habits.calls_as is None else (write_calls(calls, habits.calls_as), ())
        if request.schema is not None:
            return self._write_constrained(request, conversation, wanted, rng), ()
        if calls:
            return _write_as_text(calls, request), ()
        if find_requested_schema(request.turns) is not None:
            return self._write_constrained(request, conversation, wanted, rng), ()
        return write_answer(conversation, rng), ()

    def _write_constrained(
        self,
        request: ChatRequest,
        conversation: Conversation,
        wanted: tuple[tuple[str, dict[str, Any]], ...],
        rng: random.Random,
    ) -> str:
        if request.habits.schema_fails:
            raise ServiceError(None, "AiError: JSON Mode couldn't be met", status=400)
        # Where the parameter asks for any JSON object, the prompt may hold the schema.
        wanted_form = (
            request.schema if request.schema not in (None, ANY_OBJECT) else find_requested_schema(request.turns)
        )
        schema = dict(wanted_form or ANY_OBJECT)
        results = "\n".join(result.text for result in conversation.results)
        hints = read_hints(f"{conversation.question}\n{results}" if results else conversation.question)
        names = frozenset(tool.name for tool in find_tools(request))
        answer = write_answer(conversation, rng)
        filler = ValueFiller(hints, schema, answer=answer, wanted=wanted, tools=names)
        try:
            text = decode(schema, filler.propose(), [*hints.quoted, *hints.names], rng.getrandbits(32))
        except ServiceError as error:
            if not request.habits.grammar_errors:
                raise
            reason = error.message.rpartition("couldn't be met: ")[2]
            raise ServiceError(error.code, f"Grammar error: {reason}", status=error.status) from None
        return text[:-1] + "\n" * 4 * min(request.max_tokens, _MAX_RUNAWAY) if request.habits.runaway else text


def _write_as_text(calls: tuple[Call, ...], request: ChatRequest) -> str:
    """Return calls as text, in the notation that the prompt teaches."""
    if request.habits.swallowed_calls and request.model.tool_role:
        return ""
    prompt = "\n".join(turn.text for turn in request.turns[:2])
    notation, key = find_taught_notation(request.model.family, prompt)
    return write_calls(calls, request.habits.calls_as or notation, key)


def split_completion(completion: Completion) -> Iterator[Delta]:
    """Yield a whole reply, token by token."""
    for token in tokenize(completion.reasoning):
        yield ReasoningDelta(token)
    for token in tokenize(completion.text):
        yield TextDelta(token)
    for index, call in enumerate(completion.calls):
        yield CallDelta(index, "", id=call.id, name=call.name)
        for token in tokenize(call.arguments):
            yield CallDelta(index, token)
    for token in tokenize(completion.after_calls):
        yield TextDelta(token)
    yield End(completion)


def _limit(request: ChatRequest, draft: Draft) -> Completion:
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


def _make_call_id(rng: random.Random) -> str:
    return f"chatcmpl-tool-{rng.getrandbits(128):032x}"


def _dump(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False)
