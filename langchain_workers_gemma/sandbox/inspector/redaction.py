"""Remove tokens from everything that the inspector shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .exchanges import Headers

HIDDEN = "•••"
_MIN_SECRET_LENGTH = 6
"""Minimum length of a secret to redact in text. Shorter ones can be part of ordinary words."""
_SECRET_NAME = re.compile(r"authorization|token|secret|cookie|passw|credential|api[-_]?key|^key$", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z]+\s+")


class Redactor:
    """Replaces the secrets of one request.

    Example:
        >>> redactor = Redactor(["sandbox-token"])
        >>> redactor.redact_text("the token is sandbox-token")
        'the token is •••'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        variants = {secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH}
        variants |= {quote(secret, safe="") for secret in variants} | {_escape_for_json(secret) for secret in variants}
        # The longest first: a secret that starts with another one must be replaced as a whole.
        ordered = sorted(variants, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def redact_text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._secrets.sub(HIDDEN, text) if self._secrets is not None else text

    def redact_headers(self, headers: Headers) -> list[list[str]]:
        """Return headers without secrets, as lists of name and value."""
        return [[name, HIDDEN if _SECRET_NAME.search(name) else self.redact_text(value)] for name, value in headers]

    def redact_value(self, value: Any) -> Any:
        """Return a JSON value without secrets."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, list | tuple):
            return [self.redact_value(item) for item in value]
        if isinstance(value, dict):
            return {self.redact_text(str(key)): self.redact_value(item) for key, item in value.items()}
        return value


def find_secrets(headers: Headers, query: str) -> list[str]:
    """Return the credentials in the headers and the query of a request, with and without a scheme such as `Bearer`."""
    named = [*headers, *parse_qsl(query, keep_blank_values=True)]
    values = [value.strip() for name, value in named if _SECRET_NAME.search(name)]
    return [*values, *(_SCHEME.sub("", value, count=1) for value in values)]


def _escape_for_json(secret: str) -> str:
    import json

    return json.dumps(secret)[1:-1]
