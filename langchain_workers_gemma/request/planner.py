"""Plan the exchange of a call: build its request, and decide how its reply is read. Does no I/O.

There are two steps, since most calls of a model object differ in their messages only: `prepare` takes the settings and
returns a `Preparation`, which takes the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_workers_gemma.errors import APIStatusError
from langchain_workers_gemma.exchange.actions import FetchImages, Flow
from langchain_workers_gemma.exchange.chat import chat_exchange
from langchain_workers_gemma.exchange.request import CallRepair, Correction, Plan, Problem, Request
from langchain_workers_gemma.hosts import Route
from langchain_workers_gemma.request.content import ContentRules
from langchain_workers_gemma.request.images import ImageRules, find_remote_image_urls
from langchain_workers_gemma.request.model_input import (
    build_binding_options,
    build_input,
    describe_unset_limit,
    find_token_limits,
    get_only_prompt,
    is_thinking_on,
    merge_callers_keys,
    sets_token_limit,
)
from langchain_workers_gemma.request.notations import Notation
from langchain_workers_gemma.request.response_format import MAX_QUOTED, write_correction_request
from langchain_workers_gemma.request.server_limits import NO_SERVER_LIMITS, OwnParts, find_limits_after
from langchain_workers_gemma.request.settings import CallSettings
from langchain_workers_gemma.request.template_data import get_template_data
from langchain_workers_gemma.request.templates import build_messages, drop_thoughts
from langchain_workers_gemma.request.tool_methods import (
    STRATEGIES,
    Strategy,
    build_raw,
    choose_tool_method,
    find_forced,
    get_notation,
)
from langchain_workers_gemma.request.tool_prompts import write_call_correction
from langchain_workers_gemma.request.tools import find_argument_problem, get_tool_name, parse_choice
from langchain_workers_gemma.request.turns import Changes, History, Turn, TurnOptions, to_turns
from langchain_workers_gemma.response.builders import PROVIDER
from langchain_workers_gemma.response.events import Stage
from langchain_workers_gemma.response.reader import ReaderOptions
from langchain_workers_gemma.response.stages.opened_thought import OpenedThought
from langchain_workers_gemma.response.truncation import TokenLimits
from langchain_workers_gemma.tool_text.tokens import get_markup


def prepare(settings: CallSettings, *, stream: bool) -> Preparation:
    """Prepare a call as far as it does not depend on the messages.

    Args:
        settings: The call's settings.
        stream: Whether a stream is requested.

    Raises:
        ValueError: If the model does not support a setting.
    """
    settings = _apply_server_limits(settings)
    spec = settings.spec
    choice = parse_choice(settings.tool_choice, [get_tool_name(tool) for tool in settings.tools])
    if settings.raw:
        method = None
        strategy = build_raw(settings)
    else:
        method = choose_tool_method(settings, choice)
        strategy = STRATEGIES[method](settings, choice)
    native_stop = 0 < len(settings.stops) <= spec.stop and not settings.raw
    data = build_input(settings, strategy, native_stop=native_stop, stream=stream)
    return Preparation(
        settings=settings,
        strategy=strategy,
        data=data,
        options=build_binding_options(settings),
        stream=stream,
        forced=find_forced(settings, choice) if method else None,
        stops=() if native_stop else settings.stops,
        limits=find_token_limits({**data, **settings.extra}, _find_context_window(settings)),
        is_thinking=is_thinking_on(merge_callers_keys(dict(data), settings.extra)),
        route=settings.address.get_chat_route(settings.api),
        notation=get_notation(spec, strategy),
        turn_options=_build_turn_options(settings),
        unset_limit=describe_unset_limit(settings, data),
    )


def _apply_server_limits(settings: CallSettings) -> CallSettings:
    """Return the settings without the parts that the server refuses."""
    limits = settings.limits or settings.server_memory.get_limits(_make_server_key(settings))
    if limits == NO_SERVER_LIMITS:
        return settings
    spec = limits.apply_to(settings.spec, may_change_tools=settings.tool_calling == "auto")
    return replace(settings, spec=spec, limits=limits)


def _make_server_key(settings: CallSettings) -> Hashable:
    """Return the key under which the limits of a server are remembered."""
    address = settings.address
    return (address.host.name, address.base_url, settings.spec.id)


def _find_context_window(settings: CallSettings) -> int | None:
    """Return the context window from the server's errors or the published facts; `None` if not known."""
    seen = settings.limits and settings.limits.context_window
    return seen or settings.spec.usable_context


