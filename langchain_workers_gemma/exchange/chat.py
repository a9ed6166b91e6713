"""Run the exchange of one chat call, without I/O: decide what is sent, and when it is sent again.

`chat_exchange` is a generator of actions (see `actions.py`). A driver executes each action and sends its result to the
generator, or throws the error into it. So retries, reading and requesting again are written once for sync, async and
the binding.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_workers_gemma.errors import APIStatusError, BadRequestError, ConstraintRefusedError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import Action, Deliver, Flow
from langchain_workers_gemma.exchange.advice import add_advice, find_advice, make_missing_call_error
from langchain_workers_gemma.exchange.attempts import run_with_retries
from langchain_workers_gemma.exchange.refusals import refuses_constraint
from langchain_workers_gemma.exchange.request import Plan, Problem
from langchain_workers_gemma.exchange.response_metadata import build_begin, build_end
from langchain_workers_gemma.exchange.single import SingleExchange
from langchain_workers_gemma.response.builders import Piece
from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.response.tool_calls import FinishedCall
from langchain_workers_gemma.response.usage import UsageTally

logger = logging.getLogger(__name__)


def chat_exchange(plan: Plan) -> Flow:
    """Run the exchange of one chat call.

    Raises:
        WorkersGemmaError: If the call failed and could not be recovered by retrying.
    """
    return ChatExchange(plan).run()


class ChatExchange(SingleExchange):
    """One chat call: its requests, their retries, and the reply that is delivered.

    Args:
        plan: The plan of the call.
    """

    __slots__ = ("_is_stream", "_spent")

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._is_stream = plan.request.stream
        self._spent: list[UsageTally] = []  # the usage of replies that could not be used: they are billed as well

    def run(self) -> Flow:
        """Send the request, read the response, request again if the plan requires it, and deliver the reply.

        Raises:
            WorkersGemmaError: If the call failed and could not be recovered by retrying.
        """
        yield from self._send_in_forms()
        if self._reader.lacks_forced_call and self._plan.constrained is not None:
            logger.info("the reply has no forced call; requesting it once more")
            yield from self._send_again(self._plan.constrained())
        elif self._plan.requests_missing_calls and self._reader.lacks_claimed_calls:
            yield from self._request_claimed_calls()
        calls = yield from self._repair_calls()
        if self._reader.lacks_runnable_forced_call(calls):
            if not self._plan.reader_options.keep_invalid_calls:
                raise make_missing_call_error(self._plan, self._reader)
            yield from self._deliver(self._reader.take_withheld_text())
        yield from self._correct_answer()
        if self._surrogates is not None:
            yield from self._deliver(self._surrogates.flush())
        advice = find_advice(self._plan, self._reader)
        if advice is not None:
            logger.warning("%s", advice)
        yield from self._finish(calls)

    def _finish(self, calls: Sequence[FinishedCall]) -> Generator[Action, Any, None]:
        if self._plan.reader_options.withholds_calls:
            yield from self._deliver([ToolCallDelta(one.position, one.id, one.name, one.text) for one in calls])
        invalidating = [call.invalidating_delta for call in calls if call.invalidating_delta] if self._is_stream else []
        ending: list[Piece] = [*invalidating, build_end(self._plan, self._head, self._reader, self._spent, calls)]
        yield Deliver(ending if self._begun else [build_begin(self._plan, self._head, self._reader), *ending])

    # --- Requesting again ---

    def _request_claimed_calls(self) -> Generator[Action, Any, None]:
        """Request a reply once more, without a stream, if its finish reason is `tool_calls` but it holds none.

        The streams of some engines lose calls that their parsers cannot read; whole replies hold them as text
        (`docs/wire.md` section 10).
        """
        logger.info("the finish reason is tool_calls, but the reply has none; requesting it once more without a stream")
        first = self._reader
        self._plan = replace(self._plan, request=self._plan.request.without_stream())
        self._withheld = []
        yield from self._send_with_retries()
        events, self._withheld = self._withheld, None
        if self._reader.get_finished_calls():
            self._spent.append(first.tally)
            yield from self._deliver(_select_new_events(events, self._delivered))
        else:  # keep what the first reply delivered
            self._spent.append(self._reader.tally)
            self._reader = first

    def _send_again(self, plan: Plan) -> Generator[Action, Any, None]:
        self._spent.append(self._reader.tally)
        self._plan = plan
        yield from self._send_in_forms()

    def _send_in_forms(self) -> Generator[Action, Any, None]:
        """Send the request. If the server refuses the form of the constraint, or another part, send without it."""
        is_refused = is_limited = False
        while True:
            try:
                yield from self._send_with_retries()
            except WorkersGemmaError as error:
                if (plan := self._plan_without_refused(error)) is not None:
                    logger.info("the server refused a part of the request; sending it without that part: %s", error)
                    self._plan, is_limited = plan, True
                elif self._plan.after_refusal is not None and self._is_refusal(error):
                    logger.info("the server refused the form of the constraint; sending the next form: %s", error)
                    self._plan, is_refused = self._plan.after_refusal(), True
                else:
                    raise self._to_refusal_error(error, is_refused=is_refused) from error.__cause__
            else:
                if is_refused and self._plan.form is not None:
                    self._plan.form.mark_working()
                if is_limited and self._plan.keep_limits is not None:
                    self._plan.keep_limits()
                return

    def _plan_without_refused(self, error: WorkersGemmaError) -> Plan | None:
        """Return the plan of the request without the part that the server refused; `None` if there is no such part."""
        refused = self._plan.without_refused
        if refused is None or not isinstance(error, APIStatusError) or not self._is_nothing_delivered:
            return None
        return refused(error)

    def _to_refusal_error(self, error: WorkersGemmaError, *, is_refused: bool) -> WorkersGemmaError:
        """Return `ConstraintRefusedError` if the server refused the constraint in every form, else the error itself."""
        constrains = self._plan.form is not None and self._plan.form.constrains
        is_last_refusal = is_refused or (constrains and self._is_refusal(error))
        return ConstraintRefusedError.of(error) if is_last_refusal and type(error) is BadRequestError else error

    def _is_refusal(self, error: WorkersGemmaError) -> bool:
        """Return whether the server may have refused the constraint, and nothing was delivered."""
        is_about_constraint = isinstance(error, APIStatusError) and refuses_constraint(error)
        return self._plan.form is not None and self._is_nothing_delivered and is_about_constraint

    def _repair_calls(self) -> Generator[Action, Any, list[FinishedCall]]:
        """Request calls that cannot run or do not match their schema again, with a constraint to the tool."""
        calls = self._reader.get_finished_calls()
        repair = self._plan.call_repair
        if repair is None:
            return calls
        allowed = calls if self._plan.reader_options.parallel_tool_calls else calls[:1]
        for at, call in enumerate(allowed):
            problem = call.error if call.arguments is None else repair.problem(call.name, call.arguments)
            plan = None if problem is None else repair.plan(call.name, call.text, problem)
            if plan is not None:
                logger.info("a call of %s cannot be used; requesting it once more: %s", call.name, problem)
                calls[at] = (yield from self._repair_call(plan, call)) or call
        return calls

    def _repair_call(self, plan: Plan, call: FinishedCall) -> Generator[Action, Any, FinishedCall | None]:
        """Request one call separately. Return it, or `None` if it is still not usable."""
        kept = self._plan, self._reader, self._head
        self._plan, self._withheld = plan, []
        try:
            yield from self._send_in_forms()
        except WorkersGemmaError as error:
            logger.warning("a call of %s cannot be used, and requesting it once more failed: %s", call.name, error)
            return None
        else:
            self._spent.append(self._reader.tally)
            repaired = next((one for one in self._reader.get_finished_calls() if one.name == call.name), None)
        finally:
            (self._plan, self._reader, self._head), self._withheld = kept, None
        repair = self._plan.call_repair
        if repaired is None or repaired.arguments is None or repair is None:
            return None
        fits = repair.problem(repaired.name, repaired.arguments) is None
        return replace(repaired, position=call.position, id=call.id) if fits else None

    def _correct_answer(self) -> Generator[Action, Any, None]:
        """Request an answer again if it does not have the requested form, then deliver the text that was withheld."""
        is_ignored, correction = False, self._plan.correction
        while (again := self._plan_correction()) is not None:
            plan, problem = again
            logger.info("the answer does not have the requested form; requesting it again: %s", problem.why)
            is_ignored = problem.is_ignored_constraint
            yield from self._send_again(plan)
        answer = self._reader.withheld_answer
        is_correct = correction is None or answer is None or correction.problem(answer) is None
        if is_ignored and is_correct and self._plan.form is not None:
            self._plan.form.mark_working()
        if self._reader.withheld_answer:
            yield from self._deliver(self._reader.take_withheld_text())

    def _plan_correction(self) -> tuple[Plan, Problem] | None:
        """Return the plan of another request and the problem; `None` if the answer is correct or was truncated."""
        correction, answer = self._plan.correction, self._reader.withheld_answer
        if correction is None or answer is None or self._reader.truncation is not None:
            return None
        problem = correction.problem(answer)
        return None if problem is None else (correction.plan(answer, problem), problem)

    # --- Attempts ---

    def _send_with_retries(self) -> Generator[Action, Any, None]:
        delivered_before = len(self._delivered)

        def has_delivered_nothing() -> bool:
            return len(self._delivered) == delivered_before

        def may_retry(error: WorkersGemmaError) -> bool:
            is_refusal = self._plan.after_refusal is not None and self._is_refusal(error)
            return has_delivered_nothing() and not is_refusal and self._plan_without_refused(error) is None

        try:
            yield from run_with_retries(self._attempt, self._plan.retry, may_retry=may_retry)
        except APIStatusError as error:  # the service reported the cause
            raise add_advice(self._plan, error) if has_delivered_nothing() else error from error.__cause__
        except WorkersGemmaError as error:
            if has_delivered_nothing():
                raise
            raise self._make_interrupted_error(error) from error


def _select_new_events(events: Iterable[Event], delivered: Iterable[Piece]) -> list[Event]:
    """Return the events of a second reply without those that the first reply has delivered."""
    delivered = list(delivered)
    delivered_text = "".join(piece.text for piece in delivered if isinstance(piece, Text)).rstrip()
    has_thoughts = any(isinstance(piece, Reasoning) for piece in delivered)
    new: list[Event] = []
    text = ""
    for event in events:
        if isinstance(event, Text):
            text += event.text
        elif isinstance(event, ToolCallDelta) or (isinstance(event, Reasoning) and not has_thoughts):
            new.append(event)
    rest = text.removeprefix(delivered_text) if text.startswith(delivered_text) else ""
    return [Text(rest), *new] if rest.strip() else new
