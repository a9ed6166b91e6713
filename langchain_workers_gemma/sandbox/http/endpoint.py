"""Serve one request: read and record it, create the reply, and send it with its fault."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request

from langchain_workers_gemma.sandbox.dialects import list_active_dialects
from langchain_workers_gemma.sandbox.errors import TIMEOUT, ServiceError
from langchain_workers_gemma.sandbox.records import make_record
from langchain_workers_gemma.sandbox.service.refusals import build_fault_event, build_fault_reply, build_refusal
from langchain_workers_gemma.sandbox.wire.reply import Reply

from .connection import Connection, DisconnectedError, send_packets, send_reply

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from langchain_workers_gemma.sandbox.faults import Fault
    from langchain_workers_gemma.sandbox.service.call import Call, Style
    from langchain_workers_gemma.sandbox.service.service import Service

_LOG = logging.getLogger(__name__)
Handler: TypeAlias = Callable[["Service", "Call", Mapping[str, str]], Awaitable[Reply]]


class Endpoint:
    """One route as an ASGI application.

    Attributes:
        style: The form of the requests, replies and errors of the route.
    """

    def __init__(self, service: Service, handler: Handler, style: Style, connections: set[Connection]) -> None:
        self._service = service
        self._handler = handler
        self.style = style
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        service = self._service
        request = Request(scope)
        async with Connection(scope, receive, send, self._connections) as connection:
            try:
                body, truncated = await connection.read_body(service.options.max_body)
            except DisconnectedError:
                return
            record = make_record(
                request.method, request.url.path, request.query_params, request.headers, body, truncated=truncated
            )
            service.requests.add(record)
            call = service.open_call(record, self.style)
            fault = service.faults.take(record.path)
            # The inspector wraps the application, and reads from the scope what influenced the reply.
            scope.setdefault("state", {}).update(
                dialect=list_active_dialects(call.dialect), fault=None if fault is None else fault.kind
            )
            await connection.run(self._serve(connection, call, request.path_params, fault))

    async def _serve(self, connection: Connection, call: Call, path: Mapping[str, str], fault: Fault | None) -> None:
        if fault is not None and fault.kind == "exact":
            await send_packets(connection, build_fault_reply(call, fault), fault.pieces)
            return
        latency = self._service.options.latency
        timeout = _get_gateway_timeout(call)
        if timeout is not None and timeout < latency + _get_initial_stall(fault):
            await connection.pause(timeout)
            reply, fault = build_refusal(call, ServiceError(TIMEOUT)), None
        else:
            await connection.pause(latency)
            reply = await self._get_reply(call, path, fault)
        if call.has_cloudflare_headers:
            reply.headers.setdefault("cf-ray", call.ray)
        reply.headers.setdefault("x-sandbox-model", self._service.engine.description)
        in_transit = None if fault is None or fault.replaces_reply else fault
        await send_reply(connection, reply, in_transit, b"" if fault is None else build_fault_event(call, fault))

    async def _get_reply(self, call: Call, path: Mapping[str, str], fault: Fault | None) -> Reply:
        if fault is not None and fault.replaces_reply:
            return build_fault_reply(call, fault)
        try:
            return await self._handler(self._service, call, path)
        except ServiceError as error:
            return build_refusal(call, error)
        except Exception as error:  # noqa: BLE001 - the client gets a 500 instead of a broken connection
            _LOG.exception("The sandbox failed to reply to %s", call.record.path)
            message = f"AiError: Internal server error, a bug in the sandbox itself: {error!r}"
            return build_refusal(call, ServiceError(None, message, status=500))


def _get_initial_stall(fault: Fault | None) -> float:
    """Return the seconds that a fault delays the first byte."""
    return fault.seconds if fault is not None and fault.kind == "stall" and not fault.after_events else 0.0


def _get_gateway_timeout(call: Call) -> float | None:
    """Return the seconds that the gateway of the request waits for the first byte, or `None` for no limit."""
    timeout = call.record.headers.get("cf-aig-request-timeout", "")
    uses_gateway = "cf-aig-gateway-id" in call.record.headers
    return int(timeout) / 1000 if uses_gateway and timeout.isdigit() and int(timeout) else None
