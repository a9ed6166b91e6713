"""Write the reply of the mock model to a request."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from langchain_workers_gemma.sandbox.chat import Call, Completion
from langchain_workers_gemma.sandbox.errors import ServiceError

from .constrained_decoding import decode
from .conversation import Conversation, read_conversation
from .draft import Draft, apply_habits
from .hints import read_hints
from .notation import find_taught_notation, write_calls
from .prompt_tools import find_tools
from .prose import write_answer, write_reasoning
from .requested_schema import ANY_OBJECT, find_requested_schema
from .token_limit import limit_completion
from .tool_selection import select_calls
from .value_filler import ValueFiller

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.chat import ChatRequest

_MAX_RUNAWAY_TOKENS = 16_384
"""Tokens of white space in a runaway reply: the output limit that users report (docs/wire.md section 2)."""


def write_completion(request: ChatRequest, engine_seed: int) -> Completion:
    """Return the reply to a request, the same for the same request and seed.

    Args:
        request: The request.
        engine_seed: The seed of the mock model.
    """
    rng = random.Random(_get_seed(request, engine_seed))  # noqa: S311 - a mock model, not a secret
    tools = find_tools(request)
    conversation = read_conversation(request.turns, tools)
    wanted = select_calls(tools, conversation, request)
    text, calls = _write_text_and_calls(request, conversation, wanted, rng)
    reasoning = write_reasoning(conversation) if request.thinking else ""
    if reasoning and request.habits.thinking_as_text:
        reasoning, text = "", f"<|channel>thought\n{reasoning}<channel|>{text}"
    return limit_completion(request, apply_habits(Draft(reasoning, text, calls), request))


def _get_seed(request: ChatRequest, engine_seed: int) -> int:
    # Greedy decoding ignores the seed.
    seed = 0 if request.temperature == 0 else request.seed or 0
    history = "\0".join(f"{turn.role}:{turn.text}" for turn in request.turns)
    return crc32(f"{engine_seed}/{seed}/{history}".encode())


def _write_text_and_calls(
    request: ChatRequest,
    conversation: Conversation,
    wanted: tuple[tuple[str, dict[str, Any]], ...],
    rng: random.Random,
) -> tuple[str, tuple[Call, ...]]:
    habits = request.habits
    if request.is_call_forced and habits.empty_for_required:
        return "", ()
    if request.is_call_forced and habits.prose_for_required:
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
        return _write_constrained(request, conversation, wanted, rng), ()
    if calls:
        return _write_as_text(calls, request), ()
    if find_requested_schema(request.turns) is not None:
        return _write_constrained(request, conversation, wanted, rng), ()
    return write_answer(conversation, rng), ()


def _write_constrained(
    request: ChatRequest,
    conversation: Conversation,
    wanted: tuple[tuple[str, dict[str, Any]], ...],
    rng: random.Random,
) -> str:
    if request.habits.schema_fails:
        raise ServiceError(None, "AiError: JSON Mode couldn't be met", status=400)
    # If the request allows any JSON object, the prompt may contain the schema.
    requested = request.schema if request.schema not in (None, ANY_OBJECT) else find_requested_schema(request.turns)
    schema = dict(requested or ANY_OBJECT)
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
    if request.habits.runaway:
        return text[:-1] + "\n" * 4 * min(request.max_tokens, _MAX_RUNAWAY_TOKENS)
    return text


def _write_as_text(calls: tuple[Call, ...], request: ChatRequest) -> str:
    """Write calls as text, in the notation that the prompt teaches."""
    if request.habits.swallowed_calls and request.model.tool_role:
        return ""
    prompt = "\n".join(turn.text for turn in request.turns[:2])
    notation, key = find_taught_notation(request.model.family, prompt)
    return write_calls(calls, request.habits.calls_as or notation, key)


def _make_call_id(rng: random.Random) -> str:
    return f"chatcmpl-tool-{rng.getrandbits(128):032x}"


def _dump(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False)
