"""Errors name the cure: the model to use, the variable of a token, the parameter to change."""

from __future__ import annotations

import pytest

from langchain_workers_gemma import (
    AuthenticationError,
    BadRequestError,
    ModelDeprecatedError,
    ModelNotFoundError,
    QuotaExceededError,
)
from langchain_workers_gemma.exchange.error_mapping import ErrorContext, map_payload_error
from tests.helpers.error_calls import call_and_get_error
from tests.helpers.fault_server import make_error_envelope
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import API_TOKEN, GEMMA_3, GEMMA_4, WEATHER_TOOL, make_model

pytestmark = pytest.mark.lowest


def test_retired_model_names_its_replacement(service: MockService) -> None:
    service.respond_with(make_response(make_error_envelope(5028, "This model was deprecated on 2026-05-30."), 410))
    error = call_and_get_error("invoke", model=GEMMA_3)
    assert isinstance(error, ModelDeprecatedError)
    assert error.replacement == GEMMA_4
    assert error.message == "This model was deprecated on 2026-05-30."
    assert GEMMA_4 in str(error)
    assert GEMMA_3 in str(error)


def test_a_used_up_quota_names_the_reset_time(service: MockService) -> None:
    service.respond_with(make_response(make_error_envelope(3036, "you have used up your daily free allocation"), 429))
    error = call_and_get_error("invoke", max_retries=5)
    assert isinstance(error, QuotaExceededError)
    assert "00:00 UTC" in str(error)
    assert "00:00 UTC" not in error.message
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "variable", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN", "CF_API_TOKEN"]
)
def test_a_refused_token_names_its_environment_variable(
    service: MockService, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, API_TOKEN)
    service.respond_with(make_response(make_error_envelope(10000, "Authentication error"), 401))
    error = call_and_get_error("invoke", api_token=None)
    assert isinstance(error, AuthenticationError)
    assert variable in str(error)
    assert API_TOKEN not in str(error)


@pytest.mark.parametrize("variable", ["AIMLAPI_API_KEY", "AIML_API_KEY"])
def test_a_refused_token_of_another_host_names_its_environment_variable(
    service: MockService, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, API_TOKEN)
    service.respond_with(make_response({"message": "Unauthorized"}, 401))
    assert variable in str(call_and_get_error("invoke", host="aimlapi", api_token=None))


def test_a_refused_token_names_the_argument_api_token(service: MockService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "another-token")
    service.respond_with(make_response(make_error_envelope(10000), 401))
    assert "the argument api_token" in str(call_and_get_error("invoke"))


def test_errors_name_the_cure(service: MockService) -> None:
    service.respond_with(
        make_response(make_error_envelope(8001, "This model's maximum context length is 131072 tokens."), 400)
    )
    assert "max_tokens" in str(call_and_get_error("invoke"))
    service.respond_with(make_response(b"", 308, {"location": "https://example.com"}))
    assert "base_url" in str(call_and_get_error("invoke"))
    service.respond_with(make_response(make_error_envelope(None, "JSON Mode couldn't be met"), 400))
    assert "schema" in str(call_and_get_error("invoke"))


def test_tools_refused_by_a_model_without_function_calling_name_the_cure(service: MockService) -> None:
    service.respond_with(make_response(make_error_envelope(5006, "tools: unexpected"), 400))
    with pytest.raises(BadRequestError, match="guided_json") as raised:
        make_model(model=GEMMA_3, tool_calling="native").bind_tools([WEATHER_TOOL]).invoke("Hi")
    assert raised.value.message == "tools: unexpected"


def test_the_error_for_an_unknown_model_suggests_a_known_id() -> None:
    context = ErrorContext(model="@cf/google/gemma-4-26b")
    error = map_payload_error(400, {}, make_error_envelope(5007, "No such model"), context)
    assert isinstance(error, ModelNotFoundError)
    assert error.message == "No such model"
    assert f"Did you mean model={GEMMA_4!r}?" in str(error)
    known = map_payload_error(404, {}, make_error_envelope(7003, "No route"), ErrorContext(model=GEMMA_4))
    assert known.advice == "No such route: check account_id and base_url."
