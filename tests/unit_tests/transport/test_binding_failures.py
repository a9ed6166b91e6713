"""Errors of a Workers AI binding, timeouts and cancellation."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from langchain_workers_gemma import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CapacityError,
    ChatWorkersGemma,
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
)
from tests.helpers.fake_bindings import (
    HELLO_RESULT,
    STREAM_PIECES,
    ClosableIterator,
    FakeBinding,
    FakeJsProxy,
    FakeReader,
    make_bound_model,
)
from tests.helpers.mock_service import encode_sse, make_delta
from tests.helpers.model_calls import CALL_METHODS, GEMMA_3, GEMMA_4, acollect_chunks, call_model, run_async

# --- Errors -----------------------------------------------------------------------------------------------------------

_CODES: dict[int, type[APIStatusError]] = {
    **dict.fromkeys((5004, 5006, 3003, 3039, 8001, 8006, 5005, 5019), BadRequestError),
    10000: AuthenticationError,
    **dict.fromkeys((5018, 3041, 5016, 3023, 5035), PermissionDeniedError),
    **dict.fromkeys((5007, 3042, 3037), ModelNotFoundError),
    5028: ModelDeprecatedError,
    **dict.fromkeys((3007, 3008), RequestTimeoutError),
    3006: RequestTooLargeError,
    3040: CapacityError,
    3036: QuotaExceededError,
    7009: InternalServerError,
}


class JsError(Exception):
    """A JavaScript error as Pyodide raises it: `str()` has its name before the text."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("code", _CODES)
def test_errors_are_typed_from_their_text(code: int, call_method: str) -> None:
    text = f"{code}: AiError: Something is wrong"
    for original in (RuntimeError(text), JsError("InferenceUpstreamError", text), TypeError(text)):
        with pytest.raises(_CODES[code]) as caught:
            call_model(make_bound_model(original)[0], call_method, "Hi")
        error = caught.value
        assert type(error) is _CODES[code]
        assert (error.code, error.status_code, error.message) == (code, 0, text)
        assert error.retry_after is None


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("InferenceUpstreamError: AiError: 3040: Capacity", CapacityError, 3040),
        ('{"errors": [{"code": 3036, "message": "no neurons left"}], "success": false}', QuotaExceededError, 3036),
        ('{"httpCode": 429, "message": "slow down"}', RateLimitError, None),
        ("5006: AiError: This model's maximum context length is 131072 tokens.", ContextOverflowError, 5006),
        ("<html>502 Bad Gateway</html>", InternalServerError, None),
        ("", InternalServerError, None),
    ],
)
def test_errors_in_other_forms_are_typed(text: str, kind: type[APIStatusError], code: int | None) -> None:
    with pytest.raises(kind) as caught:
        call_model(make_bound_model(Exception(text))[0], "ainvoke", "Hi")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.message


def test_a_retired_model_names_its_replacement() -> None:
    with pytest.warns(UserWarning, match="was retired"):
        llm = ChatWorkersGemma(model=GEMMA_3, binding=FakeBinding(Exception("5028: This model was deprecated")))
    with pytest.raises(ModelDeprecatedError) as caught:
        call_model(llm, "ainvoke", "Hi")
    assert caught.value.replacement == GEMMA_4


