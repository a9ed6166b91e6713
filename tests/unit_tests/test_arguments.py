"""What the constructor and calls take, and what they refuse, before any request is made."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import httpx
import pytest
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.tracers.memory_stream import _MemoryStream  # noqa: F401 - imported early: it is slow
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import SecretStr, ValidationError

from langchain_workers_gemma import AIGateway, APIStatusError, AuthenticationError, ChatWorkersGemma
from tests.unit_tests.asking import (
    ACCOUNT,
    CHAT_MODELS,
    GEMMA_2B_LORA,
    GEMMA_3,
    GEMMA_4,
    GEMMA_7B,
    GEMMA_7B_LORA,
    SEA_LION,
    STREAMED,
    TOKEN,
    WAYS,
    Service,
    ask,
    body,
    chunks,
    gemma,
)

TOKEN_VARIABLES = ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN", "CF_API_TOKEN")
ACCOUNT_VARIABLES = ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID")


class Binding:
    async def run(self, model: str, asked: Any, options: Any) -> Any:
        raise AssertionError


def refused(**arguments: Any) -> str:
    """The words in which arguments are refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        gemma(**arguments)
    return str(caught.value)


# --- Fields and aliases -----------------------------------------------------------------------------------------------


def test_every_field_by_its_name() -> None:
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
    llm = gemma(**fields)
    assert {name: getattr(llm, name) for name in fields} == fields


def test_the_defaults() -> None:
    llm = gemma()
    assert (llm.model, llm.host, llm.api, llm.base_url) == (
        GEMMA_4,
        "cloudflare",
        "native",
        "https://api.cloudflare.com/client/v4",
    )
    assert (llm.tool_calling, llm.reject_if_busy, llm.inline_image_urls, llm.streaming) == ("auto", False, False, False)
    assert ChatWorkersGemma(account_id=ACCOUNT, api_token=TOKEN).max_retries == 2
    assert isinstance(llm.timeout, float)
    assert 200 < llm.timeout < float("inf"), "a cold start can take over 200 s"


@pytest.mark.parametrize(
    ("host", "api", "base_url"),
    [
        ("dataoorts", "native", "https://cloud.dataoorts.com/api/v1"),
        ("aimlapi", "openai", "https://api.aimlapi.com/v1"),
    ],
)
def test_the_defaults_of_other_hosts(host: str, api: str, base_url: str) -> None:
    llm = gemma(host=host)
    assert (llm.model, llm.api, llm.base_url) == ("google/gemma-3-12b-it", api, base_url)


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("model_name", "model", SEA_LION),
        ("cloudflare_account_id", "account_id", "abc"),
        ("stop_sequences", "stop", ["x"]),
    ],
)
def test_aliases(alias: str, name: str, value: Any) -> None:
    arguments = {"account_id": ACCOUNT, "api_token": TOKEN}
    arguments.pop(name, None)
    assert getattr(ChatWorkersGemma(**arguments, **{alias: value}), name) == value


@pytest.mark.parametrize("alias", ["api_token", "api_key", "cloudflare_api_token"])
@pytest.mark.parametrize("token", ["tok", SecretStr("tok")])
def test_aliases_of_the_token(alias: str, token: Any) -> None:
    llm = ChatWorkersGemma(account_id=ACCOUNT, **{alias: token})
    assert isinstance(llm.api_token, SecretStr)
    assert llm.api_token.get_secret_value() == "tok"


def test_two_names_of_one_argument_with_different_values() -> None:
    assert "model is given twice" in refused(model=GEMMA_4, model_name=SEA_LION)
    said = refused(api_key="other-secret")
    assert "api_token is given twice" in said
    assert "other-secret" not in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("apikey", "api_key"),
        ("stop_sequence", "stop_sequences"),
        ("account", "account_id"),
        ("http_clients", "http_client"),
    ],
)
def test_an_unknown_argument_suggests_the_nearest_name(unknown: str, meant: str) -> None:
    said = refused(**{unknown: "some value"})
    assert f"{unknown} is not an argument. Did you mean {meant}?" in said


