"""The actions that an exchange yields and a driver carries out.

FetchImages(urls) -> {url: data URI}
Send(request)     -> ResponseHead(status, headers)
Read()            -> bytes, or None at the end of the body
Sleep(seconds)    -> None
ReadClock()       -> seconds
Deliver(pieces)   -> None   the driver yields them to its caller
CloseConnection() -> None   the connection of the response is not used again
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.response.builders import Piece


@dataclass(slots=True)
class ResponseHead:
    """The head of a reply.

    Attributes:
        status: The HTTP status.
        headers: Its headers, names in lower case.
    """

    status: int
    headers: Mapping[str, str]


@dataclass(slots=True)
class Send:
    """Send a request and wait for the head of its reply."""

    request: Request


@dataclass(slots=True)
class Read:
    """Wait for the next bytes of the body.

    Attributes:
        is_complete: Whether the response is complete by its own account. Later bytes are waited for only briefly.
    """

    is_complete: bool = False


@dataclass(slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(slots=True)
class Deliver:
    """Hand pieces of the reply to the caller."""

    pieces: list[Piece]


@dataclass(slots=True)
class CloseConnection:
    """Close the connection of the response, rather than use it again."""


@dataclass(slots=True)
class ReadClock:
    """Return the seconds of a clock that never goes back."""


@dataclass(slots=True)
class FetchImages:
    """Fetch images over http(s). The outcome is the `data:` URI of each URL."""

    urls: Sequence[str]


Action: TypeAlias = Send | Read | Sleep | Deliver | CloseConnection | ReadClock | FetchImages


Flow: TypeAlias = Generator[Action, Any, None]


T = TypeVar("T")


READ = Read()
READ_AFTER_END = Read(is_complete=True)
