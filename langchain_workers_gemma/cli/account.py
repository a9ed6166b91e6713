"""Request the status of a token and the list of models from Cloudflare's API."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlencode

from langchain_workers_gemma.client import connection
from langchain_workers_gemma.client.fields import ClientFields
from langchain_workers_gemma.exchange.actions import Action
from langchain_workers_gemma.exchange.call import Answer, call
from langchain_workers_gemma.exchange.error_mapping import ErrorContext
from langchain_workers_gemma.exchange.request import Request
from langchain_workers_gemma.exchange.retries import RetryPolicy
from langchain_workers_gemma.hosts import Route

_PER_PAGE = 100
MAX_PAGES = 20


def get_token_status(client: ClientFields, *, of_account: bool) -> Generator[Action, Any, str]:
    """Request the status of the token: `active`, `disabled` or `expired`.

    Args:
        client: Whose token.
        of_account: Ask as for a token of the account; else as for a user's.

    Raises:
        WorkersGemmaError: If the token is none of these, or the service cannot be asked.
    """
    path = "/accounts/{account}/tokens/verify" if of_account else "/user/tokens/verify"
    answer = yield from _get(client, path, {})
    status = answer.result.get("status") if isinstance(answer.result, dict) else None
    if not isinstance(status, str):
        raise answer.make_unreadable_error("it has no status of the token")
    return status


def search_models(client: ClientFields, search: str) -> Generator[Action, Any, list[dict[str, Any]]]:
    """Request the entries of the account's list of models.

    Args:
        client: Whose account.
        search: What their names hold.

    Raises:
        WorkersGemmaError: If the service refuses or cannot be asked.
    """
    found: list[dict[str, Any]] = []
    for page in range(1, MAX_PAGES + 1):
        query = {"search": search, "per_page": str(_PER_PAGE), "page": str(page)}
        answer = yield from _get(client, "/accounts/{account}/ai/models/search", query)
        entries = answer.result
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise answer.make_unreadable_error("it has no list of models")
        found += entries
        if len(entries) < _PER_PAGE:
            break
    return found


def _get(client: ClientFields, path: str, query: Mapping[str, str]) -> Generator[Action, Any, Answer]:
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
