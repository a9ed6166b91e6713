"""How bound tools reach the model: native, by constraint, or by prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from langchain_workers_gemma.request.guided_schema import guided_schema
from langchain_workers_gemma.request.response_format import Answer, constraint_parameters
from langchain_workers_gemma.request.settings import CallSettings
from langchain_workers_gemma.request.tool_prompts import answer_instructions, calling_instructions, guided_instructions
from langchain_workers_gemma.request.tools import ToolChoice, ToolMethod, tool_name, wire_tool
from langchain_workers_gemma.response.events import Stage
from langchain_workers_gemma.response.stages.bound_calls import BoundTools
from langchain_workers_gemma.response.stages.guided_calls import GuidedCalls
from langchain_workers_gemma.response.string_tokens import StringTokens
from langchain_workers_gemma.schemas.argument_types import ArgumentType
from langchain_workers_gemma.tool_text.reader import WrittenCalls
from langchain_workers_gemma.tool_text.tokens import CALL_TOKENS, QUOTE_TOKENS, RESULT_TOKENS

STRING_TOKENS = StringTokens(QUOTE_TOKENS, (*CALL_TOKENS.values(), *RESULT_TOKENS), tuple(CALL_TOKENS))
"""The special tokens that an engine may leave in the arguments of a call."""


@dataclass(frozen=True, slots=True)
class _Strategy:
    """What one way of asking adds to the messages, the input and the reading."""

    instructions: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    json_answer: bool = False
    call_reader: Callable[[], Stage] | None = None
    needs_token_budget: bool = False  # the reply may be JSON or a call, which must not be cut at the service's default
    fallback: ToolMethod | None = None
    unreliable_tools: bool = False
    bound_tools: BoundTools | None = None


def tool_method(settings: CallSettings, choice: ToolChoice) -> ToolMethod | None:
    """How bound tools reach this model in this call; `None` where none do.

    Raises:
        ValueError: If the method asked for is one that the model does not have.
    """
    spec = settings.spec
    asked = settings.tool_calling
    if asked == "native" and not spec.tools:
        raise ValueError(f"tool_calling='native' needs a model with tools; {spec.id} has none: use 'prompt' or 'auto'.")
    if asked == "guided_json" and spec.constraint is None:
        raise ValueError(
            f"tool_calling='guided_json' needs a model with guided_json or response_format; {spec.id} has neither: "
            "use 'prompt' or 'auto'."
        )
    if not settings.tools:
        return None
    if choice.mode == "none" and not (spec.tool_choice and asked in ("auto", "native")):
        return None
    if asked in ("guided_json", "prompt"):
        return "guided_json" if asked == "guided_json" else "prompt"
    constrained: ToolMethod = "prompt" if spec.constraint is None else "guided_json"
    # Without `tool_choice` only constrained decoding forces a call; and `guided_json` beside native tools would forbid
    # every call, since it constrains the whole reply.
    if not spec.tool_choice and (choice.is_forced or settings.answer is not None):
        return constrained
    return "native" if spec.tools else "prompt"


def _without_tools(settings: CallSettings, _choice: ToolChoice) -> _Strategy:
    answer = settings.answer
    if answer is None:
        return _Strategy()
    parameters = constraint_parameters(answer, settings.spec)
    instructions = "" if parameters else answer_instructions(answer.prompt_schema())
    return _Strategy(instructions, parameters, json_answer=True, needs_token_budget=True)


def _raw(settings: CallSettings) -> _Strategy:
    spec = settings.spec
    if not spec.raw or settings.api != "native":
        raise ValueError(f"raw=True: {spec.id} takes no raw prompt on the {settings.api} API of {spec.host}.")
    if settings.tools or settings.answer is not None:
        raise ValueError("raw=True applies no chat template, so tools and structured output have no place in it.")
    return _Strategy(data={"raw": True})


def _native(settings: CallSettings, choice: ToolChoice) -> _Strategy:
    spec = settings.spec
    data: dict[str, Any] = {"tools": [wire_tool(tool, strict_allowed=spec.tool_choice) for tool in settings.tools]}
    if settings.tool_choice is not None and spec.tool_choice:
        data["tool_choice"] = choice.wire()
    if settings.parallel_tool_calls is not None:
        if spec.tool_choice:
            data["parallel_tool_calls"] = settings.parallel_tool_calls
        elif not settings.parallel_tool_calls:
            raise ValueError(
                f"parallel_tool_calls=False: {spec.id} has no such parameter. "
                'Use tool_calling="guided_json" or "prompt", which ask for one call at a time.'
            )
    if settings.answer is not None:
        data |= constraint_parameters(settings.answer, spec)
    constrained: ToolMethod | None = "guided_json" if spec.constraint is not None else None
    return _Strategy(
        data=data,
        json_answer=settings.answer is not None,
        call_reader=_written_calls(settings, choice),
        needs_token_budget=True,
        bound_tools=_bound_tools(settings),
        # A forced choice is advisory on Gemma 4 and can come back as prose (cloudflare/ai#561).
        fallback=constrained if choice.is_forced else None,
        unreliable_tools=not spec.function_calling,
    )


def _guided(settings: CallSettings, choice: ToolChoice) -> _Strategy:
    answer = None if settings.answer is None or choice.is_forced else settings.answer.constraint_schema()
    parallel = settings.parallel_tool_calls is not False
    schema = guided_schema(settings.tools, choice, parallel=parallel, answer_schema=answer)
    names = frozenset(map(tool_name, settings.tools))
    return _Strategy(
        guided_instructions(settings.tools, choice, answer_schema=answer),
        constraint_parameters(Answer("reply", schema), settings.spec),
        call_reader=partial(GuidedCalls, names),
        needs_token_budget=True,
    )


def _prompted(settings: CallSettings, choice: ToolChoice) -> _Strategy:
    instructions = calling_instructions(settings.tools, choice, parallel=settings.parallel_tool_calls is not False)
    if settings.answer is not None:
        instructions += "\n" + answer_instructions(settings.answer.prompt_schema())
    constrained = choice.is_forced and settings.spec.constraint is not None
    return _Strategy(
        instructions,
        json_answer=settings.answer is not None,
        call_reader=_written_calls(settings, choice),
        needs_token_budget=True,
        fallback="guided_json" if constrained else None,
    )


_STRATEGIES = {None: _without_tools, "native": _native, "guided_json": _guided, "prompt": _prompted}


def _written_calls(settings: CallSettings, choice: ToolChoice) -> Callable[[], Stage] | None:
    """Calls written as text are recovered whenever tools are bound and may be called."""
    return None if choice.mode == "none" else partial(WrittenCalls, settings.tools)


def _bound_tools(settings: CallSettings) -> BoundTools:
    """Return what reading the calls that the service has read needs to know of the tools."""
    types = {tool_name(tool): ArgumentType.of(tool["function"].get("parameters")) for tool in settings.tools}
    return BoundTools(types, STRING_TOKENS, unquotes=settings.spec.tool_role)


def _forced(settings: CallSettings, choice: ToolChoice) -> frozenset[str] | None:
    """The tools of which one must be called; `None` where none must."""
    if not choice.is_forced:
        return None
    return frozenset(map(tool_name, settings.tools)) if choice.name is None else frozenset({choice.name})
