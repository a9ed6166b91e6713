"""One exchange with a host, without I/O: which request goes out, when to wait, what to make of each byte that comes.

`converse` is a generator of actions. A driver (`transport`) carries each out and sends its outcome back, or throws the
error in. So retrying, reading and asking again are written once for sync, async and the binding.

    flow = converse(plan)
    Send(request)   -> Reply(status, headers)   the driver opens the request
    Read()          -> bytes, or None at the end of the body
    Sleep(seconds)  -> None
    Deliver(pieces) -> None                     the driver hands these to its caller
    HangUp()        -> None                     the driver closes the connection of the reply
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages.ai import add_usage
from pydantic_core import from_json

from langchain_workers_gemma.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolChoiceError,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.exchange.actions import _READ, Action, Deliver, Flow, HangUp, Reply, Send, Sleep
from langchain_workers_gemma.exchange.body import _rest, or_hang_up
from langchain_workers_gemma.exchange.error_mapping import (
    is_error_payload,
    payload_error,
    request_id,
    status_error,
    unreadable_reply,
)
from langchain_workers_gemma.exchange.request import Plan, Request
from langchain_workers_gemma.response.builders import Begin, End, Piece, partial_message
from langchain_workers_gemma.response.decoder import UnknownShapeError, is_empty, unwrap
from langchain_workers_gemma.response.events import Event
from langchain_workers_gemma.response.reader import ReplyReader
from langchain_workers_gemma.response.sse import EventStreamDecoder, LineTooLongError
from langchain_workers_gemma.response.tool_calls import UnreasonableCallsError
from langchain_workers_gemma.response.usage import UsageTally

logger = logging.getLogger(__name__)


_DONE = b"[DONE]"


@dataclass(slots=True)
class _Progress:
    """What has been handed over in this exchange."""

    delivered: list[Piece] = field(default_factory=list)
    begun: bool = False


def converse(plan: Plan) -> Flow:
    """The whole exchange for one call.

    Raises:
        WorkersGemmaError: Whatever went wrong and could not be mended by trying again.
    """
    progress = _Progress()
    reader, reply = yield from _ask(plan, progress)
    spent = UsageTally()  # on a first answer that was of no use: it is paid for all the same
    if reader.lacks_forced_call and plan.constrained is not None:
        logger.info("tool_choice was answered without the call; asking once more")
        spent = reader.tally
        plan = plan.constrained()
        reader, reply = yield from _ask(plan, progress)
    if reader.lacks_runnable_forced_call:
        if not plan.reading.keep_broken_calls:
            raise _missing_call(plan, reader)
        yield from _deliver(plan, reply, progress, reader.in_place_of_call())
    if plan.unreliable_tools and reader.says_nothing:
        logger.warning("%s", _unreliable_tools_advice(plan))
    ending: list[Piece] = [*(reader.seals() if plan.request.stream else ()), _end(plan, reader, reply, spent)]
    yield Deliver(ending if progress.begun else [_begin(plan, reply), *ending])


def _ask(plan: Plan, progress: _Progress) -> Generator[Action, Any, tuple[ReplyReader, Reply]]:
    """Ask until a reply comes, or trying again is of no use."""
    retries = 0
    reader = ReplyReader(plan.reading)
    told_before = len(progress.delivered)
    while True:
        try:
            reply = yield from _attempt(plan, plan.request, progress, reader)
        except WorkersGemmaError as error:
            if len(progress.delivered) > told_before:
                if isinstance(error, APIStatusError):
                    raise  # the service said what it was
                raise _interrupted(error, progress, reader) from error
            delay = plan.retry.delay(error, retries)
            if delay is None:
                raise _advised(plan, error) from error.__cause__
            retries += 1
            logger.info("retry %d of %d in %.2f s: %s", retries, plan.retry.max_retries, delay, type(error).__name__)
            yield Sleep(delay)
            reader = ReplyReader(plan.reading)
        else:
            return reader, reply


def _attempt(plan: Plan, request: Request, progress: _Progress, reader: ReplyReader) -> Generator[Action, Any, Reply]:
    """Send once and read the reply to its end."""
    reply: Reply = yield Send(request)
    if (yield from or_hang_up(_read_reply(plan, request, reply, progress, reader))):
        yield HangUp()
        # A stream is sometimes answered with nothing at all; a whole reply is there for the asking.
        return (yield from _attempt(plan, request.whole(), progress, reader))
    return reply


def _read_reply(
    plan: Plan, request: Request, reply: Reply, progress: _Progress, reader: ReplyReader
) -> Generator[Action, Any, bool]:
    """Read the reply to its end. Gives whether a stream was answered with nothing, so that it is to be asked again."""
    data: bytes | None = yield _READ
    while data is not None and not data.strip():
        data = yield _READ
    if not 200 <= reply.status < 300:
        body = yield from _rest(plan, reply, data)
        raise status_error(reply.status, reply.headers, body, plan.context)
    if data is not None and request.stream and data.lstrip()[:1] not in b'{[<"':
        return (yield from _events(plan, reply, progress, reader, data))
    body = yield from _rest(plan, reply, data)
    return (yield from _whole(plan, request, reply, progress, reader, body))


def _whole(
    plan: Plan, request: Request, reply: Reply, progress: _Progress, reader: ReplyReader, body: bytes
) -> Generator[Action, Any, bool]:
    """Read one body. Gives whether a stream was answered with nothing, so that it is to be asked for again."""
    if not body and request.stream:
        return True
    try:
        payload = from_json(body, cache_strings="keys")
    except ValueError as error:
        raise unreadable_reply(reply.status, reply.headers, body, f"it is not JSON ({error})", plan.context) from None
    if isinstance(payload, dict) and is_error_payload(payload):
        raise payload_error(reply.status, reply.headers, payload, plan.context)
    result = unwrap(payload)
    if is_empty(result) and request.stream:
        return True
    events = _read(plan, reply, lambda: [*reader.whole(result), *reader.flush()], body)
    if request.stream and reader.says_nothing and not reader.has_ended:
        return True
    yield from _deliver(plan, reply, progress, events)
    return False


def _events(
    plan: Plan, reply: Reply, progress: _Progress, reader: ReplyReader, data: bytes | None
) -> Generator[Action, Any, bool]:
    """Read a stream of events. Gives whether it held nothing, so that it is to be asked for again."""
    decoder = EventStreamDecoder(response_body.MAX_REPLY_BYTES)
    done = False
    try:
        while data is not None:
            payloads = _payloads(plan, reply, decoder, data)
            done = done or _DONE in payloads
            yield from _tell(plan, reply, progress, reader, payloads)
            data = yield _READ
    except (APIConnectionError, APITimeoutError):
        if not done:  # the reply was whole, so what happens to its connection is of no interest
            raise
    done = yield from _last_events(plan, reply, progress, reader, decoder, done=done)
    if done or reader.has_ended:
        held_back = _read(plan, reply, reader.flush, b"")
        if reader.says_nothing and not reader.has_ended:
            return True
        yield from _deliver(plan, reply, progress, held_back)
        return False
    if reader.says_nothing and not progress.begun:
        return True
    raise StreamInterruptedError("The stream ended without [DONE], finish reason or usage: the reply was cut.")


def _payloads(plan: Plan, reply: Reply, decoder: EventStreamDecoder, data: bytes) -> list[bytes]:
    try:
        return [payload for piece in decoder.feed(data) if (payload := piece.strip())]
    except LineTooLongError as error:
        raise unreadable_reply(reply.status, reply.headers, b"", str(error), plan.context) from None


def _tell(
    plan: Plan, reply: Reply, progress: _Progress, reader: ReplyReader, payloads: list[bytes]
) -> Generator[Action, Any, None]:
    """Hand over what some events of a stream say: all of it, or what comes before the first that fails.

    So the outcome of a stream does not depend on how the network cut it into packets.
    """
    events: list[Event] = []
    try:
        for payload in payloads:
            if payload != _DONE:
                events += _frame_events(plan, reply, reader, payload)
    except WorkersGemmaError:
        yield from _deliver(plan, reply, progress, events)
        raise
    yield from _deliver(plan, reply, progress, events)


def _frame_events(plan: Plan, reply: Reply, reader: ReplyReader, payload: bytes) -> list[Event]:
    frame = _frame(plan, reply, payload)
    return _read(plan, reply, lambda: reader.frame(frame), payload)


def _read(plan: Plan, reply: Reply, read: Callable[[], list[Event]], body: bytes) -> list[Event]:
    """The events of a part of the reply, or the error for one that cannot be read."""
    try:
        return read()
    except (UnknownShapeError, UnreasonableCallsError) as error:
        raise unreadable_reply(reply.status, reply.headers, body, str(error), plan.context) from None


def _last_events(
    plan: Plan, reply: Reply, progress: _Progress, reader: ReplyReader, decoder: EventStreamDecoder, *, done: bool
) -> Generator[Action, Any, bool]:
    """Read an event whose blank line never came. One that cannot be read was cut in the middle."""
    for payload in filter(None, map(bytes.strip, decoder.flush())):
        if payload == _DONE:
            return True
        if done or reader.has_ended or _is_json(payload):
            yield from _tell(plan, reply, progress, reader, [payload])
    return done


def _is_json(payload: bytes) -> bool:
    try:
        from_json(payload)
    except ValueError:
        return False
    return True


def _frame(plan: Plan, reply: Reply, payload: bytes) -> Mapping[str, Any]:
    """One event of a stream, parsed and out of its envelope."""
    try:
        frame = from_json(payload, cache_strings="keys")
    except ValueError as error:
        why = f"an event of the stream is not JSON ({error})"
        raise unreadable_reply(reply.status, reply.headers, payload, why, plan.context) from None
    if not isinstance(frame, dict):
        why = "an event of the stream is not an object"
        raise unreadable_reply(reply.status, reply.headers, payload, why, plan.context)
    if is_error_payload(frame):
        raise payload_error(reply.status, reply.headers, frame, plan.context)
    result = unwrap(frame)
    return result if isinstance(result, dict) else {}


def _deliver(plan: Plan, reply: Reply, progress: _Progress, events: Sequence[Event]) -> Generator[Action, Any, None]:
    if not events:
        return
    pieces: list[Piece] = [*events]
    if not progress.begun:
        progress.begun = True
        pieces = [_begin(plan, reply), *events]
    if plan.request.stream:
        progress.delivered += pieces
    yield Deliver(pieces)


def _begin(plan: Plan, reply: Reply) -> Begin:
    metadata = dict(plan.metadata)
    identity = request_id(reply.headers)
    if identity is not None:
        metadata["request_id"] = identity
    for header, key in (("cf-aig-cache-status", "gateway_cache_status"), ("cf-aig-log-id", "gateway_log_id")):
        if header in reply.headers:
            metadata[key] = reply.headers[header]
    return Begin(metadata)


def _end(plan: Plan, reader: ReplyReader, reply: Reply, spent: UsageTally) -> End:
    usage = reader.tally.metadata()
    earlier = spent.metadata()
    if earlier is not None:
        usage = add_usage(earlier, usage)
    metadata: dict[str, Any] = {"finish_reason": reader.final_reason}
    neurons = reader.tally.neurons
    if neurons is None:
        neurons = _as_float(reply.headers.get("cf-ai-neurons"))
    if neurons is not None:
        metadata["neurons"] = neurons + (spent.neurons or 0)
    cost = plan.facts.cost_usd(usage["input_tokens"], usage["output_tokens"]) if usage else None
    if cost is not None:
        metadata["cost_usd"] = cost
    return End(metadata, usage)


def _as_float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _interrupted(error: WorkersGemmaError, progress: _Progress, reader: ReplyReader) -> WorkersGemmaError:
    """The error for a stream that broke after it had begun: it keeps what came."""
    try:
        held_back = reader.flush()
    except UnreasonableCallsError:
        held_back = []
    partial = partial_message([*progress.delivered, *held_back])
    return (StreamTimeoutError if isinstance(error, APITimeoutError) else StreamInterruptedError)(str(error), partial)


def _missing_call(plan: Plan, reader: ReplyReader) -> ToolChoiceError:
    names = ", ".join(sorted(plan.reading.forced or ()))
    why = "the reply was cut at max_tokens: raise it" if reader.is_cut else "none came that can run"
    prose = reader.prose_instead_of_call
    said = f" The model said: {prose[:200]!r}" if prose else ""
    return ToolChoiceError(f"tool_choice demanded a call to {names}, but {why}.{said}")


def _unreliable_tools_advice(plan: Plan) -> str:
    return (
        f"{plan.facts.id} is not flagged for function calling and gave nothing at all when tools were bound: "
        'use tool_calling="guided_json".'
    )


def _advised(plan: Plan, error: WorkersGemmaError) -> WorkersGemmaError:
    """The same error; where a model refused `tools` that it was never taught, with the cure."""
    if plan.unreliable_tools and isinstance(error, BadRequestError | InternalServerError) and error.advice is None:
        advice = f'{plan.facts.id} is not flagged for function calling: use tool_calling="guided_json".'
        error.advice = advice
        error.args = (f"{error.message}\n{advice}",)
    return error
