"""What the sandbox received."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it arrived.

    Attributes:
        method: The HTTP method.
        path: The path, percent escapes read.
        query: The query's parameters.
        headers: The headers, names in lower case.
        json: The body read as JSON, `None` where it is not.
        body: The body's bytes.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    json: Any
    body: bytes = field(repr=False)


class Requests:
    """The requests received, oldest first; used by the server's thread and by tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[ReceivedRequest] = []

    def add(self, request: ReceivedRequest) -> None:
        """Remember a request."""
        with self._lock:
            self._requests.append(request)

    def all(self) -> list[ReceivedRequest]:
        """Every request so far."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._requests.clear()


def received(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> ReceivedRequest:
    """A record of a request."""
    import json

    try:
        value = json.loads(body)
    except ValueError:
        value = None
    return ReceivedRequest(method, path, MappingProxyType(dict(query)), MappingProxyType(dict(headers)), value, body)
