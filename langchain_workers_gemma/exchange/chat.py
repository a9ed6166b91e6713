"""One exchange with a host, without I/O: which request goes out, when to wait, what to make of each byte that comes.

`chat_exchange` is a generator of actions. A driver (`transport`) carries each out and sends its outcome
back, or throws the error in. So retrying, reading and asking again are written once for sync, async and the binding.

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
from langchain_workers_gemma.exchange.actions import (
    _READ,
    Action,
    CloseConnection,
    Deliver,
    Flow,
    ResponseHead,
    Send,
    Sleep,
)
from langchain_workers_gemma.exchange.body import _rest, closing_on_error
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
from langchain_workers_gemma.response.tool_calls import ToolCallLimitError
from langchain_workers_gemma.response.usage import UsageTally

logger = logging.getLogger(__name__)


_DONE = b"[DONE]"


@dataclass(slots=True)
class _Progress:
    """What has been handed over in this exchange."""

    delivered: list[Piece] = field(default_factory=list)
    begun: bool = False


def chat_exchange(plan: Plan) -> Flow:
    """The whole exchange for one call.

    Raises:
        WorkersGemmaError: Whatever went wrong and could not be mended by trying again.
    """
    progress = _Progress()
    reader, head = yield from _send_with_retries(plan, progress)
    spent = UsageTally()  # on a first answer that was of no use: it is paid for all the same
    if reader.lacks_forced_call and plan.constrained is not None:
        logger.info("tool_choice was answered without the call; asking once more")
        spent = reader.tally
        plan = plan.constrained()
        reader, head = yield from _send_with_retries(plan, progress)
    if reader.lacks_runnable_forced_call:
        if not plan.reader_options.keep_invalid_calls:
            raise _missing_call(plan, reader)
        yield from _deliver(plan, head, progress, reader.withheld_text())
    if plan.unreliable_tools and reader.is_empty:
        logger.warning("%s", _unreliable_tools_advice(plan))
    ending: list[Piece] = [
        *(reader.invalidating_deltas() if plan.request.stream else ()),
        _end(plan, reader, head, spent),
    ]
    yield Deliver(ending if progress.begun else [_begin(plan, head), *ending])


def _send_with_retries(plan: Plan, progress: _Progress) -> Generator[Action, Any, tuple[ReplyReader, ResponseHead]]:
    """Ask until a reply comes, or trying again is of no use."""
    retries = 0
    reader = ReplyReader(plan.reader_options)
    delivered_before = len(progress.delivered)
    while True:
        try:
            head = yield from _attempt(plan, plan.request, progress, reader)
        except WorkersGemmaError as error:
            if len(progress.delivered) > delivered_before:
                if isinstance(error, APIStatusError):
                    raise  # the service said what it was
                raise _interrupted(error, progress, reader) from error
            delay = plan.retry.delay(error, retries)
            if delay is None:
                raise _advised(plan, error) from error.__cause__
            retries += 1
            logger.info("retry %d of %d in %.2f s: %s", retries, plan.retry.max_retries, delay, type(error).__name__)
            yield Sleep(delay)
            reader = ReplyReader(plan.reader_options)
        else:
            return reader, head


def _attempt(
    plan: Plan, request: Request, progress: _Progress, reader: ReplyReader
) -> Generator[Action, Any, ResponseHead]:
    """Send once and read the reply to its end."""
    head: ResponseHead = yield Send(request)
    if (yield from closing_on_error(_read_reply(plan, request, head, progress, reader))):
        yield CloseConnection()
        # A stream is sometimes answered with nothing at all; a whole reply is there for the asking.
        return (yield from _attempt(plan, request.without_stream(), progress, reader))
    return head


def _read_reply(
    plan: Plan, request: Request, head: ResponseHead, progress: _Progress, reader: ReplyReader
) -> Generator[Action, Any, bool]:
    """Read the reply to its end. Gives whether a stream was answered with nothing, so that it is to be asked again."""
    data: bytes | None = yield _READ
    while data is not None and not data.strip():
        data = yield _READ
    if not 200 <= head.status < 300:
        body = yield from _rest(plan, head, data)
        raise status_error(head.status, head.headers, body, plan.context)
    if data is not None and request.stream and data.lstrip()[:1] not in b'{[<"':
        return (yield from _events(plan, head, progress, reader, data))
    body = yield from _rest(plan, head, data)
    return (yield from _whole(plan, request, head, progress, reader, body))


def _whole(
    plan: Plan, request: Request, head: ResponseHead, progress: _Progress, reader: ReplyReader, body: bytes
) -> Generator[Action, Any, bool]:
    """Read one body. Gives whether a stream was answered with nothing, so that it is to be asked for again."""
    if not body and request.stream:
        return True
    try:
        payload = from_json(body, cache_strings="keys")
    except ValueError as error:
        raise unreadable_reply(head.status, head.headers, body, f"it is not JSON ({error})", plan.context) from None
    if isinstance(payload, dict) and is_error_payload(payload):
        raise payload_error(head.status, head.headers, payload, plan.context)
    result = unwrap(payload)
    if is_empty(result) and request.stream:
        return True
    events = _read(plan, head, lambda: [*reader.whole(result), *reader.flush()], body)
    if request.stream and reader.is_empty and not reader.has_ended:
        return True
    yield from _deliver(plan, head, progress, events)
    return False


def _events(
    plan: Plan, head: ResponseHead, progress: _Progress, reader: ReplyReader, data: bytes | None
) -> Generator[Action, Any, bool]:
    """Read a stream of events. Gives whether it held nothing, so that it is to be asked for again."""
    decoder = EventStreamDecoder(response_body.MAX_REPLY_BYTES)
    done = False
    try:
        while data is not None:
            payloads = _payloads(plan, head, decoder, data)
            done = done or _DONE in payloads
            yield from _emit(plan, head, progress, reader, payloads)
            data = yield _READ
    except (APIConnectionError, APITimeoutError):
        if not done:  # the reply was whole, so what happens to its connection is of no interest
            raise
    done = yield from _last_events(plan, head, progress, reader, decoder, done=done)
    if done or reader.has_ended:
        held_back = _read(plan, head, reader.flush, b"")
        if reader.is_empty and not reader.has_ended:
            return True
        yield from _deliver(plan, head, progress, held_back)
        return False
    if reader.is_empty and not progress.begun:
        return True
    raise StreamInterruptedError("The stream ended without [DONE], finish reason or usage: the reply was cut.")


def _payloads(plan: Plan, head: ResponseHead, decoder: EventStreamDecoder, data: bytes) -> list[bytes]:
    try:
        return [payload for piece in decoder.feed(data) if (payload := piece.strip())]
    except LineTooLongError as error:
        raise unreadable_reply(head.status, head.headers, b"", str(error), plan.context) from None


def _emit(
    plan: Plan, head: ResponseHead, progress: _Progress, reader: ReplyReader, payloads: list[bytes]
) -> Generator[Action, Any, None]:
    """Hand over what some events of a stream say: all of it, or what comes before the first that fails.

    So the outcome of a stream does not depend on how the network cut it into packets.
    """
    events: list[Event] = []
    try:
        for payload in payloads:
            if payload != _DONE:
                events += _frame_events(plan, head, reader, payload)
    except WorkersGemmaError:
        yield from _deliver(plan, head, progress, events)
        raise
    yield from _deliver(plan, head, progress, events)


def _frame_events(plan: Plan, head: ResponseHead, reader: ReplyReader, payload: bytes) -> list[Event]:
    frame = _frame(plan, head, payload)
    return _read(plan, head, lambda: reader.frame(frame), payload)


def _read(plan: Plan, head: ResponseHead, read: Callable[[], list[Event]], body: bytes) -> list[Event]:
    """The events of a part of the reply, or the error for one that cannot be read."""
    try:
        return read()
    except (UnknownShapeError, ToolCallLimitError) as error:
        raise unreadable_reply(head.status, head.headers, body, str(error), plan.context) from None


def _last_events(
    plan: Plan, head: ResponseHead, progress: _Progress, reader: ReplyReader, decoder: EventStreamDecoder, *, done: bool
) -> Generator[Action, Any, bool]:
    """Read an event whose blank line never came. One that cannot be read was cut in the middle."""
    for payload in filter(None, map(bytes.strip, decoder.flush())):
        if payload == _DONE:
            return True
        if done or reader.has_ended or _is_json(payload):
            yield from _emit(plan, head, progress, reader, [payload])
    return done


def _is_json(payload: bytes) -> bool:
    try:
        from_json(payload)
    except ValueError:
        return False
    return True


def _frame(plan: Plan, head: ResponseHead, payload: bytes) -> Mapping[str, Any]:
    """One event of a stream, parsed and out of its envelope."""
    try:
        frame = from_json(payload, cache_strings="keys")
    except ValueError as error:
        why = f"an event of the stream is not JSON ({error})"
        raise unreadable_reply(head.status, head.headers, payload, why, plan.context) from None
    if not isinstance(frame, dict):
        why = "an event of the stream is not an object"
        raise unreadable_reply(head.status, head.headers, payload, why, plan.context)
    if is_error_payload(frame):
        raise payload_error(head.status, head.headers, frame, plan.context)
    result = unwrap(frame)
    return result if isinstance(result, dict) else {}


def _deliver(
    plan: Plan, head: ResponseHead, progress: _Progress, events: Sequence[Event]
) -> Generator[Action, Any, None]:
    if not events:
        return
    pieces: list[Piece] = [*events]
    if not progress.begun:
        progress.begun = True
        pieces = [_begin(plan, head), *events]
    if plan.request.stream:
        progress.delivered += pieces
    yield Deliver(pieces)


def _begin(plan: Plan, head: ResponseHead) -> Begin:
    metadata = dict(plan.metadata)
    identity = request_id(head.headers)
    if identity is not None:
        metadata["request_id"] = identity
    for header, key in (("cf-aig-cache-status", "gateway_cache_status"), ("cf-aig-log-id", "gateway_log_id")):
        if header in head.headers:
            metadata[key] = head.headers[header]
    return Begin(metadata)


def _end(plan: Plan, reader: ReplyReader, head: ResponseHead, spent: UsageTally) -> End:
    usage = reader.tally.metadata()
    earlier = spent.metadata()
    if earlier is not None:
        usage = add_usage(earlier, usage)
    metadata: dict[str, Any] = {"finish_reason": reader.effective_finish_reason}
    neurons = reader.tally.neurons
    if neurons is None:
        neurons = _as_float(head.headers.get("cf-ai-neurons"))
    if neurons is not None:
        metadata["neurons"] = neurons + (spent.neurons or 0)
    cost = plan.spec.cost_usd(usage["input_tokens"], usage["output_tokens"]) if usage else None
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
    except ToolCallLimitError:
        held_back = []
    partial = partial_message([*progress.delivered, *held_back])
    return (StreamTimeoutError if isinstance(error, APITimeoutError) else StreamInterruptedError)(str(error), partial)


def _missing_call(plan: Plan, reader: ReplyReader) -> ToolChoiceError:
    names = ", ".join(sorted(plan.reader_options.forced or ()))
    why = "the reply was cut at max_tokens: raise it" if reader.is_cut else "none came that can run"
    prose = reader.prose_instead_of_call
    said = f" The model said: {prose[:200]!r}" if prose else ""
    return ToolChoiceError(f"tool_choice demanded a call to {names}, but {why}.{said}")


def _unreliable_tools_advice(plan: Plan) -> str:
    return (
        f"{plan.spec.id} is not flagged for function calling and gave nothing at all when tools were bound: "
        'use tool_calling="guided_json".'
    )


def _advised(plan: Plan, error: WorkersGemmaError) -> WorkersGemmaError:
    """The same error; where a model refused `tools` that it was never taught, with the cure."""
    if plan.unreliable_tools and isinstance(error, BadRequestError | InternalServerError) and error.advice is None:
        advice = f'{plan.spec.id} is not flagged for function calling: use tool_calling="guided_json".'
        error.advice = advice
        error.args = (f"{error.message}\n{advice}",)
    return error
