"""Map an error response, in any of its forms, to the typed error.

`docs/wire.md` section 5 lists the forms and codes: Cloudflare's envelope, a code nested in the text
(`AiError: 3040: ...`), `internalCode` and `httpCode`, OpenAI's `{"error": ...}`, a plain message, HTML from a proxy,
an empty body, and any of these with status 200.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json

from langchain_workers_gemma import errors
from langchain_workers_gemma.exchange.retries import is_retryable
from langchain_workers_gemma.models import HostName

_BY_CODE: dict[int, type[errors.APIStatusError]] = {
    **dict.fromkeys((5004, 5006, 3003, 3039, 8001, 8006, 5005, 5019, 2016, 2017), errors.BadRequestError),
    **dict.fromkeys((10000, 6003, 6111, 9109), errors.AuthenticationError),
    **dict.fromkeys((5018, 3041, 5016, 3023, 5035), errors.PermissionDeniedError),
    **dict.fromkeys((5007, 3042, 3037, 7000, 7003), errors.ModelNotFoundError),
    5028: errors.ModelDeprecatedError,
    **dict.fromkeys((3007, 3008), errors.RequestTimeoutError),
    3006: errors.RequestTooLargeError,
    3040: errors.CapacityError,
    **dict.fromkeys((3036, 4006), errors.QuotaExceededError),
    2003: errors.RateLimitError,
}
_BY_KIND: dict[str, type[errors.APIStatusError]] = {
    "context_length_exceeded": errors.ContextOverflowError,  # OpenAI and llama-cpp-python
    "exceed_context_size_error": errors.ContextOverflowError,  # llama.cpp
    "model_not_found": errors.ModelNotFoundError,  # OpenAI under 404, llama-cpp-python under 400
    "invalid_api_key": errors.AuthenticationError,  # OpenAI
}
_NO_ROUTE = (7000, 7003)  # a wrong account or base URL (docs/wire.md section 5)
_GUARDRAILS = (2016, 2017)
_BY_STATUS: dict[int, type[errors.APIStatusError]] = {
    **dict.fromkeys((400, 405, 406, 415, 422), errors.BadRequestError),
    401: errors.AuthenticationError,
    **dict.fromkeys((402, 403), errors.PermissionDeniedError),
    **dict.fromkeys((404, 410), errors.ModelNotFoundError),
    408: errors.RequestTimeoutError,
    413: errors.RequestTooLargeError,
    429: errors.RateLimitError,
}
# The texts of vLLM and Workers AI, llama.cpp and its bindings, SGLang, LM Studio, text generation inference and
# Google's endpoint (`docs/wire.md` sections 5 and 12).
_CONTEXT_OVERFLOW = re.compile(
    r"maximum context length"
    r"|exceed[^.]{0,40}context[ _](?:window|length|size)"
    r"|(?:longer|greater|larger|more) than [^.]{0,40}(?:context[ _](?:window|length|size)|model length)"
    r"|exceeds the maximum number of tokens|max_new_tokens`? must be <=|inputs`? must have less than"
    r"|context[^.]{0,10}overflows",
    re.IGNORECASE,
)
# `AiError: 3040: ...`, `InferenceUpstreamError: AiError: 5007: ...`; a binding's Error starts with the number.
_CODE_IN_TEXT = re.compile(r"(?:^|\b[A-Za-z]*Error:\s*)(\d{4,5})\s*:")
_MIN_CODE = 1_000  # smaller numbers in a body are HTTP statuses
MAX_PAGE_CHARACTERS = 2_000  # for the message from a body that is not JSON, such as a proxy's page
MAX_MESSAGE_CHARACTERS = 100_000  # for the message from the service; the error's `body` holds all of it
_REDACTED = "**********"
_MIN_SECRET_LENGTH = 6  # masking shorter texts would make the service's message unreadable
_REPLY_KEYS = frozenset({"result", "response", "choices", "tool_calls", "usage"})


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """Facts about a call for the advice in an error.

    Attributes:
        model: The id of the requested model.
        replacement: The model to use if this one is retired.
        token_source: Where the token was found, such as `the environment variable CLOUDFLARE_API_TOKEN`.
        secrets: Texts that are masked in an error, since the service may repeat them.
        host: The host that was called.
    """

    model: str = ""
    replacement: str | None = None
    token_source: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    host: HostName = "cloudflare"


def map_status_error(
    status: int, headers: Mapping[str, str], body: bytes, context: ErrorContext
) -> errors.APIStatusError:
    """Return the error for a response with an error status, or with an error in its body.

    Args:
        status: The HTTP status, as received.
        headers: The response headers, with names in lower case.
        body: The body.
        context: Facts about the call for the advice.
    """
    return map_payload_error(status, headers, _parse(body), context)


def map_payload_error(
    status: int, headers: Mapping[str, str], payload: object, context: ErrorContext
) -> errors.APIStatusError:
    """Return the error for a parsed body, or for one event of a stream. See `map_status_error`."""
    payload = redact(payload, context.secrets)
    message = (
        _shorten_page(payload) if isinstance(payload, str) else "; ".join(dict.fromkeys(_iterate_messages(payload)))
    )
    message = _shorten(message, MAX_MESSAGE_CHARACTERS) or f"HTTP status {status} with no explanation"
    code = _find_code(payload, message)
    cls = _choose_class(_find_status(payload) or status, code, message, _find_kinds(payload))
    error = cls(
        message,
        status_code=status,
        code=code,
        request_id=redact(get_request_id(headers), context.secrets),
        body=payload,
        retry_after=get_retry_after(headers),
        advice=_find_advice(cls, status, code, message, context),
    )
    error.is_retryable = is_retryable(error)
    if isinstance(error, errors.ModelDeprecatedError):
        error.replacement = context.replacement
    return error


def make_unreadable_error(
    status: int, headers: Mapping[str, str], body: bytes, why: str, context: ErrorContext
) -> errors.InternalServerError:
    """Return the error for a successful response that cannot be read. The error keeps the body."""
    text = str(redact(body.decode("utf-8", "replace"), context.secrets))
    error = errors.InternalServerError(
        f"The reply cannot be read: {why}. It began with: {text[:200]!r}",
        status_code=status,
        request_id=redact(get_request_id(headers), context.secrets),
        body=text,
    )
    error.is_retryable = status >= 500  # after a success status, another request would probably return the same
    return error


def is_error_payload(payload: Mapping[str, Any]) -> bool:
    """Return whether a parsed body or event is an error."""
    if payload.get("success") is False or payload.get("error"):
        return True
    if payload.get("errors") and not payload.get("result"):
        return True
    if not payload.keys().isdisjoint(_REPLY_KEYS):
        return False
    return isinstance(payload.get("message"), str) or "internalCode" in payload or "httpCode" in payload


def get_request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id of the request: `cf-ray` on Cloudflare, `x-request-id` on other hosts."""
    return headers.get("cf-ray") or headers.get("x-request-id")


