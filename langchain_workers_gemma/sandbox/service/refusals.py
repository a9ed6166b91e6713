"""Build error replies, in the form of each route and dialect (docs/wire.md section 5)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.errors import ServiceError, build_binding_error, build_envelope, build_plain_error
from langchain_workers_gemma.sandbox.wire.frames import write_frame
from langchain_workers_gemma.sandbox.wire.reply import Reply, make_json_reply

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.faults import Fault

    from .call import Call, Style

_CONTENT_TYPES = {"html": "text/html"}


def build_refusal(call: Call, error: ServiceError) -> Reply:
    """Return the reply for an error, in the form of the route and the dialect."""
    dialect = call.dialect
    message = f"AiError: {error.code}: {error.message}" if dialect.error_code_in_text else error.message
    body = build_error_body(call.style, ServiceError(error.code, message, status=error.status))
    if dialect.error_internal_codes:
        body |= {"internalCode": error.code, "httpCode": error.status, "name": "AiError", "message": message}
    if dialect.error_object and "errors" in body:
        body["errors"] = body["errors"][0]
    reply = make_json_reply(body, 200 if dialect.error_status_200 else error.status)
    if error.retry_after is not None:
        reply.headers["retry-after"] = f"{error.retry_after:g}"
    return reply


def build_fault_reply(call: Call, fault: Fault) -> Reply:
    """Return the reply of a fault that replaces the real reply."""
    if fault.kind == "error":
        error = ServiceError(fault.code, fault.message, status=fault.status, retry_after=fault.retry_after)
        reply = build_refusal(call, error)
    else:
        kind = fault.content_type if fault.kind == "exact" else _CONTENT_TYPES.get(fault.kind, "application/json")
        reply = Reply(fault.status, b"".join(fault.body()), kind)
    reply.headers |= fault.headers
    return reply


def build_error_event(call: Call, error: ServiceError) -> bytes:
    """Return the event for an error in a stream."""
    body = build_plain_error(error) if call.dialect.refusals_in_stream else build_error_body(call.style, error)
    return write_frame(json.dumps(body), call.dialect)


def build_fault_event(call: Call, fault: Fault) -> bytes:
    """Return the event of a `stream_error` fault."""
    return build_error_event(call, ServiceError(fault.code, fault.message, status=fault.status))


def build_error_body(style: Style, error: ServiceError) -> dict[str, Any]:
    """Return the body of an error, in the form of a route."""
    if style == "binding":
        return build_binding_error(error)
    return build_plain_error(error) if style in ("aimlapi", "compatible") else build_envelope(error)