def test_an_unknown_argument_that_resembles_nothing() -> None:
    said = refused(xyzzy=1)
    assert "xyzzy is not an argument." in said
    assert "Did you mean" not in said


@pytest.mark.parametrize(
    "arguments",
    [{"host": "openai"}, {"api": "rest"}, {"tool_calling": "json"}, {"max_retries": -1}, {"default_headers": {"a": 1}}],
)
def test_values_that_are_none_of_those_allowed(arguments: dict[str, Any]) -> None:
    assert next(iter(arguments)) in refused(**arguments)


def test_ai_ml_api_speaks_openai_only() -> None:
    said = refused(host="aimlapi", api="native")
    assert "api='native'" in said
    assert "'openai'" in said
    assert "api='openai'" in refused(host="dataoorts", api="openai")


@pytest.mark.parametrize(
    "argument", [{"ai_gateway": "gw"}, {"session_affinity": "x"}, {"reject_if_busy": True}, {"binding": Binding()}]
)
@pytest.mark.parametrize("host", ["dataoorts", "aimlapi"])
def test_what_is_of_cloudflare_alone(host: str, argument: dict[str, Any]) -> None:
    assert next(iter(argument)) in refused(host=host, **argument)


def test_an_embedding_model_is_refused() -> None:
    assert "WorkersGemmaEmbeddings" in refused(model="@cf/google/embeddinggemma-300m")


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
def test_environment_variables_in_their_order(
    monkeypatch: pytest.MonkeyPatch, host: str, variables: tuple[str, ...], name: str
) -> None:
    arguments = {"api_token": TOKEN, "account_id": ACCOUNT} if host == "cloudflare" else {"api_token": TOKEN}
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


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*TOKEN_VARIABLES, *ACCOUNT_VARIABLES):
        monkeypatch.setenv(variable, "env")
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", "https://env.example")
    llm = ChatWorkersGemma(account_id="acc", api_token="tok", base_url="https://arg.example")
    assert llm.api_token is not None
    assert (llm.account_id, llm.api_token.get_secret_value(), llm.base_url) == ("acc", "tok", "https://arg.example")


