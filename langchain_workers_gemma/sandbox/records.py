"""The requests that the sandbox has received, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .json_body import parse_body

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REQUESTS = 100_000
"""Maximum number of stored requests. Beyond it the oldest are removed."""
MAX_BYTES = 256_000_000
"""Maximum number of bytes of all stored bodies. Beyond it the oldest requests are removed."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it was received.

    Attributes:
        method: The HTTP method.
        path: The path, with percent escapes decoded.
        query: The parameters of the query.
        headers: The headers, with names in lower case.
        json: The body parsed as JSON, or `None` if it is not JSON.
        body: The bytes of the body. If it is larger than `max_body`, only its start.
        truncated: Whether the body was larger than `max_body`.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    json: Any
    body: bytes = field(repr=False)
    truncated: bool = False


class RequestLog:
    """The received requests, oldest first. Thread-safe: tests read it while the server's thread writes."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._requests: deque[ReceivedRequest] = deque()
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._bytes = 0

    def add(self, request: ReceivedRequest) -> None:
        """Add a request, and remove the oldest ones beyond the limits."""
        with self._lock:
            self._requests.append(request)
            self._bytes += len(request.body)
            while len(self._requests) > self._max_requests or (
                self._bytes > self._max_bytes and len(self._requests) > 1
            ):
                self._bytes -= len(self._requests.popleft().body)

    def all(self) -> list[ReceivedRequest]:
        """Return the stored requests."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._requests.clear()
            self._bytes = 0


def make_record(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    truncated: bool = False,
) -> ReceivedRequest:
    """Return the record of a request."""
    value = None
    if not truncated:
        try:
            value = parse_body(body)
        except ValueError:
            value = None
    return ReceivedRequest(
        method, path, MappingProxyType(dict(query)), MappingProxyType(dict(headers)), value, body, truncated
    )
