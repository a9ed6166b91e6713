"""Each error code of the service with its type, and a call that ends in an error."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_workers_gemma import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    InternalServerError,
    ModelDeprecatedError,
    ModelNotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from tests.helpers.model_calls import call_model, make_model

ErrorType = type[APIStatusError]
BY_CODE: list[tuple[int, int, ErrorType]] = [
    (400, 5007, ModelNotFoundError),
    (400, 5004, BadRequestError),
    (400, 5006, BadRequestError),
    (400, 3003, BadRequestError),
    (400, 3039, BadRequestError),
    (400, 8001, BadRequestError),
    (400, 8006, BadRequestError),
    (400, 7009, BadRequestError),
    (401, 10000, AuthenticationError),
    (403, 10000, AuthenticationError),
    (403, 5018, PermissionDeniedError),
    (403, 3041, PermissionDeniedError),
    (403, 5016, PermissionDeniedError),
    (403, 3023, PermissionDeniedError),
    (403, 5035, PermissionDeniedError),
    (404, 3042, ModelNotFoundError),
    (404, 3037, ModelNotFoundError),
    (405, 5005, BadRequestError),
    (405, 5019, BadRequestError),
    (408, 3007, RequestTimeoutError),
    (408, 3008, RequestTimeoutError),
    (413, 3006, RequestTooLargeError),
    (429, 3040, CapacityError),
    (429, 3036, QuotaExceededError),
    (410, 5028, ModelDeprecatedError),
    (400, 5028, ModelDeprecatedError),
    (500, 3043, InternalServerError),
]


def call_and_get_error(call_method: str, **arguments: Any) -> APIStatusError:
    """Call a model and return the error that it raises."""
    with pytest.raises(APIStatusError) as raised:
        call_model(make_model(**arguments), call_method)
    return raised.value
