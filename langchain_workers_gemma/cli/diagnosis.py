"""The steps of `workers-gemma check`: credentials, base URL, token, account, model, call."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from langchain_workers_gemma import errors
from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.cli.account import get_token_status, search_models
from langchain_workers_gemma.cli.findings import (
    FailedError,
    Finding,
    describe_problems,
    explain,
    make_failure,
    suggest_model,
)
from langchain_workers_gemma.client import connection
from langchain_workers_gemma.hosts import BASE_URL_VARIABLE, HOSTS, is_legacy_gateway
from langchain_workers_gemma.models import DEFAULT_MODEL, HostName, resolve_model
from langchain_workers_gemma.transport.driver import run

_ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")
_GLOBAL_API_KEY = re.compile(r"[0-9a-f]{37}")
_API_PATH = "/client/v4"
_NO_ROUTE_CODES = (7000, 7003)
"""Error codes of a path that the API does not have: its account or the base URL is wrong (docs/wire.md section 5)."""
_MALFORMED_HEADER_CODE = 6003


def diagnose(host: HostName = "cloudflare", model: str = "") -> Iterator[Finding]:
    """Test the credentials from the environment step by step, and stop at the first step that fails.

    Args:
        host: The hosting provider.
        model: The model to call; empty for the host's default model.

    Yields:
        The findings of each step.
    """
    try:
        llm = make_model(host, model)
        yield from _check_credentials(llm)
        reads_account = HOSTS[host].has_account_api and not is_legacy_gateway(llm.base_url or "")
        if reads_account:
            yield from _check_token(llm)
            yield from _check_account(llm)
        yield from _call(llm, account_was_read=reads_account)
    except FailedError as failure:
        yield failure.finding


def make_model(host: HostName, model: str) -> ChatWorkersGemma:
    """Create a model object from the credentials in the environment.

    Raises:
        FailedError: If there are no credentials, or they are not valid.
    """
    settings: dict[str, Any] = {"host": host, "max_tokens": 1, "max_retries": 0}
    model = model or DEFAULT_MODEL.get(host, "")
    if model:
        settings["model"] = model
        settings["thinking"] = False if resolve_model(model, host).thinking else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # `_check_account` reports a retired model
            return ChatWorkersGemma(**settings)
    except ValidationError as error:
        raise make_failure("credentials", describe_problems(error)) from None


# --- credentials ------------------------------------------------------------------------------------------------------
def _check_credentials(llm: ChatWorkersGemma) -> Iterator[Finding]:
    host = HOSTS[llm.host]
    account = f"account {llm.account_id}, " if llm.account_id else ""
    token = llm.api_token.get_secret_value() if llm.api_token else ""
    source = f"token from {connection.find_token_source(llm)}" if token else "no token, which this host does not need"
    yield Finding("ok", "credentials", f"{account}{source}")
    if llm.base_url != host.base_url:
        instead = f", not to {host.base_url}" if host.base_url else ""
        yield Finding("note", "base_url", f"requests go to {llm.base_url}{instead}")
    yield from _check_odd_credentials(llm, token)


def _check_odd_credentials(llm: ChatWorkersGemma, token: str) -> Iterator[Finding]:
    if token.lower().startswith("bearer ") or token.startswith(("'", '"')) or " " in token:
        yield Finding("note", "token", "it starts with Bearer, or contains quotes or spaces: set only the token itself")
    if not HOSTS[llm.host].has_account_api or not llm.account_id:
        return
    if _ACCOUNT_ID.fullmatch(token) and not _ACCOUNT_ID.fullmatch(llm.account_id):
        yield Finding("note", "token", "it looks like an account id: are account id and token swapped?")
    elif _GLOBAL_API_KEY.fullmatch(token):
        yield Finding("note", "token", "it looks like a Global API Key, which does not work here: create an API token")
    if not _ACCOUNT_ID.fullmatch(llm.account_id):
        yield Finding(
            "note", "account", "an account id of Cloudflare has 32 digits and letters a to f; this one does not"
        )


# --- base URL and token -----------------------------------------------------------------------------------------------
def _check_token(llm: ChatWorkersGemma) -> Iterator[Finding]:
    kind, status = "a user's token", _get_status(llm, of_account=False)
    if isinstance(status, errors.APIStatusError):
        kind, status = "a token of the account", _get_status(llm, of_account=True)
    if isinstance(status, errors.APIStatusError):
        raise _explain_unknown_token(llm, status)
    if status != "active":
        raise make_failure("token", f"it is {kind}, but {status}: create a new one.")
    yield Finding("ok", "token", f"{kind}, active")


def _get_status(llm: ChatWorkersGemma, *, of_account: bool) -> str | errors.APIStatusError:
    """Request the status of the token.

    Returns:
        The status, or the error if the service does not know the token.

    Raises:
        FailedError: If the request fails for any other reason.
    """
    try:
        return run(connection.build_transport(llm), get_token_status(llm, of_account=of_account))
    except (errors.RateLimitError, errors.InternalServerError) as error:
        raise _explain_wrong_base_url(llm, error) or FailedError(explain(error)) from None
    except errors.APIStatusError as error:
        # The path that checks a user's token has no account in it: a server without this path is not Cloudflare's API.
        if not of_account and _is_no_route(error):
            raise _explain_wrong_base_url(llm, error) or make_failure(
                "base_url", f"{llm.base_url} is not the URL of Cloudflare's API: check {BASE_URL_VARIABLE}.", error
            ) from None
        return error
    except errors.WorkersGemmaError as error:
        raise FailedError(_explain_unreachable(llm, error)) from None


def _explain_wrong_base_url(llm: ChatWorkersGemma, error: errors.APIStatusError) -> FailedError | None:
    """Return the failure if the base URL lacks the path of the API, or `None`.

    Errors of a busy or failing server do not show that the base URL is wrong.
    """
    parts = urlsplit(llm.base_url or "")
    if parts.path.endswith(_API_PATH) or (error.status_code >= 429 and not _is_no_route(error)):
        return None
    corrected = f"{parts.scheme}://{parts.netloc}{_API_PATH}"
    return make_failure("base_url", f"{llm.base_url} has no {_API_PATH}: set {BASE_URL_VARIABLE}={corrected}.", error)


def _is_no_route(error: errors.APIStatusError) -> bool:
    return error.code in _NO_ROUTE_CODES or error.status_code in (404, 405)


def _explain_unreachable(llm: ChatWorkersGemma, error: errors.WorkersGemmaError) -> Finding:
    finding = explain(error)
    if finding.topic != "network" or llm.base_url == HOSTS[llm.host].base_url:
        return finding
    hint = f" {llm.base_url} was set as the base URL: unset {BASE_URL_VARIABLE} to use {HOSTS[llm.host].label} itself."
    return Finding(finding.state, finding.topic, finding.text + hint, finding.server)


def _explain_unknown_token(llm: ChatWorkersGemma, refusal: errors.APIStatusError) -> FailedError:
    if refusal.code == _MALFORMED_HEADER_CODE:
        return make_failure(
            "token", "it is not valid in a header: remove quotes, spaces and a leading Bearer.", refusal
        )
    text = "Cloudflare accepts it neither as a user's token nor as a token of this account"
    if _is_no_route(refusal):
        return make_failure("token", f"{text}. The account {llm.account_id} may not exist either: check both.", refusal)
    return make_failure("token", f"{text}: create a new one, or check the account id.", refusal)


# --- account and model ------------------------------------------------------------------------------------------------
def _check_account(llm: ChatWorkersGemma) -> Iterator[Finding]:
    try:
        entries = run(connection.build_transport(llm), search_models(llm, "gemma"))
    except errors.APIStatusError as error:
        raise _explain_refused_account(llm, error) from None
    except errors.WorkersGemmaError as error:
        raise FailedError(_explain_unreachable(llm, error)) from None
    yield Finding("ok", "account", f"the token may read Workers AI, which lists {len(entries)} Gemma models")
    yield _check_listed(llm, [str(entry.get("name")) for entry in entries])


def _explain_refused_account(llm: ChatWorkersGemma, error: errors.APIStatusError) -> FailedError:
    if _is_no_route(error):
        text = (
            f"The token is valid, but there is no account {llm.account_id}: check the account's id "
            f"({' or '.join(HOSTS[llm.host].account_variables)})."
        )
        return make_failure("account", text, error)
    if isinstance(error, errors.AuthenticationError | errors.PermissionDeniedError):
        text = (
            "The token is valid, but may not read Workers AI in this account: either the token belongs to another "
            f"account than {llm.account_id}, or it lacks the permission Workers AI (Read)."
        )
        return make_failure("account", text, error)
    return FailedError(explain(error))


def _check_listed(llm: ChatWorkersGemma, names: list[str]) -> Finding:
    spec = resolve_model(llm.model, llm.host)
    if spec.retired is not None:
        return Finding("note", "model", f"{spec.id} was retired on {spec.retired.isoformat()}: use {spec.replacement}")
    if llm.model not in names:
        return Finding("note", "model", f"{llm.model} is not in that list.{suggest_model(llm.model, llm.host, names)}")
    return Finding("ok", "model", f"{llm.model} is listed")


def _call(llm: ChatWorkersGemma, *, account_was_read: bool) -> Iterator[Finding]:
    try:
        message: Any = llm.invoke("Hi")
    except errors.WorkersGemmaError as error:
        raise FailedError(explain(error, llm.model, llm.host, account_was_read=account_was_read)) from None
    usage = message.usage_metadata
    tokens = f": {usage['input_tokens']} tokens in, {usage['output_tokens']} out" if usage else ""
    yield Finding("ok", "call", f"{llm.model} answered{tokens}")
