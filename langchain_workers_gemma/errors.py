"""The errors that a call raises.

    WorkersGemmaError
    ├── APIConnectionError             no connection, or it closed before the response began
    ├── APITimeoutError                your `timeout` was exceeded
    ├── StreamInterruptedError         a stream was interrupted; `.partial` holds the chunks so far
    │   └── StreamTimeoutError         a stream sent nothing for too long; also an `APITimeoutError`
    ├── ToolChoiceError                a forced tool call is missing
    └── APIStatusError                 the service returned an error
        ├── BadRequestError            the input was refused
        │   └── ConstraintRefusedError every form of a JSON constraint was refused; also an `OutputParserException`
        ├── AuthenticationError        the token was refused
        ├── PermissionDeniedError      the account may not use this model
        ├── ModelNotFoundError         no such model or fine-tune
        ├── ModelDeprecatedError       the model is retired; `.replacement` names another
        ├── RequestTooLargeError       the body is too large
        ├── ContextOverflowError       more tokens than the model reads
        ├── RateLimitError             too many requests
        ├── CapacityError              the service has no capacity now (3040)
        ├── QuotaExceededError         the day's free allocation is used up (3036)
        ├── RequestTimeoutError        the service's own time limit was exceeded (408)
        └── InternalServerError        the service failed, or its response cannot be read

Each is also the matching error of `langchain_core.exceptions`, so code that knows only LangChain can catch it and read
`is_retryable`. `exchange/error_mapping.py` maps a response to one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core import exceptions as core

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk


class WorkersGemmaError(core.ModelError):
    """Base class of all errors of a call. Bad input raises `ValueError` instead."""


class APIConnectionError(WorkersGemmaError, core.ModelConnectionError):
    """The service could not be reached, or the connection closed before the response began."""


class APITimeoutError(WorkersGemmaError, core.ModelTimeoutError):
    """Your `timeout` was exceeded while connecting, sending, or waiting for the next bytes."""


class StreamInterruptedError(WorkersGemmaError, core.ModelConnectionError):
    """A stream was interrupted after it had begun.

    Attributes:
        partial: The chunks so far, merged; `None` if there are none. Truncated tool calls are in its
            `invalid_tool_calls`.
    """

    def __init__(self, message: str, partial: AIMessageChunk | None = None) -> None:
        super().__init__(message)
        self.partial = partial

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.partial)


class StreamTimeoutError(StreamInterruptedError, APITimeoutError):
    """A stream sent nothing for longer than your `timeout` after it had begun."""


class ToolChoiceError(WorkersGemmaError, core.ModelAPIError):
    """`tool_choice` requires a tool call, and the replies to two requests have none."""


class APIStatusError(WorkersGemmaError):
    """The service returned an error.

    `str()` is the service's own text, followed by advice if there is any.

    Attributes:
        message: The service's own text. Only tokens in it are masked.
        status_code: The HTTP status as received; 0 for an error of a binding, which has none.
        code: Workers AI's error code, such as 3040, or `None`.
        request_id: The `cf-ray` header of the response, or `None`.
        body: The body of the response: parsed if it was JSON, else its text.
        retry_after: The seconds in the `Retry-After` header, or `None`.
        advice: The next step for the user, or `None`.
        is_retryable: Whether the same request may succeed later.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        code: int | None = None,
        request_id: str | None = None,
        body: object = None,
        retry_after: float | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(message if advice is None else f"{message}\n{advice}")
        self.message = message
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after
        self.advice = advice

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        return _rebuild, (type(self), self.message, state)


def _rebuild(cls: type[APIStatusError], message: str, state: dict[str, Any]) -> APIStatusError:
    error = cls(message, status_code=state["status_code"], advice=state["advice"])
    error.__dict__.update(state)
    return error


class BadRequestError(APIStatusError, core.ModelInvalidRequestError):
    """The service refused the input (400, 405, 422; codes 5004, 5006, 3003, 8001, 8006, ...)."""


class ConstraintRefusedError(BadRequestError, core.OutputParserException):
    """The service refused every form of a JSON constraint that was tried."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        advice = details.get("advice")
        self.args = (message if advice is None else f"{message}\n{advice}",)  # without core's own text

    @classmethod
    def of(cls, error: BadRequestError) -> ConstraintRefusedError:
        """Return the last refusal as this error."""
        state = {**cls("", status_code=0).__dict__, **error.__dict__}
        refused = _rebuild(cls, error.message, state)
        assert isinstance(refused, cls)  # noqa: S101 - for the type checker
        return refused


class AuthenticationError(APIStatusError, core.ModelAuthenticationError):
    """The token was refused (401; code 10000)."""


class PermissionDeniedError(APIStatusError, core.ModelPermissionDeniedError):
    """The account may not use this model (403; codes 5018, 3041, 5016, 3023, 5035)."""


class ModelNotFoundError(APIStatusError, core.ModelNotFoundError):
    """There is no such model or fine-tune (404; codes 5007, 3042, 3037)."""


class ModelDeprecatedError(APIStatusError, core.ModelNotFoundError):
    """The service has retired the model (code 5028).

    Attributes:
        replacement: The model to use instead, or `None` if none is published.
    """

    replacement: str | None = None


class RequestTooLargeError(APIStatusError, core.ModelInvalidRequestError):
    """The request body is larger than the service accepts (413; code 3006)."""


class ContextOverflowError(APIStatusError, core.ContextOverflowError):
    """Input and `max_tokens` together exceed the model's context window."""


class RateLimitError(APIStatusError, core.ModelRateLimitError):
    """Too many requests (429)."""


class CapacityError(APIStatusError, core.ModelRateLimitError):
    """The service has no free capacity for this model (429; code 3040). Retried."""


class QuotaExceededError(APIStatusError, core.ModelRateLimitError):
    """The day's free allocation of neurons is used up (429; code 3036). Never retried."""

    is_retryable = False


class RequestTimeoutError(APIStatusError, core.ModelTimeoutError):
    """The service's own time limit was exceeded (408; codes 3007, 3008)."""


class InternalServerError(APIStatusError, core.ModelAPIError):
    """The service failed (5xx), or its response cannot be read."""
