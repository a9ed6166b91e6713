"""Middleware for agents that are created with `langchain.agents.create_agent`.

This is the only module of the package that imports `langchain`; install it with the extra `agents`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from typing import Annotated, Any, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, InvalidToolCall, ToolCall, ToolMessage
from typing_extensions import TypedDict

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
    from langchain.agents.middleware.types import PrivateStateAttr
    from langchain.agents.structured_output import StructuredOutputValidationError
    from langgraph.runtime import Runtime
except ImportError as error:  # pragma: no cover - depends on what is installed
    raise ImportError(
        'langchain_workers_gemma.middleware needs LangChain: pip install "langchain-workers-gemma[agents]"'
    ) from error

__all__ = ["ToolCallGuard"]


class _Record(TypedDict):
    """The counts of one run. They are part of the agent's state, so that checkpoints hold them."""

    invalid: int  # consecutive replies with an invalid call and without a call that could run
    calls: dict[str, int]  # the number of times that each call was made since the last new call, by its digest
    answer_now: bool  # whether the next request has no tools


class _GuardState(AgentState[Any]):
    tool_call_guard: NotRequired[Annotated[_Record, PrivateStateAttr]]


@dataclass(slots=True)
class _Decision:
    """The decision about the calls of one reply.

    Attributes:
        results: The results of the calls that do not run.
        proceeds: Whether at least one call runs, or LangChain has handled it.
        repeated: Names of the tools whose calls were refused as repeats.
        invalid: Names of the tools whose calls were invalid.
    """

    results: list[ToolMessage] = field(default_factory=list)
    proceeds: bool = False
    repeated: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)


