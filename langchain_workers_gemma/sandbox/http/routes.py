"""The routes of the sandbox, each with the few lines that are its own (docs/wire.md section 1)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from langchain_workers_gemma.sandbox.errors import TIMEOUT, ServiceError, bad_input
from langchain_workers_gemma.sandbox.records import received
from langchain_workers_gemma.sandbox.service.catalogue import token_status
from langchain_workers_gemma.sandbox.service.service import Call, Service, Style

from .connection import Connection, DisconnectedError, Reply, json_reply, send_pieces, send_reply

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from langchain_workers_gemma.sandbox.faults import Fault

_LOG = logging.getLogger(__name__)
Handler: TypeAlias = Callable[[Service, Call, Mapping[str, str]], Awaitable[Reply]]


class Endpoint:
    """One route: receives, records, answers, sends."""

    def __init__(self, service: Service, handler: Handler, style: Style) -> None:
        self.service = service
        self.handler = handler
        self.style = style

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        record = received(request.method, request.url.path, request.query_params, request.headers, body)
        self.service.requests.add(record)
        call = self.service.open_call(record, self.style)
        async with Connection(scope, receive, send, self.service.connections) as connection:
            connection.watch()
            try:
                await self._serve(connection, call, request.path_params)
            except DisconnectedError:
                await connection.drop(reset=True)

    async def _serve(self, connection: Connection, call: Call, path: Mapping[str, str]) -> None:
        service = self.service
        fault = service.faults.take(call.record.path)
        if fault is not None and fault.kind == "exact":
            await send_pieces(connection, service.fault_reply(call, fault), fault.pieces)
            return
        wait = service.options.latency
        limit = _first_byte_limit(call)
        if limit is not None and limit < wait + _silence(fault):
            await connection.pause(limit)
            reply, fault = service.refusal(call, ServiceError(TIMEOUT)), None
        else:
            await connection.pause(wait)
            reply = await self._reply(call, path, fault)
        if self.style != "aimlapi":
            reply.headers.setdefault("cf-ray", call.ray)
        on_the_way = fault if fault is not None and not fault.replaces_reply else None
        await send_reply(connection, reply, on_the_way, service.stream_error(call, fault) if fault is not None else b"")

    async def _reply(self, call: Call, path: Mapping[str, str], fault: Fault | None) -> Reply:
        if fault is not None and fault.replaces_reply:
            return self.service.fault_reply(call, fault)
        try:
            return await self.handler(self.service, call, path)
        except ServiceError as error:
            return self.service.refusal(call, error)
        except Exception as error:  # noqa: BLE001 - it must reach the client as a 500, not as a broken connection
            _LOG.exception("The sandbox failed to answer %s", call.record.path)
            message = f"AiError: Internal server error, a fault of the sandbox itself: {error!r}"
            return self.service.refusal(call, ServiceError(None, message, status=500))


def _silence(fault: Fault | None) -> float:
    """Seconds before the first byte that a fault takes."""
    return fault.seconds if fault is not None and fault.kind == "stall" and not fault.after_events else 0.0


def _first_byte_limit(call: Call) -> float | None:
    """Seconds that a gateway waits for the first byte."""
    limit = call.record.headers.get("cf-aig-request-timeout", "")
    through = "cf-aig-gateway-id" in call.record.headers
    return int(limit) / 1000 if through and limit.isdigit() and int(limit) else None


# --- handlers ---------------------------------------------------------------------------------------------------------
async def _run(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.with_gateway(call, path.get("gateway"))
    body = service.read_body(call)
    model = service.model(path["model"], call.host)
    if call.record.query.get("queueRequest") == "true":
        return await service.queue(call, model, body)
    return await service.run(call, model, body)


async def _universal(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.with_gateway(call)
    body = service.read_body(call)
    return await service.run(call, service.model(_need(body, "model"), call.host), _inner(body, "input"))


async def _openai(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.with_gateway(call, path.get("gateway"))
    body = service.read_body(call)
    model = service.model(_need(body, "model"), call.host)
    if model.embeds is not call.record.path.endswith("/embeddings"):
        raise bad_input(f"{model.id} is not served by this route")
    return await service.run(call, model, body)


async def _dataoorts(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    service.authenticate(call, None)
    body = service.read_body(call)
    data = dict(_inner(body, "data"))
    data.pop("stream", None)  # streaming is not documented there
    return await service.run(call, service.model(_need(body, "model"), "dataoorts"), data)


async def _binding(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    """What Cloudflare's own `env.AI` client talks to; the runtime vouches for it, so there is no token."""
    body = service.read_body(call)
    options = body.get("options")
    options = options if isinstance(options, dict) else {}
    headers = {**call.record.headers, **_gateway_headers(options.get("gateway"))}
    call = replace(call, record=replace(call.record, headers=MappingProxyType(headers)))
    model = service.model(call.record.headers.get("cf-consn-model-id"), "cloudflare")
    call = service.with_gateway(call)
    inputs = _inner(body, "inputs")
    if options.get("queueRequest") is True:
        return await service.queue(call, model, inputs)
    return await service.run(call, model, inputs)


