"""The demo: the output of a chat, a stream, an agent, structured output and a preview."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langchain_workers_gemma.cli import demo
from langchain_workers_gemma.cli.main import main


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(demo, "TOKENS_PER_SECOND", 5_000)
    assert main(["demo"]) == 0
    return capsys.readouterr().out


def test_the_demo_shows_each_part(printed: str) -> None:
    assert re.findall(r"^--- (.*) ---$", printed, re.MULTILINE) == [
        "Chat",
        "Stream",
        "Agent with two tools",
        "Structured output",
        "Preview: show the request of a call without sending it",
    ]
    assert "model calls get_weather({'city': 'Paris'}) -> 24 degrees and sunny in Paris" in printed
    assert "model calls add({'a': 19, 'b': 23}) -> 42" in printed
    assert "changed: 2 consecutive user messages are merged" in printed
    assert "object:  Person(name='Ada Lovelace', age=36)" in printed


def test_results_arrive_in_parts(printed: str) -> None:
    chunks = re.search(r"^\((\d+) chunks", printed, re.MULTILINE)
    assert chunks is not None
    assert int(chunks[1]) > 5
    assert printed.count("partial: ") > 2


def test_the_demo_names_the_inspector_and_the_next_steps(printed: str) -> None:
    assert re.search(r"inspector .*http://127\.0\.0\.1:\d+/", printed)
    assert re.findall(r"^  (\d)\. ", printed, re.MULTILINE) == ["1", "2", "3"]


@pytest.mark.parametrize("on_path", [True, False])
def test_next_steps_name_a_command_that_the_shell_finds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, on_path: bool
) -> None:
    script = tmp_path / "bin" / "workers-gemma"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(script.with_name("python")))
    monkeypatch.setenv("PATH", str(script.parent) if on_path else "")
    monkeypatch.chdir(tmp_path)
    assert demo._name_command() == ("workers-gemma" if on_path else str(Path("bin", "workers-gemma")))
    script.unlink()
    assert demo._name_command() == "python -m langchain_workers_gemma"


def test_the_demo_keeps_the_inspector_running_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(demo, "TOKENS_PER_SECOND", 5_000)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", prompts.append)
    assert main(["demo"]) == 0
    assert "Press Enter" in prompts[0]
    assert "Press Enter" not in capsys.readouterr().out