@dataclass(slots=True)
class Preparation:
    """A call prepared without its messages. It can be used for any number of calls.

    Attributes:
        settings: The settings of the calls.
        strategy: The parts that the tool method adds.
        data: The input without the messages and the caller's own keys.
        options: The options of a call of a binding, its third argument.
        stream: Whether a stream is requested.
        forced: Names of the tools of which one must be called, `None` if no call is forced.
        stops: Stop sequences that the client applies.
        limits: The limits on the reply's tokens.
        is_thinking: Whether the request switches thinking on.
        route: The path, and the form of request and response.
        notation: How calls, answers and results of a history are written.
        turn_options: How messages become turns, if no image has to be fetched.
        unset_limit: A description of the token limit that the caller did not set; `None` if the caller set one.
        repairs: Whether an answer in the wrong form is requested again.
        reader_options: How a reply is read.
    """

    settings: CallSettings
    strategy: Strategy
    data: Mapping[str, Any]
    options: Mapping[str, Any]
    stream: bool
    forced: frozenset[str] | None
    stops: tuple[str, ...]
    limits: TokenLimits
    is_thinking: bool
    route: Route
    notation: Notation
    turn_options: TurnOptions
    unset_limit: str | None
    repairs: bool = field(init=False)
    reader_options: ReaderOptions = field(init=False)

    def __post_init__(self) -> None:
        settings, strategy = self.settings, self.strategy
        self.repairs = strategy.json_answer and settings.max_repairs > 0 and not settings.keep_invalid_answer
        self.reader_options = ReaderOptions(stops=self.stops) if settings.raw else self._build_reader_options()

    def _build_reader_options(self) -> ReaderOptions:
        settings, strategy = self.settings, self.strategy
        return ReaderOptions(
            logprobs=bool(settings.logprobs),
            json_answer=strategy.json_answer,
            # A stream emits JSON as it arrives. An agent does not need that, so with tools it can still be corrected.
            withholds=None if not self.repairs else "all" if settings.tools or not self.stream else "not_json",
            stops=self.stops,
            text_stages=strategy.text_stages,
            forced=self.forced,
            keep_invalid_calls=settings.keep_invalid_calls,
            tools=strategy.bound_tools,
            parallel_tool_calls=settings.parallel_tool_calls is not False,
            withholds_calls=settings.repair_tool_calls and bool(settings.tools),
            limits=self.limits,
        )

    def plan(self, messages: Sequence[BaseMessage], *, inlined_images: Mapping[str, str] | None = None) -> Plan:
        """Return the plan of one call.

        Args:
            messages: The conversation.
            inlined_images: The `data:` URI of each http(s) image that was fetched.

        Raises:
            ValueError: If the model cannot read the messages; then nothing has been sent.
        """
        if self.settings.raw:
            return self._build_plan({"prompt": get_only_prompt(messages)}, History(messages))
        options = self.turn_options if inlined_images is None else _build_turn_options(self.settings, inlined_images)
        changes: Changes = []
        turns = to_turns(messages, options, changes)
        return self.plan_turns(turns, History(messages), changes)

    def flow(self, messages: Sequence[BaseMessage]) -> Flow:
        """Run the exchange of one call: fetch images if `inline_image_urls` is on, send the request, read the reply.

        Args:
            messages: The conversation.

        Raises:
            ValueError: If the model cannot read the messages; then nothing has been sent.
            WorkersGemmaError: If the call failed and could not be recovered by retrying.
        """
        urls = self.find_image_urls(messages)
        images = (yield FetchImages(urls)) if urls else {}
        yield from chat_exchange(self.plan(messages, inlined_images=images if self.settings.inline_images else None))

    def find_image_urls(self, messages: Sequence[BaseMessage]) -> list[str]:
        """Return the URLs of the images that must be fetched for a call."""
        if not self.settings.inline_images or not self.settings.spec.images:
            return []
        return find_remote_image_urls(messages)

    def plan_turns(self, turns: Sequence[Turn], history: History, changes: Sequence[str] = ()) -> Plan:
        """Return the plan of one call.

        Args:
            turns: The conversation as turns.
            history: The messages from which the turns were made.
            changes: Descriptions of the changes that were made so far.

        Raises:
            ValueError: If the model's template cannot render the turns.
        """
        strategy, settings = self.strategy, self.settings
        noted = list(changes)
        messages = build_messages(
            turns, settings.spec, self.notation, instructions=strategy.instructions, changes=noted
        )
        if settings.limits is not None and not settings.limits.thoughts:
            messages = drop_thoughts(messages, settings.spec)
        plan = self._build_plan({"messages": messages}, history)
        plan.changes = tuple(noted)
        plan.constrained = self._plan_after_missing_call(turns, history)
        plan.after_refusal = self._plan_after_refusal(turns, history)
        plan.without_refused = partial(self._plan_without_refused, turns, history, messages)
        plan.keep_limits = self._keep_limits
        if opening := self._list_opening_stages(turns):
            plan.reader_options = replace(plan.reader_options, text_stages=(*opening, *strategy.text_stages))
        if self.repairs and settings.answer is not None:
            plan.correction = Correction(settings.answer.find_problem, partial(self._plan_correction, turns, history))
        if self.reader_options.withholds_calls:
            plan.call_repair = self._plan_call_repair(turns, history)
        return plan

    def _list_opening_stages(self, turns: Sequence[Turn]) -> tuple[Callable[[], Stage], ...]:
        """Return the stage for a reply to tool results with thinking on, whose thought the prompt may have opened."""
        thinking = get_markup(self.settings.spec.family).thinking
        if not (turns and turns[-1].role == "tool" and self.is_thinking and thinking is not None):
            return ()
        if not get_template_data(self.settings.spec).opens_thoughts:
            return ()
        return (partial(OpenedThought, thinking.opening, thinking.name, thinking.closing),)

    def _plan_call_repair(self, turns: Sequence[Turn], history: History) -> CallRepair:
        """Return how an invalid call is requested again: with a constraint to its tool, if the model supports that."""
        tools = {get_tool_name(tool): tool for tool in self.settings.tools}

        def find_problem(name: str, arguments: Mapping[str, Any]) -> str | None:
            return find_argument_problem(tools[name], arguments) if name in tools else None

        def plan(name: str, text: str, why: str) -> Plan | None:
            if name not in tools:
                return None
            request_turn = Turn("user", (write_call_correction(name, text[:MAX_QUOTED], why),))
            method = "prompt" if self.settings.spec.constraint is None else "guided_json"
            return self._plan_again(
                [*turns, request_turn],
                history,
                tools=[tools[name]],
                tool_choice=name,
                tool_calling=method,
                answer=None,
                parallel_tool_calls=None,
                keep_invalid_calls=True,
                repair_tool_calls=False,
            )

        return CallRepair(find_problem, plan)

    def _plan_after_missing_call(self, turns: Sequence[Turn], history: History) -> Callable[[], Plan] | None:
        """Return a function that plans another request for a forced call: under a constraint, or in its next form."""
        if self.strategy.fallback is not None:
            return partial(self._plan_again, turns, history, tool_calling=self.strategy.fallback)
        form = self.strategy.form
        if self.forced is None or form is None or form.is_last:
            return None
        return partial(self._plan_again, turns, history, form=form.get_next())

    def _plan_after_refusal(self, turns: Sequence[Turn], history: History) -> Callable[[], Plan] | None:
        """Return a function that plans the request in the next form, after the server refused this one."""
        form = self.strategy.form
        if form is None or form.is_last or not self.settings.tries_forms:
            return None
        return partial(self._plan_again, turns, history, form=form.get_next())

    def _plan_without_refused(
        self, turns: Sequence[Turn], history: History, messages: Sequence[Mapping[str, Any]], error: APIStatusError
    ) -> Plan | None:
        """Return the plan of the request without the parts that the server refused and the caller did not set."""
        settings = self.settings
        sent = OwnParts(
            max_tokens=None if sets_token_limit(settings) else self.data.get("max_tokens"),
            context_window=_find_context_window(settings),
            stream_options="stream_options" in self.data and "stream_options" not in settings.extra,
            system_role=messages[0]["role"] == "system",
            thoughts=drop_thoughts(messages, settings.spec) != messages,
            tools="tools" in self.data and settings.tool_calling == "auto" and settings.spec.constraint is not None,
        )
        limits = find_limits_after(error, sent, settings.limits or NO_SERVER_LIMITS)
        return None if limits is None else self._plan_again(turns, history, limits=limits)

    def _keep_limits(self) -> None:
        """Remember the limits of the server for later calls."""
        if self.settings.limits is not None:
            self.settings.server_memory.keep_limits(_make_server_key(self.settings), self.settings.limits)

    def _plan_correction(self, turns: Sequence[Turn], history: History, text: str, problem: Problem) -> Plan:
        """Return the plan of another request for an answer: with the next form of the constraint, without tools."""
        reply_turns = [Turn("assistant", (text[:MAX_QUOTED],))] if text.strip() else []
        request_turn = Turn("user", (write_correction_request(problem.why),))
        form = self.strategy.form
        return self._plan_again(
            [*turns, *reply_turns, request_turn],
            history,
            tools=(),
            tool_choice=None,
            form=form if form is None or form.is_last else form.get_next(),
            max_repairs=self.settings.max_repairs - 1,
        )

    def _plan_again(self, turns: Sequence[Turn], history: History, **changes: Any) -> Plan:
        """Return the plan of another request with other settings."""
        return prepare(replace(self.settings, **changes), stream=self.stream).plan_turns(turns, history)

    def _build_plan(self, conversation: Mapping[str, Any], history: History) -> Plan:
        settings = self.settings
        request = Request(
            address=settings.address,
            route=self.route,
            model=settings.spec.id,
            data=merge_callers_keys({**conversation, **self.data}, settings.extra),
            headers=settings.headers,
            options=self.options,
            stream=self.stream,
        )
        return Plan(
            request=request,
            reader_options=self.reader_options,
            spec=settings.spec,
            retry=settings.retry,
            context=settings.context,
            metadata=self._build_metadata(),
            used_ids=history.get_call_ids,
            form=self.strategy.form,
            unset_limit=self.unset_limit,
            unreliable_tools=self.strategy.unreliable_tools,
        )

    def _build_metadata(self) -> dict[str, Any]:
        metadata = {"model_provider": PROVIDER, "model_name": self.settings.spec.id}
        if self.settings.keep_invalid_answer and self.strategy.form is not None:
            # `with_structured_output` continues with the next form.
            metadata["json_form"] = self.strategy.form.form.name
        return metadata


def _build_turn_options(settings: CallSettings, inlined_images: Mapping[str, str] | None = None) -> TurnOptions:
    spec = settings.spec
    return TurnOptions(
        content=ContentRules(
            ImageRules(spec.id, spec.images, inlined_images), notes=settings.unsupported_content == "note"
        ),
        replays_thoughts=settings.replay_reasoning == "tool_loop" and bool(get_template_data(spec).thought_keys),
    )