async def _models(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return service.search(call)


async def _verify(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    try:
        service.authenticate(call, path.get("account"))
    except ServiceError as error:
        raise ServiceError(1000, "Invalid API Token", status=error.status) from None
    return json_reply(token_status())


async def _nothing(_service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    raise ServiceError(
        7003, f"Could not route to {call.record.path}, perhaps your object identifier is invalid?", status=404
    )


def _need(body: Mapping[str, Any], key: str) -> Any:
    if key not in body:
        raise bad_input(f"required properties at '/' are '{key}'")
    return body[key]


def _inner(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = _need(body, key)
    if not isinstance(found, dict):
        raise bad_input(f"Type mismatch of '/{key}', 'object' not in '{type(found).__name__}'")
    return found


def _gateway_headers(gateway: object) -> dict[str, str]:
    """A binding's gateway options as the headers that say the same."""
    if not isinstance(gateway, dict):
        return {}
    import json

    retries = gateway.get("retries") or {}
    told = {
        "cf-aig-gateway-id": gateway.get("id"),
        "cf-aig-cache-ttl": gateway.get("cacheTtl"),
        "cf-aig-skip-cache": gateway.get("skipCache"),
        "cf-aig-cache-key": gateway.get("cacheKey"),
        "cf-aig-collect-log": gateway.get("collectLog"),
        "cf-aig-request-timeout": gateway.get("requestTimeoutMs"),
        "cf-aig-metadata": gateway.get("metadata"),
        "cf-aig-max-attempts": retries.get("maxAttempts"),
        "cf-aig-retry-delay": retries.get("retryDelayMs"),
        "cf-aig-backoff": retries.get("backoff"),
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in told.items()
        if value is not None
    }


_ROUTES: tuple[tuple[str, str, Handler, Style], ...] = (
    ("POST", "/client/v4/accounts/{account}/ai/run", _universal, "native"),
    ("POST", "/client/v4/accounts/{account}/ai/run/{model:path}", _run, "native"),
    ("POST", "/client/v4/accounts/{account}/ai/v1/chat/completions", _openai, "openai"),
    ("POST", "/client/v4/accounts/{account}/ai/v1/embeddings", _openai, "openai"),
    ("GET", "/client/v4/accounts/{account}/ai/models/search", _models, "native"),
    ("GET", "/client/v4/accounts/{account}/tokens/verify", _verify, "native"),
    ("GET", "/client/v4/user/tokens/verify", _verify, "native"),
    ("POST", "/v1/{account}/{gateway}/workers-ai/v1/chat/completions", _openai, "openai"),
    ("POST", "/v1/{account}/{gateway}/workers-ai/v1/embeddings", _openai, "openai"),
    ("POST", "/v1/{account}/{gateway}/workers-ai/{model:path}", _run, "native"),
    ("POST", "/dataoorts/api/v1", _dataoorts, "dataoorts"),
    ("POST", "/aimlapi/v1/chat/completions", _openai, "aimlapi"),
    ("POST", "/run", _binding, "binding"),
    # Seen of the client module in npm's workerd: with a gateway it asks here.
    ("POST", "/ai-gateway/run", _binding, "binding"),
)


def make_app(service: Service) -> Starlette:
    """The ASGI application."""
    routes = [
        Route(path, Endpoint(service, handler, style), methods=[method]) for method, path, handler, style in _ROUTES
    ]
    anything = Route("/{rest:path}", Endpoint(service, _nothing, "native"))
    return Starlette(routes=[*routes, anything])