def test_an_authentication_error_of_a_binding_has_no_advice() -> None:
    with pytest.raises(AuthenticationError) as caught:
        call_model(make_bound_model(Exception("10000: Authentication error"))[0], "ainvoke", "Hi")
    assert str(caught.value) == "10000: Authentication error"


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_a_capacity_error_is_retried(call_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_workers_gemma.exchange.retries._INITIAL_DELAY", 0.001)
    llm, ai = make_bound_model(Exception("3040: Capacity temporarily exceeded"), HELLO_RESULT, max_retries=1)
    assert call_model(llm, call_method, "Hi").content == "Hello"
    assert len(ai.calls) == 2


def test_a_quota_error_is_not_retried() -> None:
    llm, ai = make_bound_model(Exception("3036: used up"), max_retries=3)
    with pytest.raises(QuotaExceededError):
        call_model(llm, "ainvoke", "Hi")
    assert len(ai.calls) == 1


@pytest.mark.parametrize(
    "original", [JsError("Error", "Network connection lost."), ConnectionResetError("reset"), TimeoutError("slow")]
)
def test_a_network_error_is_a_connection_error(original: Exception) -> None:
    with pytest.raises(APIConnectionError, match="could not reach") as caught:
        call_model(make_bound_model(original)[0], "ainvoke", "Hi")
    assert caught.value.__cause__ is original


@pytest.mark.parametrize("exception", [TypeError("run() takes 2 arguments"), AssertionError("no"), KeyError("x")])
def test_programming_errors_in_a_binding_are_not_wrapped(exception: Exception) -> None:
    llm, ai = make_bound_model(exception, max_retries=3)
    with pytest.raises(type(exception)):
        call_model(llm, "ainvoke", "Hi")
    assert len(ai.calls) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_raw_error_response_raises(status: int) -> None:
    body = b'{"internalCode": 3040, "description": "Capacity temporarily exceeded", "name": "AiError"}'
    response = SimpleNamespace(status=status, headers={"Retry-After": "2", "cf-ray": "r"}, body=FakeReader(body))
    with pytest.raises(CapacityError) as caught:
        call_model(make_bound_model(lambda: response)[0], "ainvoke", "Hi")
    assert (caught.value.status_code, caught.value.retry_after, caught.value.request_id) == (status, 2.0, "r")


def test_a_raw_response_without_a_body_raises() -> None:
    with pytest.raises(InternalServerError):
        call_model(make_bound_model(lambda: SimpleNamespace(status=502, headers={}, body=None))[0], "ainvoke", "Hi")


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_failed_stream_has_the_partial_message(call_method: str) -> None:
    llm, _ = make_bound_model(lambda: FakeReader(encode_sse(make_delta("Hel")), Exception("Network connection lost.")))
    with pytest.raises(StreamInterruptedError, match="Network connection lost") as caught:
        call_model(llm, call_method, "Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hel"


def test_a_stream_that_fails_with_a_code_is_typed() -> None:
    llm, _ = make_bound_model(
        lambda: FakeReader(encode_sse(make_delta("Hel")), Exception("3040: Capacity temporarily exceeded"))
    )
    with pytest.raises(CapacityError):
        call_model(llm, "astream", "Hi")


# --- Timeouts and cancellation ----------------------------------------------------------------------------------------


class SilentBinding(FakeBinding):
    """Never answers."""

    cancelled = False

    async def run(self, model: str, input: Any, options: Any) -> Any:  # noqa: A002
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("timeout", [0.02, httpx.Timeout(9, read=0.02)])
def test_a_binding_that_does_not_answer_times_out(call_method: str, timeout: Any) -> None:
    ai = SilentBinding()
    llm = ChatWorkersGemma(binding=ai, timeout=timeout, max_retries=0)
    with pytest.raises(APITimeoutError, match=r"0\.02 s"):
        call_model(llm, call_method, "Hi")
    assert ai.cancelled


def test_a_stream_that_stalls_times_out() -> None:
    reader = FakeReader(encode_sse(make_delta("Hel")), endless=True)
    llm, _ = make_bound_model(lambda: reader, timeout=0.05)
    with pytest.raises(APITimeoutError) as caught:
        call_model(llm, "astream", "Hi")
    assert isinstance(caught.value, StreamInterruptedError)
    assert reader.cancelled == 1


@pytest.mark.parametrize("kind", ["reader", "iterator"])
@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_an_abandoned_stream_is_cancelled(call_method: str, kind: str) -> None:
    reader, chunks = FakeReader(*STREAM_PIECES), ClosableIterator(*STREAM_PIECES)
    llm, _ = make_bound_model(lambda: reader if kind == "reader" else chunks)

    async def abandon() -> None:
        stream = llm.astream("Hi")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    if call_method == "astream":
        run_async(abandon())
    else:
        stream = llm.stream("Hi")
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert (reader.cancelled == 1) if kind == "reader" else chunks.closed


@pytest.mark.parametrize("call_method", ["stream", "astream"])
def test_a_stream_read_to_its_end_is_not_cancelled(call_method: str) -> None:
    reader = FakeReader(*STREAM_PIECES)
    call_model(make_bound_model(lambda: reader)[0], call_method, "Hi")
    assert reader.cancelled == 0


def test_a_cancelled_task_cancels_the_stream() -> None:
    reader = FakeReader(encode_sse(make_delta("Hel")), endless=True)
    llm, _ = make_bound_model(lambda: reader)

    async def cancel() -> None:
        task = asyncio.ensure_future(acollect_chunks(llm))
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(cancel())
    assert reader.cancelled == 1


def test_a_failing_or_missing_cancel_does_not_hide_the_error() -> None:
    class FailingCancelReader(FakeReader):
        async def cancel(self) -> None:
            raise RuntimeError("cannot cancel")

    class NoCancelReader(FakeReader):
        cancel = None  # type: ignore[assignment]

    for reader in (
        FailingCancelReader(encode_sse(make_delta("Hel")), endless=True),
        NoCancelReader(encode_sse(make_delta("Hel")), endless=True),
    ):
        with pytest.raises(APITimeoutError):
            call_model(make_bound_model(lambda reader=reader: reader, timeout=0.02)[0], "astream", "Hi")


def test_many_concurrent_calls() -> None:
    llm, ai = make_bound_model(lambda: FakeJsProxy(HELLO_RESULT))
    messages = run_async(llm.abatch([f"Hi {index}" for index in range(50)]))
    assert [message.content for message in messages] == ["Hello"] * 50
    assert len(ai.calls) == 50
