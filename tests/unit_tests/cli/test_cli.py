from __future__ import annotations

import sys
from typing import Any

import httpx
import pytest
import respx

from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.models import MODELS
from tests.helpers.model_calls import ACCOUNT_ID, GEMMA_3, GEMMA_4

HEX_ACCOUNT = ACCOUNT_ID * 2
TOKEN = "a-token-that-nobody-may-see"
BASE = "https://api.cloudflare.com/client/v4"


def envelope(result: Any, **more: Any) -> dict[str, Any]:
    return {"result": result, "success": True, "errors": [], "messages": [], **more}


def refusal(status: int, code: int, message: str) -> httpx.Response:
    return httpx.Response(
        status, json={"result": None, "success": False, "errors": [{"code": code, "message": message}]}
    )


ACTIVE = httpx.Response(200, json=envelope({"id": "1", "status": "active"}))
LISTED = httpx.Response(
    200,
    json=envelope(
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
ANSWERED = httpx.Response(
    200,
    json=envelope({"response": "Hi", "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}),
)
INVALID = refusal(401, 1000, "Invalid API Token")


class Cloudflare:
    """The four routes that `check` calls, all successful unless a test changes them."""

    def __init__(self, router: respx.MockRouter) -> None:
        self.router = router
        self.user = router.get(f"{BASE}/user/tokens/verify").mock(ACTIVE)
        self.account = router.get(f"{BASE}/accounts/{HEX_ACCOUNT}/tokens/verify").mock(INVALID)
        self.models = router.get(url__startswith=f"{BASE}/accounts/{HEX_ACCOUNT}/ai/models/search").mock(LISTED)
        self.run = router.post(url__startswith=f"{BASE}/accounts/{HEX_ACCOUNT}/ai/run/").mock(ANSWERED)


@pytest.fixture
def cloudflare(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", HEX_ACCOUNT)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    with respx.mock(assert_all_called=False) as router:
        yield Cloudflare(router)


def checked(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = main(["check", *options])
    told = capsys.readouterr()
    assert TOKEN not in told.out + told.err
    return code, told.out


# --- check ------------------------------------------------------------------------------------------------------------


def test_all_is_well(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capsys)
    assert code == 0
    assert told.splitlines() == [
        f"ok    credentials: account {HEX_ACCOUNT}, token from the environment variable CLOUDFLARE_API_TOKEN",
        "ok    token: a user's token, active",
        "ok    account: the token may read Workers AI, which lists 2 Gemma models",
        f"ok    model: {GEMMA_4} is listed",
        f"ok    call: {GEMMA_4} answered: 9 tokens in, 1 out",
    ]
    sent = cloudflare.run.calls.last.request
    assert str(sent.url) == f"{BASE}/accounts/{HEX_ACCOUNT}/ai/run/{GEMMA_4}"
    assert sent.content == (
        b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"chat_template_kwargs":{"enable_thinking":false}}'
    )
    search = cloudflare.models.calls.last.request
    assert search.url.query == b"search=gemma&per_page=100&page=1"
    assert (search.method, search.content) == ("GET", b"")
    assert search.headers["authorization"] == f"Bearer {TOKEN}"
    assert not cloudflare.account.called


def test_a_token_of_the_account(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.user.mock(INVALID)
    cloudflare.account.mock(ACTIVE)
    code, told = checked(capsys)
    assert code == 0
    assert "a token of the account, active" in told


def test_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capsys)
    assert code == 1
    assert told.startswith("FAIL  credentials: account_id is missing")
    assert "CLOUDFLARE_API_TOKEN" in told
    assert "validation error" not in told


@pytest.mark.parametrize(
    ("route", "answer", "topic", "text"),
    [
        (
            "user",
            refusal(401, 1000, "Invalid API Token"),
            "token",
            "neither as a user's token nor as a token of this account",
        ),
        ("user", httpx.Response(200, json=envelope({"status": "expired"})), "token", "expired: create a new one"),
        ("user", httpx.Response(200, json=envelope({})), "service", "its reply cannot be read"),
        ("user", httpx.Response(200, text="<html>"), "service", "its reply cannot be read"),
        ("user", httpx.Response(503, text="down"), "service", "try again later"),
        ("user", httpx.ConnectError("no route to host"), "network", "cannot be reached"),
        ("user", httpx.ConnectTimeout(""), "network", "did not respond in time"),
        ("models", refusal(403, 10000, "Authentication error"), "account", "may not read Workers AI in this account"),
        ("models", refusal(404, 7003, "Could not route"), "account", "check the account's id"),
        ("models", httpx.Response(200, json=envelope({"a": 1})), "service", "its reply cannot be read"),
        ("models", httpx.ReadError("reset"), "network", "cannot be reached"),
        ("run", refusal(401, 10000, "Authentication error"), "credentials", "The token was refused"),
        ("run", refusal(403, 5016, "terms"), "account", "may not use this model"),
        ("run", refusal(400, 5007, "No such model"), "model", "no such model"),
        ("run", refusal(410, 5028, "deprecated"), "model", "has retired this model"),
        ("run", refusal(429, 3036, "daily free allocation"), "quota", "today's free allocation is used up"),
        ("run", refusal(429, 3040, "Capacity temporarily exceeded"), "capacity", "no capacity at the moment"),
        ("run", refusal(429, 0, "slow down"), "quota", "too many requests"),
        ("run", refusal(408, 3007, "timeout"), "service", "took too long"),
        ("run", refusal(400, 5006, "bad input"), "call", "refused the call"),
        ("run", httpx.Response(500, text="oops"), "service", "try again later"),
        ("run", httpx.ReadTimeout("late"), "network", "a cold start can take minutes"),
    ],
)
def test_what_is_wrong_in_plain_words(
    cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str], route: str, answer: Any, topic: str, text: str
) -> None:
    if isinstance(answer, Exception):
        getattr(cloudflare, route).mock(side_effect=answer)
    else:
        getattr(cloudflare, route).mock(answer)
    code, told = checked(capsys)
    assert code == 1
    last = told.splitlines()[-1]
    assert last.startswith(f"FAIL  {topic}: ")
    assert text in last


def test_a_server_that_repeats_the_token(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.models.mock(refusal(403, 10000, f"Token {TOKEN} may not"))
    code, told = checked(capsys)
    assert code == 1
    assert "may not" in told


def test_a_retired_model(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.run.mock(refusal(410, 5028, "This model was deprecated"))
    code, told = checked(capsys, "--model", GEMMA_3)
    assert code == 1
    assert f"note  model: {GEMMA_3} was retired on 2026-05-30: use {GEMMA_4}" in told


def test_a_model_that_is_not_listed(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capsys, "--model", "@cf/google/gemma-5")
    assert code == 0
    assert "note  model: @cf/google/gemma-5 is not in that list" in told


@pytest.mark.parametrize("token", ["Bearer abc", '"abc"', "abc def"])
def test_credentials_that_look_odd(
    cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
    cloudflare.user.mock(INVALID)
    code, told = checked(capsys)
    assert code == 1
    assert "note  token: it starts with Bearer, or contains quotes or spaces" in told
    assert token not in told


def test_an_account_id_that_looks_odd(
    cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "me")
    cloudflare.router.get(url__startswith=f"{BASE}/accounts/me/ai/models/search").mock(
        refusal(404, 7003, "Could not route")
    )
    code, told = checked(capsys)
    assert code == 1
    assert "note  account: an account id of Cloudflare has 32" in told
    assert told.splitlines()[-1].startswith("FAIL  account")


def test_another_base_url_is_reported(
    cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy = "https://gateway.ai.cloudflare.com/v1/acc/gate/workers-ai"
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", legacy)
    cloudflare.router.post(f"{legacy}/{GEMMA_4}").mock(ANSWERED)
    code, told = checked(capsys)
    assert code == 0
    assert f"note  base_url: requests go to {legacy}" in told
    assert not cloudflare.user.called


@respx.mock
def test_another_host(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMLAPI_API_KEY", TOKEN)
    reply = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    respx.post("https://api.aimlapi.com/v1/chat/completions").mock(httpx.Response(200, json=reply))
    code, told = checked(capsys, "--host", "aimlapi")
    assert code == 0
    assert told.splitlines()[-1] == "ok    call: google/gemma-3-12b-it answered"


# --- models -----------------------------------------------------------------------------------------------------------


def test_the_published_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert max(map(len, lines)) <= 80
    for host, model in MODELS:
        at = next(at for at, line in enumerate(lines) if line.startswith(host))
        assert any(line.split()[:1] == [model] for line in lines[at:])
    at = lines.index(next(line for line in lines if GEMMA_4 in line))
    assert lines[at].split() == [GEMMA_4, "256,000", "0.10", "0.30"]
    assert "batch queue" in lines[at + 1]
    assert lines[at + 2].strip() == "enforced context: 131,072 tokens"
    assert f"retired 2026-05-30, use {GEMMA_4}" in told
    assert "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN" in told


def test_the_live_list(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    live = capsys.readouterr().out.split("Listed for your account:\n")[1].splitlines()
    assert [line.split() for line in live] == [
        [GEMMA_4, "256,000"],
        ["Text", "Generation;", "0.1", "per", "M", "input", "tokens"],
        [GEMMA_3, "-"],
        ["deprecated", "2026-05-30"],
    ]


def test_the_live_list_has_pages(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    full = httpx.Response(200, json=envelope([{"name": f"@cf/google/gemma-{n}"} for n in range(100)]))
    cloudflare.models.mock(side_effect=[full, LISTED])
    assert main(["models"]) == 0
    assert len(capsys.readouterr().out.split("Listed for your account:\n")[1].splitlines()) == 104
    assert [call.request.url.params["page"] for call in cloudflare.models.calls] == ["1", "2"]


def test_the_live_list_that_cannot_be_read(cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflare.models.mock(refusal(401, 10000, f"Authentication error {TOKEN}"))
    assert main(["models"]) == 1
    told = capsys.readouterr()
    assert GEMMA_4 in told.out
    assert "The token was refused" in told.err
    assert TOKEN not in told.err


def test_credentials_that_cannot_be_used(
    cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a/b")
    assert main(["models"]) == 1
    assert "account_id must consist of" in capsys.readouterr().err


# --- extras, interrupts, usage ----------------------------------------------------------------------------------------


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_a_missing_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in ("cli.demo", "sandbox.server", "sandbox.http.thread"):
        monkeypatch.delitem(sys.modules, f"langchain_workers_gemma.{name}", raising=False)
    assert main([command]) == 1
    assert 'pip install "langchain-workers-gemma[sandbox]"' in capsys.readouterr().err


def test_the_demo_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_workers_gemma.cli import demo

    monkeypatch.setattr(demo, "run_demo", lambda: 5)
    assert main(["demo"]) == 5


def test_an_interrupt_ends_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_workers_gemma.cli import demo

    monkeypatch.setattr(demo, "run_demo", interrupted)
    assert main(["demo"]) == 130


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["unknown"], 2), (["--help"], 0), (["--version"], 0)])
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == code


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    printed = capsys.readouterr()
    assert not printed.out
    assert "workers-gemma demo" in printed.err
    assert "stream one" in printed.err
