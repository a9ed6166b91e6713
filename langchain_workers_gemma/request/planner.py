"""From a call's settings and messages to the plan of its exchange: what is sent, and how the reply is read. Pure.

In two steps, since most calls of a model object differ in their messages only: `prepare` takes the settings, the
`Preparation` that it gives takes the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.request import Plan, Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.gateway import AIGateway
from langchain_workers_gemma.hosts import Address, Api
from langchain_workers_gemma.models import GemmaModel
from langchain_workers_gemma.request.guided_schema import guided_schema
from langchain_workers_gemma.request.response_format import Answer, constraint_parameters
from langchain_workers_gemma.request.templates import to_wire
from langchain_workers_gemma.request.tool_prompts import (
    answer_instructions,
    calling_instructions,
    guided_instructions,
)
from langchain_workers_gemma.request.tools import ToolChoice, ToolMethod, parse_choice, tool_name, wire_tool
from langchain_workers_gemma.request.turns import History, ImageRules, Turn, to_turns
from langchain_workers_gemma.response.builders import PROVIDER
from langchain_workers_gemma.response.events import Stage
from langchain_workers_gemma.response.reader import Reading
from langchain_workers_gemma.response.stages.guided_calls import GuidedCalls
from langchain_workers_gemma.tool_text.written import WrittenCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Everything that decides one call, validated, beside its messages.

    Attributes:
        facts: What is known of the model.
        api: The request's dialect.
        address: Where requests go.
        parameters: Sampling parameters that are set.
        stops: Stop sequences.
        tools: Bound tools in OpenAI's form.
        tool_choice: The choice among them, in any form.
        parallel_tool_calls: Whether several calls may come at once; `None` if not said.
        tool_calling: How tools reach the model.
        answer: The form that the answer must have.
        keep_broken_calls: Whether what came in place of a forced call that can run is given back rather than raised.
        thinking: Whether Gemma 4 thinks.
        reasoning_effort: Passed where the model has it.
        lora: The LoRA adapter.
        raw: Whether one prompt is sent without a chat template.
        gateway: The AI Gateway.
        reject_if_busy: Whether the service shall refuse rather than wait.
        headers: Headers of every request.
        extra: Further keys of the input, as the caller gave them.
        retry: Which failures are tried again.
        context: What makes an error's advice exact.
    """

    facts: GemmaModel
    api: Api
    address: Address
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: object = None
    parallel_tool_calls: bool | None = None
    tool_calling: str = "auto"
    answer: Answer | None = None
    keep_broken_calls: bool = False
    thinking: bool | None = None
    reasoning_effort: str | None = None
    lora: str | None = None
    raw: bool | None = None
    gateway: AIGateway | None = None
    reject_if_busy: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    context: ErrorContext = field(default_factory=ErrorContext)


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one way of asking adds to the messages, the input and the reading."""

    instructions: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    json_answer: bool = False
    call_reader: Callable[[], Stage] | None = None
    roomy: bool = False  # the reply is JSON, which must not be cut at the service's default
    fallback: ToolMethod | None = None
    unreliable_tools: bool = False


def prepare(settings: CallSettings, *, stream: bool) -> Preparation:
    """Work out what does not depend on the messages.

    Args:
        settings: The call's settings.
        stream: Whether a stream is asked for.

    Raises:
        ValueError: If the model cannot take what it is given.
    """
    facts = settings.facts
    choice = parse_choice(settings.tool_choice, [tool_name(tool) for tool in settings.tools])
    if settings.raw:
        method = None
        ask = _raw(settings)
    else:
        method = tool_method(settings, choice)
        ask = _ASKS[method](settings, choice)
    native_stop = 0 < len(settings.stops) <= facts.stop and not settings.raw
    return Preparation(
        settings=settings,
        ask=ask,
        data=_input(settings, ask, native_stop=native_stop, stream=stream),
        options=_binding_options(settings),
        stream=stream,
        stops=() if native_stop else settings.stops,
        forced=_forced(settings, choice) if method else None,
    )


@dataclass(frozen=True, slots=True)
class Preparation:
    """A call worked out as far as it goes without its messages. Serves any number of calls.

    Attributes:
        settings: The settings of the calls.
        ask: What their way of asking adds.
        data: The input beside the messages and the caller's own keys.
        options: What a binding takes as its third argument.
        stream: Whether a stream is asked for.
        stops: Stop sequences to apply on our side.
        forced: Names of the tools of which one must be called, `None` where none must.
    """

    settings: CallSettings
    ask: _Ask
    data: Mapping[str, Any]
    options: Mapping[str, Any]
    stream: bool
    stops: tuple[str, ...]
    forced: frozenset[str] | None

    def plan(self, messages: Sequence[BaseMessage], *, inlined_images: Mapping[str, str] | None = None) -> Plan:
        """The plan of one call.

        Args:
            messages: The conversation.
            inlined_images: The `data:` URI of each http(s) image that was fetched.

        Raises:
            ValueError: If the model cannot take the messages; nothing has been sent then.
        """
        if self.settings.raw:
            return self._plan({"prompt": _only_prompt(messages)}, Reading(stops=self.stops))
        rules = ImageRules(self.settings.facts.id, self.settings.facts.images, inlined_images)
        history = History(messages)
        return self.plan_of_turns(to_turns(history, rules), history)

    def plan_of_turns(self, turns: Sequence[Turn], history: History) -> Plan:
        """The plan of one call.

        Args:
            turns: The conversation.
            history: The conversation that they were made of.

        Raises:
            ValueError: If the model's template cannot take the turns.
        """
        ask = self.ask
        reading = Reading(
            thinking=self.settings.facts.thinking,
            json_answer=ask.json_answer,
            stops=self.stops,
            call_reader=ask.call_reader,
            forced=self.forced,
            keep_broken_calls=self.settings.keep_broken_calls,
            used_ids=lambda: history.names,
        )
        constrained = None if ask.fallback is None else partial(self._constrained, ask.fallback, turns, history)
        wire = to_wire(turns, self.settings.facts, instructions=ask.instructions)
        return self._plan({"messages": wire}, reading, constrained)

    def _constrained(self, method: ToolMethod, turns: Sequence[Turn], history: History) -> Plan:
        """The plan of asking again."""
        again = prepare(replace(self.settings, tool_calling=method), stream=self.stream)
        return again.plan_of_turns(turns, history)

    def _plan(
        self, conversation: Mapping[str, Any], reading: Reading, constrained: Callable[[], Plan] | None = None
    ) -> Plan:
        settings = self.settings
        request = Request(
            address=settings.address,
            route=settings.address.chat(settings.api),
            model=settings.facts.id,
            data=_with_callers_keys({**conversation, **self.data}, settings.extra),
            headers=settings.headers,
            options=self.options,
            stream=self.stream,
        )
        return Plan(
            request=request,
            reading=reading,
            facts=settings.facts,
            retry=settings.retry,
            context=settings.context,
            metadata={"model_provider": PROVIDER, "model_name": settings.facts.id},
            constrained=constrained,
            unreliable_tools=self.ask.unreliable_tools,
        )


def tool_method(settings: CallSettings, choice: ToolChoice) -> ToolMethod | None:
    """How bound tools reach this model in this call; `None` where none do.

    Raises:
        ValueError: If the method asked for is one that the model does not have.
    """
    facts = settings.facts
    asked = settings.tool_calling
    if asked == "native" and not facts.tools:
        raise ValueError(
            f"tool_calling='native' needs a model with tools; {facts.id} has none: use 'prompt' or 'auto'."
        )
    if asked == "guided_json" and facts.constraint is None:
        raise ValueError(
            f"tool_calling='guided_json' needs a model with guided_json or response_format; {facts.id} has neither: "
            "use 'prompt' or 'auto'."
        )
    if not settings.tools:
        return None
    if choice.mode == "none" and not (facts.tool_choice and asked in ("auto", "native")):
        return None
    if asked in ("guided_json", "prompt"):
        return "guided_json" if asked == "guided_json" else "prompt"
    constrained: ToolMethod = "prompt" if facts.constraint is None else "guided_json"
    # Without `tool_choice` only constrained decoding forces a call; and `guided_json` beside native tools would forbid
    # every call, since it constrains the whole reply.
    if not facts.tool_choice and (choice.is_forced or settings.answer is not None):
        return constrained
    return "native" if facts.tools else "prompt"


# --- Ways of asking ---------------------------------------------------------------------------------------------------


def _without_tools(settings: CallSettings, _choice: ToolChoice) -> _Ask:
    answer = settings.answer
    if answer is None:
        return _Ask()
    parameters = constraint_parameters(answer, settings.facts)
    instructions = "" if parameters else answer_instructions(answer.told_schema())
    return _Ask(instructions, parameters, json_answer=True, roomy=True)


def _raw(settings: CallSettings) -> _Ask:
    facts = settings.facts
    if not facts.raw or settings.api != "native":
        raise ValueError(f"raw=True: {facts.id} takes no raw prompt on the {settings.api} API of {facts.host}.")
    if settings.tools or settings.answer is not None:
        raise ValueError("raw=True applies no chat template, so tools and structured output have no place in it.")
    return _Ask(data={"raw": True})


def _native(settings: CallSettings, choice: ToolChoice) -> _Ask:
    facts = settings.facts
    data: dict[str, Any] = {"tools": [wire_tool(tool, strict_allowed=facts.tool_choice) for tool in settings.tools]}
    if settings.tool_choice is not None and facts.tool_choice:
        data["tool_choice"] = choice.wire()
    if settings.parallel_tool_calls is not None:
        if facts.tool_choice:
            data["parallel_tool_calls"] = settings.parallel_tool_calls
        elif not settings.parallel_tool_calls:
            raise ValueError(
                f"parallel_tool_calls=False: {facts.id} has no such parameter. "
                'Use tool_calling="guided_json" or "prompt", which ask for one call at a time.'
            )
    if settings.answer is not None:
        data |= constraint_parameters(settings.answer, facts)
    constrained: ToolMethod | None = "guided_json" if facts.constraint is not None else None
    return _Ask(
        data=data,
        json_answer=settings.answer is not None,
        call_reader=_written_calls(settings, choice),
        roomy=choice.is_forced or settings.answer is not None,
        # A forced choice is advisory on Gemma 4 and can come back as prose (cloudflare/ai#561).
        fallback=constrained if choice.is_forced else None,
        unreliable_tools=not facts.function_calling,
    )


def _guided(settings: CallSettings, choice: ToolChoice) -> _Ask:
    answer = None if settings.answer is None or choice.is_forced else settings.answer.engine_schema()
    parallel = settings.parallel_tool_calls is not False
    schema = guided_schema(settings.tools, choice, parallel=parallel, answer_schema=answer)
    names = frozenset(map(tool_name, settings.tools))
    return _Ask(
        guided_instructions(settings.tools, choice, answer_schema=answer),
        constraint_parameters(Answer("reply", schema), settings.facts),
        call_reader=partial(GuidedCalls, names),
        roomy=True,
    )


def _prompted(settings: CallSettings, choice: ToolChoice) -> _Ask:
    instructions = calling_instructions(settings.tools, choice, parallel=settings.parallel_tool_calls is not False)
    if settings.answer is not None:
        instructions += "\n" + answer_instructions(settings.answer.told_schema())
    constrained = choice.is_forced and settings.facts.constraint is not None
    return _Ask(
        instructions,
        json_answer=settings.answer is not None,
        call_reader=_written_calls(settings, choice),
        roomy=choice.is_forced or settings.answer is not None,
        fallback="guided_json" if constrained else None,
    )


_ASKS = {None: _without_tools, "native": _native, "guided_json": _guided, "prompt": _prompted}


def _written_calls(settings: CallSettings, choice: ToolChoice) -> Callable[[], Stage] | None:
    """Calls written as text are recovered whenever tools are bound and may be called."""
    return None if choice.mode == "none" else partial(WrittenCalls, settings.tools)


def _forced(settings: CallSettings, choice: ToolChoice) -> frozenset[str] | None:
    """The tools of which one must be called; `None` where none must."""
    if not choice.is_forced:
        return None
    return frozenset(map(tool_name, settings.tools)) if choice.name is None else frozenset({choice.name})


# --- The input --------------------------------------------------------------------------------------------------------

_ROOM = 4096  # tokens for a reply in JSON
_ROOM_TO_THINK = 8192  # and for what a thinking model thinks before it, which counts too


def _parameters(settings: CallSettings, *, roomy: bool) -> dict[str, Any]:
    facts = settings.facts
    data = dict(settings.parameters)
    if roomy and "max_tokens" not in data:
        room = _ROOM + (_ROOM_TO_THINK if facts.thinking and settings.thinking is not False else 0)
        data["max_tokens"] = min(room, (facts.usable_context or 2 * room) // 2)
    if settings.thinking is not None:
        if not facts.thinking:
            raise ValueError(f"thinking: {facts.id} has no thinking to switch. Leave it out, or use a Gemma 4.")
        data["chat_template_kwargs"] = {"enable_thinking": settings.thinking}
    if settings.reasoning_effort is not None:
        if facts.reasoning_effort is False:
            raise ValueError(f"reasoning_effort: {facts.id} has no levels of effort. Leave it out.")
        data["reasoning_effort"] = settings.reasoning_effort
    if settings.lora is not None:
        if not facts.lora or settings.api != "native":
            raise ValueError(f"lora: {facts.id} takes no LoRA on the {settings.api} API of {facts.host}.")
        data["lora"] = settings.lora
    return data


def _only_prompt(messages: Sequence[BaseMessage]) -> str:
    only = messages[0] if len(messages) == 1 else None
    if not isinstance(only, HumanMessage) or not isinstance(only.content, str) or not only.content:
        raise ValueError("raw=True sends one prompt: the input must be one string, or one HumanMessage that holds one.")
    return only.content


_JOINED = ("chat_template_kwargs", "options", "stream_options")  # keys whose values are options of their own


def _input(settings: CallSettings, ask: _Ask, *, native_stop: bool, stream: bool) -> dict[str, Any]:
    """The input beside the messages and the caller's own keys."""
    data = {**_parameters(settings, roomy=ask.roomy), **ask.data}
    if native_stop:
        data["stop"] = list(settings.stops)
    if stream:
        data["stream"] = True
        if settings.api == "openai" or settings.facts.stream_options:
            data["stream_options"] = {"include_usage": True}
    if settings.reject_if_busy:
        data["options"] = {"rejectIfBusy": True}
    return data


def _with_callers_keys(data: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in extra.items():
        ours = data.get(key)
        joined = key in _JOINED and isinstance(ours, Mapping) and isinstance(value, Mapping)
        data[key] = {**ours, **value} if joined and ours else value
    return data


def _binding_options(settings: CallSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.reject_if_busy:
        options["rejectIfBusy"] = True
    if settings.gateway is not None:
        options["gateway"] = settings.gateway.binding_options()
    return options
