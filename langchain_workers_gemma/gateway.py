"""Cloudflare AI Gateway: the options of a call, and their HTTP headers.

`docs/wire.md` section 1 has the header names, units and ranges. A binding accepts the same options as an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.load.serializable import Serializable
from pydantic import ConfigDict, Field, SecretStr, field_validator

_HEADER_TEXT_ERROR = "must be printable ASCII without blanks around it, since it is sent as an HTTP header"


def check_header(name: str, value: str) -> str:
    """Check that a value can be sent as a header, and return it.

    Raises:
        ValueError: If it holds a control character or a character outside ASCII, so that no other header can be
            injected; or if it starts or ends with a blank: the HTTP library's error for that would show the value.
    """
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError(f"{name} {_HEADER_TEXT_ERROR}.")
    return value


class AIGateway(Serializable):
    """Options of Cloudflare AI Gateway, which caches, logs, limits and retries calls.

    Args:
        id: The gateway's id; `default` exists on every account.
        cache_ttl: The time for which the gateway caches a response, in seconds. Sent as whole seconds.
        skip_cache: Do not use the gateway's cache.
        cache_key: Use this key instead of the request's own.
        metadata: Up to five values that the gateway logs with the request.
        collect_log: Whether the gateway logs the request.
        request_timeout: The time for which the gateway waits for the first byte, in seconds.
        max_attempts: The number of times that the gateway tries a request, at most 5.
        retry_delay: The time between attempts of the gateway, at most 5 seconds.
        backoff: How this delay grows: `constant`, `linear` or `exponential`.
        token: Token of an authenticated gateway, sent in addition to the API token.

    Example:
        >>> AIGateway("my-gateway", cache_ttl=60, request_timeout=2.5).headers()["cf-aig-request-timeout"]
        '2500'
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    cache_ttl: float | None = Field(default=None, ge=0)
    skip_cache: bool | None = None
    cache_key: str | None = None
    metadata: dict[str, str | int | float | bool | None] | None = None
    collect_log: bool | None = None
    request_timeout: float | None = Field(default=None, gt=0)
    max_attempts: int | None = Field(default=None, ge=1, le=5)
    retry_delay: float | None = Field(default=None, ge=0, le=5)
    backoff: Literal["constant", "linear", "exponential"] | None = None
    token: SecretStr | None = None

    def __init__(self, id: str | None = None, **options: Any) -> None:  # noqa: A002 - the contract's name
        super().__init__(**options if id is None else {**options, "id": id})

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return whether `langchain_core.load` may write and read it."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The arguments that are written as references to secrets."""
        return {"token": "CF_AIG_TOKEN"}

    @field_validator("cache_key")
    @classmethod
    def _check_cache_key(cls, value: str | None) -> str | None:
        return value if value is None else check_header("cache_key", value)

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not check_header("token", value.get_secret_value()):
            raise ValueError("token must not be empty; leave it out for a gateway without authentication.")
        return value

    def headers(self, *, addressed_by_url: bool = False) -> dict[str, str]:
        """Return the options as headers.

        Args:
            addressed_by_url: Whether the URL already contains the gateway, so that no header is needed.
        """
        values: dict[str, object] = {
            "cf-aig-gateway-id": None if addressed_by_url else self.id,
            "cf-aig-skip-cache": True if self.skip_cache else None,
            "cf-aig-cache-ttl": _to_whole(self.cache_ttl),
            "cf-aig-cache-key": self.cache_key,
            "cf-aig-collect-log": self.collect_log,
            "cf-aig-metadata": None if self.metadata is None else json.dumps(self.metadata),
            "cf-aig-request-timeout": _to_milliseconds(self.request_timeout),
            "cf-aig-max-attempts": self.max_attempts,
            "cf-aig-retry-delay": _to_milliseconds(self.retry_delay),
            "cf-aig-backoff": self.backoff,
            "cf-aig-authorization": None if self.token is None else f"Bearer {self.token.get_secret_value()}",
        }
        return {name: _to_header(value) for name, value in values.items() if value is not None}

    def binding_options(self) -> dict[str, Any]:
        """Return the options in the form that `env.AI.run` accepts as `gateway`."""
        retries = {
            "maxAttempts": self.max_attempts,
            "retryDelayMs": _to_milliseconds(self.retry_delay),
            "backoff": self.backoff,
        }
        values = {
            "id": self.id,
            "cacheTtl": _to_whole(self.cache_ttl),
            "skipCache": self.skip_cache,
            "cacheKey": self.cache_key,
            "metadata": self.metadata,
            "collectLog": self.collect_log,
            "requestTimeoutMs": _to_milliseconds(self.request_timeout),
            "retries": _remove_none(retries) or None,
        }
        return _remove_none(values)


def _remove_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _to_whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def _to_milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _to_header(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
