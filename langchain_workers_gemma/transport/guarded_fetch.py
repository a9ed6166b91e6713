"""Fetch http(s) images so that they can be sent as `data:` URIs, for `inline_image_urls=True`.

The services refuse image URLs, and a URL may come from an untrusted message. So fetching is guarded: only http(s), only
public addresses (each connection checks the address to which it connects, also after redirects), with limits on size,
type, redirects and time.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

MAX_BYTES = 20 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_REDIRECTS = 3
MAX_SECONDS = 30.0
MAX_TOTAL_SECONDS = 120.0
MAX_IMAGES = 64
_READ_TIMEOUT = 10.0
_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all other IPv6 addresses are local, special or unused
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # not in the tables of older Python versions


def fetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images one after another.

    Args:
        urls: http(s) URLs.

    Returns:
        The `data:` URI of each URL.

    Raises:
        ValueError: If an image may not be fetched, has an unknown type, is too large, or takes too long.
    """
    return _fetch_all(urls, _Clock(MAX_TOTAL_SECONDS, threading.Event()))


def _fetch_all(urls: Sequence[str], total: _Clock) -> Mapping[str, str]:
    urls = list(dict.fromkeys(urls))
    if len(urls) > MAX_IMAGES:
        raise ValueError(f"messages: one call fetches at most {MAX_IMAGES} images, not {len(urls)}. Send fewer.")
    fetched: dict[str, str] = {}
    size = 0
    for url in urls:
        fetched[url] = _fetch(url, total)
        size += len(fetched[url])
        if size > MAX_TOTAL_BYTES:
            raise ValueError(f"messages: the images of one call are larger than {MAX_TOTAL_BYTES:,} bytes. Send fewer.")
    return fetched


async def afetch_images(urls: Sequence[str]) -> Mapping[str, str]:
    """Fetch images without blocking the event loop. See `fetch_images`."""
    if not urls:
        return {}
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_fetch_all, urls, _Clock(MAX_TOTAL_SECONDS, cancelled))
    finally:
        cancelled.set()  # if the call was cancelled, its thread ends at the next step


def is_public(address: str) -> bool:
    """Return whether an IP address is public, so that everybody on the internet can reach it.

    Example:
        >>> is_public("93.184.215.14"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1")
        (True, False, False)
    """
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if parsed not in _GLOBAL_UNICAST or parsed in _DOCUMENTATION:
            return False
    return parsed.is_global and not parsed.is_multicast


class _Clock:
    """The remaining time for one image, or for all images of a call.

    Args:
        seconds: The maximum time.
        cancelled: Set when the call is cancelled.
        total: The clock of the whole call.
    """

    def __init__(self, seconds: float, cancelled: threading.Event, total: _Clock | None = None) -> None:
        self.cancelled = cancelled
        self._deadline = time.monotonic() + seconds
        self._total = total

    def get_time_left(self, timeout: float | None) -> float:
        """Return the maximum time of the next step.

        Raises:
            _TooSlowError: If no time is left.
        """
        left = self._deadline - time.monotonic()
        if left <= 0 or self.cancelled.is_set():
            raise _TooSlowError
        if self._total is not None:
            left = self._total.get_time_left(left)
        return left if timeout is None else min(timeout, left)


class _PublicOnly(httpcore.NetworkBackend):
    """Resolves a host, refuses it unless all its addresses are public, and connects to one of them.

    The host is resolved only once, so a second resolution cannot return another address.
    """

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses or not all(map(is_public, addresses)):
            raise _NotPublicError
        backend = httpcore.SyncBackend()
        for address in addresses[:-1]:
            try:
                stream = backend.connect_tcp(
                    address, port, self._clock.get_time_left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # this machine may not be able to reach an address, such as an IPv6 one
            return _TimedStream(stream, self._clock)
        stream = backend.connect_tcp(
            addresses[-1], port, self._clock.get_time_left(timeout), local_address, socket_options
        )
        return _TimedStream(stream, self._clock)


class _TimedStream(httpcore.NetworkStream):
    """A connection that is neither read nor written after its time is up."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._get_time_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._get_time_left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._get_time_left(timeout))
        return _TimedStream(secured, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _get_time_left(self, timeout: float | None) -> float:
        try:
            return self._clock.get_time_left(timeout)
        except _TooSlowError:
            self._stream.close()  # no other code closes it before TLS has started
            raise


class _NotPublicError(Exception):
    pass


class _TooSlowError(Exception):
    pass


def _fetch(url: str, total: _Clock) -> str:
    try:
        with httpcore.ConnectionPool(network_backend=_PublicOnly(_Clock(MAX_SECONDS, total.cancelled, total))) as pool:
            return _follow(pool, url)
    except _NotPublicError:
        raise _make_not_public_error(url) from None
    except _TooSlowError:
        limits = f"{MAX_SECONDS:g} s, or all images of the call longer than {MAX_TOTAL_SECONDS:g} s"
        raise ValueError(f"messages: the image {url!r} took longer than {limits}.") from None
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise ValueError(f"messages: the image {url!r} could not be fetched: {error}") from error


def _follow(pool: httpcore.ConnectionPool, url: str) -> str:
    at = url
    for _ in range(MAX_REDIRECTS + 1):
        _check_url(at)
        with pool.stream("GET", at, headers=_build_headers(at), extensions={"timeout": _build_timeouts()}) as response:
            headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
            if response.status not in _REDIRECTS or "location" not in headers:
                return _build_data_uri(response.status, headers, response.iter_stream(), url)
            at = urljoin(at, headers["location"])
    raise ValueError(f"messages: the image {url!r} redirects more than {MAX_REDIRECTS} times.")


def _check_url(url: str) -> None:
    """Check a URL before connecting.

    Raises:
        ValueError: If it is not plain http(s), or holds an address that is not public.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"messages: an image URL must be plain http(s), not {url!r}.")
    if not url.isprintable() or not url.isascii() or " " in url:
        raise ValueError(f"messages: an image URL must be percent-encoded ASCII, not {url!r}.")
    try:
        public = is_public(parts.hostname)
    except ValueError:
        public = parts.hostname != "localhost"  # a name, whose addresses are checked when it is resolved
    if not public:
        raise _make_not_public_error(url)


def _make_not_public_error(url: str) -> ValueError:
    return ValueError(f"messages: the image {url!r} is not at a public address, so it is not fetched.")


def _build_headers(url: str) -> list[tuple[bytes | str, bytes | str]]:
    return [("host", urlsplit(url).netloc), ("accept", ", ".join(sorted(_TYPES))), ("accept-encoding", "identity")]


def _build_timeouts() -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write", "pool"), _READ_TIMEOUT)


def _build_data_uri(status: int, headers: Mapping[str, str], body: Iterator[bytes], url: str) -> str:
    if status != 200:
        raise ValueError(f"messages: the image {url!r} could not be fetched: status {status}.")
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in _TYPES:
        raise ValueError(
            f"messages: {url!r} is not an image in PNG, JPEG, GIF or WebP: its type is {kind or 'unknown'}."
        )
    pieces: list[bytes] = []
    size = 0
    for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise ValueError(f"messages: the image {url!r} is larger than {MAX_BYTES:,} bytes.")
    if not size:
        raise ValueError(f"messages: the image {url!r} is empty.")
    return f"data:{kind};base64,{base64.b64encode(b''.join(pieces)).decode()}"