def get_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds from the `Retry-After` header, which may hold a date; `None` if it is missing or invalid."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = max((when - datetime.now(UTC)).total_seconds(), 0.0)
    return seconds if 0 <= seconds < float("inf") else None


def redact(value: Any, secrets: tuple[str, ...]) -> Any:
    """Return a value with each secret in its strings masked."""
    if not secrets:
        return value
    if isinstance(value, str):
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                value = value.replace(secret, _REDACTED)
        return value
    if isinstance(value, dict):
        return {redact(key, secrets): redact(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secrets) for item in value]
    return value


def _parse(body: bytes) -> object:
    try:
        return from_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _shorten_page(text: str) -> str:
    """Return a body that is not JSON as a message of limited length. The error's `body` holds all of it."""
    text = text.strip()
    return _shorten(text, MAX_PAGE_CHARACTERS)


def _shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[:max_length]}..."


def _iterate_messages(payload: object) -> Iterator[str]:
    """Yield every message in an error body, the outermost first."""
    if isinstance(payload, str):
        if payload.strip():
            yield payload
        return
    if isinstance(payload, list):
        for item in payload:
            yield from _iterate_messages(item)
        return
    if not isinstance(payload, dict):
        return
    found = False
    for key in ("errors", "error", "message", "description", "detail", "msg"):
        for text in _iterate_messages(payload.get(key)):
            found = True
            yield text
        if found:
            return


