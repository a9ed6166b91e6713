"""`workers-gemma check`: tries the credentials found, one step after another, and says in plain words what is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from langchain_workers_gemma import errors
from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.cli.account import search_models, token_status
from langchain_workers_gemma.client import connection
from langchain_workers_gemma.hosts import HOSTS, is_legacy_gateway
from langchain_workers_gemma.models import DEFAULT_MODEL, HostName, resolve_model
from langchain_workers_gemma.transport.driver import run

_ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")

# What each error means to somebody who has just set the package up; the first that fits.
_MEANINGS: tuple[tuple[type[errors.WorkersGemmaError], str, str], ...] = (
    (
        errors.APITimeoutError,
        "network",
        "The service was reached too slowly, or not at all; a cold start takes minutes.",
    ),
    (errors.APIConnectionError, "network", "The service cannot be reached: check the network, the proxy and base_url."),
    (errors.AuthenticationError, "credentials", "The token was refused: check that it is whole and not revoked."),
    (errors.QuotaExceededError, "quota", "The credentials are good, but the day's free allocation is used up."),
    (
        errors.CapacityError,
        "capacity",
        "The credentials are good, but the service has no capacity at the moment: try later.",
    ),
    (errors.RateLimitError, "quota", "The credentials are good, but there were too many requests: wait a minute."),
    (errors.ModelDeprecatedError, "model", "The credentials are good, but the service has retired this model."),
    (errors.ModelNotFoundError, "model", "There is no such model, or no such account: check both ids."),
    (errors.PermissionDeniedError, "account", "The account, or this token in it, may not use this model."),
    (errors.RequestTimeoutError, "service", "The service took too long: it may be starting the model, so try again."),
    (
        errors.InternalServerError,
        "service",
        "The service failed or answered with something unreadable: try again later.",
    ),
    (errors.WorkersGemmaError, "call", "The service refused the call."),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Attributes:
        state: `ok`, `note` for what may matter, or `FAIL` for what has to be mended.
        topic: What it is about: credentials, token, account, model, quota, capacity, network, service or call.
        text: In plain words.
    """

    state: str
    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:4}  {self.topic}: {self.text}"


class FailedError(Exception):
    """A step found what has to be mended, so that the next ones make no sense."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def diagnose(host: HostName = "cloudflare", model: str = "") -> Iterator[Finding]:
    """Try the credentials that are found, up to the first step that fails.

    Args:
        host: Who serves the model.
        model: The model to call; the host's default if left out.
    """
    try:
        llm = make_model(host, model)
        yield from _credentials(llm)
        if host == "cloudflare" and not is_legacy_gateway(llm.base_url or ""):
            yield from _token(llm)
            yield from _account(llm)
        yield from _call(llm)
    except FailedError as failed:
        yield failed.finding


def make_model(host: HostName, model: str) -> ChatWorkersGemma:
    """A model object from the credentials found.

    Raises:
        FailedError: If there are none, or they cannot be used.
    """
    model = model or DEFAULT_MODEL[host]
    thinking = False if resolve_model(model, host).thinking else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a retired model is told by `_account`
            return ChatWorkersGemma(host=host, model=model, max_tokens=1, thinking=thinking, max_retries=0)
    except ValidationError as error:
        why = " ".join(str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors())
        raise FailedError(Finding("FAIL", "credentials", why)) from None


def _credentials(llm: ChatWorkersGemma) -> Iterator[Finding]:
    host = HOSTS[llm.host]
    account = f"account {llm.account_id}, " if llm.account_id else ""
    yield Finding("ok", "credentials", f"{account}token from {connection.token_source(llm)}")
    if llm.base_url != host.base_url:
        yield Finding("note", "network", f"requests go to {llm.base_url}, not to {host.base_url}")
    token = llm.api_token.get_secret_value() if llm.api_token else ""
    if token.lower().startswith("bearer ") or token[:1] in "\"'" or " " in token:
        yield Finding("note", "token", "it begins with Bearer, or has quotes or blanks: give the token alone")
    if llm.account_id and not _ACCOUNT_ID.fullmatch(llm.account_id):
        yield Finding("note", "account", "Cloudflare's account ids are 32 digits and letters a to f; this one is not")


def _token(llm: ChatWorkersGemma) -> Iterator[Finding]:
    kind, status = "a user's token", _asked(llm, of_account=False)
    if status is None:
        kind, status = "a token of the account", _asked(llm, of_account=True)
    if status is None:
        why = (
            "Cloudflare knows it neither as a user's token nor as one of this account: make a new one, or check the id"
        )
        raise FailedError(Finding("FAIL", "token", f"{why}."))
    if status != "active":
        raise FailedError(Finding("FAIL", "token", f"it is {kind}, but {status}: make a new one."))
    yield Finding("ok", "token", f"{kind}, active")


def _asked(llm: ChatWorkersGemma, *, of_account: bool) -> str | None:
    """The token's status, `None` where the service does not know it."""
    try:
        return run(connection.transport(llm), token_status(llm, of_account=of_account))
    except (errors.RateLimitError, errors.InternalServerError) as error:
        raise FailedError(explain(error)) from None
    except errors.APIStatusError:
        return None
    except errors.WorkersGemmaError as error:
        raise FailedError(explain(error)) from None


def _account(llm: ChatWorkersGemma) -> Iterator[Finding]:
    try:
        entries = run(connection.transport(llm), search_models(llm, "gemma"))
    except (errors.AuthenticationError, errors.PermissionDeniedError, errors.ModelNotFoundError) as error:
        why = "the token may not read Workers AI in this account: check the account's id and the permission Workers AI"
        raise FailedError(Finding("FAIL", "account", f"{why} ({error.message}).")) from None
    except errors.WorkersGemmaError as error:
        raise FailedError(explain(error)) from None
    yield Finding("ok", "account", f"the token reads Workers AI, where {len(entries)} Gemma models are listed")
    spec = resolve_model(llm.model, llm.host)
    if spec.retired is not None:
        why = f"{spec.id} was retired on {spec.retired.isoformat()}: use {spec.replacement}"
        yield Finding("note", "model", why)
    elif llm.model not in (entry.get("name") for entry in entries):
        yield Finding("note", "model", f"{llm.model} is not in that list")
    else:
        yield Finding("ok", "model", f"{llm.model} is listed")


def _call(llm: ChatWorkersGemma) -> Iterator[Finding]:
    try:
        message: Any = llm.invoke("Hi")
    except errors.WorkersGemmaError as error:
        raise FailedError(explain(error)) from None
    usage = message.usage_metadata
    cost = f": {usage['input_tokens']} tokens in, {usage['output_tokens']} out" if usage else ""
    yield Finding("ok", "call", f"{llm.model} answered{cost}")


def explain(error: errors.WorkersGemmaError) -> Finding:
    """What an error means, with what the service itself said."""
    topic, text = next((topic, text) for cls, topic, text in _MEANINGS if isinstance(error, cls))
    return Finding("FAIL", topic, f"{text} ({' '.join(str(error).split())})")