class ToolCallGuard(AgentMiddleware[_GuardState, Any]):
    """Lets an agent continue after an invalid tool call, and stops it from repeating identical calls.

    An agent ends when a reply has no valid tool call, so a truncated or malformed call ends it without an answer. This
    middleware returns an error to the model that names the problem, up to `max_invalid` times in a row.

    An agent runs a call as often as the model requests it. This middleware runs an identical call at most
    `max_repeats` times while the agent calls nothing new. Then it refuses the call and requests an answer without
    tools. If neither helps, the run ends with a message about it.

    Every call, valid or not, has a result in the history, so that the history is valid for every chat template. The
    counts belong to one run and are stored in its checkpoints: a resumed run continues them, a new run starts at zero.

    Args:
        max_invalid: The maximum number of consecutive replies without a valid call that the model may correct.
        max_repeats: The number of times that an identical call runs before it is refused. A call that is new in this
            run resets the counts.

    Raises:
        ValueError: If a limit is not an integer, `max_invalid` is negative or `max_repeats` is less than 1.

    Example:
        ```python
        from langchain.agents import create_agent
        from langchain_workers_gemma import ChatWorkersGemma
        from langchain_workers_gemma.middleware import ToolCallGuard

        agent = create_agent(ChatWorkersGemma(), [get_weather], middleware=[ToolCallGuard()])
        ```
    """

    state_schema = _GuardState

    def __init__(self, max_invalid: int = 2, max_repeats: int = 3) -> None:
        super().__init__()
        self.max_invalid = _check_limit("max_invalid", max_invalid, least=0)
        self.max_repeats = _check_limit("max_repeats", max_repeats, least=1)

    def before_agent(self, state: _GuardState, runtime: Runtime[Any]) -> dict[str, Any]:  # noqa: ARG002 - LangChain's
        """Set the counts to zero for a new run. LangGraph does not call this for a resumed run."""
        return {"tool_call_guard": _make_record()}

    async def abefore_agent(self, state: _GuardState, runtime: Runtime[Any]) -> dict[str, Any]:
        """See `before_agent`."""
        return self.before_agent(state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Leave the tools out of the request for the final answer."""
        try:
            return handler(_adapt_request(request))
        except StructuredOutputValidationError as error:
            return _recover_reply(error)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """See `wrap_model_call`."""
        try:
            return await handler(_adapt_request(request))
        except StructuredOutputValidationError as error:
            return _recover_reply(error)

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: _GuardState, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Return errors for those calls of the latest reply that must not run, and choose the next node."""
        messages = state["messages"]
        at = next((at for at in reversed(range(len(messages))) if isinstance(messages[at], AIMessage)), None)
        if at is None:
            return None
        reply = messages[at]
        assert isinstance(reply, AIMessage)  # noqa: S101 - for the type checker
        record = state.get("tool_call_guard") or _make_record()
        if not (reply.tool_calls or reply.invalid_tool_calls):
            return self._handle_no_calls(reply, record, has_response=state.get("structured_response") is not None)
        return self._handle_calls(reply, messages[at + 1 :], record, state)

    @hook_config(can_jump_to=["model", "end"])
    async def aafter_model(self, state: _GuardState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """See `after_model`."""
        return self.after_model(state, runtime)

    def _handle_no_calls(self, reply: AIMessage, record: _Record, *, has_response: bool) -> dict[str, Any] | None:
        if not record["answer_now"] or has_response or str(reply.text).strip():
            return None
        notice = "The model returned no answer after it had repeated identical tool calls."
        return {"messages": [AIMessage(notice)], "jump_to": "end"}

    def _handle_calls(
        self, reply: AIMessage, following: Sequence[AnyMessage], record: _Record, state: _GuardState
    ) -> dict[str, Any] | None:
        answered = {message.tool_call_id for message in following if isinstance(message, ToolMessage)}
        if answered and state.get("structured_response") is not None:
            return None  # a tool call carried the structured answer
        named, changed = _add_ids(reply)
        calls = dict(record["calls"])
        decision = self._decide(named, answered, calls, answer_now=record["answer_now"])
        invalid = 0 if decision.proceeds else record["invalid"] + bool(decision.invalid)
        answer_now = bool(decision.repeated) and not decision.proceeds
        update: dict[str, Any] = {
            "messages": [*([named] if changed else []), *decision.results],
            "tool_call_guard": _Record(invalid=invalid, calls=calls, answer_now=answer_now),
        }
        if decision.proceeds:
            return update
        if record["answer_now"] or invalid > self.max_invalid:
            update["messages"].append(AIMessage(_write_notice(decision)))
            return {**update, "jump_to": "end"}
        return {**update, "jump_to": "model"}

    def _decide(self, reply: AIMessage, answered: set[str], calls: dict[str, int], *, answer_now: bool) -> _Decision:
        """Decide which calls run, and count them in `calls`."""
        decision = _Decision()
        for call in reply.tool_calls:
            count = _count(call, calls)
            handled = call["id"] in answered  # by LangChain: a structured answer that does not match its schema
            if count <= self.max_repeats and (handled or not answer_now):
                decision.proceeds = True
                continue
            decision.repeated.append(call["name"])
            if not handled:
                refusal = _NO_TOOLS if answer_now else _REPEATED.format(count=count - 1)
                decision.results.append(_make_result(call["id"], call["name"], refusal))
        reasons = reply.response_metadata.get("invalid_tool_call_errors") or []
        for broken, reason in zip_longest(reply.invalid_tool_calls, reasons[: len(reply.invalid_tool_calls)]):
            name = broken["name"] or "unknown"
            decision.invalid.append(name)
            if broken["id"] not in answered:
                decision.results.append(
                    _make_result(broken["id"], name, _write_correction(broken.get("error") or reason, reply))
                )
        return decision


_REPEATED = (
    "Not run: this call has already been made {count} times with exactly these arguments, and its results are above. "
    "Do not make it again; answer with what you know."
)
_NO_TOOLS = "Not run: no tool can be called now. Answer with what you know."


def _check_limit(name: str, value: object, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}.")
    return value


def _make_record() -> _Record:
    return _Record(invalid=0, calls={}, answer_now=False)


def _adapt_request(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return the request, without tools if the model must answer now."""
    record: _Record | None = request.state.get("tool_call_guard")  # type: ignore[assignment]
    return request.override(tools=[]) if record and record["answer_now"] else request


def _recover_reply(error: StructuredOutputValidationError) -> ModelResponse[Any]:
    """Return a reply with an invalid call that LangChain has read as a structured answer.

    Raises:
        StructuredOutputValidationError: If the reply holds no invalid call.
    """
    if not error.ai_message.invalid_tool_calls:
        raise error
    return ModelResponse(result=[error.ai_message])


def _add_ids(reply: AIMessage) -> tuple[AIMessage, bool]:
    """Add an id to each invalid call, so that a result can refer to it; also return whether one was added."""
    if all(call["id"] for call in reply.invalid_tool_calls):
        return reply, False
    calls = [
        InvalidToolCall(**{**call, "id": call["id"] or f"call_{uuid.uuid4().hex}"}) for call in reply.invalid_tool_calls
    ]
    return reply.model_copy(update={"invalid_tool_calls": calls}), True


def _count(call: ToolCall, calls: dict[str, int]) -> int:
    """Count a call and return its count. A new call is progress, and sets the counts of the others to 1."""
    written = json.dumps([call["name"], call["args"]], sort_keys=True, default=str)
    digest = blake2b(written.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    if digest not in calls:
        calls.update(dict.fromkeys(calls, 1))
        calls[digest] = 0
    calls[digest] += 1
    return calls[digest]


def _make_result(call_id: str | None, name: str, content: str) -> ToolMessage:
    return ToolMessage(content, name=name, tool_call_id=call_id or "", status="error")


def _write_correction(error: str | None, reply: AIMessage) -> str:
    cure = "Make the call again with complete arguments that fit its schema."
    if reply.response_metadata.get("finish_reason") == "length":
        cure = (
            "The reply reached the token limit before the call was complete. Make the call again with shorter "
            "arguments, or split the work into several calls."
        )
    return f"Not run: {error or 'The arguments are not one JSON object.'} {cure}"


def _write_notice(decision: _Decision) -> str:
    """Return the last message of a run that ended without an answer."""
    if decision.repeated:
        names = ", ".join(dict.fromkeys(decision.repeated))
        return f"The run was ended: the model called {names} again instead of answering."
    names = ", ".join(dict.fromkeys(decision.invalid))
    return f"The run was ended: the model's calls of {names} were invalid or truncated each time."
