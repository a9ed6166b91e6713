"""The routes of the sandbox, and the handler of each (docs/wire.md section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route

from langchain_workers_gemma.sandbox.errors import ServiceError, make_bad_input_error
from langchain_workers_gemma.sandbox.service import catalogue
from langchain_workers_gemma.sandbox.wire.reply import Reply, make_json_reply

from .endpoint import Endpoint, Handler

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox.service.call import Call, Style
    from langchain_workers_gemma.sandbox.service.service import Service

    from .connection import Connection


# --- handlers ---------------------------------------------------------------------------------------------------------
async def _run(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.add_gateway(call, path.get("gateway"))
    body = service.read_body(call)
    model = service.find_model(path["model"], call.host)
    if call.record.query.get("queueRequest") == "true":
        return await service.queue(call, model, body)
    return await service.run(call, model, body)


async def _run_universal(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.add_gateway(call)
    body = service.read_body(call)
    return await service.run(
        call, service.find_model(_require(body, "model"), call.host), _require_object(body, "input")
    )


async def _run_openai(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    call = service.add_gateway(call, path.get("gateway"))
    body = service.read_body(call)
    model = service.find_model(_require(body, "model"), call.host)
    if model.embeds is not call.record.path.endswith("/embeddings"):
        raise make_bad_input_error(f"{model.id} is not served by this route")
    return await service.run(call, model, body)


async def _run_dataoorts(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    service.authenticate(call, None)
    body = service.read_body(call)
    data = dict(_require_object(body, "data"))
    data.pop("stream", None)  # streaming is not documented there
    return await service.run(call, service.find_model(_require(body, "model"), "dataoorts"), data)


async def _run_binding(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    """Serve Cloudflare's own `env.AI` client. The runtime authenticates it, so there is no token."""
    body = service.read_body(call)
    options = body.get("options")
    options = options if isinstance(options, dict) else {}
    headers = {**call.record.headers, **_build_gateway_headers(options.get("gateway"))}
    call = replace(call, record=replace(call.record, headers=MappingProxyType(headers)))
    model = service.find_model(call.record.headers.get("cf-consn-model-id"), "cloudflare")
    call = service.add_gateway(call)
    inputs = _require_object(body, "inputs")
    if options.get("queueRequest") is True:
        return await service.queue(call, model, inputs)
    return await service.run(call, model, inputs)


async def _list_models(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return make_json_reply(catalogue.search_models(call.record.query, service.engine.description))


async def _get_model_schema(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return make_json_reply(catalogue.get_schema(service.find_model(call.record.query.get("model"), "cloudflare")))


async def _list_tasks(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    service.authenticate(call, path.get("account"))
    return make_json_reply(catalogue.list_tasks())


async def _run_compatible(service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    """Serve any OpenAI-compatible client. As on most local servers, a token is optional."""
    body = service.read_body(call)
    model = service.find_compatible_model(_require(body, "model"))
    if model.embeds is not call.record.path.endswith("/embeddings"):
        raise make_bad_input_error(f"{model.id} is not served by this route")
    return await service.run(call, model, body)


async def _list_compatible_models(_service: Service, _call: Call, _path: Mapping[str, str]) -> Reply:
    return make_json_reply(catalogue.list_openai_models())


async def _verify(service: Service, call: Call, path: Mapping[str, str]) -> Reply:
    try:
        service.authenticate(call, path.get("account"))
    except ServiceError as error:
        raise ServiceError(1000, "Invalid API Token", status=error.status) from None
    return make_json_reply(catalogue.get_token_status())


async def _refuse_route(_service: Service, call: Call, _path: Mapping[str, str]) -> Reply:
    raise ServiceError(
        7003, f"Could not route to {call.record.path}, perhaps your object identifier is invalid?", status=404
    )


def _require(body: Mapping[str, Any], key: str) -> Any:
    if key not in body:
        raise make_bad_input_error(f"required properties at '/' are '{key}'")
    return body[key]


def _require_object(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = _require(body, key)
    if not isinstance(value, dict):
        raise make_bad_input_error(f"Type mismatch of '/{key}', 'object' not in '{type(value).__name__}'")
    return value


def _build_gateway_headers(gateway: object) -> dict[str, str]:
    """Convert the gateway options of a binding into the equivalent headers."""
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
    ("POST", f"{_ACCOUNT}/ai/run", _run_universal, "native"),
    ("POST", f"{_ACCOUNT}/ai/run/{{model:path}}", _run, "native"),
    ("POST", f"{_ACCOUNT}/ai/v1/chat/completions", _run_openai, "openai"),
    ("POST", f"{_ACCOUNT}/ai/v1/embeddings", _run_openai, "openai"),
    ("GET", f"{_ACCOUNT}/ai/models/search", _list_models, "native"),
    ("GET", f"{_ACCOUNT}/ai/models/schema", _get_model_schema, "native"),
    ("GET", f"{_ACCOUNT}/ai/tasks/search", _list_tasks, "native"),
    ("GET", f"{_ACCOUNT}/tokens/verify", _verify, "native"),
    ("GET", "/client/v4/user/tokens/verify", _verify, "native"),
    ("POST", f"{_GATEWAY}/v1/chat/completions", _run_openai, "openai"),
    ("POST", f"{_GATEWAY}/v1/embeddings", _run_openai, "openai"),
    ("POST", f"{_GATEWAY}/{{model:path}}", _run, "native"),
    ("POST", "/dataoorts/api/v1", _run_dataoorts, "dataoorts"),
    ("POST", "/aimlapi/v1/chat/completions", _run_openai, "aimlapi"),
    ("POST", "/v1/chat/completions", _run_compatible, "compatible"),
    ("POST", "/v1/embeddings", _run_compatible, "compatible"),
    ("GET", "/v1/models", _list_compatible_models, "compatible"),
    ("POST", "/run", _run_binding, "binding"),
    # The `env.AI` client of npm's workerd uses this path for calls through a gateway.
    ("POST", "/ai-gateway/run", _run_binding, "binding"),
)


def make_app(service: Service, connections: set[Connection]) -> Starlette:
    """Return the ASGI application.

    Args:
        service: The service that replies.
        connections: A set to which each connection is added while it is open.
    """
    routes = [
        Route(path, Endpoint(service, handler, style, connections), methods=[method])
        for method, path, handler, style in _ROUTES
    ]
    no_route = Route("/{rest:path}", Endpoint(service, _refuse_route, "native", connections))
    return Starlette(routes=[*routes, no_route])
