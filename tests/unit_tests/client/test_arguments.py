"""Arguments of the constructor and of calls: accepted values, and errors before any request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from langchain_workers_gemma import AIGateway, ChatWorkersGemma
from tests.helpers.fake_bindings import FakeBinding
from tests.helpers.mock_service import MockService
from tests.helpers.model_calls import (
    ACCOUNT_ID,
    API_TOKEN,
    CALL_METHODS,
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    SEA_LION,
    STREAM_METHODS,
    call_model,
    collect_chunks,
    get_construction_error,
    make_model,
)

# --- Fields and aliases -----------------------------------------------------------------------------------------------


def test_every_field_can_be_set_by_its_name() -> None:
    fields: dict[str, Any] = {
        "model": GEMMA_3,
        "host": "cloudflare",
        "api": "native",
        "account_id": "acc",
        "api_token": SecretStr("tok"),
        "base_url": "https://example.org/v4",
        "temperature": 1.5,
        "max_tokens": 10,
        "top_p": 0.5,
        "top_k": 5,
        "seed": 3,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "stop": ["a"],
        "lora": "adapter",
        "raw": False,
        "tool_calling": "prompt",
        "ai_gateway": AIGateway("gw"),
        "session_affinity": "s",
        "reject_if_busy": True,
        "inline_image_urls": True,
        "timeout": 5.0,
        "max_retries": 7,
        "http_client": httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))),
        "http_async_client": httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))),
        "default_headers": {"x-a": "b"},
        "streaming": True,
        "model_kwargs": {"n": 1},
    }
    llm = make_model(**fields)
    assert {name: getattr(llm, name) for name in fields} == fields


def test_defaults() -> None:
    llm = make_model()
    assert (llm.model, llm.host, llm.api, llm.base_url) == (
        GEMMA_4,
        "cloudflare",
        "native",
        "https://api.cloudflare.com/client/v4",
    )
    assert (llm.tool_calling, llm.reject_if_busy, llm.inline_image_urls, llm.streaming) == ("auto", False, False, False)
    assert ChatWorkersGemma(account_id=ACCOUNT_ID, api_token=API_TOKEN).max_retries == 2
    assert isinstance(llm.timeout, float)
    assert 200 < llm.timeout < float("inf"), "a cold start can take over 200 s"


@pytest.mark.parametrize(
    ("host", "api", "base_url"),
    [
        ("dataoorts", "native", "https://cloud.dataoorts.com/api/v1"),
        ("aimlapi", "openai", "https://api.aimlapi.com/v1"),
    ],
)
def test_defaults_of_other_hosts(host: str, api: str, base_url: str) -> None:
    llm = make_model(host=host)
    assert (llm.model, llm.api, llm.base_url) == ("google/gemma-3-12b-it", api, base_url)


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("model_name", "model", SEA_LION),
        ("cloudflare_account_id", "account_id", "abc"),
        ("stop_sequences", "stop", ["x"]),
    ],
)
def test_aliases_set_the_field(alias: str, name: str, value: Any) -> None:
    arguments = {"account_id": ACCOUNT_ID, "api_token": API_TOKEN}
    arguments.pop(name, None)
    assert getattr(ChatWorkersGemma(**arguments, **{alias: value}), name) == value


@pytest.mark.parametrize("alias", ["api_token", "api_key", "cloudflare_api_token"])
@pytest.mark.parametrize("token", ["tok", SecretStr("tok")])
def test_aliases_set_the_token(alias: str, token: Any) -> None:
    llm = ChatWorkersGemma(account_id=ACCOUNT_ID, **{alias: token})
    assert isinstance(llm.api_token, SecretStr)
    assert llm.api_token.get_secret_value() == "tok"


def test_two_names_of_one_argument_with_different_values_raise() -> None:
    assert "model is passed twice" in get_construction_error(model=GEMMA_4, model_name=SEA_LION)
    error = get_construction_error(api_key="other-secret")
    assert "api_token is passed twice" in error
    assert "other-secret" not in error
    assert API_TOKEN not in error


@pytest.mark.parametrize(
    ("unknown", "suggestion"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("apikey", "api_key"),
        ("stop_sequence", "stop_sequences"),
        ("account", "account_id"),
        ("http_clients", "http_client"),
    ],
)
def test_an_unknown_argument_suggests_the_nearest_name(unknown: str, suggestion: str) -> None:
    error = get_construction_error(**{unknown: "some value"})
    assert f"{unknown} is not an argument. Did you mean {suggestion}?" in error


def test_an_unknown_argument_without_a_similar_name_has_no_suggestion() -> None:
    error = get_construction_error(xyzzy=1)
    assert "xyzzy is not an argument." in error
    assert "Did you mean" not in error


@pytest.mark.parametrize(
    "arguments",
    [{"host": "openai"}, {"api": "rest"}, {"tool_calling": "json"}, {"max_retries": -1}, {"default_headers": {"a": 1}}],
)
def test_invalid_values_raise(arguments: dict[str, Any]) -> None:
    assert next(iter(arguments)) in get_construction_error(**arguments)


def test_an_unsupported_dialect_raises() -> None:
    error = get_construction_error(host="aimlapi", api="native")
    assert "api='native'" in error
    assert "'openai'" in error
    assert "api='openai'" in get_construction_error(host="dataoorts", api="openai")


@pytest.mark.parametrize(
    "argument", [{"ai_gateway": "gw"}, {"session_affinity": "x"}, {"reject_if_busy": True}, {"binding": FakeBinding()}]
)
@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_arguments_of_cloudflare_raise_for_other_hosts(host: str, argument: dict[str, Any]) -> None:
    assert next(iter(argument)) in get_construction_error(host=host, **argument)


def test_an_embedding_model_is_refused() -> None:
    assert "WorkersGemmaEmbeddings" in get_construction_error(model="@cf/google/embeddinggemma-300m")


# --- Ranges -----------------------------------------------------------------------------------------------------------

GEMMA_3_RANGES: dict[str, tuple[Any, Any, Any, Any]] = {  # lowest, below, highest, above
    "temperature": (0, -0.01, 5, 5.01),
    "top_p": (0, -0.01, 2, 2.01),
    "top_k": (1, 0, 50, 51),
    "seed": (1, 0, 9_999_999_999, 10_000_000_000),
    "repetition_penalty": (0, -0.01, 2, 2.01),
    "frequency_penalty": (0, -0.01, 2, 2.01),
    "presence_penalty": (0, -0.01, 2, 2.01),
    "max_tokens": (1, 0, 10**6, None),
}
GEMMA_7B_RANGES = {
    **GEMMA_3_RANGES,
    "top_p": (0.001, 0.0009, 1, 1.01),
    "frequency_penalty": (-2, -2.01, 2, 2.01),
    "presence_penalty": (-2, -2.01, 2, 2.01),
}
GEMMA_4_RANGES = {
    "temperature": (0, -0.01, 2, 2.01),
    "frequency_penalty": (-2, -2.01, 2, 2.01),
    "presence_penalty": (-2, -2.01, 2, 2.01),
    "max_tokens": (1, 0, 10**6, None),
}
RANGES = [
    *((model, "cloudflare", GEMMA_3_RANGES) for model in (GEMMA_3, GEMMA_2B_LORA, GEMMA_7B_LORA)),
    *((model, "cloudflare", GEMMA_7B_RANGES) for model in (GEMMA_7B, SEA_LION)),
    (GEMMA_4, "cloudflare", GEMMA_4_RANGES),
    ("google/gemma-3-12b-it", "dataoorts", GEMMA_3_RANGES),
]
BOUNDS = [
    pytest.param(model, host, name, bounds, id=f"{host}-{model.split('/')[-1]}-{name}")
    for model, host, ranges in RANGES
    for name, bounds in ranges.items()
]


@pytest.mark.parametrize(("model", "host", "name", "bounds"), BOUNDS)
def test_the_published_bounds_are_accepted(
    service: MockService, model: str, host: str, name: str, bounds: tuple[Any, ...]
) -> None:
    for value in (bounds[0], bounds[2]):
        llm = make_model(model=model, host=host, **{name: value})
        assert getattr(llm, name) == value
        call_model(make_model(model=model, host=host), "invoke", **{name: value})
        body = service.request_bodies[-1]
        assert body.get("data", body)[name] == value


@pytest.mark.parametrize(("model", "host", "name", "bounds"), BOUNDS)
def test_the_error_for_a_value_out_of_range_names_field_value_and_range(
    service: MockService, model: str, host: str, name: str, bounds: tuple[Any, ...]
) -> None:
    low, below, high, above = bounds
    for value in (below, above):
        if value is None:
            continue
        error = [get_construction_error(model=model, host=host, **{name: value})]
        with pytest.raises(ValueError, match=name) as caught:
            make_model(model=model, host=host).invoke("Hello", **{name: value})
        error.append(str(caught.value))
        for text in error:
            assert f"{name}={value}" in text.replace("=0.0 ", "=0 ")
            assert f"{low:g}" in text
            if above is not None:
                assert f"{high:.10g}" in text
    assert not service.requests


@pytest.mark.parametrize("name", ["top_k", "repetition_penalty"])
def test_gemma_4_does_not_accept_parameters_it_lacks(name: str) -> None:
    assert f"{name}=1" in get_construction_error(**{name: 1})


@pytest.mark.parametrize("model", [*CHAT_MODELS, "@cf/google/gemma-5-1b-it"])
@pytest.mark.parametrize("value", [0, -1])
def test_max_tokens_is_at_least_1_on_every_model(model: str, value: int) -> None:
    assert f"max_tokens={value}" in get_construction_error(model=model, max_tokens=value)
    assert f"max_tokens={value}" in get_construction_error(host="aimlapi", max_tokens=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "hot", [1]])
def test_a_temperature_that_is_not_a_number_raises(value: Any) -> None:
    assert "temperature" in get_construction_error(temperature=value)
    assert "temperature" in get_construction_error(temperature=value, model="@cf/google/gemma-5-1b-it")


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "hot", [1]])
def test_a_temperature_of_a_call_that_is_not_a_number_raises(
    service: MockService, call_method: str, value: Any
) -> None:
    for model in (GEMMA_4, "@cf/google/gemma-5-1b-it"):
        with pytest.raises(ValueError, match="temperature"):
            call_model(make_model(model=model), call_method, temperature=value)
    assert not service.requests


def test_the_range_depends_on_the_model_of_the_call(service: MockService) -> None:
    llm = make_model(model=GEMMA_3, temperature=4)
    with pytest.raises(ValueError, match="temperature=4"):
        llm.invoke("Hello", model=GEMMA_4)
    assert not service.requests
    call_model(llm, "invoke")


# --- Injection into the path or the headers ---------------------------------------------------------------------------

INJECTIONS = [
    "../x",
    "a/../b",
    "a?b=c",
    "a#b",
    "a\r\nb: c",
    "a\nb",
    "%2e%2e/x",
    "a b",
    "a\x00b",
    "ä",
    "..",
    "a\\b",
    "a%2fb",
]


@pytest.mark.parametrize("bad", [*INJECTIONS, "/a", "a//b", "a/", "@", "a/./b", "a@b", "@cf/@x", "\uff41"])
def test_a_model_that_could_change_the_path_raises(service: MockService, bad: str) -> None:
    assert "model must be an id" in get_construction_error(model=bad)
    for call_method in CALL_METHODS:
        with pytest.raises(ValueError, match="model must be an id"):
            call_model(make_model(), call_method, model=bad)
    assert not service.requests


@pytest.mark.parametrize("bad", [*INJECTIONS, "a/b", ".", "{model}", "a\u0000"])
def test_an_account_that_could_change_the_path_raises(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    assert "account_id must" in get_construction_error(account_id=bad)
    if "\x00" not in bad:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", bad)
        assert "account_id must" in get_construction_error(account_id=None)


@pytest.mark.parametrize(
    "bad",
    [
        "api.cloudflare.com",
        "ftp://example.org",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://example.org/v4?x=1",
        "https://example.org/v4?",
        "https://example.org/v4#x",
        "https://example.org/v4#",
        "https://user:password@example.org/v4",
        "https://user@example.org/v4",
        "https://:password@example.org/v4",
        "https://@example.org/v4",
        "https://example.org/v4\r\nx-evil: 1",
        "https://example.org/a b",
        " https://example.org",
        "https://example.org:port/v4",
        "https://example.org:99999/v4",
        "https://[::1/v4",
        "https://example.org/v4/../..",
        "https://example.org/%2e%2e/v4",
        "https://example.org\\@evil.example/v4",
    ],
)
def test_an_invalid_base_url_raises(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    error = get_construction_error(base_url=bad)
    assert "base_url" in error
    assert "password" not in error
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", bad)
    assert "base_url" in get_construction_error()


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb", "ä", "a\x00"])
def test_values_that_could_inject_headers_raise(service: MockService, bad: str) -> None:
    assert "api_token" in get_construction_error(api_token=bad)
    assert bad not in get_construction_error(api_token=bad)
    assert "session_affinity" in get_construction_error(session_affinity=bad)
    assert "default_headers" in get_construction_error(default_headers={"x-a": bad})
    assert "default_headers" in get_construction_error(default_headers={f"x-{bad}": "a"})
    for options in ({"cache_key": bad}, {"token": bad}):
        with pytest.raises(ValidationError, match=next(iter(options))) as caught:
            AIGateway("gw", **options)
        assert repr(bad) not in str(caught.value)
    with pytest.raises(ValidationError, match="id"):
        AIGateway(bad)
    assert "ai_gateway" in get_construction_error(ai_gateway=bad)
    assert not service.requests


@pytest.mark.parametrize(
    "options",
    [
        {"cache_ttl": -1},
        {"request_timeout": 0},
        {"request_timeout": -1},
        {"max_attempts": 0},
        {"max_attempts": 6},
        {"retry_delay": -0.1},
        {"retry_delay": 5.1},
        {"backoff": "quadratic"},
        {"skipcache": True},
    ],
    ids=str,
)
def test_gateway_options_out_of_range_raise(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        AIGateway("gw", **options)


def test_gateway_options_at_their_bounds_are_accepted() -> None:
    AIGateway("gw", cache_ttl=0, max_attempts=5, retry_delay=5)
    AIGateway("gw", max_attempts=1, retry_delay=0)


# --- No request for invalid input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_method", CALL_METHODS)
@pytest.mark.parametrize("messages", [[], [("system", [{"type": "image", "url": "https://x/y.png"}])]])
def test_invalid_messages_send_no_request(service: MockService, call_method: str, messages: Any) -> None:
    with pytest.raises(ValueError, match="messages"):
        call_model(make_model(), call_method, messages)
    assert not service.requests


@pytest.mark.parametrize("call_method", STREAM_METHODS)
def test_a_stream_raises_for_invalid_input_at_its_first_chunk(service: MockService, call_method: str) -> None:
    with pytest.raises(ValueError, match="temperature"):
        collect_chunks(make_model(), call_method, temperature=9)
    assert not service.requests
