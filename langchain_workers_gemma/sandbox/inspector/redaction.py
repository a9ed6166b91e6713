"""Keep tokens out of whatever the inspector shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .exchanges import Headers

HIDDEN = "•••"
_MIN_LENGTH = 6
"""Characters of a secret that is looked for in text; shorter ones would garble it."""
_SECRET_NAME = re.compile(r"authorization|token|secret|cookie|passw|credential|api[-_]?key|^key$", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z]+\s+")


class Redactor:
    """Hides the secrets of one request everywhere.

    Example:
        >>> redactor = Redactor(["sandbox-token"])
        >>> redactor.redact_text("the token is sandbox-token")
        'the token is •••'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret for secret in secrets if len(secret) >= _MIN_LENGTH}
        found |= {quote(secret, safe="") for secret in found} | {_escape_for_json(secret) for secret in found}
        # The longest first, so that no rest of a secret that begins like another one stays.
        ordered = sorted(found, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def redact_text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._secrets.sub(HIDDEN, text) if self._secrets is not None else text

    def redact_headers(self, headers: Headers) -> list[list[str]]:
        """Return headers without secrets, as pairs."""
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
    """Return the credentials that a request carries: in headers, without the word `Bearer`, and in its query."""
    named = [*headers, *parse_qsl(query, keep_blank_values=True)]
    values = [value.strip() for name, value in named if _SECRET_NAME.search(name)]
    return [*values, *(_SCHEME.sub("", value, count=1) for value in values)]


def _escape_for_json(secret: str) -> str:
    import json

    return json.dumps(secret)[1:-1]
