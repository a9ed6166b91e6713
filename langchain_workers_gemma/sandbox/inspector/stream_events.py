"""Split the packets of a stream into events, each with the time at which it was complete."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exchanges import Packet

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event.

    Attributes:
        at: Seconds between the start of the request and the last byte of the event.
        text: The event as it was sent, without the empty line at its end.
        data: The content of its `data:` lines, or `None` if there are none, as in a comment.
        complete: Whether the empty line at its end was sent.
    """

    at: float
    text: str
    data: str | None
    complete: bool = True


def split_events(packets: Sequence[Packet]) -> list[StreamEvent]:
    """Return the events in order. Bytes after the last complete event become an incomplete event."""
    body = b"".join(packet.data for packet in packets)
    ends = list(accumulate(len(packet.data) for packet in packets))
    events, start = [], 0
    for found in _EVENT_END.finditer(body):
        at = packets[bisect_left(ends, found.end())].at
        events.append(_read_event(at, body[start : found.start()], complete=True))
        start = found.end()
    if start < len(body):
        events.append(_read_event(packets[-1].at, body[start:], complete=False))
    return events


def _read_event(at: float, raw: bytes, *, complete: bool) -> StreamEvent:
    text = raw.decode("utf-8", errors="replace")
    lines = [line[5:].removeprefix(" ") for line in text.splitlines() if line.startswith("data:")]
    return StreamEvent(at, text, "\n".join(lines) if lines else None, complete)
