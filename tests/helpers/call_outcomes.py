"""The outcome of a call for any response: a message or a `WorkersGemmaError`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import httpx
from langchain_core.messages import AIMessage

from langchain_workers_gemma import WorkersGemmaError
from tests.helpers.mock_service import PiecewiseBody
from tests.helpers.model_calls import CALL_METHODS, EVENT_METHODS, GEMMA_3, WEATHER_TOOL, call_model, make_model

ALL_CALL_METHODS = (*CALL_METHODS, *EVENT_METHODS)


class NextResponse:
    """The response to the next request."""

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    pieces: Sequence[bytes] = ()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, stream=PiecewiseBody(self.pieces))


NEXT_RESPONSE = NextResponse()


@cache
def get_model(method: str | None = None) -> Any:
    """Return a model, with a bound tool if a tool calling method is given."""
    clients: dict[str, Any] = {
        "http_client": httpx.Client(transport=httpx.MockTransport(NEXT_RESPONSE)),
        "http_async_client": httpx.AsyncClient(transport=httpx.MockTransport(NEXT_RESPONSE)),
    }
    if method is None:
        return make_model(**clients)
    return make_model(model=GEMMA_3, tool_calling=method, stop=["STOP"], **clients).bind_tools([WEATHER_TOOL])


def get_outcome(llm: Any, call_method: str, *pieces: bytes, status: int = 200) -> AIMessage | WorkersGemmaError:
    """Return the message of a call or its `WorkersGemmaError`. Any other error fails the test."""
    NEXT_RESPONSE.status, NEXT_RESPONSE.pieces = status, pieces
    try:
        message = call_model(llm, call_method)
    except WorkersGemmaError as error:
        return error
    assert isinstance(message.usage_metadata, dict | None)
    for call in message.tool_calls:
        assert isinstance(call["args"], dict)
        assert call["name"]
        assert call["id"]
    return message


DIGITS = "9" * (sys.get_int_max_str_digits() + 100)
