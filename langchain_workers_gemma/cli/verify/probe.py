"""Send raw requests and keep the raw responses. Checks need the bytes themselves, not our interpretation of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from langchain_workers_gemma.chat_models import ChatWorkersGemma
from langchain_workers_gemma.client import connection
from langchain_workers_gemma.hosts import Api, Route
from langchain_workers_gemma.models import GemmaModel, resolve_model

MAX_BYTES = 2_000_000
"""Maximum number of bytes that are read from one response."""
MAX_ATTEMPTS = 3
MAX_WAIT = 30.0
"""Maximum number of seconds between two attempts, even if `Retry-After` is longer."""
_TIMEOUT = httpx.Timeout(300.0, connect=20.0)
"""A cold start can take over 200 s (docs/wire.md section 5)."""
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_REFUSED_STATUSES = frozenset({401, 403})
_QUOTA_TEXT = "daily free allocation"
"""Part of the message of errors 3036 and 4006 (docs/wire.md section 5)."""


class InconclusiveError(Exception):
    """A call failed for a reason that says nothing about its facts: no connection, no capacity or no quota.

    Attributes:
        final: Whether all further calls of the day would fail too.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class RefusedCredentialsError(Exception):
    """The service refuses the credentials, so nothing can be verified."""


@dataclass(frozen=True, slots=True)
class Response:
    """A raw response.

    Attributes:
        status: The HTTP status.
        headers: The headers, with names in lower case.
        body: The body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body parsed as JSON, or `None` if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def result(self) -> Any:
        """The `result` of the native envelope, or the whole JSON body if it has no envelope."""
        value = self.json
        return value["result"] if isinstance(value, dict) and "result" in value else value


class Probe(AbstractContextManager["Probe"]):
    """Sends requests to one model on one host, with the credentials of a model object.

    Attributes:
        spec: The published facts about the model.
        calls: The number of requests sent so far.
    """

    def __init__(self, llm: ChatWorkersGemma, sleep: Callable[[float], None] = time.sleep) -> None:
        self.spec: GemmaModel = resolve_model(llm.model, llm.host)
        self.calls = 0
        self._address = connection.build_address(llm)
        self._token = llm.api_token.get_secret_value() if llm.api_token is not None else ""
        self._headers = connection.build_call_headers(llm, None, connection.parse_gateway(llm.ai_gateway))
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def api(self) -> Api:
        """The host's default dialect."""
        return next(iter(self._address.host.chat))

    def send_chat(self, body: Mapping[str, Any], *, api: Api | None = None, token: str | None = None) -> Response:
        """Send a chat.

        Args:
            body: The model's input.
            api: The dialect. By default the host's default dialect.
            token: A token to use instead of the token of the model object.
        """
        return self.post(self._address.get_chat_route(api or self.api), self.spec.id, body, token=token)

    def post(
        self, route: Route, model: str, body: Mapping[str, Any], *, query: str = "", token: str | None = None
    ) -> Response:
        """Send a model's input to a route."""
        url = self._address.build_url(route, model) + query
        return self._send("POST", url, dict(route.envelope(model, body)), token)

    def get(self, path: str) -> Response:
        """Request a path below the base URL. `{account}` in it is replaced by the account id."""
        return self._send("GET", self._address.build_url(Route(path, lambda _model, data: data), ""), None, None)

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        self._sleep(seconds)

    def redact(self, text: str) -> str:
        """Return a text without the token."""
        return text.replace(self._token, "•••") if len(self._token) > 5 else text

    def _send(self, method: str, url: str, body: Any, token: str | None) -> Response:
        sent_token = self._token if token is None else token
        headers = {**self._headers, **({"authorization": f"Bearer {sent_token}"} if sent_token else {})}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                response = self._send_once(method, url, body, headers)
            except httpx.HTTPError as error:
                raise InconclusiveError(self.redact(f"{type(error).__name__}: {error}")) from error
            text = self.redact(
                f"HTTP {response.status}: {' '.join(response.body[:300].decode(errors='replace').split())}"
            )
            if response.status in _REFUSED_STATUSES and token is None:
                raise RefusedCredentialsError(text)
            if response.status not in _RETRYABLE_STATUSES:
                return response
            if _QUOTA_TEXT in text:
                raise InconclusiveError(text, final=True)
            if attempt < MAX_ATTEMPTS:
                self._sleep(_get_delay(response, attempt))
        raise InconclusiveError(text)

    def _send_once(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Response:
        self.calls += 1
        with self._http.stream(method, url, json=body, headers=dict(headers)) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    break
            return Response(response.status_code, dict(response.headers), bytes(content))


def _get_delay(response: Response, attempt: int) -> float:
    retry_after = response.headers.get("retry-after", "")
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), MAX_WAIT)
    return float(2**attempt)
