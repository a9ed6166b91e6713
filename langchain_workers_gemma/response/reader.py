"""Read one reply: take payloads, return events, and handle the quirks of Gemma and its hosts.

The steps: decoder -> calls sent as data -> thoughts, special tokens and calls in the text -> JSON answer -> stop
sequences -> forced tool choice -> ledger of calls. Each step in between is a `Stage`, and is present only if this reply
needs it. No I/O happens here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_workers_gemma.response.decoder import FrameDecoder, get_logprobs, get_model_name
from langchain_workers_gemma.response.events import (
    CallsEnd,
    Event,
    Finish,
    GarbledCall,
    Reasoning,
    Stage,
    Text,
    ToolCallDelta,
    Usage,
)
from langchain_workers_gemma.response.stages.bound_calls import BoundCalls, BoundTools
from langchain_workers_gemma.response.stages.forced_call import ForcedCall
from langchain_workers_gemma.response.stages.json_answer import JsonAnswer, Withholding
from langchain_workers_gemma.response.stages.stop_sequences import StopSequences
from langchain_workers_gemma.response.tool_calls import CallLedger, FinishedCall
from langchain_workers_gemma.response.truncation import NO_LIMITS, TokenLimits, find_truncation
from langchain_workers_gemma.response.usage import UsageTally


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Options for reading a reply.

    Attributes:
        logprobs: Whether log probabilities are kept.
        json_answer: Whether JSON was requested, so that text around it must be removed.
        withholds: The part of such an answer that is kept from the caller, so that it can be requested again.
        stops: Stop sequences that the client applies.
        text_stages: Create the stages that find thoughts, special tokens and calls in the text.
        forced: Names of the tools of which one must be called, `None` if no call is forced.
        keep_invalid_calls: Whether a reply without a runnable forced call is returned instead of raising an error.
        tools: The bound tools whose calls the service parses, `None` if there are none.
        parallel_tool_calls: Whether more than one call may run.
        withholds_calls: Whether calls are kept from the caller, so that they can be requested again.
        limits: The limits on the reply's tokens.
    """

    logprobs: bool = False
    json_answer: bool = False
    withholds: Withholding | None = None
    stops: tuple[str, ...] = ()
    text_stages: tuple[Callable[[], Stage], ...] = ()
    forced: frozenset[str] | None = None
    keep_invalid_calls: bool = False
    tools: BoundTools | None = None
    parallel_tool_calls: bool = True
    withholds_calls: bool = False
    limits: TokenLimits = NO_LIMITS


