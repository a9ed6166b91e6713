"""Find out whether a server refused a request because of its constraint, so that it may accept another form."""

from __future__ import annotations

import re
from collections.abc import Iterator

from langchain_workers_gemma.errors import APIStatusError, BadRequestError, InternalServerError, ModelNotFoundError

# `Grammar error: ...` (vLLM), `JSON Mode couldn't be met` and `JSON mode is not enabled` (Workers AI, AI/ML API),
# `body.response_format.type` (servers that validate with pydantic): `docs/wire.md` sections 3 and 10.
_ABOUT_CONSTRAINT = re.compile(
    r"json[ _-]?(mode|schema|object)|response[ _]?format|grammar|guided|constrain|structured[ _-]?output|schema",
    re.IGNORECASE,
)
_ABOUT_ANYTHING_ELSE = re.compile(
    r"image|base64|audio|tool|function|max_tokens|max_model_len|context|prompt is too long|role|alternat|"
    r"system message|lora|temperature|top_[pk]|seed|penalty|stop|logprobs",
    re.IGNORECASE,
)
# Routers that find no endpoint with all parameters return 404 (`docs/wire.md` section 2: AI/ML API's text for tools).
_NO_ENDPOINT = re.compile(r"no endpoints found", re.IGNORECASE)
_MAX_SEARCHED = 4_000  # characters of a body
_ECHOES = frozenset({"input", "ctx", "url", "request", "body"})  # keys that repeat parts of the request


def collect_words(error: APIStatusError) -> str:
    """Return the text of a server's error, without the parts that repeat the request."""
    text = error.body if isinstance(error.body, str) else " ".join(map(str, _iterate_texts(error.body)))
    return f"{error.message} {text[:_MAX_SEARCHED]}"


def _iterate_texts(payload: object) -> Iterator[str | int | float]:
    if isinstance(payload, dict):
        for key, value in payload.items():
            if key not in _ECHOES:
                yield from _iterate_texts(value)
    elif isinstance(payload, list):
        for item in payload:
            yield from _iterate_texts(item)
    elif isinstance(payload, str | int | float):
        yield payload


def refuses_constraint(error: APIStatusError) -> bool:
    """Return whether a server may have refused a request because of its constraint.

    An error without a stated cause counts as such a refusal: the request without the constraint will show the cause.

    Args:
        error: The error of a request with a constraint.
    """
    if isinstance(error, ModelNotFoundError):
        return _NO_ENDPOINT.search(error.message) is not None
    if not isinstance(error, BadRequestError | InternalServerError):
        return False
    words = collect_words(error)
    if _ABOUT_CONSTRAINT.search(words):
        return True
    return isinstance(error, BadRequestError) and not _ABOUT_ANYTHING_ELSE.search(words)
