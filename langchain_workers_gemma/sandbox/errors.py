"""Errors of the service: statuses, codes, messages and bodies (docs/wire.md section 5)."""

from __future__ import annotations

from typing import Any

BAD_INPUT = 5006
NO_SUCH_MODEL = 5007
BAD_BASE64 = 5004
INVALID_INPUT = 8001
INVALID_DATA = 8006
TOO_LARGE = 3006
TIMEOUT = 3007
OUT_OF_CAPACITY = 3040
OUT_OF_QUOTA = 3036
RETIRED = 5028
AUTHENTICATION = 10000
LORA_UNSUPPORTED = 5005
FINETUNE_NOT_FOUND = 3037

STATUSES: dict[int, int] = {
    NO_SUCH_MODEL: 400,
    BAD_BASE64: 400,
    BAD_INPUT: 400,
    3003: 400,
    3039: 400,
    INVALID_INPUT: 400,
    INVALID_DATA: 400,
    AUTHENTICATION: 401,
    5018: 403,
    3041: 403,
    5016: 403,
    3023: 403,
    5035: 403,
    3042: 404,
    FINETUNE_NOT_FOUND: 404,
    LORA_UNSUPPORTED: 405,
    5019: 405,
    TIMEOUT: 408,
    3008: 408,
    TOO_LARGE: 413,
    OUT_OF_CAPACITY: 429,
    OUT_OF_QUOTA: 429,
    RETIRED: 410,
}
"""The HTTP status of each code of the service."""

MESSAGES: dict[int, str] = {
    AUTHENTICATION: "Authentication error",
    OUT_OF_CAPACITY: "Capacity temporarily exceeded, please try again.",
    OUT_OF_QUOTA: "You have used up your daily free allocation of 10,000 neurons.",
    TIMEOUT: "Request timed out",
    3008: "Request was aborted",
    TOO_LARGE: "Request is too large",
    5016: "You have not agreed to the terms of this model",
    3023: "Service unavailable for account",
    3041: "The account is not allowed to access this model",
    5018: "The account is not allowed to access this model",
    5035: "A paid plan is needed for this model",
}
"""The service's default message for each code."""

_MAX_MESSAGE_CHARACTERS = 2_000


class ServiceError(Exception):
    """An error reply of the service.

    Attributes:
        status: The HTTP status.
        code: Workers AI's own error code, or `None`.
        message: The message.
        retry_after: The seconds of the `Retry-After` header, or `None`.
    """

    def __init__(
        self,
        code: int | None,
        message: str | None = None,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.status = status if status is not None else STATUSES.get(code or 0, 400)
        self.message = message if message is not None else MESSAGES.get(code or 0, "Internal server error")
        self.retry_after = retry_after
        super().__init__(self.message)


def make_bad_input_error(*problems: str) -> ServiceError:
    """Return the error for a request that violates the model's input schema.

    The message has the form that users report (anomalyco/opencode#30381): `AiError: Bad input: Error: ...`.
    """
    message = f"AiError: Bad input: Error: {', '.join(problems)}"
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = f"{message[:_MAX_MESSAGE_CHARACTERS]}…"
    return ServiceError(BAD_INPUT, message)


def build_envelope(error: ServiceError) -> dict[str, Any]:
    """Return the native error body."""
    return {
        "errors": [{"message": error.message, "code": error.code or error.status}],
        "success": False,
        "result": {},
        "messages": [],
    }


def build_binding_error(error: ServiceError) -> dict[str, Any]:
    """Return the error body for Cloudflare's own `env.AI` client, which throws `internalCode: description`."""
    return {
        "name": "AiError",
        "internalCode": error.code or error.status,
        "httpCode": error.status,
        "message": f"AiError: {error.message}",
        "description": error.message,
    }


def build_plain_error(error: ServiceError) -> dict[str, Any]:
    """Return the error body of OpenAI's API. AI/ML API uses it too."""
    return {"error": {"message": error.message, "type": "invalid_request_error", "code": error.status}}
