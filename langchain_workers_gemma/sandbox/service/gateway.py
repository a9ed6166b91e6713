"""AI Gateway: validate its request headers, and cache replies (docs/wire.md section 1)."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.sandbox.bounded import BoundedDict
from langchain_workers_gemma.sandbox.errors import INVALID_INPUT, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ATTEMPTS = 5
_MAX_DELAY = 5000  # milliseconds
_MAX_CACHED_REPLIES = 1_000
_BACKOFFS = ("constant", "linear", "exponential")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """The gateway options of a request.

    Attributes:
        id: The id of the gateway.
        cache_ttl: Seconds for which the reply may be cached, or 0 for no caching.
        skip_cache: Whether a cached reply must not be used.
        cache_key: The caller's own cache key, or `None`.
        collect_log: Whether the request is logged.
        request_timeout: Maximum number of seconds until the first byte, or `None` for no limit.
        metadata: Data that the log shows with the request.
    """

    id: str
    cache_ttl: float = 0.0
    skip_cache: bool = False
    cache_key: str | None = None
    collect_log: bool = True
    request_timeout: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_gateway(headers: Mapping[str, str], gateway_id: str | None) -> GatewayOptions | None:
    """Read the gateway options of a request.

    Returns:
        The options, or `None` if the request uses no gateway.

    Raises:
        ServiceError: If the value of a header is not valid.
    """
    gateway_id = gateway_id or headers.get("cf-aig-gateway-id")
    if gateway_id is None:
        return None
    if not gateway_id:
        raise _make_invalid_error("cf-aig-gateway-id", "must not be empty")
    _read_whole(headers, "cf-aig-max-attempts", 1, _MAX_ATTEMPTS)
    _read_whole(headers, "cf-aig-retry-delay", 0, _MAX_DELAY)
    timeout = _read_whole(headers, "cf-aig-request-timeout", 1, None)
    if headers.get("cf-aig-backoff", _BACKOFFS[0]) not in _BACKOFFS:
        raise _make_invalid_error("cf-aig-backoff", f"must be one of {', '.join(_BACKOFFS)}")
    return GatewayOptions(
        id=gateway_id,
        cache_ttl=_read_whole(headers, "cf-aig-cache-ttl", 0, None) or 0,
        skip_cache=_read_flag(headers, "cf-aig-skip-cache", default=False),
        cache_key=headers.get("cf-aig-cache-key"),
        collect_log=_read_flag(headers, "cf-aig-collect-log", default=True),
        request_timeout=timeout / 1000 if timeout is not None else None,
        metadata=_read_metadata(headers),
    )


def _read_whole(headers: Mapping[str, str], name: str, low: int, high: int | None) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < low or (high is not None and int(text) > high):
        raise _make_invalid_error(
            name, f"must be a whole number from {low}" + (f" to {high}" if high is not None else "")
        )
    return int(text)


def _read_flag(headers: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = headers.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise _make_invalid_error(name, "must be true or false")
    return text == "true"


def _read_metadata(headers: Mapping[str, str]) -> Mapping[str, Any]:
    text = headers.get("cf-aig-metadata")
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or any(isinstance(inner, dict | list) for inner in value.values()):
        raise _make_invalid_error("cf-aig-metadata", "must be a JSON object of strings, numbers and booleans")
    return value


def _make_invalid_error(name: str, problem: str) -> ServiceError:
    return ServiceError(INVALID_INPUT, f"Invalid header {name}: {problem}")


@dataclass(frozen=True, slots=True)
class CachedReply:
    """A cached reply. `until` is the monotonic time at which it expires."""

    status: int
    body: bytes
    content_type: str | None
    until: float


class Cache:
    """Cached replies. If there are too many, the oldest are removed."""

    def __init__(self) -> None:
        self._replies: BoundedDict[str, CachedReply] = BoundedDict(_MAX_CACHED_REPLIES)

    def clear(self) -> None:
        """Remove all replies."""
        self._replies.clear()

    def make_key(self, options: GatewayOptions, path: str, body: bytes) -> str:
        """Return the cache key of a request: the caller's own, or a hash of the request."""
        key = options.cache_key.encode() if options.cache_key is not None else path.encode() + b"\0" + body
        return f"{options.id}/{hashlib.sha256(key).hexdigest()}"

    def get(self, key: str) -> CachedReply | None:
        """Return the cached reply, or `None` if there is none or it has expired."""
        reply = self._replies.get(key)
        return reply if reply is not None and reply.until > time.monotonic() else None

    def put(self, key: str, status: int, body: bytes, content_type: str | None, ttl: float) -> None:
        """Cache a reply."""
        self._replies[key] = CachedReply(status, body, content_type, time.monotonic() + ttl)
