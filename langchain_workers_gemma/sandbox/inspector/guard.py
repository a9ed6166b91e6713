"""Detect requests that a foreign web page sends through a developer's browser.

A page on the internet can send requests to a server on loopback: with a form, with `fetch`, or to its own host name if
that resolves to 127.0.0.1 (DNS rebinding). The headers `Host`, `Origin` and `Sec-Fetch-Site` show this.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_BINDING_HOST = "workers-binding.ai"
"""The `Host` that Cloudflare's own `env.AI` client sends to every address. Nobody else can own this name."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def find_foreign_header(headers: Mapping[str, str]) -> str | None:
    """Return the header that shows that a request comes from a foreign page.

    Args:
        headers: The headers of the request, with names in lower case.

    Returns:
        `Host` if it is not loopback (with any port, so that forwarded ports work), `Origin` if it is not the origin of
        this server, `Sec-Fetch-Site` if another site sends the request without navigating; otherwise `None`.
    """
    host = headers.get("host", "")
    if not _is_own_host(host):
        return "Host"
    origin = headers.get("origin")
    if origin is not None and not _is_same_origin(origin, host):
        return "Origin"
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return "Sec-Fetch-Site"
    return None


def _is_own_host(host: str) -> bool:
    name = _split_origin(f"http://{host}")[0]
    if name in ("localhost", _BINDING_HOST):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(origin: str, host: str) -> bool:
    scheme = origin.partition("://")[0]
    name, _ = found = _split_origin(origin)
    return bool(name) and scheme in _DEFAULT_PORTS and found == _split_origin(f"{scheme}://{host}")


def _split_origin(url: str) -> tuple[str, int | None]:
    """Return the host and the port of an origin, or an empty host if the URL is not an origin."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return "", None
    return parts.hostname or "", port
