"""No error shows a token, for any response of the service."""

from __future__ import annotations

import json
import pickle
import traceback
from typing import Any

import httpx
import pytest
import respx

from langchain_workers_gemma import AIGateway, APIConnectionError
from tests.helpers.error_calls import call_and_get_error
from tests.helpers.fault_server import make_error_envelope
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import API_TOKEN, CALL_METHODS, call_model, make_model

pytestmark = pytest.mark.lowest

GATEWAY_TOKEN = "a-gateway-token-to-hide"


def collect_all_text(error: BaseException) -> str:
    """Return all text of an error: message, repr, attributes, traceback with causes, and pickle."""
    texts = [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    texts.append(pickle.dumps(error).decode("latin-1"))
    texts.append(repr(vars(pickle.loads(pickle.dumps(error)))))
    return "\n".join(texts)


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize(
    "payload",
    [
        make_error_envelope(10000, f"Invalid token Bearer {API_TOKEN}! ({GATEWAY_TOKEN})"),
        {"error": {"message": API_TOKEN, API_TOKEN: [API_TOKEN, {"deep": f"x{API_TOKEN}x"}]}},
        f"<html>{API_TOKEN} {GATEWAY_TOKEN}".encode(),
    ],
)
@pytest.mark.parametrize("status", [200, 401, 500])
def test_an_echoed_token_is_masked(service: MockService, call_method: str, payload: Any, status: int) -> None:
    service.respond_with(make_response(payload, status))
    error = call_and_get_error(call_method, ai_gateway=AIGateway("gw", token=GATEWAY_TOKEN))
    assert API_TOKEN not in collect_all_text(error)
    assert GATEWAY_TOKEN not in collect_all_text(error)
    assert "**********" in collect_all_text(error)


@pytest.mark.parametrize("event", [API_TOKEN, json.dumps({"error": API_TOKEN}), f'{{"x": "{API_TOKEN}'])
def test_an_echoed_token_in_a_stream_is_masked(service: MockService, event: str) -> None:
    service.respond_with_events({"response": "Hel"}, event)
    assert API_TOKEN not in collect_all_text(call_and_get_error("stream"))


def test_the_token_is_not_in_connection_errors() -> None:
    """On a real socket: Dask's serializer pickles the causes too."""
    with pytest.raises(APIConnectionError) as raised:
        call_model(make_model(base_url="http://127.0.0.1:9"), "invoke")
    assert API_TOKEN not in collect_all_text(raised.value)


def test_the_cause_of_an_error_has_no_authorization_header() -> None:
    """Dask pickles an error with its causes and their attributes."""
    with respx.mock as mock:
        mock.post(url__regex=".*").mock(side_effect=httpx.ConnectError)
        with pytest.raises(APIConnectionError) as raised:
            call_model(make_model(), "invoke")
    cause = raised.value.__cause__
    assert isinstance(cause, httpx.ConnectError)
    assert "authorization" not in cause.request.headers


@pytest.mark.parametrize("token", ["t", "tok", "No", "e"])
def test_a_token_that_is_too_short_is_not_masked(service: MockService, token: str) -> None:
    service.respond_with(make_response(make_error_envelope(5006, "No such token here"), 400))
    assert call_and_get_error("invoke", api_token=token).message == "No such token here"


@pytest.mark.parametrize(
    "token", [" padded-gateway-token", "padded-gateway-token ", "", "new\nline-token", "tökén-token"]
)
def test_a_gateway_token_that_is_not_a_valid_header_raises(token: str) -> None:
    with pytest.raises(ValueError, match="token") as raised:
        AIGateway("gw", token=token)
    assert not token.strip() or token.strip() not in str(raised.value)
