"""Resolve the credentials, address and headers of chat model and embeddings, and build the transport."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import httpx
from pydantic import SecretStr, ValidationError

from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.gateway import AIGateway, check_header
from langchain_workers_gemma.hosts import (
    BASE_URL_VARIABLE,
    HOSTS,
    Address,
    Api,
    check_account_id,
    check_base_url,
    check_model_id,
    is_legacy_gateway,
)
from langchain_workers_gemma.models import DEFAULT_MODEL, GemmaModel, HostName
from langchain_workers_gemma.transport.driver import Driver
from langchain_workers_gemma.transport.http import Transport

_TOKEN_NAMES = ("api_token", "api_key", "cloudflare_api_token")
MAX_TIMEOUT = 1_000_000  # seconds; sockets accept at most about two million
_CREDENTIAL_HEADER = re.compile(
    r"auth|token|secret|passw|credential|cookie|signature|jwt|(^|[-_.]|api)key", re.IGNORECASE
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONNECT_TIMEOUT = 10.0  # seconds; a host that does not accept a connection by then is down


class Connected(Protocol):
    """An object with the fields of a connection: `ChatWorkersGemma` and `WorkersGemmaEmbeddings`."""

    model: str
    host: HostName
    api: Api | None
    account_id: str | None
    api_token: SecretStr | None
    base_url: str | None
    ai_gateway: str | AIGateway | None
    session_affinity: str | None
    reject_if_busy: bool
    binding: Any
    timeout: float | httpx.Timeout | None
    http_client: httpx.Client | None
    http_async_client: httpx.AsyncClient | None
    default_headers: dict[str, str]


def wrap_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments with the token wrapped, so that no validation error can show it."""
    return {
        name: SecretStr(value) if name in _TOKEN_NAMES and isinstance(value, str) else value
        for name, value in arguments.items()
    }


def resolve(connected: Connected) -> None:
    """Fill in missing fields from the environment and the host's defaults.

    Raises:
        ValueError: If credentials are missing, or the host does not support an argument.
    """
    host = HOSTS[connected.host]
    if host.serves_any_model and not connected.model:
        raise ValueError(f"model is missing: host={host.name!r} has no default model. Pass one, such as 'gemma3:12b'.")
    check_model_id(connected.model, host)
    connected.api = connected.api or next(iter(host.chat))
    _check_api(connected)
    for name, value in (
        ("ai_gateway", connected.ai_gateway),
        ("session_affinity", connected.session_affinity),
        ("reject_if_busy", connected.reject_if_busy or None),
        ("binding", connected.binding),
    ):
        if value is not None and not host.has_gateway:
            raise ValueError(f"{name} is a feature of Cloudflare Workers AI; {host.label} has none. Leave it out.")
    base_url = connected.base_url or os.environ.get(BASE_URL_VARIABLE) or host.base_url
    if not base_url:
        raise ValueError(
            f"base_url is missing: host={host.name!r} needs one, such as 'http://localhost:11434/v1' (or set "
            f"{BASE_URL_VARIABLE})."
        )
    connected.base_url = check_base_url(base_url)
    check_timeout(connected.timeout)
    check_headers("default_headers", connected.default_headers)
    if connected.binding is None:
        _resolve_credentials(connected)
    else:
        _check_binding(connected)


