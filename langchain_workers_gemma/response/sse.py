"""Split a stream of bytes into server-sent events, and return the payload of each.

It follows the HTML standard ("event stream interpretation") for the streams of `docs/wire.md` section 4: the `data:`
lines of an event are joined, a blank line ends it, comments and other fields are ignored, and lines end in LF, CRLF or
CR. It differs in one point: the last event is returned even without its blank line, since some servers omit it.
"""

from __future__ import annotations

_MESSAGE_TYPES = frozenset({b"", b"message", b"error"})  # events of other types count only if their data is JSON
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineTooLongError(ValueError):
    """A line or an event is larger than the limit."""


class EventStreamDecoder:
    """Splits a stream of bytes into the payloads of its events.

    Args:
        limit: The maximum size of one event, in bytes.
    """

    __slots__ = ("_after_cr", "_data", "_data_size", "_held", "_held_size", "_is_other", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # pieces of a line whose end has not arrived
        self._held_size = 0
        self._data: list[bytes] = []  # the `data:` lines of the event being read
        self._data_size = 0
        self._is_other = False  # whether the event has another type than `message` or `error`, such as `ping`
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the payloads that are now complete.

        Raises:
            LineTooLongError: If an event is larger than the limit.
        """
        if data and (self._after_cr or b"\r" in data):
            data = self._convert_line_ends(data)
        head, newline, rest = data.partition(b"\n")
        if not newline:
            self._hold(head)
            return []
        if self._held:
            head = b"".join((*self._held, head))
            self._held.clear()
            self._held_size = self._data_size
        lines = rest.split(b"\n")
        tail = lines.pop()
        payloads: list[bytes] = []
        self._read_line(head, payloads)
        for line in lines:
            self._read_line(line, payloads)
        if tail:
            self._hold(tail)
        return payloads

    def flush(self) -> list[bytes]:
        """End the stream, and return an event whose blank line never arrived."""
        payloads: list[bytes] = []
        if self._held:
            self._read_line(b"".join(self._held), payloads)
            self._held.clear()
        self._read_line(b"", payloads)
        return payloads

    def _read_line(self, line: bytes, payloads: list[bytes]) -> None:
        if not line:
            if self._data:
                payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                if payload and not (self._is_other and payload[:1] not in b"{["):
                    payloads.append(payload)  # events without data only keep the connection open
                self._data.clear()
                self._held_size = self._data_size = 0
            self._is_other = False
        elif line.startswith(b"data:"):
            payload = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(payload)
            self._data_size += len(payload)
            if len(self._data) > 1:
                self._grow(len(line))
        elif line.startswith(b"event:"):
            self._is_other = line[6:].strip() not in _MESSAGE_TYPES
        elif line.startswith(_BYTE_ORDER_MARK) and not line.startswith(_BYTE_ORDER_MARK, 3):
            self._read_line(line[3:], payloads)
        # Anything else is a comment or another field.

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._grow(len(piece))

    def _grow(self, size: int) -> None:
        self._held_size += size
        if self._held_size > self._limit:
            raise LineTooLongError(f"one event of the stream is larger than {self._limit:,} bytes")

    def _convert_line_ends(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
