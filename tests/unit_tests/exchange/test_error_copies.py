"""Errors are copied and pickled completely."""

from __future__ import annotations

import copy
import json
import pickle
from functools import reduce
from operator import add
from typing import Any

import httpx
import pytest
import respx
from langchain_core.messages import AIMessageChunk

from langchain_workers_gemma import (
    APIConnectionError,
    APITimeoutError,
    StreamInterruptedError,
    StreamTimeoutError,
    ToolChoiceError,
    WorkersGemmaError,
)
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, map_status_error
from tests.helpers.error_calls import BY_CODE
from tests.helpers.fault_server import make_error_envelope
from tests.helpers.mock_service import MockService, encode_sse
from tests.helpers.model_calls import GEMMA_3, GEMMA_4, make_model

pytestmark = pytest.mark.lowest


def make_every_error() -> list[WorkersGemmaError]:
    """Return an error of each kind."""
    context = ErrorContext(GEMMA_3, GEMMA_4, "the argument api_token")
    headers = {"cf-ray": "8f", "retry-after": "3"}
    status_errors: list[WorkersGemmaError] = [
        map_status_error(status, headers, json.dumps(make_error_envelope(code)).encode(), context)
        for status, code, _ in BY_CODE
    ]
    partial = AIMessageChunk(content="Hel", response_metadata={"request_id": "8f"})
    return [
        *status_errors,
        APIConnectionError("gone"),
        APITimeoutError("slow"),
        ToolChoiceError("none"),
        StreamInterruptedError("cut", partial),
        StreamInterruptedError("cut"),
        StreamTimeoutError("silent", partial),
    ]


@pytest.mark.parametrize(
    "error", make_every_error(), ids=lambda error: f"{type(error).__name__}-{getattr(error, 'code', '')}"
)
@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_are_copied_completely(error: WorkersGemmaError, duplicate: Any) -> None:
    copied = duplicate(error)
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.args == error.args
    assert vars(copied) == vars(error)
    assert copied.is_retryable is error.is_retryable


def test_errors_from_a_stream_are_copied_with_the_partial_reply(service: MockService) -> None:
    service.respond_with_pieces(encode_sse({"response": "Hel"}), httpx.ReadError("reset"))
    with pytest.raises(StreamInterruptedError) as raised:
        reduce(add, make_model().stream("Hi"))
    copied = pickle.loads(pickle.dumps(raised.value))
    assert copied.partial.text == "Hel"
    assert copied.partial == raised.value.partial


def test_the_cause_is_kept(respx_mock: respx.MockRouter) -> None:
    respx_mock.post().mock(side_effect=httpx.ConnectTimeout("slow"))
    with pytest.raises(APITimeoutError, match="connect timeout") as raised:
        make_model().invoke("Hi")
    assert isinstance(raised.value.__cause__, httpx.ConnectTimeout)