@pytest.mark.parametrize("host", ["cloudflare", "dataoorts", "aimlapi"])
def test_base_url_from_the_environment(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", "http://127.0.0.1:1/base/")
    assert gemma(host=host).base_url == "http://127.0.0.1:1/base"


@pytest.mark.parametrize("variable", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"])
def test_white_space_around_a_credential_is_dropped(
    monkeypatch: pytest.MonkeyPatch, service: Service, variable: str
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "tok")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    monkeypatch.setenv(variable, f" {'tok' if variable.endswith('TOKEN') else 'acc'}\n")
    ask(ChatWorkersGemma(), "invoke")
    assert service.request.headers["authorization"] == "Bearer tok"
    assert "/accounts/acc/" in str(service.request.url)


def test_missing_credentials_name_the_argument_and_every_variable(service: Service) -> None:
    with pytest.raises(ValueError, match="api_token is missing") as caught:
        ChatWorkersGemma()
    for name in ("api_token", "account_id", *TOKEN_VARIABLES, *ACCOUNT_VARIABLES):
        assert name in str(caught.value)
    assert not service.requests


@pytest.mark.parametrize(
    ("host", "variables"),
    [("dataoorts", ["DATAOORTS_API_KEY"]), ("aimlapi", ["AIMLAPI_API_KEY", "AIML_API_KEY"])],
)
def test_missing_credentials_of_other_hosts(host: Any, variables: list[str]) -> None:
    with pytest.raises(ValueError, match="api_token is missing") as caught:
        ChatWorkersGemma(host=host)
    assert all(variable in str(caught.value) for variable in variables)
    assert "account_id" not in str(caught.value)
    assert "CLOUDFLARE" not in str(caught.value)


def test_only_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="account_id is missing") as caught:
        ChatWorkersGemma(api_token="tok")
    assert "api_token" not in str(caught.value)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_token_is_a_missing_one(empty: str) -> None:
    assert "api_token is missing" in refused(api_token=empty)


def test_a_binding_needs_no_credentials() -> None:
    llm = ChatWorkersGemma(binding=Binding())
    assert llm.api_token is None
    assert llm.account_id is None


# --- Ranges -----------------------------------------------------------------------------------------------------------

GEMMA_3_RANGES: dict[str, tuple[Any, Any, Any, Any]] = {  # lowest, below it, highest, above it
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
def test_the_published_bounds_are_inside(
    service: Service, model: str, host: str, name: str, bounds: tuple[Any, ...]
) -> None:
    for value in (bounds[0], bounds[2]):
        llm = gemma(model=model, host=host, **{name: value})
        assert getattr(llm, name) == value
        ask(gemma(model=model, host=host), "invoke", **{name: value})
        sent = service.bodies[-1]
        assert sent.get("data", sent)[name] == value


@pytest.mark.parametrize(("model", "host", "name", "bounds"), BOUNDS)
def test_what_is_outside_names_field_value_and_range(
    service: Service, model: str, host: str, name: str, bounds: tuple[Any, ...]
) -> None:
    low, below, high, above = bounds
    for value in (below, above):
        if value is None:
            continue
        said = [refused(model=model, host=host, **{name: value})]
        with pytest.raises(ValueError, match=name) as caught:
            gemma(model=model, host=host).invoke("Hello", **{name: value})
        said.append(str(caught.value))
        for text in said:
            assert f"{name}={value}" in text.replace("=0.0 ", "=0 ")
            assert f"{low:g}" in text
            if above is not None:
                assert f"{high:.10g}" in text
    assert not service.requests


@pytest.mark.parametrize("name", ["top_k", "repetition_penalty"])
def test_gemma_4_has_no_such_parameter(name: str) -> None:
    assert f"{name}=1" in refused(**{name: 1})


@pytest.mark.parametrize("model", [*CHAT_MODELS, "@cf/google/gemma-5-1b-it"])
@pytest.mark.parametrize("value", [0, -1])
def test_max_tokens_is_at_least_1_on_every_model(model: str, value: int) -> None:
    assert f"max_tokens={value}" in refused(model=model, max_tokens=value)
    assert f"max_tokens={value}" in refused(host="aimlapi", max_tokens=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "hot", [1]])
def test_a_temperature_that_is_no_number(value: Any) -> None:
    assert "temperature" in refused(temperature=value)
    assert "temperature" in refused(temperature=value, model="@cf/google/gemma-5-1b-it")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "hot", [1]])
def test_a_temperature_of_a_call_that_is_no_number(service: Service, way: str, value: Any) -> None:
    for model in (GEMMA_4, "@cf/google/gemma-5-1b-it"):
        with pytest.raises(ValueError, match="temperature"):
            ask(gemma(model=model), way, temperature=value)
    assert not service.requests


def test_the_range_is_that_of_the_call_s_model(service: Service) -> None:
    llm = gemma(model=GEMMA_3, temperature=4)
    with pytest.raises(ValueError, match="temperature=4"):
        llm.invoke("Hello", model=GEMMA_4)
    assert not service.requests
    ask(llm, "invoke")


