"""Credentials: sources, errors for missing ones, and that the token is never visible."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.tracers.memory_stream import _MemoryStream  # noqa: F401 - imported early: it is slow
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import ValidationError

from langchain_workers_gemma import AIGateway, APIStatusError, AuthenticationError, ChatWorkersGemma
from tests.helpers.fake_bindings import FakeBinding
from tests.helpers.mock_service import MockService, make_response
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    call_model,
    get_construction_error,
    make_model,
)

TOKEN_VARIABLES = ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN", "CF_API_TOKEN")
ACCOUNT_VARIABLES = ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID")


# --- Credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "variables", "name"),
    [
        ("cloudflare", TOKEN_VARIABLES, "api_token"),
        ("cloudflare", ACCOUNT_VARIABLES, "account_id"),
        ("dataoorts", ("DATAOORTS_API_KEY",), "api_token"),
        ("aimlapi", ("AIMLAPI_API_KEY", "AIML_API_KEY"), "api_token"),
    ],
)
def test_environment_variables_are_read_in_order(
    monkeypatch: pytest.MonkeyPatch, host: str, variables: tuple[str, ...], name: str
) -> None:
    arguments = {"api_token": API_TOKEN, "account_id": ACCOUNT_ID} if host == "cloudflare" else {"api_token": API_TOKEN}
    del arguments[name]
    for variable in reversed(variables):
        monkeypatch.setenv(variable, f"of-{variable}")
        value = getattr(ChatWorkersGemma(host=host, **arguments), name)
        assert (value.get_secret_value() if name == "api_token" else value) == f"of-{variable}"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "")
    monkeypatch.setenv("CF_API_TOKEN", "tok")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "")
    monkeypatch.setenv("CF_ACCOUNT_ID", "acc")
    llm = ChatWorkersGemma()
    assert llm.account_id == "acc"
    assert llm.api_token is not None
    assert llm.api_token.get_secret_value() == "tok"


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*TOKEN_VARIABLES, *ACCOUNT_VARIABLES):
        monkeypatch.setenv(variable, "env")
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", "https://env.example")
    llm = ChatWorkersGemma(account_id="acc", api_token="tok", base_url="https://arg.example")
    assert llm.api_token is not None
    assert (llm.account_id, llm.api_token.get_secret_value(), llm.base_url) == ("acc", "tok", "https://arg.example")


@pytest.mark.parametrize("host", ["cloudflare", "dataoorts", "aimlapi"])
def test_base_url_from_the_environment(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", "http://127.0.0.1:1/base/")
    assert make_model(host=host).base_url == "http://127.0.0.1:1/base"


@pytest.mark.parametrize("variable", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"])
def test_white_space_around_a_credential_is_removed(
    monkeypatch: pytest.MonkeyPatch, service: MockService, variable: str
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "tok")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    monkeypatch.setenv(variable, f" {'tok' if variable.endswith('TOKEN') else 'acc'}\n")
    call_model(ChatWorkersGemma(), "invoke")
    assert service.only_request.headers["authorization"] == "Bearer tok"
    assert "/accounts/acc/" in str(service.only_request.url)


def test_missing_credentials_name_the_argument_and_every_variable(service: MockService) -> None:
    with pytest.raises(ValueError, match="api_token is missing") as caught:
        ChatWorkersGemma()
    for name in ("api_token", "account_id", *TOKEN_VARIABLES, *ACCOUNT_VARIABLES):
        assert name in str(caught.value)
    assert not service.requests


@pytest.mark.parametrize(
    ("host", "variables"),
    [("dataoorts", ["DATAOORTS_API_KEY"]), ("aimlapi", ["AIMLAPI_API_KEY", "AIML_API_KEY"])],
)
def test_missing_credentials_of_other_hosts_name_their_variables(host: Any, variables: list[str]) -> None:
    with pytest.raises(ValueError, match="api_token is missing") as caught:
        ChatWorkersGemma(host=host)
    assert all(variable in str(caught.value) for variable in variables)
    assert "account_id" not in str(caught.value)
    assert "CLOUDFLARE" not in str(caught.value)


def test_only_missing_credentials_are_named() -> None:
    with pytest.raises(ValueError, match="account_id is missing") as caught:
        ChatWorkersGemma(api_token="tok")
    assert "api_token" not in str(caught.value)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_token_counts_as_missing(empty: str) -> None:
    assert "api_token is missing" in get_construction_error(api_token=empty)


def test_a_binding_needs_no_credentials() -> None:
    llm = ChatWorkersGemma(binding=FakeBinding())
    assert llm.api_token is None
    assert llm.account_id is None


# --- The token is never visible ---------------------------------------------------------------------------------------


def get_texts(value: object) -> str:
    """Return the `repr` and the `str` of an object."""
    return f"{value!r} {value!s}"


def test_the_token_is_not_in_repr_or_dumps() -> None:
    llm = make_model(ai_gateway=AIGateway("gw", token=API_TOKEN))
    for text in (
        get_texts(llm),
        get_texts(llm.asdict()),
        get_texts(llm.model_dump()),
        llm.model_dump_json(include={"api_token", "model"}),
        dumps(llm),
        get_texts(llm.bind(stop=["a"])),
        get_texts(llm._get_llm_string()),
        get_texts(llm.lc_attributes),
        get_texts(llm._identifying_params),
    ):
        assert API_TOKEN not in text


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": -1},
        {"temprature": 1},
        {"host": "nowhere"},
        {"api_token": [API_TOKEN]},
        {"api_key": "another"},
        {"base_url": "x"},
        {"model": "../"},
        {"api_token": API_TOKEN + "\n" + API_TOKEN},
        {"api_token": {"value": API_TOKEN}},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_the_token_is_not_in_validation_errors(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make_model(**arguments)
    formatted = "".join(traceback.format_exception(caught.value))
    assert API_TOKEN not in formatted
    assert API_TOKEN not in get_texts(caught.value)


def test_the_token_is_not_in_validated_dicts() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatWorkersGemma.model_validate({"api_token": API_TOKEN, "account_id": ACCOUNT_ID, "temperature": -1})
    assert API_TOKEN not in str(caught.value)


@pytest.mark.parametrize("call_method", CALL_METHODS)
def test_the_token_is_not_in_logs_traces_or_errors(
    service: MockService, caplog: pytest.LogCaptureFixture, call_method: str
) -> None:
    caplog.set_level(logging.DEBUG)
    service.respond_with(
        make_response({"response": "Hi"}),
        make_response({"success": False, "errors": [{"code": 10000, "message": f"bad {API_TOKEN}"}]}, 401),
    )
    llm = make_model()
    collector = RunCollectorCallbackHandler()
    call_model(llm, call_method, config={"callbacks": [collector]})
    with pytest.raises(AuthenticationError) as caught:
        call_model(llm, call_method, config={"callbacks": [collector]})
    error: APIStatusError = caught.value
    traced = "".join(run.model_dump_json(fallback=repr) for run in collector.traced_runs)
    assert len(collector.traced_runs) == 2
    for text in (
        traced,
        caplog.text,
        get_texts(error),
        get_texts(error.body),
        "".join(traceback.format_exception(error)),
    ):
        assert API_TOKEN not in text
