"""The hosting providers and how to call each: URLs, credentials and the form of the request body.

Source: `docs/wire.md` section 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from langchain_workers_gemma.models import HostName

Api: TypeAlias = Literal["native", "openai"]
"""The request's dialect: Workers AI's own, or OpenAI's chat completions."""

Envelope: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


def _keep_input(_model: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return data


def _add_model(model: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"model": model, **data}


def _nest_input(model: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"model": model, "data": data}


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a host.

    Attributes:
        path: The path after the base URL; `{account}` and `{model}` are filled in.
        envelope: Builds the body from the model and the input.
    """

    path: str
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A service that serves Gemma.

    Attributes:
        name: The value of the `host` argument.
        label: The display name.
        base_url: The base URL; empty if the caller must pass one.
        token_variables: The environment variables for the token. The first that is set is used.
        account_variables: The same for the account id; empty if the host has no accounts.
        chat: The routes for chats, by dialect; the first is the default.
        embeddings: The routes for embeddings, by dialect.
        default_embedding_model: The embedding model that is used if the caller names none.
        max_embedding_texts: The maximum number of texts in one request, `None` if it is not published.
        needs_token: Whether every request needs a token.
        has_gateway: Whether it has the features of Cloudflare's platform: AI Gateway, session affinity,
            `reject_if_busy` and a binding.
        has_queue: Whether it has an asynchronous queue.
        streams: Whether its documentation describes streaming.
        has_account_api: Whether it has an API for accounts, tokens and models.
        serves_any_model: Whether it may serve models other than Gemma, so that `base_url` and `model` are required.
    """

    name: HostName
    label: str
    base_url: str
    token_variables: tuple[str, ...]
    account_variables: tuple[str, ...] = ()
    chat: Mapping[Api, Route]
    embeddings: Mapping[Api, Route]
    default_embedding_model: str | None = None
    max_embedding_texts: int | None = None
    needs_token: bool = True
    has_gateway: bool = False
    has_queue: bool = False
    has_account_api: bool = False
    streams: bool = True
    serves_any_model: bool = False


_CLOUDFLARE_RUN = Route("/accounts/{account}/ai/run/{model}", _keep_input)

HOSTS: Mapping[HostName, Host] = MappingProxyType(
    {
        host.name: host
        for host in (
            Host(
                name="cloudflare",
                label="Cloudflare Workers AI",
                base_url="https://api.cloudflare.com/client/v4",
                token_variables=("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN", "CF_API_TOKEN"),
                account_variables=("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID"),
                chat={
                    "native": _CLOUDFLARE_RUN,
                    "openai": Route("/accounts/{account}/ai/v1/chat/completions", _add_model),
                },
                embeddings={
                    "native": _CLOUDFLARE_RUN,
                    "openai": Route("/accounts/{account}/ai/v1/embeddings", _add_model),
                },
                default_embedding_model="@cf/google/embeddinggemma-300m",
                max_embedding_texts=100,  # the published schemas of Workers AI's embedding models
                has_gateway=True,
                has_queue=True,
                has_account_api=True,
            ),
            Host(
                name="dataoorts",
                label="Dataoorts",
                base_url="https://cloud.dataoorts.com/api/v1",
                token_variables=("DATAOORTS_API_KEY",),
                chat={"native": Route("", _nest_input)},
                embeddings={"native": Route("", _nest_input)},
                streams=False,
            ),
            Host(
                name="aimlapi",
                label="AI/ML API",
                base_url="https://api.aimlapi.com/v1",
                token_variables=("AIMLAPI_API_KEY", "AIML_API_KEY"),
                chat={"openai": Route("/chat/completions", _add_model)},
                embeddings={"openai": Route("/embeddings", _add_model)},
            ),
            Host(
                name="openai_compatible",
                label="An OpenAI-compatible server",
                base_url="",
                token_variables=(),
                chat={"openai": Route("/chat/completions", _add_model)},
                embeddings={"openai": Route("/embeddings", _add_model)},
                needs_token=False,
                serves_any_model=True,
            ),
        )
    }
)

BASE_URL_VARIABLE = "WORKERS_GEMMA_BASE_URL"

# The base URL of the legacy AI Gateway holds the account and the gateway, so its paths are shorter.
_LEGACY_GATEWAY = re.compile(r"/v1/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/workers-ai")
_LEGACY_RUN = Route("/{model}", _keep_input)
_LEGACY_CHAT: Mapping[Api, Route] = {"native": _LEGACY_RUN, "openai": Route("/v1/chat/completions", _add_model)}
_LEGACY_EMBEDDINGS: Mapping[Api, Route] = {"native": _LEGACY_RUN, "openai": Route("/v1/embeddings", _add_model)}

# Segments of a path that need no escaping, and are not `.` or `..`.
_MODEL_ID = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*")
_CHAT_ROUTE = "/chat/completions"
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]+")
_BASE_URL = re.compile(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?(?:/(?!\.{1,2}(?:/|$))[\w.~!$&'()*+,;=:-]*)*")


@dataclass(frozen=True, slots=True)
class Address:
    """The address to which one model object sends its requests.

    Attributes:
        host: The hosting provider.
        base_url: The base URL, without a trailing slash.
        account: The account id, if the route contains one.
    """

    host: Host
    base_url: str
    account: str | None

    @property
    def is_legacy_gateway(self) -> bool:
        """Whether the base URL is that of a legacy AI Gateway, which contains account and gateway."""
        return is_legacy_gateway(self.base_url)

    def get_chat_route(self, api: Api) -> Route:
        """Return the route for a chat in a dialect."""
        return (_LEGACY_CHAT if self.is_legacy_gateway else self.host.chat)[api]

    def get_embeddings_route(self, api: Api) -> Route:
        """Return the route for embeddings in a dialect."""
        return (_LEGACY_EMBEDDINGS if self.is_legacy_gateway else self.host.embeddings)[api]

    def build_url(self, route: Route, model: str) -> str:
        """Return the URL of a route."""
        return self.base_url + route.path.format(account=self.account, model=model)


def is_legacy_gateway(base_url: str) -> bool:
    """Return whether a base URL is that of a legacy AI Gateway."""
    return _LEGACY_GATEWAY.fullmatch(urlsplit(base_url).path) is not None


def check_base_url(url: str) -> str:
    """Check a base URL, and return it without its trailing slash.

    Raises:
        ValueError: If it is not a plain http(s) URL.
    """
    if not _BASE_URL.fullmatch(url):
        raise ValueError(
            "base_url must be an http(s) URL such as 'https://api.cloudflare.com/client/v4', without user name, query, "
            f"fragment, '..' or white space{'' if '@' in url else f', not {url!r}'}."  # it must not show a password
        )
    try:
        urlsplit(url).port  # noqa: B018 - the property checks the port
    except ValueError as error:
        raise ValueError(f"base_url: {error}.") from None
    url = url.rstrip("/")
    if url.endswith(_CHAT_ROUTE):
        raise ValueError(f"base_url must end before {_CHAT_ROUTE!r}, which is added to it, not {url!r}.")
    return url


def check_model_id(model: str, host: Host) -> str:
    """Check that a model id can be part of a URL's path without escaping, and return it.

    Raises:
        ValueError: If the id could change the path, or is blank.
    """
    if host.serves_any_model:  # the id is in the body only; with vLLM and llama.cpp it can be a file path
        if not model.strip() or not model.isprintable():
            raise ValueError(f"model must be the model's name on the server, not {model!r}.")
        return model
    if _MODEL_ID.fullmatch(model) is None:
        raise ValueError(
            f"model must be an id such as '@cf/google/gemma-4-26b-a4b-it' "
            f"(letters, digits, '.', '_', ':', '-' and '/'), not {model!r}."
        )
    return model


def check_account_id(account: str) -> str:
    """Check that an account id can be part of a URL's path without escaping, and return it.

    Raises:
        ValueError: If the id could change the path.
    """
    if _ACCOUNT_ID.fullmatch(account) is None:
        raise ValueError(f"account_id must consist of letters, digits, '_' and '-', not {account!r}.")
    return account
