"""The routes of the sandbox: what each reads from its request (docs/wire.md section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route

from langchain_workers_gemma.sandbox.errors import ServiceError, bad_input
from langchain_workers_gemma.sandbox.service import catalogue
from langchain_workers_gemma.sandbox.wire.reply import Reply, json_reply

from .endpoint import Endpoint, Handler

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.service.call import Call, Style
    from langchain_workers_gemma.sandbox.service.service import Service

    from .connection import Connection


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
    """Serve Cloudflare's own `env.AI` client; the runtime authenticates it, so there is no token."""
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
    return json_reply(catalogue.search(call.record.query, service.engine.description))


async def _model_schema(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return json_reply(catalogue.schema(service.model(call.record.query.get("model"), "cloudflare")))


async def _tasks(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return json_reply(catalogue.tasks())


async def _compatible(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    """Serve any OpenAI-compatible client; as with most local servers, a token is optional."""
    body = service.read_body(call)
    model = service.compatible_model(_need(body, "model"))
    if model.embeds is not call.record.path.endswith("/embeddings"):
        raise bad_input(f"{model.id} is not served by this route")
    return await service.run(call, model, body)


async def _compatible_models(_service: Service, _call: Call, _path: Mapping[str, str]) -> Reply:
    return json_reply(catalogue.openai_models())


async def _verify(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    try:
        service.authenticate(call, path.get("account"))
    except ServiceError as error:
        raise ServiceError(1000, "Invalid API Token", status=error.status) from None
    return json_reply(catalogue.token_status())


async def _no_route(_service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
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
    """Return a binding's gateway options as the equivalent headers."""
    if not isinstance(gateway, dict):
        return {}
    retries = gateway.get("retries") or {}
    values = {
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
        for name, value in values.items()
        if value is not None
    }


_ACCOUNT = "/client/v4/accounts/{account}"
_GATEWAY = "/v1/{account}/{gateway}/workers-ai"

_ROUTES: tuple[tuple[str, str, Handler, Style], ...] = (
    ("POST", f"{_ACCOUNT}/ai/run", _universal, "native"),
    ("POST", f"{_ACCOUNT}/ai/run/{{model:path}}", _run, "native"),
    ("POST", f"{_ACCOUNT}/ai/v1/chat/completions", _openai, "openai"),
    ("POST", f"{_ACCOUNT}/ai/v1/embeddings", _openai, "openai"),
    ("GET", f"{_ACCOUNT}/ai/models/search", _models, "native"),
    ("GET", f"{_ACCOUNT}/ai/models/schema", _model_schema, "native"),
    ("GET", f"{_ACCOUNT}/ai/tasks/search", _tasks, "native"),
    ("GET", f"{_ACCOUNT}/tokens/verify", _verify, "native"),
    ("GET", "/client/v4/user/tokens/verify", _verify, "native"),
    ("POST", f"{_GATEWAY}/v1/chat/completions", _openai, "openai"),
    ("POST", f"{_GATEWAY}/v1/embeddings", _openai, "openai"),
    ("POST", f"{_GATEWAY}/{{model:path}}", _run, "native"),
    ("POST", "/dataoorts/api/v1", _dataoorts, "dataoorts"),
    ("POST", "/aimlapi/v1/chat/completions", _openai, "aimlapi"),
    ("POST", "/v1/chat/completions", _compatible, "compatible"),
    ("POST", "/v1/embeddings", _compatible, "compatible"),
    ("GET", "/v1/models", _compatible_models, "compatible"),
    ("POST", "/run", _binding, "binding"),
    # The client module in npm's workerd uses this path when the call goes through a gateway.
    ("POST", "/ai-gateway/run", _binding, "binding"),
)


def make_app(service: Service, connections: set[Connection]) -> Starlette:
    """Return the ASGI application.

    Args:
        service: What answers.
        connections: Takes each open connection for as long as it is open.
    """
    routes = [
        Route(path, Endpoint(service, handler, style, connections), methods=[method])
        for method, path, handler, style in _ROUTES
    ]
    no_route = Route("/{rest:path}", Endpoint(service, _no_route, "native", connections))
    return Starlette(routes=[*routes, no_route])
