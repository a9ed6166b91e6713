"""Retries: which errors are retried, after which delay, and what is logged."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_workers_gemma import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    CapacityError,
    InternalServerError,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
    StreamTimeoutError,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange.error_mapping import (
    ErrorContext,
    get_retry_after,
    make_unreadable_error,
    map_status_error,
)
from langchain_workers_gemma.exchange.retries import RetryPolicy
from tests.helpers.fault_server import (
    CLOSE,
    HELLO_RESPONSE,
    HELLO_STREAM,
    RESET,
    STREAM_END,
    STREAM_HEAD,
    FaultServer,
    encode_event,
    fake_sleep,
    make_error_envelope,
    make_http_response,
)
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, call_model, make_model

EMPTY_CONTEXT = ErrorContext()


def make_status_error(status: int, code: int | None = None, **headers: str) -> APIStatusError:
    """Return the error for a response."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"" if code is None else f'{{"success": false, "errors": [{{"code": {code}, "message": "No"}}]}}'.encode()
    return map_status_error(status, fields, body, EMPTY_CONTEXT)


RETRYABLE_ERRORS: list[WorkersGemmaError] = [
    APIConnectionError("reset"),
    APITimeoutError("too slow"),
    StreamInterruptedError("cut"),
    StreamTimeoutError("silent"),
    make_status_error(408),
    make_status_error(408, 3007),
    make_status_error(408, 3008),
    make_status_error(409),
    make_status_error(429),
    make_status_error(429, 3040),
    make_status_error(429, 971),
    *(make_status_error(status) for status in (500, 502, 503, 504, 520, 522, 524, 529, 599)),
    make_status_error(500, 3043),
    make_status_error(503, 3040),
    make_status_error(200, 3040),
    make_status_error(200, 3007),
    make_status_error(400, 3040),
    make_status_error(0, 3040),  # raised by a binding
]
OTHER_ERRORS: list[WorkersGemmaError] = [
    make_status_error(429, 3036),
    make_status_error(200, 3036),
    make_status_error(500, 3036),
    *(make_status_error(status) for status in (400, 401, 402, 403, 404, 405, 410, 413, 415, 418, 422)),
    *(make_status_error(400, code) for code in (5007, 5004, 5006, 3003, 3039, 8001, 8006)),
    *(make_status_error(200, code) for code in (5007, 5006, 5028, 10000, 3006)),
    make_status_error(410, 5028),
    make_status_error(413, 3006),
    *(make_status_error(status) for status in (101, 301, 302, 304, 307, 308)),
    make_unreadable_error(200, {}, b"garbage", "it is not JSON", EMPTY_CONTEXT),
    WorkersGemmaError("something else"),
]


def get_id(error: WorkersGemmaError) -> str:
    """Return a test id for an error."""
    status = f"-{error.status_code}-{error.code}" if isinstance(error, APIStatusError) else ""
    return type(error).__name__ + status


@pytest.mark.parametrize("error", RETRYABLE_ERRORS, ids=get_id)
def test_retryable_errors_have_a_delay(error: WorkersGemmaError) -> None:
    assert error.is_retryable
    policy = RetryPolicy(2)
    assert policy.get_delay(error, 0) is not None
    assert policy.get_delay(error, 1) is not None
    assert policy.get_delay(error, 2) is None
    assert RetryPolicy(0).get_delay(error, 0) is None


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=get_id)
def test_other_errors_have_no_delay(error: WorkersGemmaError) -> None:
    assert not error.is_retryable
    assert RetryPolicy(5).get_delay(error, 0) is None


def test_delays_grow_with_jitter_up_to_a_bound() -> None:
    random.seed(5)
    policy = RetryPolicy(20)
    error = APIConnectionError("reset")
    for retry, maximum in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)):
        delays = [policy.get_delay(error, retry) or 0.0 for _ in range(200)]
        assert maximum / 2 <= min(delays) < max(delays) <= maximum
        assert len(set(delays)) > 100
    assert (policy.get_delay(error, 19) or 0) <= 8


@pytest.mark.parametrize(
    ("header", "delay"),
    [("0", 0.0), ("1", 1.0), ("2.5", 2.5), (" 7 ", 7.0), ("60", 60.0), ("60.1", None), ("61", None), ("86400", None)],
)
def test_retry_after_in_seconds(header: str, delay: float | None) -> None:
    error = make_status_error(429, retry_after=header)
    assert error.retry_after == float(header)
    assert RetryPolicy().get_delay(error, 0) == delay


@pytest.mark.parametrize(("seconds_from_now", "followed"), [(30, True), (59, True), (120, False), (86_400, False)])
def test_retry_after_as_a_date(seconds_from_now: int, followed: bool) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds_from_now), usegmt=True)
    error = make_status_error(503, retry_after=when)
    assert error.retry_after == pytest.approx(seconds_from_now, abs=3)
    delay = RetryPolicy().get_delay(error, 0)
    assert delay == (error.retry_after if followed else None)


