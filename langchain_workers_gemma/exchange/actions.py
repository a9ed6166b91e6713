"""The actions that an exchange yields and a driver executes.

FetchImages(urls) -> {url: data URI}
Send(request)     -> ResponseHead(status, headers)
Read()            -> bytes, or None at the end of the body
Sleep(seconds)    -> None
ReadClock()       -> seconds
Deliver(pieces)   -> None   the driver yields the pieces to its caller
CloseConnection() -> None   the connection of the response is not reused
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.response.builders import Piece


@dataclass(slots=True)
class ResponseHead:
    """The head of a response.

    Attributes:
        status: The HTTP status.
        headers: The headers, with names in lower case.
    """

    status: int
    headers: Mapping[str, str]


@dataclass(slots=True)
class Send:
    """Send a request and wait for the head of its response."""

    request: Request


@dataclass(slots=True)
class Read:
    """Wait for the next bytes of the body.

    Attributes:
        is_complete: Whether the service has marked the end of the response. Then the driver waits only briefly.
    """

    is_complete: bool = False


@dataclass(slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


@dataclass(slots=True)
class Deliver:
    """Deliver pieces of the reply to the caller."""

    pieces: list[Piece]


@dataclass(slots=True)
class CloseConnection:
    """Close the connection of the response, so that it is not reused."""


@dataclass(slots=True)
class ReadClock:
    """Return the seconds of a monotonic clock."""


@dataclass(slots=True)
class FetchImages:
    """Fetch images over http(s), and return the `data:` URI of each URL."""

    urls: Sequence[str]


Action: TypeAlias = Send | Read | Sleep | Deliver | CloseConnection | ReadClock | FetchImages


Flow: TypeAlias = Generator[Action, Any, None]


T = TypeVar("T")


READ = Read()
READ_AFTER_END = Read(is_complete=True)
