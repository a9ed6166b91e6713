"""Request the status of a token and the list of models from Cloudflare's API."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlencode

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.fields import ClientFields
from langchain_workers_gemma.exchange.actions import Action
from langchain_workers_gemma.exchange.call import JsonResponse, call
from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.hosts import Route

_PAGE_SIZE = 100
MAX_PAGES = 20


def get_token_status(client: ClientFields, *, of_account: bool) -> Generator[Action, Any, str]:
    """Request the status of the token: `active`, `disabled` or `expired`.

    Args:
        client: The model object that has the token.
        of_account: Whether to check a token of the account, instead of a user's token.

    Raises:
        WorkersGemmaError: If the service refuses the token or cannot be reached.
    """
    path = "/accounts/{account}/tokens/verify" if of_account else "/user/tokens/verify"
    answer = yield from _get(client, path, {})
    status = answer.result.get("status") if isinstance(answer.result, dict) else None
    if not isinstance(status, str):
        raise answer.make_unreadable_error("it does not contain the status of the token")
    return status


def search_models(client: ClientFields, search: str) -> Generator[Action, Any, list[dict[str, Any]]]:
    """Request the models that the account can use.

    Args:
        client: The model object that has the account and the token.
        search: A text that the names of the models contain.

    Raises:
        WorkersGemmaError: If the service refuses the request or cannot be reached.
    """
    found: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES + 1):
        query = {"search": search, "per_page": str(_PAGE_SIZE), "page": str(page)}
        answer = yield from _get(client, "/accounts/{account}/ai/models/search", query)
        entries = answer.result
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise answer.make_unreadable_error("it does not contain a list of models")
        found += entries
        if len(entries) < _PAGE_SIZE:
            break
    return found


def _get(client: ClientFields, path: str, query: Mapping[str, str]) -> Generator[Action, Any, JsonResponse]:
    gateway = connection.parse_gateway(client.ai_gateway)
    request = Request(
        connection.build_address(client),
        Route(path, lambda _model, data: data),
        model="",
        data={},
        headers=client.default_headers,
        query=f"?{urlencode(query)}" if query else "",
        method="GET",
    )
    context = ErrorContext(
        token_source=connection.find_token_source(client), secrets=connection.collect_secrets(client, gateway)
    )
    return (yield from call(request, RetryPolicy(client.max_retries), context))
