"""`workers-gemma check` and `models` with mocked responses, missing extras, interrupts and usage."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import pytest
import respx

from langchain_workers_gemma.cli import demo
from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.models import MODELS
from tests.helpers.fault_server import make_envelope, make_error_envelope
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, GEMMA_3, GEMMA_4

HEX_ACCOUNT = ACCOUNT_ID * 2
BASE_URL = "https://api.cloudflare.com/client/v4"


def make_error_response(status: int, code: int, message: str) -> httpx.Response:
    """Return an error response."""
    return httpx.Response(status, json=make_error_envelope(code, message))


ACTIVE_TOKEN = httpx.Response(200, json=make_envelope({"id": "1", "status": "active"}))
MODEL_LIST = httpx.Response(
    200,
    json=make_envelope(
        [
            {
                "name": GEMMA_4,
                "task": {"name": "Text Generation"},
                "properties": [
                    {"property_id": "context_window", "value": "256000"},
                    {"property_id": "price", "value": [{"unit": "per M input tokens", "price": 0.1}]},
                ],
            },
            {
                "name": GEMMA_3,
                "task": None,
                "properties": [
                    {"property_id": "planned_deprecation_date", "value": "2026-05-30"},
                    {"property_id": "context_window", "value": "unknown"},
                ],
            },
        ]
    ),
)
CHAT_REPLY = httpx.Response(
    200,
    json=make_envelope({"response": "Hi", "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}),
)
INVALID_TOKEN = make_error_response(401, 1000, "Invalid API Token")


class FakeCloudflare:
    """The four routes that `check` calls, all successful unless a test changes them."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.router = router
        self.user = router.get(f"{BASE_URL}/user/tokens/verify").mock(ACTIVE_TOKEN)
        self.account = router.get(f"{BASE_URL}/accounts/{HEX_ACCOUNT}/tokens/verify").mock(INVALID_TOKEN)
        self.models = router.get(url__startswith=f"{BASE_URL}/accounts/{HEX_ACCOUNT}/ai/models/search").mock(MODEL_LIST)
        self.run = router.post(url__startswith=f"{BASE_URL}/accounts/{HEX_ACCOUNT}/ai/run/").mock(CHAT_REPLY)


@pytest.fixture
def cloudflare(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", HEX_ACCOUNT)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", API_TOKEN)
    with respx.mock(assert_all_called=False) as router:
        yield FakeCloudflare(router)


