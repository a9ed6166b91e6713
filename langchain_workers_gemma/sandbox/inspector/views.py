"""Build the data that the page and the log show of an exchange, as JSON values without secrets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .replies import ReplyView, is_stream, parse_json_text, read_reply
from .requests import (
    MAX_INPUTS,
    build_input_view,
    build_preview,
    find_inputs,
    find_model,
    find_model_id,
    format_body,
    shorten,
)
from .stream_events import StreamEvent, split_events

if TYPE_CHECKING:
    from .exchanges import Exchange
    from .redaction import Redactor

MAX_EVENTS = 2_000
"""Maximum number of displayed events of a stream."""


def build_summary_view(exchange: Exchange, redactor: Redactor) -> dict[str, Any]:
    """Return the data of a row in the list. The response is not read until the exchange has ended."""
    if exchange.summary is None:
        is_running = exchange.state == "running"
        reply = ReplyView() if is_running else read_reply(exchange)
        summary = _build_summary(exchange, redactor, parse_json_text(exchange.request_body), reply)
        if is_running:
            return summary
        exchange.summary = summary
    return exchange.summary


def _build_summary(exchange: Exchange, redactor: Redactor, body: object, reply: ReplyView) -> dict[str, Any]:
    model = find_model_id(exchange, body)
    inputs = find_inputs(body)
    usage = reply.usage
    spec = find_model(exchange, model)
    cost = spec.cost_usd(usage.input_tokens, usage.output_tokens) if spec is not None and usage.is_reported else None
    found = {
        "method": exchange.method,
        "path": exchange.path,
        "query": exchange.query,
        "route": get_route_name(exchange),
        "model": model,
        "state": exchange.state,
        "fault": exchange.fault,
        "dialect": exchange.dialect,
        "finish_reason": reply.finish_reason,
        "error": "; ".join(reply.errors)[:500],
        "preview": build_preview(inputs),
    }
    return {
        **redactor.redact_value(found),
        "id": exchange.id,
        "started_at": exchange.started_at,
        "status": exchange.status,
        "stream": is_stream(exchange),
        "tools": sum(len(item["tools"]) for item in inputs if isinstance(item.get("tools"), list)),
        "calls": len(reply.calls),
        "first_byte_ms": _to_milliseconds(exchange.first_byte),
        "duration_ms": _to_milliseconds(exchange.duration),
        "input_tokens": usage.input_tokens if usage.is_reported else None,
        "output_tokens": usage.output_tokens if usage.is_reported else None,
        "cost_usd": cost,
        "request_bytes": exchange.request_bytes,
        "response_bytes": exchange.response_bytes,
        "packets": exchange.packet_count,
    }


def build_detail_view(exchange: Exchange, redactor: Redactor) -> dict[str, Any]:
    """Return all stored data of an exchange."""
    body = parse_json_text(exchange.request_body)
    events = split_events(exchange.packets) if is_stream(exchange) else []
    reply = read_reply(exchange, events)
    inputs = find_inputs(body)
    model = find_model_id(exchange, body)
    response_body = b"".join(packet.data for packet in exchange.packets)
    found = {
        "inputs": _build_inputs(exchange, model, inputs[:MAX_INPUTS]),
        "reply": {
            "text": shorten(reply.text),
            "reasoning": shorten(reply.reasoning),
            "calls": [asdict(call) for call in reply.calls],
            "finish_reason": reply.finish_reason,
            "errors": reply.errors,
            "note": reply.note,
        },
        "request_body": format_body(exchange.request_body),
        "response_body": shorten(response_body.decode("utf-8", errors="replace"))
        if is_stream(exchange)
        else format_body(response_body),
        "events": [
            {
                "at_ms": _to_milliseconds(event.at),
                "text": shorten(event.text),
                "adds": _summarize_event(event),
                "complete": event.complete,
            }
            for event in events[:MAX_EVENTS]
        ],
    }
    return {
        "summary": _build_summary(exchange, redactor, body, reply),
        **redactor.redact_value(found),
        "inputs_omitted": max(0, len(inputs) - MAX_INPUTS),
        "events_omitted": max(0, len(events) - MAX_EVENTS),
        "request_headers": redactor.redact_headers(exchange.headers),
        "response_headers": redactor.redact_headers(exchange.response_headers),
        "request_bytes_omitted": exchange.request_bytes - len(exchange.request_body),
        "response_bytes_omitted": exchange.response_bytes - len(response_body),
    }


def _build_inputs(exchange: Exchange, model: str, inputs: list[Any]) -> list[dict[str, Any]]:
    try:
        return [build_input_view(exchange, model, item) for item in inputs]
    except RecursionError:
        return [{"messages": [], "tools": [], "options": {"": "The request is nested too deeply to be shown."}}]


def _summarize_event(event: StreamEvent) -> list[list[str]]:
    """Return the content that one event adds to the reply, as pairs of kind and text."""
    if event.data is None:
        return [["comment", ""]]
    reply = ReplyView()
    reply.add(parse_json_text(event.data))
    calls = [["call", f"{call.name} {call.arguments}".strip()] for call in reply.calls]
    usage = f"{reply.usage.input_tokens} in, {reply.usage.output_tokens} out" if reply.usage.is_reported else ""
    kinds = {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "finish": reply.finish_reason,
        "usage": usage,
        "end": event.data if event.data.strip() == "[DONE]" else "",
    }
    errors = [["error", error] for error in reply.errors]
    return [*([kind, text] for kind, text in kinds.items() if text), *calls, *errors]


def get_route_name(exchange: Exchange) -> str:
    """Return a short name for the route of a request."""
    path = exchange.path
    if path.endswith("/embeddings"):
        return "embeddings"
    if "queueRequest=true" in exchange.query:
        return "queue"
    if exchange.method == "GET" or exchange.style is None:
        return path.rpartition("/")[2] or "/"
    return "gateway" if "/workers-ai/" in path else exchange.style


def format_log_line(exchange: Exchange) -> str:
    """Return the log line of an exchange, without control characters."""
    body = parse_json_text(exchange.request_body)
    reply = read_reply(exchange)
    usage = reply.usage
    spec = find_model(exchange, find_model_id(exchange, body))
    parts = [
        f"#{exchange.id}",
        exchange.method,
        exchange.path
        if not find_model_id(exchange, body)
        else f"{get_route_name(exchange)} {find_model_id(exchange, body)}",
        str(exchange.status or "-") + ("" if exchange.state == "complete" else f" ({exchange.state})"),
        f"{(exchange.duration or 0) * 1000:.0f} ms",
    ]
    if usage.is_reported:
        parts.append(f"{usage.input_tokens} in, {usage.output_tokens} out")
        cost = spec.cost_usd(usage.input_tokens, usage.output_tokens) if spec is not None else None
        parts += [f"${cost:.7f}"] if cost is not None else []
    parts += [f"fault: {exchange.fault}"] if exchange.fault else []
    parts += [f"error: {reply.errors[0][:200]}"] if reply.errors else []
    line = "  ".join(parts)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in line
    )


def _to_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