class ReplyReader:
    """Reads one reply.

    Args:
        options: How to read it.
        used_ids: Returns the ids of tool calls that the conversation holds already; called at the first call.

    Attributes:
        tally: Its usage.
        finish_reason: Why it ended, as the service reported it.
        has_content: Whether any text, thought or call has arrived.
        logprobs: The log probabilities of its tokens, as the service sent them.
        model_name: The model's name, if the service sent it before or with the first content; else `None`.
        has_answer: Whether any text or call has arrived.
    """

    def __init__(self, options: ReaderOptions, used_ids: Callable[[], Collection[str]] = tuple) -> None:
        self.tally = UsageTally()
        self.finish_reason: str | None = None
        self.has_content = False
        self.logprobs: list[Any] = []
        self.model_name: str | None = None
        self.has_answer = False
        self._options = options
        self._finish_reasons: list[str] = []
        self._stop_reason: object = None
        self._has_usage = False
        self._ends_in_usage = False
        self._decoder = FrameDecoder()
        self._ledger = CallLedger(used_ids)
        self._forced = None if options.forced is None else ForcedCall(options.forced)
        stages: list[Stage] = []
        if options.tools is not None:
            stages.append(BoundCalls(options.tools, lambda: self.truncation is not None))
        stages.extend(make() for make in options.text_stages)
        self._answer = JsonAnswer(options.withholds) if options.json_answer else None
        if self._answer is not None:
            stages.append(self._answer)
        if options.stops:
            stages.append(StopSequences(options.stops))
        if self._forced is not None:
            stages.append(self._forced)
        self._stages = tuple(stages)

    def read_frame(self, frame: Mapping[str, Any]) -> list[Event]:
        """Return the events in one parsed payload of a stream.

        Raises:
            ToolCallLimitError: If the reply holds more calls than any model would make.
        """
        if not (self.has_content or self.model_name):  # the first chunk carries the name, however packets are split
            self.model_name = get_model_name(frame)
        if self._options.logprobs:
            self.logprobs += get_logprobs(frame)
        events = self._decoder.decode_frame(frame)
        if self._ends_in_usage or (events and type(events[-1]) is Usage):
            self._note_usage(events)
        return self._collect(self._run_stages(events))

    def read_whole(self, result: object) -> list[Event]:
        """Return the events of a whole reply.

        Args:
            result: The response body without its envelope.

        Raises:
            UnknownShapeError: If it has no known form.
            ToolCallLimitError: If it holds more calls than any model would make.
        """
        if self._options.logprobs:
            self.logprobs += get_logprobs(result)
        self.model_name = get_model_name(result)
        return self._collect(self._run_stages(self._decoder.decode_whole(result)))

    def flush(self) -> list[Event]:
        """End the reply and return the events that the stages held back."""
        events: list[Event] = []
        for position, stage in enumerate(self._stages):
            events.extend(self._run_stages(stage.flush(), position + 1))
        return self._collect(events)

    def get_finished_calls(self, *, interruption: str | None = None) -> list[FinishedCall]:
        """Return the calls of the reply, each with the reason if it must not run. Call it after the reply has ended.

        Args:
            interruption: Why the stream was interrupted, `None` if it was not.
        """
        if not self._ledger.calls:
            return []
        return self._ledger.finish(
            self.truncation, interruption=interruption, parallel=self._options.parallel_tool_calls
        )

    @property
    def truncation(self) -> str | None:
        """Why the reply was truncated, `None` if there is no sign of it. Known after the reply has ended."""
        tally = self.tally
        return find_truncation(
            self._options.limits, self._finish_reasons, self._stop_reason, tally.output_tokens, tally.total_tokens
        )

    @property
    def lacks_claimed_calls(self) -> bool:
        """Whether the service reported calls to the bound tools as the finish reason, but sent none."""
        claims_calls = self.finish_reason == "tool_calls" and self._options.tools is not None
        return claims_calls and not self._ledger.calls and self.truncation is None

    @property
    def has_ended(self) -> bool:
        """Whether the service reported that the reply is over: by a finish reason, or a final usage report."""
        return self.finish_reason is not None or self._ends_in_usage

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all has arrived: no text, no thought, no call."""
        return not (self.has_content or self.text_instead_of_call or self.withheld_answer)

    @property
    def effective_finish_reason(self) -> str:
        """The finish reason, or the one that follows from the reply."""
        return self.finish_reason or ("tool_calls" if self._ledger.calls else "stop")

    @property
    def lacks_forced_call(self) -> bool:
        """Whether a call was forced and none has begun, so that requesting again may help."""
        return self._forced is not None and not self._forced.has_begun

    @property
    def text_instead_of_call(self) -> str:
        """The text that the model wrote instead of a forced call."""
        return "" if self._forced is None else self._forced.text_instead_of_call

    @property
    def withheld_answer(self) -> str | None:
        """The answer that was kept from the caller; `None` if there is none."""
        return None if self._answer is None else self._answer.withheld

    @property
    def is_json_truncated(self) -> bool:
        """Whether a JSON answer was truncated, even if it parses: some engines close JSON that they truncate.

        Text after the JSON, even white space, shows that the model wrote all of it.
        """
        return self._answer is not None and not self._answer.is_followed and self.truncation is not None

    def take_withheld_text(self) -> list[Event]:
        """Return the text that was kept from the caller: text instead of a forced call, and the withheld answer."""
        text = self.text_instead_of_call + (self.withheld_answer or "")
        return [Text(text)] if text else []

    def lacks_runnable_forced_call(self, calls: Sequence[FinishedCall]) -> bool:
        """Return whether a call was forced, and none of these calls to the forced tools can run."""
        if self._forced is None or (self._options.keep_invalid_calls and self._forced.has_begun):
            return False
        names = self._forced.names
        return not any(call.name in names and call.error is None for call in calls)

    def _note_usage(self, events: Sequence[Event]) -> None:
        """Distinguish a final usage report from reports on every piece of content."""
        has_report = bool(events) and type(events[-1]) is Usage
        has_content = any(isinstance(event, Text | Reasoning | ToolCallDelta) for event in events)
        if has_report or has_content:
            self._ends_in_usage = has_report and not (has_content and self._has_usage)
            self._has_usage = self._has_usage or has_report

    def _run_stages(self, events: Sequence[Event], first: int = 0) -> Sequence[Event]:
        for stage in self._stages[first:] if first else self._stages:
            if len(events) == 1:
                events = stage.feed(events[0])
            else:
                events = [ready for event in events for ready in stage.feed(event)]
        return events

    def _collect(self, events: Iterable[Event]) -> list[Event]:
        """Record calls, usage and finish reasons, and return the events for the caller."""
        ready: list[Event] = []
        for event in events:
            if type(event) is Text:
                self.has_content = self.has_answer = True
                ready.append(event)
            elif isinstance(event, ToolCallDelta):
                self.has_content = self.has_answer = True
                recorded = self._ledger.record(event)
                if not self._options.withholds_calls:
                    ready.append(recorded)
            elif isinstance(event, Usage):
                self.tally.add(event.report)
            elif isinstance(event, Finish):
                self.finish_reason = self.finish_reason or event.reason or None
                self._finish_reasons.append(event.reason)
                self._stop_reason = self._stop_reason if event.stop_reason is None else event.stop_reason
            elif isinstance(event, CallsEnd):
                self._ledger.end_calls()
            elif isinstance(event, GarbledCall):
                self._ledger.mark_garbled(event.index)
            else:
                self.has_content = True
                ready.append(event)
        return ready