# --- Arguments of a call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_argument_of_a_call(service: Service, way: str) -> None:
    with pytest.raises(ValueError, match=r"temprature is not an argument of a call\. Did you mean temperature\?"):
        ask(gemma(), way, temprature=1)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [
        {"model": "../../x"},
        {"model": 7},
        {"tool_choice": "any"},
        {"tool_choice": "nothing"},
        {"response_format": "json"},
        {"session_affinity": "a\r\nb: c"},
        {"ai_gateway": "a b"},
        {"thinking": 7},
        {"model_kwargs": 3},
        {"reasoning_effort": "low"},
        {"lora": "x"},
        {"raw": True},
        {"tools": [42]},
        {"tool_calling": "telepathy"},
    ],
    ids=lambda options: "-".join(options),
)
def test_bad_arguments_of_a_call(service: Service, way: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ask(gemma(), way, **options)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop", [[""], "", [1], ["a", None]])
def test_bad_stops(service: Service, way: str, stop: Any) -> None:
    if stop != "":
        assert "stop" in refused(stop=stop)
    with pytest.raises(ValueError, match="stop"):
        ask(gemma(), way, stop=stop)
    assert not service.requests


@pytest.mark.parametrize(
    ("field", "of_call", "sent"),
    [
        ("a", None, ["a"]),
        (["a", "b"], None, ["a", "b"]),
        (None, ["a"], ["a"]),
        ("a", ["b"], ["a", "b"]),
        (["a"], ["a"], ["a"]),
        ([], None, None),
        (None, None, None),
    ],
)
def test_forms_of_stop(service: Service, field: Any, of_call: Any, sent: Any) -> None:
    ask(gemma(stop=field), "invoke", stop=of_call)
    assert service.sent.get("stop") == sent


def test_stop_bound_to_a_model(service: Service) -> None:
    ask(gemma().bind(stop=["a"]), "invoke")
    assert service.sent["stop"] == ["a"]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_bad_timeouts(timeout: Any) -> None:
    assert "timeout" in refused(timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "read"), [(5, 5), (0.5, 0.5), (None, None), (httpx.Timeout(7, connect=1), 7), (300.0, 300)]
)
def test_timeouts_reach_the_client(service: Service, timeout: Any, read: float | None) -> None:
    ask(gemma(timeout=timeout), "invoke")
    limits = service.request.extensions["timeout"]
    assert limits["read"] == read
    assert limits["connect"] is None if timeout is None else limits["connect"] <= 10