def check_headers(argument: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Check that headers can be sent, and return them.

    Raises:
        ValueError: If a name or a value is not valid in an HTTP header.
    """
    if not isinstance(headers, Mapping):
        raise ValueError(f"{argument} must be a dict of names and values, not {type(headers).__name__}.")
    for name, value in headers.items():
        if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None:
            raise ValueError(f"{argument}: {name!r} is not a valid header name.")
        if not isinstance(value, str):
            raise ValueError(f"{argument}[{name!r}] must be a string, not {type(value).__name__}.")
        check_header(f"{argument}[{name!r}]", value)
    return headers


def get_header_variables(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables for the headers that hold credentials, by header.

    Example:
        >>> get_header_variables({"cf-aig-authorization": "Bearer x", "x-team": "search"})
        {'cf-aig-authorization': 'WORKERS_GEMMA_HEADER_CF_AIG_AUTHORIZATION'}
    """
    return {
        name: "WORKERS_GEMMA_HEADER_" + re.sub(r"\W", "_", name).upper()
        for name in headers
        if isinstance(name, str) and _CREDENTIAL_HEADER.search(name)
    }


def mask_credentials(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call with the credentials in its `extra_headers` masked.

    Example:
        >>> mask_credentials({"extra_headers": {"cf-aig-authorization": "Bearer x", "x-team": "search"}})
        {'extra_headers': {'cf-aig-authorization': '**********', 'x-team': 'search'}}
    """
    headers = arguments.get("extra_headers")
    if not isinstance(headers, Mapping):
        return dict(arguments)
    return {**arguments, "extra_headers": {**headers, **dict.fromkeys(get_header_variables(headers), "**********")}}


def restore_header_credentials(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return headers with the values that serialisation has left out, from the environment.

    LangChain's references to secrets replace whole arguments only, so they cannot replace the value of one header.

    Raises:
        ValueError: If an environment variable is not set.
    """
    read = {name: variable for name, variable in get_header_variables(headers).items() if headers[name] is None}
    for name, variable in read.items():
        if not os.environ.get(variable):
            raise ValueError(
                f"default_headers[{name!r}] is a credential, so its value was not serialised. Set {variable} before "
                "the model is loaded."
            )
    return {**headers, **{name: os.environ[variable] for name, variable in read.items()}} if read else headers


def _check_api(connected: Connected) -> None:
    host = HOSTS[connected.host]
    if connected.api not in host.chat:
        raise ValueError(f"api={connected.api!r}: {host.label} has only {', '.join(map(repr, host.chat))}.")


def _check_binding(connected: Connected) -> None:
    if not hasattr(connected.binding, "run"):
        kind = type(connected.binding).__name__
        raise ValueError(f"binding must be a Workers AI binding such as env.AI, not {kind}.")
    if connected.api != "native":
        raise ValueError(f"api={connected.api!r}: a binding takes the native API only. Leave it out.")


def _resolve_credentials(connected: Connected) -> None:
    host = HOSTS[connected.host]
    missing: list[str] = []
    if host.account_variables and not is_legacy_gateway(connected.base_url or ""):
        connected.account_id = (connected.account_id or _find_first_set(host.account_variables) or "").strip() or None
        if connected.account_id:
            check_account_id(connected.account_id)
        else:
            missing.append(f"account_id is missing: pass account_id=..., or set {_join_names(host.account_variables)}.")
    token = connected.api_token or SecretStr(_find_first_set(host.token_variables) or "")
    token = SecretStr(token.get_secret_value().strip())
    if token.get_secret_value():
        check_header("api_token", token.get_secret_value())
        connected.api_token = token
    elif host.needs_token:
        missing.append(f"api_token is missing: pass api_token=..., or set {_join_names(host.token_variables)}.")
    else:
        connected.api_token = None
    if missing:
        raise ValueError(" ".join(missing))


def _join_names(names: tuple[str, ...]) -> str:
    """Return the names as text: `A`, `A or B`, `A, B or C`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _find_first_set(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)


def check_timeout(timeout: float | httpx.Timeout | None) -> None:
    """Check a timeout.

    Raises:
        ValueError: If it is not a number of seconds that a socket accepts.
    """
    given = timeout.as_dict().values() if isinstance(timeout, httpx.Timeout) else (timeout,)
    if not all(seconds is None or isinstance(seconds, int | float) for seconds in given):
        raise ValueError(f"timeout={timeout!r:.80} must be a number of seconds, an httpx.Timeout, or None.")
    if not all(seconds is None or 0 < seconds <= MAX_TIMEOUT for seconds in given):
        raise ValueError(
            f"timeout={timeout!r} must be a number of seconds above 0 and up to {MAX_TIMEOUT:,}, an httpx.Timeout of "
            "such numbers, or None."
        )


def get_token_variable(host: HostName) -> str:
    """Return the recommended environment variable for a host's token."""
    return next(iter(HOSTS[host].token_variables), "OPENAI_COMPATIBLE_API_KEY")


def find_token_source(connected: Connected) -> str:
    """Return a description of where the token comes from, for error messages; empty if no token is needed."""
    if connected.binding is not None:
        return ""
    secret = _to_secret(connected.api_token)
    token = secret.get_secret_value() if secret else None
    for name in HOSTS[connected.host].token_variables:
        value = os.environ.get(name)
        if value:
            if value.strip() == token:
                return f"the environment variable {name}"
            break
    return "the argument api_token"


def collect_secrets(connected: Connected, gateway_: AIGateway | None) -> tuple[str, ...]:
    """Return the texts that must not appear in an error."""
    tokens = (_to_secret(connected.api_token), gateway_.token if gateway_ else None)
    return tuple(token.get_secret_value() for token in tokens if token)


def build_error_context(connected: Connected, spec: GemmaModel, gateway_: AIGateway | None) -> ErrorContext:
    """Return the facts about a call for the advice in an error."""
    return ErrorContext(
        model=spec.id,
        host=spec.host,
        replacement=spec.replacement or (None if spec.embeds else _find_newest(connected.host)),
        token_source=find_token_source(connected),
        secrets=collect_secrets(connected, gateway_),
    )


def _find_newest(host: HostName) -> str | None:
    """Return the newest model of a host, which replaces a retired model that has no entry in `MODELS`."""
    return DEFAULT_MODEL.get(host) if HOSTS[host].has_account_api else None


def check_model(model: object, host: HostName) -> str:
    """Check a model id that was passed with a call, and return it.

    Raises:
        ValueError: If it is not a valid id.
    """
    if not isinstance(model, str):
        raise ValueError(f"model must be an id such as '@cf/google/gemma-4-26b-a4b-it', not {model!r}.")
    return check_model_id(model, HOSTS[host])


def parse_gateway(value: object) -> AIGateway | None:
    """Return the gateway from its id, or unchanged if it is an `AIGateway`.

    Raises:
        ValueError: If it is neither.
    """
    if value is None or isinstance(value, AIGateway):
        return value
    try:
        return AIGateway(value)  # type: ignore[arg-type]  # it rejects other types than strings
    except ValidationError:
        raise ValueError(
            "ai_gateway must be a gateway's id (letters, digits, '_' and '-') or an AIGateway, "
            f"not {f'{value!r:.80}' if isinstance(value, str) else type(value).__name__}."  # a dict may hold a token
        ) from None


def build_address(connected: Connected) -> Address:
    """Return the address of requests.

    Raises:
        ValueError: If the host does not support a field that was assigned later.
    """
    _check_api(connected)
    account = connected.account_id
    if connected.binding is None:
        check_base_url(connected.base_url or "")
        if account is not None:
            check_account_id(account)
    return Address(HOSTS[connected.host], connected.base_url or "", account)


def build_call_headers(
    connected: Connected,
    session_affinity: str | None,
    gateway_: AIGateway | None,
    extra_headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the headers of one call, without those that every request has.

    Args:
        connected: The model object.
        session_affinity: The value of `x-session-affinity`, `None` to leave it out.
        gateway_: The AI Gateway of the call.
        extra_headers: The headers that were passed with the call.

    Raises:
        ValueError: If a header is not valid.
    """
    extra = check_headers("extra_headers", {} if extra_headers is None else extra_headers)
    own = check_headers("default_headers", connected.default_headers)  # checked before the values here include a token
    affinity = (
        {} if session_affinity is None else {"x-session-affinity": check_header("session_affinity", session_affinity)}
    )
    routing = {} if gateway_ is None else gateway_.headers(addressed_by_url=is_legacy_gateway(connected.base_url or ""))
    return {**affinity, **routing, **own, **extra}


def build_transport(connected: Connected, timeout_of_call: float | httpx.Timeout | None = None) -> Driver:
    """Build the transport that sends the requests.

    Args:
        connected: The model object.
        timeout_of_call: The timeout of the call; `None` to use that of the model object.

    Raises:
        ValueError: If the binding and the token are missing.
    """
    limits = timeout_of_call or connected.timeout
    if connected.binding is not None:
        from langchain_workers_gemma.transport.binding import BindingTransport

        _check_binding(connected)
        return BindingTransport(connected.binding, connected.default_headers, _to_httpx_timeout(limits).read)
    token = _to_secret(connected.api_token)
    if token is None and HOSTS[connected.host].needs_token:
        raise ValueError("binding is missing: a pickle does not include it. Set it again, or pass credentials.")
    timeout = _to_httpx_timeout(limits)
    return Transport(token, timeout, connected.http_client, connected.http_async_client)


def _to_secret(token: SecretStr | str | None) -> SecretStr | None:
    """Return a token in its wrapper. A token that was assigned to the model object may have none."""
    return SecretStr(token) if isinstance(token, str) else token


@lru_cache(maxsize=128, typed=True)
def _make_step_timeout(seconds: float | None) -> httpx.Timeout:
    connect = _CONNECT_TIMEOUT if seconds is None else min(seconds, _CONNECT_TIMEOUT)
    return httpx.Timeout(seconds, connect=None if seconds is None else connect)


def _to_httpx_timeout(timeout: float | httpx.Timeout | None) -> httpx.Timeout:
    return timeout if isinstance(timeout, httpx.Timeout) else _make_step_timeout(timeout)
