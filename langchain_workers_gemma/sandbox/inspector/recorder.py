"""Record the requests and responses of the sandbox's ASGI application."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .exchanges import Exchange, ExchangeLog, Headers
    from .redaction import Redactor

ACCESS_LOG = logging.getLogger("langchain_workers_gemma.sandbox.access")
"""The logger that gets one line for each request. `workers-gemma sandbox` shows them."""
_CUT_FAULTS = ("cut", "reset")
"""The faults that close the connection."""


class Recorder:
    """An ASGI application that forwards everything unchanged to another one, and records it.

    A `cut` fault closes the connection below ASGI, so a response without its last ASGI message was cut.
    """

    def __init__(self, app: ASGIApp, log: ExchangeLog, redactor: Callable[[Exchange], Redactor]) -> None:
        self._app = app
        self._log = log
        self._redactor = redactor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        log = self._log
        exchange = log.add(
            scope["method"], scope["path"], scope["query_string"].decode("latin-1"), _decode_headers(scope["headers"])
        )

        async def recorded_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                exchange.receive(message.get("body", b""))
            elif message["type"] == "http.disconnect":
                _record_route(exchange, scope)
                exchange.end("cut" if exchange.fault in _CUT_FAULTS else "abandoned")
            return message

        async def recorded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                _record_route(exchange, scope)
                exchange.start(message["status"], _decode_headers(message["headers"]))
            elif message["type"] == "http.response.body":
                exchange.send(message.get("body", b""))
                if not message.get("more_body", False):
                    exchange.end("complete")
            log.record_change(exchange)
            await send(message)

        try:
            await self._app(scope, recorded_receive, recorded_send)
        finally:
            _record_route(exchange, scope)
            exchange.end("cut")
            log.record_change(exchange)
            if ACCESS_LOG.isEnabledFor(logging.INFO):
                from .views import format_log_line

                ACCESS_LOG.info("%s", self._redactor(exchange).redact_text(format_log_line(exchange)))


def _decode_headers(pairs: list[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs)


def _record_route(exchange: Exchange, scope: Scope) -> None:
    """Record the data that the routes and the fault queue have put into the scope."""
    exchange.path_params = dict(scope.get("path_params") or {})
    exchange.style = getattr(scope.get("endpoint"), "style", None)
    state = scope.get("state") or {}
    exchange.fault = state.get("fault")
    exchange.dialect = state.get("dialect", ())