def _find_code(payload: object, message: str) -> int | None:
    """Return Workers AI's own code. A code nested in the text is more precise than the envelope's."""
    nested = [int(number) for number in _CODE_IN_TEXT.findall(message)]
    stated = [
        number for key in ("internalCode", "code") for number in _iterate_numbers(payload, key) if number >= _MIN_CODE
    ]
    known = next((code for code in (*nested, *stated) if code in _BY_CODE), None)
    return known if known is not None else next(iter((*stated, *nested)), None)


def _find_status(payload: object) -> int | None:
    """Return the HTTP status in the body, `None` if there is none."""
    for key in ("httpCode", "statusCode", "status", "code"):
        for number in _iterate_numbers(payload, key):
            if 400 <= number <= 599:
                return number
    return None


def _iterate_numbers(payload: object, key: str) -> Iterator[int]:
    if isinstance(payload, dict):
        value = payload.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
        for nested in ("errors", "error", "error_chain"):
            yield from _iterate_numbers(payload.get(nested), key)
    elif isinstance(payload, list):
        for item in payload:
            yield from _iterate_numbers(item, key)


def _find_kinds(payload: object) -> frozenset[str]:
    """Return the type and the code of an error in OpenAI's form, such as `context_length_exceeded`."""
    error = payload.get("error", payload) if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        return frozenset()
    return frozenset(name for key in ("code", "type") if isinstance(name := error.get(key), str))


def _choose_class(status: int, code: int | None, message: str, kinds: frozenset[str]) -> type[errors.APIStatusError]:
    by_code = _BY_CODE.get(code) if code is not None else None
    by_kind = next((_BY_KIND[kind] for kind in _BY_KIND if kind in kinds), None)
    if by_kind is not None and by_code is None:
        return by_kind
    if _CONTEXT_OVERFLOW.search(message) and by_code in (None, errors.BadRequestError, errors.RequestTooLargeError):
        return errors.ContextOverflowError
    if by_code is not None:
        return by_code
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500 and status != 409:
        return errors.BadRequestError
    # The rest: 5xx, 409 (a conflict in the service), an error with a success status, a redirect.
    return errors.InternalServerError


def _find_advice(
    cls: type[errors.APIStatusError], status: int, code: int | None, message: str, context: ErrorContext
) -> str | None:
    if cls is errors.ModelDeprecatedError and context.replacement:
        return f"Use model={context.replacement!r} instead of {context.model!r}."
    if code in _NO_ROUTE:
        return "No such route: check account_id and base_url."
    if code in _GUARDRAILS:
        return "A guardrail of the AI Gateway blocked the prompt or the response: see its settings."
    if cls is errors.ModelNotFoundError:
        from langchain_workers_gemma.exchange.similar_models import find_nearest_model_id

        nearest = find_nearest_model_id(context.model, context.host)
        return f"Did you mean model={nearest!r}?" if nearest not in (None, context.model) else None
    if cls is errors.QuotaExceededError:
        return "The daily free allocation resets at 00:00 UTC; a paid Workers plan lifts it."
    if cls is errors.AuthenticationError and context.token_source:
        return f"The token is from {context.token_source}: check it, and that it may use Workers AI."
    if cls is errors.ContextOverflowError:
        return "Shorten the messages or lower max_tokens."
    if "JSON Mode couldn't be met" in message:
        return "The model could not fill the schema: simplify it, describe its fields, or raise max_tokens."
    if 300 <= status < 400:
        return "Redirects are not followed: check base_url."
    return None