def run_check(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run `check` and return the exit code and the output."""
    code = main(["check", *options])
    printed = capsys.readouterr()
    assert API_TOKEN not in printed.out + printed.err
    return code, printed.out


# --- check ------------------------------------------------------------------------------------------------------------


def test_valid_credentials_pass(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run_check(capsys)
    assert code == 0
    assert output.splitlines() == [
        f"ok    credentials: account {HEX_ACCOUNT}, token from the environment variable CLOUDFLARE_API_TOKEN",
        "ok    token: a user's token, active",
        "ok    account: the token may read Workers AI, which lists 2 Gemma models",
        f"ok    model: {GEMMA_4} is listed",
        f"ok    call: {GEMMA_4} answered: 9 tokens in, 1 out",
    ]
    request = cloudflare.run.calls.last.request
    assert str(request.url) == f"{BASE_URL}/accounts/{HEX_ACCOUNT}/ai/run/{GEMMA_4}"
    assert request.content == (
        b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"chat_template_kwargs":{"enable_thinking":false}}'
    )
    search = cloudflare.models.calls.last.request
    assert search.url.query == b"search=gemma&per_page=100&page=1"
    assert (search.method, search.content) == ("GET", b"")
    assert search.headers["authorization"] == f"Bearer {API_TOKEN}"
    assert not cloudflare.account.called


def test_a_token_of_the_account_passes(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.user.mock(INVALID_TOKEN)
    cloudflare.account.mock(ACTIVE_TOKEN)
    code, output = run_check(capsys)
    assert code == 0
    assert "a token of the account, active" in output


def test_missing_credentials_fail(capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run_check(capsys)
    assert code == 1
    assert output.startswith("FAIL  credentials: account_id is missing")
    assert "CLOUDFLARE_API_TOKEN" in output
    assert "validation error" not in output


@pytest.mark.parametrize(
    ("route", "response", "topic", "text"),
    [
        (
            "user",
            make_error_response(401, 1000, "Invalid API Token"),
            "token",
            "neither as a user's token nor as a token of this account",
        ),
        ("user", httpx.Response(200, json=make_envelope({"status": "expired"})), "token", "expired: create a new one"),
        ("user", httpx.Response(200, json=make_envelope({})), "service", "its reply cannot be read"),
        ("user", httpx.Response(200, text="<html>"), "service", "its reply cannot be read"),
        ("user", httpx.Response(503, text="down"), "service", "try again later"),
        ("user", httpx.ConnectError("no route to host"), "network", "cannot be reached"),
        ("user", httpx.ConnectTimeout(""), "network", "did not respond in time"),
        (
            "models",
            make_error_response(403, 10000, "Authentication error"),
            "account",
            "may not read Workers AI in this account",
        ),
        ("models", make_error_response(404, 7003, "Could not route"), "account", "check the account's id"),
        ("models", httpx.Response(200, json=make_envelope({"a": 1})), "service", "its reply cannot be read"),
        ("models", httpx.ReadError("reset"), "network", "cannot be reached"),
        ("run", make_error_response(401, 10000, "Authentication error"), "credentials", "The token was refused"),
        ("run", make_error_response(403, 5016, "terms"), "account", "may not use this model"),
        ("run", make_error_response(400, 5007, "No such model"), "model", "no such model"),
        ("run", make_error_response(410, 5028, "deprecated"), "model", "has retired this model"),
        ("run", make_error_response(429, 3036, "daily free allocation"), "quota", "today's free allocation is used up"),
        (
            "run",
            make_error_response(429, 3040, "Capacity temporarily exceeded"),
            "capacity",
            "no capacity at the moment",
        ),
        ("run", make_error_response(429, 0, "slow down"), "quota", "too many requests"),
        ("run", make_error_response(408, 3007, "timeout"), "service", "took too long"),
        ("run", make_error_response(400, 5006, "bad input"), "call", "refused the call"),
        ("run", httpx.Response(500, text="oops"), "service", "try again later"),
        ("run", httpx.ReadTimeout("late"), "network", "a cold start can take minutes"),
    ],
)
def test_each_failure_has_a_topic_and_a_text(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str], route: str, response: Any, topic: str, text: str
) -> None:
    if isinstance(response, Exception):
        getattr(cloudflare, route).mock(side_effect=response)
    else:
        getattr(cloudflare, route).mock(response)
    code, output = run_check(capsys)
    assert code == 1
    last = output.splitlines()[-1]
    assert last.startswith(f"FAIL  {topic}: ")
    assert text in last


def test_an_echoed_token_is_not_printed(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.models.mock(make_error_response(403, 10000, f"Token {API_TOKEN} may not"))
    code, output = run_check(capsys)
    assert code == 1
    assert "may not" in output


def test_a_retired_model_is_noted(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.run.mock(make_error_response(410, 5028, "This model was deprecated"))
    code, output = run_check(capsys, "--model", GEMMA_3)
    assert code == 1
    assert f"note  model: {GEMMA_3} was retired on 2026-05-30: use {GEMMA_4}" in output


def test_a_model_that_is_not_listed_is_noted(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run_check(capsys, "--model", "@cf/google/gemma-5")
    assert code == 0
    assert "note  model: @cf/google/gemma-5 is not in that list" in output


@pytest.mark.parametrize("token", ["Bearer abc", '"abc"', "abc def"])
def test_an_unusual_token_is_noted(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
    cloudflare.user.mock(INVALID_TOKEN)
    code, output = run_check(capsys)
    assert code == 1
    assert "note  token: it starts with Bearer, or contains quotes or spaces" in output
    assert token not in output


def test_an_unusual_account_id_is_noted(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "me")
    cloudflare.router.get(url__startswith=f"{BASE_URL}/accounts/me/ai/models/search").mock(
        make_error_response(404, 7003, "Could not route")
    )
    code, output = run_check(capsys)
    assert code == 1
    assert "note  account: an account id of Cloudflare has 32" in output
    assert output.splitlines()[-1].startswith("FAIL  account")


def test_another_base_url_is_reported(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy = "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai"
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", legacy)
    cloudflare.router.post(f"{legacy}/{GEMMA_4}").mock(CHAT_REPLY)
    code, output = run_check(capsys)
    assert code == 0
    assert f"note  base_url: requests go to {legacy}" in output
    assert not cloudflare.user.called


@respx.mock
def test_another_host_is_checked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", API_TOKEN)
    reply = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    respx.post("https://api.aimlapi.com/v1/chat/completions").mock(httpx.Response(200, json=reply))
    code, output = run_check(capsys, "--host", "aimlapi")
    assert code == 0
    assert output.splitlines()[-1] == "ok    call: google/gemma-3-12b-it answered"


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_published_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert max(map(len, lines)) <= 80
    for host, model in MODELS:
        index = next(index for index, line in enumerate(lines) if line.startswith(host))
        assert any(line.split()[:1] == [model] for line in lines[index:])
    index = lines.index(next(line for line in lines if GEMMA_4 in line))
    assert lines[index].split() == [GEMMA_4, "256,000", "0.10", "0.30"]
    assert "batch queue" in lines[index + 1]
    assert lines[index + 2].strip() == "enforced context: 131,072 tokens"
    assert f"retired 2026-05-30, use {GEMMA_4}" in output
    assert "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN" in output


def test_the_models_of_the_account_are_listed(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    live = capsys.readouterr().out.split("Listed for your account:\n")[1].splitlines()
    assert [line.split() for line in live] == [
        [GEMMA_4, "256,000"],
        ["Text", "Generation;", "0.1", "per", "M", "input", "tokens"],
        [GEMMA_3, "-"],
        ["deprecated", "2026-05-30"],
    ]


def test_all_pages_of_models_are_listed(cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    full = httpx.Response(200, json=make_envelope([{"name": f"@cf/google/gemma-{n}"} for n in range(100)]))
    cloudflare.models.mock(side_effect=[full, MODEL_LIST])
    assert main(["models"]) == 0
    assert len(capsys.readouterr().out.split("Listed for your account:\n")[1].splitlines()) == 104
    assert [call.request.url.params["page"] for call in cloudflare.models.calls] == ["1", "2"]


def test_a_model_list_that_cannot_be_read_is_exit_code_1(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str]
) -> None:
    cloudflare.models.mock(make_error_response(401, 10000, f"Authentication error {API_TOKEN}"))
    assert main(["models"]) == 1
    output = capsys.readouterr()
    assert GEMMA_4 in output.out
    assert "The token was refused" in output.err
    assert API_TOKEN not in output.err


def test_invalid_credentials_are_exit_code_1(
    cloudflare: FakeCloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a/b")
    assert main(["models"]) == 1
    assert "account_id must consist of" in capsys.readouterr().err


# --- Extras, interrupts, usage ----------------------------------------------------------------------------------------


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in ("cli.demo", "sandbox.server", "sandbox.http.thread"):
        monkeypatch.delitem(sys.modules, f"langchain_workers_gemma.{name}", raising=False)
    assert main([command]) == 1
    assert 'pip install "langchain-workers-gemma[sandbox]"' in capsys.readouterr().err


def test_the_demo_command_runs_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda: 5)
    assert main(["demo"]) == 5


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", raise_interrupt)
    assert main(["demo"]) == 130


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["unknown"], 2), (["--help"], 0), (["--version"], 0)])
def test_invalid_usage_is_exit_code_2_and_help_is_0(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == code


def test_help_is_printed_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    printed = capsys.readouterr()
    assert not printed.out
    assert "workers-gemma demo" in printed.err
    assert "stream one" in printed.err
