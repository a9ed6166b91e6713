"""Choose and apply the method by which bound tools reach the model: native, by constraint, or by prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.constraint_forms import FormChoice, get_forms, make_form_key
from langchain_workers_gemma.request.guided_schema import build_guided_schema
from langchain_workers_gemma.request.notations import NATIVE, PROMPTED, Notation, get_guided_notation
from langchain_workers_gemma.request.response_format import Answer
from langchain_workers_gemma.request.settings import CallSettings
from langchain_workers_gemma.request.template_data import get_template_data
from langchain_workers_gemma.request.tool_prompts import (
    write_answer_after_calls_instructions,
    write_answer_instructions,
    write_calling_instructions,
    write_guided_instructions,
)
from langchain_workers_gemma.request.tools import ToolChoice, ToolMethod, build_request_tool, get_tool_name
from langchain_workers_gemma.response.events import Stage
from langchain_workers_gemma.response.stages.bound_calls import BoundTools
from langchain_workers_gemma.response.stages.guided_calls import GuidedCalls
from langchain_workers_gemma.response.string_tokens import StringTokens
from langchain_workers_gemma.tool_text.stage import TextStage
from langchain_workers_gemma.tool_text.tokens import CALL_TOKENS, QUOTES, RESULTS, TURN_ENDS, get_markup
from langchain_workers_gemma.tool_text.tool_names import ToolNames

STRING_TOKENS = StringTokens(QUOTES, (*CALL_TOKENS.values(), *RESULTS, *TURN_ENDS), tuple(CALL_TOKENS))
"""The special tokens that an engine may leave in the arguments of a call."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """The parts that one tool method adds to the request, and to the options for reading the reply.

    Attributes:
        instructions: The text for the system message.
        data: The keys that it adds to the input.
        json_answer: Whether an answer in text must be JSON.
        text_stages: Create the stages that read thoughts, special tokens and calls in the text, in this order.
        needs_token_budget: Whether the reply can be JSON or a call, which the service's default limit must not
            truncate.
        fallback: The tool method with which a missing forced call is requested again.
        form: The form of its constraint, if it has one.
        unreliable_tools: Whether the model gets tools but is not flagged for function calling.
        bound_tools: The bound tools whose calls the service parses, `None` if there are none.
        notation: How calls, answers and results of the history are written; `None` for the template's notation.
    """

    instructions: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    json_answer: bool = False
    text_stages: tuple[Callable[[], Stage], ...] = ()
    needs_token_budget: bool = False
    fallback: ToolMethod | None = None
    form: FormChoice | None = None
    unreliable_tools: bool = False
    bound_tools: BoundTools | None = None
    notation: Notation | None = None


def get_notation(spec: GemmaModel, strategy: Strategy) -> Notation:
    """Return how calls, answers and results of a history are written."""
    return strategy.notation or (NATIVE if spec.tool_role else PROMPTED)


def choose_tool_method(settings: CallSettings, choice: ToolChoice) -> ToolMethod | None:
    """Return how bound tools reach this model in this call; `None` if it gets none.

    Raises:
        ValueError: If the model does not support the requested method.
    """
    spec = settings.spec
    requested = settings.tool_calling
    if requested == "native" and not spec.tools:
        raise ValueError(f"tool_calling='native' needs a model with tools; {spec.id} has none: use 'prompt' or 'auto'.")
    if requested == "guided_json" and spec.constraint is None:
        raise ValueError(
            f"tool_calling='guided_json' needs a model with guided_json or response_format; {spec.id} has neither: "
            "use 'prompt' or 'auto'."
        )
    if not settings.tools:
        return None
    # With `none`, an answer may be constrained, since no call is wanted.
    native_none = spec.tool_choice and requested in ("auto", "native") and settings.answer is None
    if choice.mode == "none" and not native_none:
        return None
    if requested == "native" and spec.tool_choice:
        return "native"
    if requested in ("guided_json", "prompt"):
        return "guided_json" if requested == "guided_json" else "prompt"
    constrained: ToolMethod = "prompt" if spec.constraint is None else "guided_json"
    if requested == "native":
        # Without `tool_choice`, only constrained decoding forces a call. And `guided_json` together with native tools
        # would forbid every call, since it constrains the whole reply.
        return constrained if choice.is_forced or settings.answer is not None else "native"
    return "native" if spec.tools and spec.function_calling else constrained


def _choose_form(settings: CallSettings, *, any_object: bool = False) -> FormChoice:
    """Return the form in which this call demands JSON: the first one that has not failed."""
    spec = settings.spec
    names = get_forms(spec.constraint, any_object=any_object)
    if settings.form is not None and settings.form.names == names:
        return settings.form
    key = make_form_key(spec.host, spec.id, names)
    position = min(settings.server_memory.get_first_form(key) + settings.skip_forms, len(names) - 1)
    return FormChoice(names, position, key, settings.server_memory)


def _build_plain(settings: CallSettings, _choice: ToolChoice) -> Strategy:
    answer = settings.answer
    if answer is None:
        return Strategy(text_stages=_list_text_stages(settings))
    choice = _choose_form(settings, any_object=answer.schema is None or answer.any_object)
    return Strategy(
        answer.write_instructions(),
        choice.form.parameters(answer),
        json_answer=True,
        text_stages=_list_text_stages(settings),
        needs_token_budget=True,
        form=choice,
    )


def build_raw(settings: CallSettings) -> Strategy:
    """Return the strategy of a raw prompt, which allows no tools.

    Raises:
        ValueError: If the model has no raw mode, or tools or a schema are bound.
    """
    spec = settings.spec
    if not spec.raw or settings.api != "native":
        raise ValueError(f"raw=True: {spec.id} takes no raw prompt on the {settings.api} API of {spec.host}.")
    if settings.tools or settings.answer is not None:
        raise ValueError("raw=True applies no chat template: leave out tools and structured output, or use raw=False.")
    return Strategy(data={"raw": True})


def _build_native(settings: CallSettings, choice: ToolChoice) -> Strategy:
    spec = settings.spec
    shown = get_template_data(spec).declarations
    data: dict[str, Any] = {
        "tools": [
            build_request_tool(tool, strict_allowed=spec.tool_choice, engine_types=spec.tool_role, shown=shown)
            for tool in settings.tools
        ]
    }
    if settings.tool_choice is not None and spec.tool_choice:
        data["tool_choice"] = choice.to_openai()
    if settings.parallel_tool_calls is not None:
        if spec.tool_choice:
            data["parallel_tool_calls"] = settings.parallel_tool_calls
        elif not settings.parallel_tool_calls:
            raise ValueError(
                f"parallel_tool_calls=False: {spec.id} has no such parameter. "
                'Use tool_calling="guided_json" or "prompt", which request one call at a time.'
            )
    answer = None if choice.is_forced else settings.answer
    form = None
    if answer is not None and settings.tool_calling == "native":
        form = _choose_form(settings, any_object=answer.schema is None or answer.any_object)
        data |= form.form.parameters(answer)
    constrained: ToolMethod | None = "guided_json" if spec.constraint is not None else None
    return Strategy(
        # Under `auto`, no constraint is sent together with tools: in vLLM it covers the whole reply, so the model would
        # answer with invented values and never call a tool (`docs/wire.md` section 10). If the answer is not JSON, it
        # is requested again with a constraint and without tools.
        "" if answer is None else write_answer_after_calls_instructions(answer.write_instructions()),
        data,
        json_answer=answer is not None,
        text_stages=_list_text_stages(settings, choice),
        needs_token_budget=True,
        bound_tools=None if choice.mode == "none" else _build_bound_tools(settings),
        # A forced choice is advisory on Gemma 4 and can be answered with plain text (cloudflare/ai#561).
        fallback=constrained if choice.is_forced else None,
        form=form,
        unreliable_tools=not spec.function_calling,
    )


def _build_guided(settings: CallSettings, choice: ToolChoice) -> Strategy:
    form = _choose_form(settings)
    if not form.form.constrains:  # the server refused the others
        return replace(_build_prompted(settings, choice), fallback=None, form=form)
    answer = None if settings.answer is None or choice.is_forced else settings.answer.build_constraint_schema()
    parallel = settings.parallel_tool_calls is not False
    schema = build_guided_schema(settings.tools, choice, parallel=parallel, answer_schema=answer)
    tools = ToolNames.of(settings.tools)
    instructions = write_guided_instructions(settings.tools, choice, answer_schema=answer)
    if not form.form.carries_schema:
        instructions += "\n" + write_answer_instructions(schema)
    return Strategy(
        instructions,
        form.form.parameters(Answer("reply", schema)),
        json_answer=answer is not None,
        text_stages=(*_list_text_stages(settings), partial(GuidedCalls, tools.parameters, partial(TextStage, tools))),
        needs_token_budget=True,
        form=form,
        notation=get_guided_notation(one_call=choice.is_forced or not parallel, json_answer=answer is not None),
    )


def _build_prompted(settings: CallSettings, choice: ToolChoice) -> Strategy:
    instructions = write_calling_instructions(
        settings.tools, choice, parallel=settings.parallel_tool_calls is not False
    )
    if settings.answer is not None and not choice.is_forced:
        instructions += "\n" + settings.answer.write_instructions()
    constrained = choice.is_forced and settings.spec.constraint is not None
    return Strategy(
        instructions,
        json_answer=settings.answer is not None and not choice.is_forced,
        text_stages=_list_text_stages(settings, choice),
        needs_token_budget=True,
        fallback="guided_json" if constrained else None,
        notation=PROMPTED,
    )


STRATEGIES = {None: _build_plain, "native": _build_native, "guided_json": _build_guided, "prompt": _build_prompted}


def _list_text_stages(settings: CallSettings, choice: ToolChoice | None = None) -> tuple[Callable[[], Stage], ...]:
    """Return the stages that read thoughts, special tokens and, if the choice allows them, calls of bound tools."""
    spec = settings.spec
    tools = ToolNames.of(settings.tools if choice is not None and choice.mode != "none" else ())
    return (partial(TextStage, tools, get_markup(spec.family).thinking if spec.thinking else None),)


def _build_bound_tools(settings: CallSettings) -> BoundTools:
    """Return the facts about the tools that are needed to read the calls that the service parsed."""
    return BoundTools(ToolNames.of(settings.tools).parameters, STRING_TOKENS, unquotes=settings.spec.tool_role)


def find_forced(settings: CallSettings, choice: ToolChoice) -> frozenset[str] | None:
    """Return the tools of which one must be called; `None` if no call is forced."""
    if not choice.is_forced:
        return None
    return frozenset(map(get_tool_name, settings.tools)) if choice.name is None else frozenset({choice.name})
