"""Every form of error that the service sends is raised as the right typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core import exceptions as core

import langchain_workers_gemma
from langchain_workers_gemma import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    ContextOverflowError,
    InternalServerError,
    ModelDeprecatedError,
    ModelNotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    RequestTooLargeError,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolChoiceError,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange.error_mapping import (
    ErrorContext,
    is_error_payload,
    map_payload_error,
    map_status_error,
)
from tests.helpers.error_calls import BY_CODE, ErrorType, call_and_get_error
from tests.helpers.fault_server import make_error_envelope
from tests.helpers.mock_service import MockService, encode_sse, make_response, make_stream_response
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS

pytestmark = pytest.mark.lowest

BY_STATUS: list[tuple[int, ErrorType]] = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (402, PermissionDeniedError),
    (403, PermissionDeniedError),
    (404, ModelNotFoundError),
    (405, BadRequestError),
    (408, RequestTimeoutError),
    (409, InternalServerError),
    (410, ModelNotFoundError),
    (413, RequestTooLargeError),
    (418, BadRequestError),
    (422, BadRequestError),
    (429, RateLimitError),
    (500, InternalServerError),
    (502, InternalServerError),
    (503, InternalServerError),
    (529, InternalServerError),
    (307, InternalServerError),
]
CORE_ERRORS: dict[type[WorkersGemmaError], tuple[type[core.ModelError], bool]] = {
    APIConnectionError: (core.ModelConnectionError, True),
    APITimeoutError: (core.ModelTimeoutError, True),
    StreamInterruptedError: (core.ModelConnectionError, True),
    StreamTimeoutError: (core.ModelTimeoutError, True),
    ToolChoiceError: (core.ModelAPIError, True),
    BadRequestError: (core.ModelInvalidRequestError, False),
    AuthenticationError: (core.ModelAuthenticationError, False),
    PermissionDeniedError: (core.ModelPermissionDeniedError, False),
    ModelNotFoundError: (core.ModelNotFoundError, False),
    ModelDeprecatedError: (core.ModelNotFoundError, False),
    RequestTooLargeError: (core.ModelInvalidRequestError, False),
    ContextOverflowError: (core.ContextOverflowError, False),
    RateLimitError: (core.ModelRateLimitError, True),
    CapacityError: (core.ModelRateLimitError, True),
    QuotaExceededError: (core.ModelRateLimitError, False),
    RequestTimeoutError: (core.ModelTimeoutError, True),
    InternalServerError: (core.ModelAPIError, True),
}


@pytest.mark.parametrize(
    ("error_type", "expected"), CORE_ERRORS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_each_error_is_a_subclass_of_an_error_of_langchain_core(
    error_type: type[WorkersGemmaError], expected: tuple[type[core.ModelError], bool]
) -> None:
    parent, retryable = expected
    assert issubclass(error_type, parent)
    assert issubclass(error_type, WorkersGemmaError)
    assert issubclass(error_type, core.ModelError)
    assert error_type.is_retryable is retryable
    assert getattr(langchain_workers_gemma, error_type.__name__) is error_type
    assert (error_type.__doc__ or "").strip()


def test_all_errors_are_exported() -> None:
    errors = {name for name in langchain_workers_gemma.__all__ if name.endswith("Error")}
    assert errors == {error_type.__name__ for error_type in CORE_ERRORS} | {"WorkersGemmaError", "APIStatusError"}


def test_only_stream_timeout_error_has_parents_among_the_errors() -> None:
    for error_type in CORE_ERRORS:
        parents = {other for other in CORE_ERRORS if other is not error_type and issubclass(error_type, other)}
        assert parents == ({StreamInterruptedError, APITimeoutError} if error_type is StreamTimeoutError else set())


@pytest.mark.parametrize(("status", "code", "error_type"), BY_CODE)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_code_selects_the_error_type(
    service: MockService, status: int, code: int, error_type: ErrorType, call_method: str
) -> None:
    payload = make_error_envelope(code, f"AiError: it is {code}")
    service.respond_with(make_response(payload, status, {"cf-ray": "8f-FRA"}))
    error = call_and_get_error(call_method)
    assert type(error) is error_type
    assert error.status_code == status
    assert error.code == code
    assert error.message == f"AiError: it is {code}"
    assert str(error).startswith(error.message)
    assert error.request_id == "8f-FRA"
    assert error.body == payload
    assert error.retry_after is None
    assert error.is_retryable is error_type.is_retryable


@pytest.mark.parametrize(("status", "error_type"), BY_STATUS)
@pytest.mark.parametrize(
    "payload",
    [b"", b"no JSON at all", b"{}", b"[]", b"null", b'{"errors": []}', b'{"error": "words"}', b"<html>502</html>"],
)
def test_status_selects_the_error_type(
    service: MockService, status: int, error_type: ErrorType, payload: bytes
) -> None:
    service.respond_with(make_response(payload, status))
    error = call_and_get_error("invoke")
    assert type(error) is error_type
    assert error.status_code == status
    assert error.code is None
    assert error.request_id is None
    assert error.message


# --- Forms of a body --------------------------------------------------------------------------------------------------

MESSAGE = "  Oh no: “unaltered” \n\t words — <b>all</b> of them; \U0001f62c  "
ERROR_BODIES: list[tuple[str, int, Any, ErrorType, int | None, str]] = [
    ("envelope", 400, make_error_envelope(5006, MESSAGE), BadRequestError, 5006, MESSAGE),
    ("without a code", 400, make_error_envelope(None, MESSAGE), BadRequestError, None, MESSAGE),
    ("code in the text", 500, make_error_envelope(None, "AiError: 3040: Full"), CapacityError,
     3040, "AiError: 3040: Full"),
    ("code nested twice", 400, make_error_envelope(None, "UpstreamError: AiError: 5007: x"), ModelNotFoundError,
     5007, ""),
    ("code in the text is more specific", 429, make_error_envelope(7000, "AiError: 3036: used up"),
     QuotaExceededError, 3036, ""),
    ("a binding's message", 0, {"message": "3040: Capacity temporarily exceeded"}, CapacityError, 3040, ""),
    ("code as a string", 400, {"errors": [{"code": "5007", "message": "x"}]}, ModelNotFoundError, 5007, "x"),
    ("internalCode", 429, {"internalCode": 3036, "message": "x"}, QuotaExceededError, 3036, "x"),
    ("httpCode", 500, {"errors": [{"httpCode": 429, "internalCode": 3040, "message": "x"}]}, CapacityError, 3040, "x"),
    ("httpCode alone", 200, {"success": False, "errors": [{"httpCode": 401, "message": "x"}]}, AuthenticationError,
     None, "x"),
    ("success false", 200, make_error_envelope(3040), CapacityError, 3040, "No."),
    ("success false without errors", 200, {"success": False, "errors": []}, InternalServerError, None, ""),
    ("several errors", 400, {"errors": [{"code": 5006, "message": "a"}, {"message": "b"}, {"message": "a"}]},
     BadRequestError, 5006, "a; b"),
    ("OpenAI", 404, {"error": {"message": "no such", "type": "x", "code": "model_not_found"}}, ModelNotFoundError,
     None, "no such"),
    ("OpenAI, text alone", 400, {"error": "words"}, BadRequestError, None, "words"),
    ("vLLM", 400, {"object": "error", "message": "words", "code": 400}, BadRequestError, None, "words"),
    ("AI/ML API", 400, {"statusCode": 400, "message": "words", "path": "/v1", "requestId": "r"}, BadRequestError,
     None, "words"),
    ("AI/ML API, a list", 400, {"message": ["a", "b"]}, BadRequestError, None, "a; b"),
    ("detail", 422, {"detail": "words"}, BadRequestError, None, "words"),
    ("text", 503, b"upstream connect error\n", InternalServerError, None, "upstream connect error"),
    ("HTML", 502, b"<html><h1>502 Bad Gateway</h1></html>", InternalServerError, None, "<html><h1>502 Bad Gateway"),
    ("invalid UTF-8", 500, b"\xff\xfe oh", InternalServerError, None, "\ufffd\ufffd oh"),
    ("a number", 500, b"42", InternalServerError, None, "HTTP status 500 with no explanation"),
    ("nothing", 500, b"", InternalServerError, None, "HTTP status 500 with no explanation"),
    ("context", 400, make_error_envelope(
        8001, "This model's maximum context length is 131072 tokens. However, you requested 200000"),
     ContextOverflowError, 8001, ""),
    ("context, another message", 400, make_error_envelope(5006, "exceeded this model context window limit"),
     ContextOverflowError, 5006, ""),
    ("context as too large", 413, make_error_envelope(3006, "exceeded this model context window limit"),
     ContextOverflowError, 3006, ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "payload", "error_type", "code", "message"), [form[1:] for form in ERROR_BODIES],
                         ids=[form[0] for form in ERROR_BODIES])  # fmt: skip
def test_an_error_body_is_mapped_to_its_type(
    status: int, payload: Any, error_type: ErrorType, code: int | None, message: str
) -> None:
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    error = map_status_error(status, {"x-request-id": "r1"}, content, ErrorContext())
    assert type(error) is error_type
    assert error.code == code
    assert error.status_code == status
    assert message in error.message
    assert error.message in str(error)
    assert error.request_id == "r1"


@pytest.mark.parametrize(
    ("status", "payload", "error_type", "code", "message"), [form[1:] for form in ERROR_BODIES if form[1] == 200]
)
@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_an_error_body_with_status_200_raises(
    service: MockService,
    status: int,
    payload: Any,
    error_type: ErrorType,
    code: int | None,
    message: str,
    call_method: str,
) -> None:
    service.respond_with_bodies(payload)
    error = call_and_get_error(call_method)
    assert (type(error), error.code, error.status_code) == (error_type, code, 200)
    assert message in error.message


def test_the_message_of_the_service_is_unchanged(service: MockService) -> None:
    long = MESSAGE * 1_000
    service.respond_with(make_response(make_error_envelope(5006, long), 400))
    error = call_and_get_error("invoke")
    assert error.message == long
    assert str(error) == long


def test_an_html_page_is_shortened_in_the_message_and_kept_in_the_body(service: MockService) -> None:
    page = "<html>" + "x" * 100_000 + "</html>"
    service.respond_with(make_response(page.encode(), 502))
    error = call_and_get_error("invoke")
    assert len(error.message) < 2_100
    assert error.body == page


@pytest.mark.parametrize("payload", [
    {"success": False}, {"error": "x"}, {"error": {"message": "x"}}, {"errors": [{"message": "x"}]},
    {"message": "words"}, {"internalCode": 3040, "httpCode": 429}, {"name": "AiError", "message": "3040: Full"},
])  # fmt: skip
def test_error_payloads_are_recognized(payload: dict[str, Any]) -> None:
    assert is_error_payload(payload)


@pytest.mark.parametrize("payload", [
    {}, {"response": "x"}, {"response": "x", "errors": ["warning"], "result": {"x": 1}}, {"error": None, "choices": []},
    {"result": {"response": ""}, "success": True, "errors": [], "messages": []}, {"p": "padding"},
    {"choices": [], "message": "fine"}, {"success": True}, {"message": {"role": "assistant"}},
])  # fmt: skip
def test_other_payloads_are_not_errors(payload: dict[str, Any]) -> None:
    assert not is_error_payload(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["errors", "error", "code", "message", "success", "result", "httpCode", "internalCode", "status"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), json_values)
def test_any_json_becomes_an_error(status: int, payload: object) -> None:
    error = map_payload_error(status, {}, payload, ErrorContext(secrets=(API_TOKEN,)))
    assert error.message
    assert error.status_code == status
    assert error.code is None or error.code >= 1_000
    assert isinstance(str(error), str)


@given(st.integers(100, 599), st.binary(max_size=60))
def test_any_bytes_become_an_error(status: int, payload: bytes) -> None:
    assert map_status_error(status, {}, payload, ErrorContext()).message


# --- Within a stream --------------------------------------------------------------------------------------------------

ERROR_EVENTS: list[tuple[Any, ErrorType, int | None]] = [
    (make_error_envelope(3040, "Full"), CapacityError, 3040),
    ({"error": {"message": "Full", "code": 3040}}, CapacityError, 3040),
    ({"error": "AiError: 5006: Full"}, BadRequestError, 5006),
    ({"errors": [{"message": "Full", "code": 3036}]}, QuotaExceededError, 3036),
    ({"internalCode": 3040, "httpCode": 429, "message": "Full"}, CapacityError, 3040),
    ({"object": "error", "message": "Full", "code": 400}, BadRequestError, None),
    ({"message": "Full"}, InternalServerError, None),
]


@pytest.mark.parametrize(("event", "error_type", "code"), ERROR_EVENTS)
@pytest.mark.parametrize("call_method", ["stream", "astream", "stream_events"])
@pytest.mark.parametrize("before", [(), ({"response": "Hel"},)], ids=["first", "later"])
def test_an_error_event_in_a_stream_raises(
    service: MockService, event: Any, error_type: ErrorType, code: int | None, call_method: str, before: tuple[Any, ...]
) -> None:
    service.respond_with(make_stream_response(encode_sse(*before, event, "[DONE]"), headers={"cf-ray": "8f-FRA"}))
    error = call_and_get_error(call_method)
    assert (type(error), error.code, error.status_code) == (error_type, code, 200)
    assert "Full" in error.message
    assert error.request_id == "8f-FRA"


@pytest.mark.parametrize("event", ["nope", "[1]", "42", '"text"', "null", '{"response": '])
@pytest.mark.parametrize("before", [(), ({"response": "Hel"},)], ids=["first", "later"])
def test_an_unreadable_event_raises(service: MockService, event: str, before: tuple[Any, ...]) -> None:
    service.respond_with_events(*before, event, "[DONE]")
    error = call_and_get_error("stream")
    assert type(error) is InternalServerError
    assert error.status_code == 200
    assert not error.is_retryable
    assert "cannot be read" in error.message


def test_an_error_inside_a_stream_is_not_its_own_cause(service: MockService) -> None:
    service.respond_with_events({"response": "Hel"}, json.dumps({"error": "broken"}))
    error = call_and_get_error("stream")
    assert error.__cause__ is not error
