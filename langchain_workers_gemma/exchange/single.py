"""Send one request, read the bytes of its response as they arrive, and deliver the events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from pydantic_core import from_json

from langchain_workers_gemma.errors import (
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    StreamInterruptedError,
    StreamTimeoutError,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange import body as response_body
from langchain_workers_gemma.exchange.actions import (
    READ,
    READ_AFTER_END,
    Action,
    CloseConnection,
    Deliver,
    ResponseHead,
    Send,
)
from langchain_workers_gemma.exchange.body import (
    closing_on_error,
    is_event_stream,
    may_become_field,
    parse_body,
    read_body,
)
from langchain_workers_gemma.exchange.error_mapping import is_error_payload, make_unreadable_error, map_payload_error
from langchain_workers_gemma.exchange.request import Plan, Request
from langchain_workers_gemma.exchange.response_metadata import build_begin
from langchain_workers_gemma.json_text.parsing import parse_json
from langchain_workers_gemma.response.builders import Piece, build_partial_message
from langchain_workers_gemma.response.decoder import UnknownShapeError, is_empty, unwrap
from langchain_workers_gemma.response.events import Event
from langchain_workers_gemma.response.reader import ReplyReader
from langchain_workers_gemma.response.sse import EventStreamDecoder, LineTooLongError
from langchain_workers_gemma.response.surrogates import SurrogateJoiner
from langchain_workers_gemma.response.tool_calls import ToolCallLimitError

_DONE = b"[DONE]"


class SingleExchange:
    """A request, the reader of its response, and the pieces that were delivered.

    Args:
        plan: The plan of the call.
    """

    __slots__ = ("_begun", "_delivered", "_head", "_plan", "_reader", "_surrogates", "_withheld")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._reader: ReplyReader  # the reader of the latest attempt
        self._head = ResponseHead(0, {})
        self._delivered: list[Piece] = []
        self._begun = False
        self._withheld: list[Event] | None = None  # the events of a reply that is only delivered in part
        self._surrogates: SurrogateJoiner | None = None

    def _attempt(self) -> Generator[Action, Any, None]:
        """Send the request and deliver its response."""
        self._reader = ReplyReader(self._plan.reader_options, self._plan.used_ids)
        request = self._plan.request
        if (yield from self._try(request)):
            # Services sometimes return an empty stream: request the reply without a stream.
            yield CloseConnection()
            yield from self._try(request.without_stream())

    def _try(self, request: Request) -> Generator[Action, Any, bool]:
        """Send once and read the response. Return whether a requested stream was empty."""
        self._head = yield Send(request)
        return (yield from closing_on_error(self._read_response(request)))

    # --- Reading ---

    def _read_response(self, request: Request) -> Generator[Action, Any, bool]:
        data: bytes | None = yield READ
        while data is not None and not data.strip():
            data = yield READ
        ended = data is None
        while data is not None and not ended and not request.stream and may_become_field(data):
            more: bytes | None = yield READ
            ended = more is None
            data += more or b""
        is_success = 200 <= self._head.status < 300
        if is_success and data is not None and is_event_stream(data, requested=request.stream):
            return (yield from self._read_stream(data))
        body = (data or b"") if ended else (yield from read_body(self._head, self._plan.context, first=data))
        if is_success and request.stream and not body:
            return True
        return (yield from self._read_whole(request, body))

    def _read_whole(self, request: Request, body: bytes) -> Generator[Action, Any, bool]:
        payload = parse_body(self._head, body, self._plan.context)
        if b"\\u" in body:
            self._surrogates = SurrogateJoiner()
        result = unwrap(payload)
        if is_empty(result) and request.stream:
            return True
        reader = self._reader
        events = self._read_events(lambda: [*reader.read_whole(result), *reader.flush()], body)
        if request.stream and reader.is_empty and not reader.has_ended:
            return True
        yield from self._deliver(events)
        return False

    def _read_stream(self, data: bytes | None) -> Generator[Action, Any, bool]:
        decoder = EventStreamDecoder(response_body.MAX_BODY_BYTES)
        done = False
        try:
            while data is not None:
                payloads = self._decode_payloads(decoder, data)
                done = done or _DONE in payloads
                yield from self._emit(payloads)
                data = yield READ_AFTER_END if done else READ
        except (APIConnectionError, APITimeoutError):
            if not done:  # after the end mark the response is complete, so an error of its connection does not matter
                raise
        done = yield from self._read_last_event(decoder, done=done)
        reader = self._reader
        if done or reader.has_ended:
            held_back = self._read_events(reader.flush, b"")
            if reader.is_empty and not reader.has_ended:
                return True
            yield from self._deliver(held_back)
            return False
        if reader.is_empty and not self._begun:
            return True
        raise StreamInterruptedError("The stream ended without [DONE], finish reason or usage: it was interrupted.")

    def _decode_payloads(self, decoder: EventStreamDecoder, data: bytes) -> list[bytes]:
        try:
            return [payload for piece in decoder.feed(data) if (payload := piece.strip())]
        except LineTooLongError as error:
            raise self._make_unreadable_error(b"", str(error)) from None

    def _read_last_event(self, decoder: EventStreamDecoder, *, done: bool) -> Generator[Action, Any, bool]:
        """Read the last event even if its blank line is missing. It is dropped if it is truncated JSON."""
        for payload in filter(None, map(bytes.strip, decoder.flush())):
            if payload == _DONE:
                return True
            if done or self._reader.has_ended or _is_json(payload):
                yield from self._emit([payload])
        return done

    def _emit(self, payloads: list[bytes]) -> Generator[Action, Any, None]:
        """Deliver the events of a stream, up to the first payload that cannot be read.

        So the result of a stream does not depend on how the network splits it into packets.
        """
        events: list[Event] = []
        payload = b""
        try:
            for payload in payloads:
                if payload != _DONE:
                    events += self._reader.read_frame(self._parse_frame(payload))
        except (UnknownShapeError, ToolCallLimitError) as error:
            yield from self._deliver(events)
            raise self._make_unreadable_error(payload, str(error)) from None
        except WorkersGemmaError:
            yield from self._deliver(events)
            raise
        yield from self._deliver(events)

    def _parse_frame(self, payload: bytes) -> dict[str, Any]:
        """Parse the payload of one event of a stream, and remove its envelope."""
        try:
            frame = from_json(payload, cache_strings="keys")
        except ValueError:
            frame = self._parse_odd_json(payload)
        if not isinstance(frame, dict):
            raise self._make_unreadable_error(payload, "an event of the stream is not an object")
        if is_error_payload(frame):
            raise map_payload_error(self._head.status, self._head.headers, frame, self._plan.context)
        result = unwrap(frame)
        return result if isinstance(result, dict) else {}

    def _parse_odd_json(self, payload: bytes) -> Any:
        """Parse JSON that only Python's own parser accepts: half of a surrogate pair that two events share."""
        try:
            frame = parse_json(payload)
        except ValueError as error:
            raise self._make_unreadable_error(payload, f"an event of the stream is not JSON ({error})") from None
        self._surrogates = self._surrogates or SurrogateJoiner()
        return frame

    def _read_events(self, read: Callable[[], list[Event]], body: bytes) -> list[Event]:
        """Return the events of a part of the response.

        Raises:
            InternalServerError: If the part cannot be read.
        """
        try:
            return read()
        except (UnknownShapeError, ToolCallLimitError) as error:
            raise self._make_unreadable_error(body, str(error)) from None

    def _make_unreadable_error(self, body: bytes, why: str) -> InternalServerError:
        return make_unreadable_error(self._head.status, self._head.headers, body, why, self._plan.context)

    # --- Delivering ---

    def _deliver(self, events: Sequence[Event]) -> Generator[Action, Any, None]:
        if self._surrogates is not None:
            events = self._surrogates.join(events)
        if self._withheld is not None:
            self._withheld += events
            return
        if not events:
            return
        pieces: list[Piece] = [*events]
        if not self._begun:
            self._begun = True
            pieces = [build_begin(self._plan, self._head, self._reader), *events]
        self._delivered += pieces
        yield Deliver(pieces)

    @property
    def _is_nothing_delivered(self) -> bool:
        return not self._delivered or self._withheld is not None

    def _make_interrupted_error(self, error: WorkersGemmaError) -> StreamInterruptedError:
        """Return the error for an interrupted stream, with the partial reply."""
        try:
            held_back = self._reader.flush()
        except ToolCallLimitError:
            held_back = []
        calls = self._reader.get_finished_calls(interruption=f"The stream was interrupted: {error}")
        partial_reply = build_partial_message([*self._delivered, *held_back], calls)
        cls = StreamTimeoutError if isinstance(error, APITimeoutError) else StreamInterruptedError
        return cls(str(error), partial_reply)


def _is_json(payload: bytes) -> bool:
    try:
        parse_json(payload)
    except ValueError:
        return False
    return True
