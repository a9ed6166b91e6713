"""`workers-gemma check` and `models` against the sandbox: the real cause is named, as text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.exchange.similar_models import find_nearest_model_id
from langchain_workers_gemma.models import MODELS
from langchain_workers_gemma.sandbox import Sandbox
from tests.helpers.model_calls import GEMMA_4


@pytest.fixture(scope="module")
def started() -> Iterator[Sandbox]:
    with Sandbox(account_id="a" * 32) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(started: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    started.clear()
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", started.base_url)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", started.account_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", started.api_token)
    return started


def run_check(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Run `check` and return the exit code and the report."""
    code = main(["check", "--json", *options])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    return code, report


def get_failure(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Run `check` and return the only failure, which is the last finding."""
    code, report = run_check(capsys, *options)
    assert code == 1
    failures = [entry for entry in report["findings"] if entry["state"] == "fail"]
    assert len(failures) == 1
    assert report["findings"][-1] == failures[0]
    found: dict[str, Any] = failures[0]
    return found


def test_valid_credentials_pass(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run_check(capsys)
    assert code == 0
    assert report["model"] == GEMMA_4
    assert [entry["topic"] for entry in report["findings"] if entry["state"] == "ok"] == [
        "credentials",
        "token",
        "account",
        "model",
        "call",
    ]
    assert sandbox.api_token not in json.dumps(report)


def test_a_wrong_account_is_not_a_wrong_token(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "b" * 32)
    found = get_failure(capsys)
    assert found["topic"] == "account"
    assert "The token is valid" in found["text"]
    assert "b" * 32 in found["text"]


def test_a_wrong_token_is_not_a_wrong_account(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "some-other-token")
    assert get_failure(capsys)["topic"] == "token"


@pytest.mark.parametrize("path", ["", "/client", "/v4"])
def test_a_base_url_without_its_path_is_recognized(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    root = sandbox.base_url.removesuffix("/client/v4")
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", root + path)
    found = get_failure(capsys)
    assert found["topic"] == "base_url"
    assert f"WORKERS_GEMMA_BASE_URL={sandbox.base_url}" in found["text"]


def test_a_stopped_sandbox_is_recognized(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "some-token")
    found = get_failure(capsys)
    assert found["topic"] == "network"
    assert "unset WORKERS_GEMMA_BASE_URL" in found["text"]


@pytest.mark.parametrize(
    ("account", "token", "note"),
    [
        ("x" * 40, "a" * 32, "swapped"),
        ("a" * 32, "b" * 37, "Global API Key"),
        ("my-account", "some-token", "account id of Cloudflare has 32"),
        ("a" * 32, "'quoted'", "quotes"),
    ],
)
def test_unusual_credentials_are_noted(
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    account: str,
    token: str,
    note: str,
) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", account)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
    _, report = run_check(capsys)
    assert any(note in entry["text"] for entry in report["findings"] if entry["state"] == "note")
    assert token not in json.dumps(report)


def test_the_failure_for_an_unknown_model_suggests_a_known_id(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    found = get_failure(capsys, "--model", "@cf/google/gemma4-26b-a4b")
    assert found["topic"] == "model"
    assert found["text"] == f"There is no such model: check its id. Did you mean {GEMMA_4}?", (
        "the models of the account were read"
    )
    assert "No such model" in found["server"]


@pytest.mark.parametrize(
    ("model_id", "host", "nearest"),
    [
        ("gemma-4-26b", "cloudflare", GEMMA_4),
        ("@cf/google/gemma-4-26b-a4b", "cloudflare", GEMMA_4),
        ("gemma3:12b", "cloudflare", "@cf/google/gemma-3-12b-it"),
        ("google/gemma-3-12b", "dataoorts", "google/gemma-3-12b-it"),
        ("sea-lion-v4-27b", "cloudflare", "@cf/aisingapore/gemma-sea-lion-v4-27b-it"),
        ("llama-3.1-8b-instruct", "cloudflare", None),
        ("", "cloudflare", None),
    ],
)
def test_the_nearest_model_id(model_id: str, host: Any, nearest: str | None) -> None:
    assert find_nearest_model_id(model_id, host) == nearest


def test_models_are_printed_as_json(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert [(entry["host"], entry["id"]) for entry in models["published"]] == list(MODELS)
    gemma_4 = models["published"][0]
    assert (gemma_4["context_window"], gemma_4["input_price"]) == (256_000, 0.1)
    assert gemma_4["parameters"]["temperature"] == {"low": 0, "high": 2, "integer": False}
    gemma_3 = next(entry for entry in models["published"] if entry["retired"])
    assert gemma_3["retired"] == "2026-05-30"
    assert GEMMA_4 in [entry["name"] for entry in models["live"]]


def test_models_are_printed_as_json_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["live"] is None


def test_the_module_runs_the_command(sandbox: Sandbox) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "langchain_workers_gemma", "models", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["live"]


def test_a_closed_pipe_is_not_an_error() -> None:
    script = f"{sys.executable} -m langchain_workers_gemma models --json | head -1"
    process = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert process.stdout == "{\n"
    assert process.stderr == ""


@pytest.mark.parametrize("command", ["demo", "chat", "map", "sandbox", "models", "check", "verify"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"workers-gemma {command}" in capsys.readouterr().out


def test_openai_compatible_servers_are_checked(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.openai_url)
    code, report = run_check(capsys, "--host", "openai_compatible", "--model", "gemma3:12b")
    assert code == 0
    assert [entry["topic"] for entry in report["findings"]] == ["credentials", "base_url", "call"]
    assert report["findings"][0]["text"].startswith("no token")
    found = get_failure(capsys, "--host", "openai_compatible", "--model", "llama3")
    assert found["text"] == "There is no such model: check its id."
    assert "model is missing" in get_failure(capsys, "--host", "openai_compatible")["text"]
