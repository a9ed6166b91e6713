"""Split the packets of a stream into its events, each with the time at which it was complete."""

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
        at: Seconds after the request arrived, when its last byte was sent.
        text: The event as it was sent, without the empty line that ends it.
        data: What its `data:` lines hold, `None` where there are none (a comment).
        complete: Whether the empty line that ends it was sent.
    """

    at: float
    text: str
    data: str | None
    complete: bool = True


def split_events(packets: Sequence[Packet]) -> list[StreamEvent]:
    """Return the events in order; what follows the last complete one is an event that is not complete."""
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
