"""`workers-gemma sandbox`: output, options and errors."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from langchain_workers_gemma.cli import sandbox as command
from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.sandbox import Sandbox
from langchain_workers_gemma.sandbox.inspector import ACCESS_LOG


@pytest.fixture(autouse=True)
def _access_log() -> Iterator[None]:
    yield
    ACCESS_LOG.handlers, ACCESS_LOG.propagate = [], True
    ACCESS_LOG.setLevel(logging.NOTSET)


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def test_the_sandbox_serves_until_it_is_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[int] = []

    def use_sandbox() -> None:
        printed = capsys.readouterr().out
        exports = dict(re.findall(r"^export (\w+)=(.+)$", printed, re.MULTILINE))
        account = f"{exports['WORKERS_GEMMA_BASE_URL']}/accounts/{exports['CLOUDFLARE_ACCOUNT_ID']}"
        headers = {"authorization": f"Bearer {exports['CLOUDFLARE_API_TOKEN']}"}
        with httpx.Client(headers=headers, trust_env=False) as http:
            statuses.append(http.get(f"{account}/ai/models/search").status_code)
            page = http.get(re.findall(r"Inspector: (\S+)", printed)[0])
        statuses.append(page.status_code)
        assert "<title>Sandbox inspector</title>" in page.text
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_wait_until_interrupted", use_sandbox)
    assert main(["sandbox", "--port", "0"]) == 0
    assert statuses == [200, 200]
    printed_at_the_end = capsys.readouterr()
    assert printed_at_the_end.out.strip() == "The sandbox has stopped."
    lines = printed_at_the_end.err.splitlines()
    assert len(lines) == 1, "one line for each request, none for the inspector"
    assert re.fullmatch(r"\d\d:\d\d:\d\d  #1  GET  /client/v4/accounts/\w+/ai/models/search  200  \d+ ms", lines[0])


@pytest.mark.parametrize(
    ("platform", "line"),
    [("linux", "export NAME=value"), ("darwin", "export NAME=value"), ("win32", '$Env:NAME = "value"')],
)
def test_variables_are_printed_for_the_shell_of_the_system(
    platform: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(command, "_wait_until_interrupted", raise_interrupt)
    assert main(["sandbox", "--port", "0"]) == 0
    start, _, end = line.partition("NAME")
    expected = f"{re.escape(start)}WORKERS_GEMMA_BASE_URL{re.escape(end).replace('value', '[^ ]+')}"
    assert re.search(f"^{expected}$", capsys.readouterr().out, re.MULTILINE)


def test_the_error_for_a_busy_port_names_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert main(["sandbox", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("workers-gemma: ")
    assert str(port) in error
    assert "--port" in error
    assert main(["sandbox", "--port", "99999"]) == 1


def test_the_default_port_is_not_used_by_other_tools() -> None:
    assert command.DEFAULT_PORT not in (8786, 8787, 8788, 9229)


def test_an_upstream_needs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--upstream", "http://127.0.0.1:1/v1"]) == 2
    assert "Pass both --upstream and --upstream-model" in capsys.readouterr().err


def test_options_are_passed_to_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_wait_until_interrupted", raise_interrupt)
    started: list[Sandbox] = []
    start = Sandbox.start

    def record_start(self: Sandbox) -> Sandbox:
        started.append(self)
        return start(self)

    monkeypatch.setattr(Sandbox, "start", record_start)
    options = ["--port", "0", "--tokens-per-second", "40"]
    assert main(["sandbox", *options, "--upstream", "http://127.0.0.1:1/v1", "--upstream-model", "gemma3"]) == 0
    assert started[0].tokens_per_second == 40


def test_an_invalid_speed_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--port", "0", "--tokens-per-second", "-1"]) == 1
    assert "tokens_per_second" in capsys.readouterr().err
