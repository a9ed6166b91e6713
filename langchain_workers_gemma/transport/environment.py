"""Read certificates and proxies for connections from the environment.

httpx reads the same variables when a client is created, for all addresses at once, and raises errors without context
for values that it cannot read, such as an IPv6 range in `NO_PROXY`. This module reads a variable only for an address
that needs it, and names it in the error.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from langchain_workers_gemma.errors import APIConnectionError

if TYPE_CHECKING:
    import ssl  # some platforms, such as Pyodide, do not have it

_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def get_tls_context(origin: str) -> ssl.SSLContext:
    """Return the TLS context for an origin; for an origin without TLS, a context without certificates.

    Args:
        origin: Scheme, host and port.

    Raises:
        APIConnectionError: If the certificates in the environment cannot be read.
    """
    return _make_context(verify=origin.startswith("https:"))


@cache
def _make_context(*, verify: bool) -> ssl.SSLContext:
    """Return a context, which is created once: reading the certificates takes tens of milliseconds."""
    try:
        return httpx.create_ssl_context(verify=verify)
    except (OSError, ValueError) as error:
        named = " or ".join(name for name in _CERTIFICATE_VARIABLES if os.environ.get(name))
        raise make_unusable_error(named or "the system's certificates", error) from error


def find_proxy(origin: str) -> httpx.Proxy | None:
    """Return the proxy in the environment for an origin, `None` for a direct connection.

    Args:
        origin: Scheme, host and port, such as `https://api.cloudflare.com`.

    Raises:
        APIConnectionError: If the proxy cannot be used.
    """
    variable, url = _find_proxy_url(origin)
    if not url:
        return None
    try:
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
        _check_support(proxy)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise make_unusable_error(variable, error) from error
    return proxy


def find_proxy_variable(origin: str) -> str | None:
    """Return the name of the variable that holds the proxy for an origin, `None` for a direct connection."""
    variable, url = _find_proxy_url(origin)
    return variable if url else None


def _find_proxy_url(origin: str) -> tuple[str, str | None]:
    proxies = getproxies()
    parts = urlsplit(origin)
    scheme = parts.scheme if proxies.get(parts.scheme) else "all"
    url = None if proxy_bypass(parts.hostname or "") else proxies.get(scheme)
    return f"{scheme.upper()}_PROXY", url


def _check_support(proxy: httpx.Proxy) -> None:
    if proxy.url.scheme.startswith("socks"):
        import_module("socksio")  # httpx needs it, but imports it only when a transport is created


def make_unusable_error(variable: str, error: Exception) -> APIConnectionError:
    """Return the error for an environment variable whose value cannot be used, without the value."""
    typed = APIConnectionError(
        f"The connection could not be set up: {variable} cannot be used ({type(error).__name__}). Correct or unset it."
    )
    typed.is_retryable = False  # the environment does not change
    return typed
