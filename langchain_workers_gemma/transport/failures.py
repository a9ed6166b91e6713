"""Turn failures of a connection into typed errors that show no token."""

from __future__ import annotations

from contextlib import suppress

import httpx

from langchain_workers_gemma.errors import APIConnectionError, APITimeoutError, WorkersGemmaError
from langchain_workers_gemma.exchange.actions import ResponseHead
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, make_unreadable_error, redact
from langchain_workers_gemma.transport.client_pool import PoolKey
from langchain_workers_gemma.transport.content_coding import ContentCodingError
from langchain_workers_gemma.transport.driver import GRACE_TIMEOUT, iterate_chain
from langchain_workers_gemma.transport.environment import find_proxy_variable

FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError, OverflowError)
"""The errors of httpx for a request that could not be sent, or a response that could not be read."""


def make_not_ended_error() -> APITimeoutError:
    """Return the error for a connection that stays open after the end of its response."""
    return APITimeoutError(f"The stream was complete, and its connection did not end within {GRACE_TIMEOUT:g} s.")


def make_not_decodable_error(
    head: ResponseHead, error: ContentCodingError, secrets: tuple[str, ...]
) -> WorkersGemmaError:
    """Return the error for a body that cannot be decoded, with secrets masked."""
    why = str(redact(str(error), secrets))
    return make_unreadable_error(head.status, head.headers, b"", why, ErrorContext(secrets=secrets))


def make_typed_error(error: Exception, key: PoolKey | None = None) -> WorkersGemmaError:
    """Return the typed error for a failure of the connection, to be chained to it.

    Args:
        error: The failure.
        key: The key of the connection in the pool, `None` for the caller's client. With a key, the connection may use a
            proxy from the environment.
    """
    text = str(error) or type(error).__name__
    if key is not None and (variable := find_proxy_variable(key[0])) is not None:
        text += f" (over the proxy that {variable} names)"
    if isinstance(error, httpx.TimeoutException):
        kind = type(error).__name__.removesuffix("Timeout").lower()
        return APITimeoutError(f"The service did not answer in time ({kind} timeout): {text}. See `timeout`.")
    return APIConnectionError(f"The connection to the service failed: {type(error).__name__}: {text}")


def mask_failure(error: Exception, secrets: tuple[str, ...]) -> Exception:
    """Return a failure without the data that could show the token.

    These are the frames of httpx, whose local variables hold the request's headers, and texts of the server, which the
    HTTP library repeats. The failure is the cause of a typed error, so it reaches error trackers, which print the local
    variables of each frame, and Dask's pickles.
    """
    for one in iterate_chain(error):
        one.__traceback__ = None
        one.args = tuple(redact(argument, secrets) for argument in one.args)
        if isinstance(one, httpx.RequestError):
            with suppress(RuntimeError):  # the error has no request
                one.request = httpx.Request(one.request.method, one.request.url)
    return error
