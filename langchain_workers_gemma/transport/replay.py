"""Run an exchange on a response that has already arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage

from langchain_workers_gemma.exchange.actions import Flow, ResponseHead
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.response.builders import MessageBuilder
from langchain_workers_gemma.transport.driver import run_flow


@dataclass(slots=True)
class ReplayConnection:
    """A connection with one response that has already arrived.

    Attributes:
        body: The body, `None` after it was read.
        headers: The headers of the response, with names in lower case.
    """

    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, _request: Request) -> ResponseHead:
        """Return the head of the response; nothing is sent."""
        return ResponseHead(200, self.headers)

    def read(self, *, is_complete: bool = False) -> bytes | None:  # noqa: ARG002
        """Return the body, then `None`."""
        body, self.body = self.body, None
        return body

    def abort(self) -> None:
        """No-op."""

    def close(self) -> None:
        """No-op."""


def replay(flow: Flow, body: bytes, headers: Mapping[str, str]) -> AIMessage:
    """Run an exchange on a response that has already arrived.

    Args:
        flow: The exchange.
        body: The body of the response.
        headers: Its headers, with names in lower case.

    Raises:
        WorkersGemmaError: If the response is an error or cannot be read.
    """
    builder = MessageBuilder()
    for pieces in run_flow(flow, ReplayConnection(body, headers)):
        builder.add(pieces)
    return builder.build()