def test_retry_after_in_the_past_is_now() -> None:
    error = make_status_error(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    assert error.retry_after == 0.0
    assert RetryPolicy().get_delay(error, 0) == 0.0


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "inf", "1e999", "Wed, 99 Foo 2015", "twelve", "0x10"])
def test_an_invalid_retry_after_is_ignored(header: str) -> None:
    error = make_status_error(429, retry_after=header)
    assert error.retry_after is None
    delay = RetryPolicy().get_delay(error, 0)
    assert delay is not None
    assert 0.25 <= delay <= 0.5


@given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]?\w{1,5}\Z"))
def test_any_retry_after_is_parsed_without_an_error(header: str) -> None:
    seconds = get_retry_after({"retry-after": header})
    assert seconds is None or 0 <= seconds < float("inf")


@given(st.integers(0, 999), st.integers(-1, 11_000) | st.none(), st.integers(0, 10), st.text(max_size=9))
def test_no_delay_is_longer_than_a_minute(status: int, code: int | None, retries: int, header: str) -> None:
    delay = RetryPolicy(10).get_delay(make_status_error(status, code, retry_after=header), retries)
    assert delay is None or 0 <= delay <= 60


# --- Retries of calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_calls_sleep_for_the_delays_of_the_policy(server: FaultServer, sleeps: list[float], call_method: str) -> None:
    successful_reply = HELLO_STREAM if "stream" in call_method else HELLO_RESPONSE
    server.play(
        (make_http_response(503, b"", retry_after="7"),), (RESET,), (make_http_response(500, b""),), (successful_reply,)
    )
    assert call_model(make_model(base_url=server.url, max_retries=3), call_method).text == "Hello"
    assert len(server.requests) == 4
    assert sleeps[0] == 7
    assert 0.5 <= sleeps[1] <= 1
    assert 1 <= sleeps[2] <= 2


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (make_http_response(429, make_error_envelope(3036)), QuotaExceededError),
        (make_http_response(429, make_error_envelope(3036), retry_after="1"), QuotaExceededError),
        (make_http_response(429, make_error_envelope(3040), retry_after="61"), CapacityError),
        (make_http_response(429, make_error_envelope(None), retry_after="3600"), RateLimitError),
        (make_http_response(503, b"", retry_after="Wed, 21 Oct 2093 07:28:00 GMT"), InternalServerError),
        (make_http_response(400, make_error_envelope(5006)), BadRequestError),
    ],
)
def test_errors_that_are_not_retried_are_raised_at_once(
    server: FaultServer, sleeps: list[float], call_method: str, reply: bytes, error: type[Exception]
) -> None:
    server.play((reply,))
    with pytest.raises(error):
        call_model(make_model(base_url=server.url, max_retries=5), call_method)
    assert len(server.requests) == 1
    assert sleeps == []


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_stream_is_retried_only_before_its_first_event(
    server: FaultServer, sleeps: list[float], call_method: str
) -> None:
    begun_stream = STREAM_HEAD + encode_event({"response": "Hel"})
    server.play((STREAM_HEAD, RESET), (begun_stream, RESET))
    with pytest.raises(StreamInterruptedError):
        call_model(make_model(base_url=server.url, max_retries=5), call_method)
    assert len(server.requests) == 2
    assert len(sleeps) == 1


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_each_retry_logs_one_line(
    server: FaultServer, sleeps: list[float], call_method: str, caplog: pytest.LogCaptureFixture
) -> None:
    successful_reply = HELLO_STREAM if "stream" in call_method else HELLO_RESPONSE
    server.play(
        (make_http_response(500, API_TOKEN.encode()),),
        (make_http_response(429, make_error_envelope(3040)),),
        (successful_reply,),
    )
    with caplog.at_level(logging.DEBUG, logger="langchain_workers_gemma"):
        call_model(make_model(base_url=server.url, max_retries=2), call_method)
    records = [record for record in caplog.records if record.name.startswith("langchain_workers_gemma")]
    assert [record.name for record in records] == ["langchain_workers_gemma.exchange.attempts"] * 2
    assert records[0].getMessage().startswith("retry 1 of 2 in ")
    assert records[0].getMessage().endswith("InternalServerError")
    assert records[1].getMessage().endswith("CapacityError")
    assert API_TOKEN not in caplog.text


def test_no_log_line_without_a_retry(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    server.play((make_http_response(400, make_error_envelope(5006)),))
    with caplog.at_level(logging.DEBUG, logger="langchain_workers_gemma"), pytest.raises(BadRequestError):
        make_model(base_url=server.url, max_retries=2).invoke("Hi")
    assert not [record for record in caplog.records if record.name.startswith("langchain_workers_gemma")]


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_request_repeated_without_stream_is_not_a_retry(
    server: FaultServer, sleeps: list[float], call_method: str
) -> None:
    server.play((STREAM_HEAD + STREAM_END,), (HELLO_RESPONSE,))
    assert call_model(make_model(base_url=server.url, max_retries=0), call_method).text == "Hello"
    assert [request.wants_stream for request in server.requests] == [True, False]
    assert sleeps == []


def test_retries_of_concurrent_calls_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = fake_sleep(monkeypatch)
    with FaultServer() as server:
        server.play((CLOSE,), (HELLO_RESPONSE,))
        llm = make_model(base_url=server.url, max_retries=1)
        replies = asyncio.run(llm.abatch([str(n) for n in range(50)]))
    assert [reply.text for reply in replies] == ["Hello"] * 50
    assert len(sleeps) == 50