# --- Raw, thinking, LoRA: where a model has them ----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "asked",
    [
        [("system", "a"), ("human", "b")],
        [("human", "a"), ("ai", "b")],
        [("system", "a")],
        [("ai", "a")],
        [HumanMessage([{"type": "text", "text": "a"}])],
        "",
    ],
    ids=str,
)
def test_raw_takes_one_human_message_and_nothing_else(service: Service, way: str, asked: Any) -> None:
    with pytest.raises(ValueError, match="raw=True"):
        ask(gemma(model=GEMMA_7B, raw=True), way, asked)
    assert not service.requests


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("raw=True", {"model": GEMMA_4, "raw": True}),
        ("raw=True", {"model": GEMMA_7B, "raw": True, "api": "openai"}),
        ("raw=True", {"host": "aimlapi", "raw": True}),
        ("thinking", {"model": GEMMA_3, "thinking": True}),
        ("thinking", {"model": GEMMA_3, "thinking": False}),
        ("reasoning_effort", {"reasoning_effort": "low"}),
        ("lora", {"lora": "x"}),
        ("lora", {"model": GEMMA_3, "api": "openai", "lora": "x"}),
        ("lora", {"host": "dataoorts", "lora": "x"}),
        ("tool_calling", {"host": "aimlapi", "tool_calling": "native"}),
        ("tool_calling", {"model": GEMMA_7B_LORA, "tool_calling": "guided_json"}),
    ],
)
def test_what_a_model_does_not_have(service: Service, way: str, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        ask(gemma(**arguments), way)
    assert not service.requests


# --- What could change the path or the headers ------------------------------------------------------------------------

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
def test_a_model_that_could_change_the_path(service: Service, bad: str) -> None:
    assert "model must be an id" in refused(model=bad)
    for way in WAYS:
        with pytest.raises(ValueError, match="model must be an id"):
            ask(gemma(), way, model=bad)
    assert not service.requests


@pytest.mark.parametrize("bad", [*INJECTIONS, "a/b", ".", "{model}", "a\u0000"])
def test_an_account_that_could_change_the_path(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    assert "account_id must" in refused(account_id=bad)
    if "\x00" not in bad:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", bad)
        assert "account_id must" in refused(account_id=None)


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
def test_a_bad_base_url(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    said = refused(base_url=bad)
    assert "base_url" in said
    assert "password" not in said
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", bad)
    assert "base_url" in refused()


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb", "ä", "a\x00"])
def test_headers_cannot_be_smuggled_in(service: Service, bad: str) -> None:
    assert "api_token" in refused(api_token=bad)
    assert bad not in refused(api_token=bad)
    assert "session_affinity" in refused(session_affinity=bad)
    assert "default_headers" in refused(default_headers={"x-a": bad})
    assert "default_headers" in refused(default_headers={f"x-{bad}": "a"})
    for options in ({"cache_key": bad}, {"token": bad}):
        with pytest.raises(ValidationError, match=next(iter(options))) as caught:
            AIGateway("gw", **options)
        assert repr(bad) not in str(caught.value)
    with pytest.raises(ValidationError, match="id"):
        AIGateway(bad)
    assert "ai_gateway" in refused(ai_gateway=bad)
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
def test_gateway_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        AIGateway("gw", **options)


def test_gateway_options_at_their_bounds() -> None:
    AIGateway("gw", cache_ttl=0, max_attempts=5, retry_delay=5)
    AIGateway("gw", max_attempts=1, retry_delay=0)


# --- The token is never seen ------------------------------------------------------------------------------------------


def all_texts(thing: object) -> str:
    return f"{thing!r} {thing!s}"


def test_the_token_is_not_in_repr_or_dumps() -> None:
    llm = gemma(ai_gateway=AIGateway("gw", token=TOKEN))
    for text in (
        all_texts(llm),
        all_texts(llm.asdict()),
        all_texts(llm.model_dump()),
        llm.model_dump_json(include={"api_token", "model"}),
        dumps(llm),
        all_texts(llm.bind(stop=["a"])),
        all_texts(llm._get_llm_string()),
        all_texts(llm.lc_attributes),
        all_texts(llm._identifying_params),
    ):
        assert TOKEN not in text


@pytest.mark.parametrize(
    "arguments",
    [
        {"temperature": -1},
        {"temprature": 1},
        {"host": "nowhere"},
        {"api_token": [TOKEN]},
        {"api_key": "another"},
        {"base_url": "x"},
        {"model": "../"},
        {"api_token": TOKEN + "\n" + TOKEN},
        {"api_token": {"value": TOKEN}},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_the_token_is_not_in_validation_errors(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        gemma(**arguments)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert TOKEN not in all_texts(caught.value)


def test_the_token_is_not_in_validated_dicts() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatWorkersGemma.model_validate({"api_token": TOKEN, "account_id": ACCOUNT, "temperature": -1})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_the_token_is_not_in_logs_traces_or_errors(
    service: Service, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG)
    service.answers(
        body({"response": "Hi"}), body({"success": False, "errors": [{"code": 10000, "message": f"bad {TOKEN}"}]}, 401)
    )
    llm = gemma()
    collector = RunCollectorCallbackHandler()
    ask(llm, way, config={"callbacks": [collector]})
    with pytest.raises(AuthenticationError) as caught:
        ask(llm, way, config={"callbacks": [collector]})
    error: APIStatusError = caught.value
    traced = "".join(run.model_dump_json(fallback=repr) for run in collector.traced_runs)
    assert len(collector.traced_runs) == 2
    for text in (
        traced,
        caplog.text,
        all_texts(error),
        all_texts(error.body),
        "".join(traceback.format_exception(error)),
    ):
        assert TOKEN not in text


# --- No request for bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", [[], [("system", [{"type": "image", "url": "https://x/y.png"}])]])
def test_bad_messages_make_no_request(service: Service, way: str, asked: Any) -> None:
    with pytest.raises(ValueError, match="messages"):
        ask(gemma(), way, asked)
    assert not service.requests


@pytest.mark.parametrize("way", STREAMED)
def test_a_stream_refuses_bad_input_at_its_first_chunk(service: Service, way: str) -> None:
    with pytest.raises(ValueError, match="temperature"):
        chunks(gemma(), way, temperature=9)
    assert not service.requests
