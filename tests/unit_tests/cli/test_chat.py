"""`workers-gemma chat`, against the sandbox."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.sandbox import Sandbox
from tests.helpers.model_calls import GEMMA_4

SQUARE = Path(__file__).parents[2] / "data" / "square.png"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with Sandbox() as started:
        monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", started.base_url)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", started.account_id)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", started.api_token)
        yield started


def get_last_messages(sandbox: Sandbox) -> Any:
    """Return the messages of the last request."""
    return sandbox.requests[-1].json["messages"]


def test_a_reply_is_streamed(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "Name three rivers.", "--system", "Answer with a list.", "--max-tokens", "100"]) == 0
    request = sandbox.requests[-1]
    assert request.json["stream"] is True
    assert request.json["max_tokens"] == 100
    assert request.path.endswith(GEMMA_4)
    assert [message["role"] for message in get_last_messages(sandbox)] == ["system", "user"]
    printed = capsys.readouterr()
    assert printed.out.strip()
    assert "tokens in" in printed.err
    assert "$0.0" in printed.err


def test_standard_input_is_appended_to_the_prompt(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("A long report."))
    assert main(["chat", "Summarize this."]) == 0
    assert get_last_messages(sandbox)[-1]["content"] == "Summarize this.\n\nA long report."
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello"))
    assert main(["chat", "--model", "@cf/google/gemma-2b-it-lora"]) == 0
    assert get_last_messages(sandbox)[-1]["content"] == "Hello"
    assert sandbox.requests[-1].path.endswith("gemma-2b-it-lora")


def test_a_terminal_is_not_read(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def read(self, *_: Any) -> str:
            raise AssertionError

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["chat", "Hello"]) == 0


def test_a_missing_prompt_is_exit_code_2(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat"]) == 2
    assert "There is no prompt" in capsys.readouterr().err
    assert sandbox.requests == []


def test_images_are_sent(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "What is this?", "--image", str(SQUARE), "--image", str(SQUARE)]) == 0
    parts = get_last_messages(sandbox)[-1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert main(["chat", "What is this?", "--image", "nowhere.png"]) == 2
    assert "--image 'nowhere.png' cannot be read" in capsys.readouterr().err
    assert main(["chat", "Hi", "--image", str(SQUARE), "--model", "@cf/google/gemma-2b-it-lora"]) == 2
    assert "image" in capsys.readouterr().err


def test_the_error_for_a_used_up_quota_is_explained(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.fail(next=9, status=429, code=3036)
    assert main(["chat", "Hello"]) == 1
    assert "today's free allocation is used up" in capsys.readouterr().err


def test_the_error_for_an_unknown_model_suggests_a_known_id(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "Hello", "--model", "@cf/google/gemma-4-26b"]) == 1
    assert f"Did you mean {GEMMA_4}?" in capsys.readouterr().err


def test_a_stream_that_ends_prematurely_is_exit_code_1(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.cut(after_events=3)
    assert main(["chat", "Tell me a story.", "--model", "@cf/google/gemma-2b-it-lora"]) == 1
    printed = capsys.readouterr()
    assert printed.out.strip()
    assert printed.err.startswith("workers-gemma: The stream ended prematurely")


def test_control_sequences_in_a_reply_are_removed_for_a_terminal(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.script({"result": {"response": "a\x1b[2Jb\r\n\tc"}, "success": True}, times=2)
    assert main(["chat", "Hello"]) == 0
    assert capsys.readouterr().out == "a\x1b[2Jb\r\n\tc\n", "a file gets the unchanged reply"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["chat", "Hello"]) == 0
    assert capsys.readouterr().out == "a[2Jb\n\tc\n"


def test_missing_credentials_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["chat", "Hello"]) == 1
    error = capsys.readouterr().err
    assert "CLOUDFLARE_ACCOUNT_ID" in error
    assert "validation error" not in error


def test_a_truncated_reply_is_reported(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "Tell me a long story.", "--max-tokens", "3"]) == 0
    assert "truncated: raise --max-tokens" in capsys.readouterr().err


def test_a_retired_model_is_used_with_a_warning(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "Hello", "--model", "@cf/google/gemma-3-12b-it"]) == 0
    assert "2026-05-30" in capsys.readouterr().err


def test_an_image_at_a_private_address_is_not_fetched(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "What is this?", "--image", "http://127.0.0.1:9/private.png"]) == 2
    assert "127.0.0.1" in capsys.readouterr().err
    assert sandbox.requests == []
