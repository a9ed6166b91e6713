"""AI Gateway: its request headers, checked, and a small response cache (docs/wire.md section 1)."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.errors import INVALID_INPUT, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_ATTEMPTS = 5
_LONGEST_DELAY = 5000
_BACKOFFS = ("constant", "linear", "exponential")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What a request asks of the gateway it goes through.

    Attributes:
        id: The gateway.
        cache_ttl: Seconds for which the reply may be kept, 0 for not at all.
        skip_cache: Whether a kept reply must not be used.
        cache_key: The key under which it is kept.
        collect_log: Whether the request is logged.
        request_timeout: Seconds to the first byte, `None` for any.
        metadata: What the log shows with it.
    """

    id: str
    cache_ttl: float = 0.0
    skip_cache: bool = False
    cache_key: str | None = None
    collect_log: bool = True
    request_timeout: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_gateway(headers: Mapping[str, str], gateway_id: str | None) -> GatewayOptions | None:
    """The options in a request's headers, `None` when it goes through no gateway.

    Raises:
        ServiceError: For a header whose value the gateway cannot use.
    """
    name = gateway_id or headers.get("cf-aig-gateway-id")
    if name is None:
        return None
    if not name:
        raise _invalid("cf-aig-gateway-id", "must not be empty")
    _whole(headers, "cf-aig-max-attempts", 1, _MOST_ATTEMPTS)
    _whole(headers, "cf-aig-retry-delay", 0, _LONGEST_DELAY)
    timeout = _whole(headers, "cf-aig-request-timeout", 1, None)
    if headers.get("cf-aig-backoff", _BACKOFFS[0]) not in _BACKOFFS:
        raise _invalid("cf-aig-backoff", f"must be one of {', '.join(_BACKOFFS)}")
    return GatewayOptions(
        id=name,
        cache_ttl=_whole(headers, "cf-aig-cache-ttl", 0, None) or 0,
        skip_cache=_flag(headers, "cf-aig-skip-cache", default=False),
        cache_key=headers.get("cf-aig-cache-key"),
        collect_log=_flag(headers, "cf-aig-collect-log", default=True),
        request_timeout=timeout / 1000 if timeout is not None else None,
        metadata=_metadata(headers),
    )


def _whole(headers: Mapping[str, str], name: str, low: int, high: int | None) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < low or (high is not None and int(text) > high):
        raise _invalid(name, f"must be a whole number from {low}" + (f" to {high}" if high is not None else ""))
    return int(text)


def _flag(headers: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = headers.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise _invalid(name, "must be true or false")
    return text == "true"


def _metadata(headers: Mapping[str, str]) -> Mapping[str, Any]:
    text = headers.get("cf-aig-metadata")
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or any(isinstance(inner, dict | list) for inner in value.values()):
        raise _invalid("cf-aig-metadata", "must be a JSON object of texts, numbers and booleans")
    return value


def _invalid(name: str, problem: str) -> ServiceError:
    return ServiceError(INVALID_INPUT, f"Invalid header {name}: {problem}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply in the cache."""

    status: int
    body: bytes
    content_type: str | None
    until: float


class Cache:
    """Replies that gateways keep."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()

    def key(self, options: GatewayOptions, path: str, body: bytes) -> str:
        """The key of a request: the caller's own, or the request itself."""
        asked = options.cache_key.encode() if options.cache_key is not None else path.encode() + b"\0" + body
        return f"{options.id}/{hashlib.sha256(asked).hexdigest()}"

    def get(self, key: str) -> Kept | None:
        """What is kept under a key and not too old."""
        found = self._kept.get(key)
        return found if found is not None and found.until > time.monotonic() else None

    def put(self, key: str, status: int, body: bytes, content_type: str | None, ttl: float) -> None:
        """Keep a reply."""
        self._kept[key] = Kept(status, body, content_type, time.monotonic() + ttl)
