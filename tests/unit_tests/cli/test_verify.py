"""`workers-gemma verify` against the sandbox: dialects are distinguished, and a report is written."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_workers_gemma.cli.main import main
from langchain_workers_gemma.cli.verify import command
from langchain_workers_gemma.cli.verify.report import Report
from langchain_workers_gemma.cli.verify.result import Result
from langchain_workers_gemma.models import MODELS
from langchain_workers_gemma.sandbox import DIALECTS, Sandbox
from tests.helpers.model_calls import GEMMA_3, GEMMA_4

TESTED_DIALECTS = (
    "native",
    "crlf",
    "usage_deltas",
    "no_done",
    "whole_calls",
    "repeated_call_ids",
    "errors_with_200",
    "schema_fails",
    "thinking_as_text",
    "prose_for_required",
    "closed_calls",
    "calls_as_gemma_4",
)
INVISIBLE_DIALECTS = {
    # They send the same bytes in other packets.
    "joined_packets",
    "split_packets",
    # The models do this anyway.
    "arguments_as_string",
    "function_calls",
    # It accepts histories and tools that the client does not send.
    "lenient_templates",
    # It refuses tools that the client does not send.
    "strict_declarations",
    # It sends no request that is near the limits, and no tool with arguments that may be null.
    "small_window",
    "reduced_max_tokens",
    "null_arguments",
    # Empty events, text after a call, and calls where no tools are bound.
    "empty_deltas",
    "words_after_calls",
    "swallowed_calls",
}
"""Dialects that `verify` cannot see."""


@pytest.fixture(scope="module")
def started() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(started: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    started.clear()
    started.dialect = None
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", started.base_url)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", started.account_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", started.api_token)
    monkeypatch.setattr(command, "sleep", lambda _seconds: None)
    yield started
    started.dialect = None


def run_verify(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Run `verify` and return the exit code and the report."""
    code = main(["verify", "--yes", "--json", *options])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    return code, report


def get_signature(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the status and the observation of each fact."""
    return {entry["id"]: (entry["status"], entry["observed"]) for entry in report["results"]}


@pytest.mark.parametrize(
    "model", [entry.id for entry in MODELS.values() if entry.host == "cloudflare" and not entry.embeds], ids=str
)
def test_every_fact_holds_as_documented(sandbox: Sandbox, capsys: pytest.CaptureFixture[str], model: str) -> None:
    code, report = run_verify(capsys, "--model", model)
    assert [entry for entry in report["results"] if entry["status"] in ("differs", "inconclusive")] == []
    assert code == 0
    assert report["calls"] == len(sandbox.requests) <= 24
    assert report["counts"]["holds"] > 20
    assert len({entry["id"] for entry in report["results"]}) == len(report["results"])


@pytest.fixture(scope="module")
def signatures() -> Signatures:
    """The signatures found so far, by model and dialect."""
    return {}


Signatures = dict[tuple[str, str], dict[str, tuple[str, str]]]


def get_signature_under(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], signatures: Signatures, model: str, name: str
) -> Any:
    if (model, name) not in signatures:
        sandbox.dialect = name
        signatures[model, name] = get_signature(run_verify(capsys, "--model", model)[1])
        sandbox.dialect = None
    return signatures[model, name]


@pytest.mark.parametrize("name", TESTED_DIALECTS)
def test_tested_dialects_are_distinguished(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], signatures: Signatures, name: str
) -> None:
    found = get_signature_under(sandbox, capsys, signatures, GEMMA_4, name)
    for other in TESTED_DIALECTS:
        if other != name and (GEMMA_4, other) in signatures:
            assert found != signatures[GEMMA_4, other]
    assert found != get_signature_under(sandbox, capsys, signatures, GEMMA_4, "documented")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"documented"}))
def test_every_dialect_is_distinguished(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], signatures: Signatures, name: str
) -> None:
    """Each dialect is visible with one of two models: Gemma 4 replies in OpenAI's form, Gemma 3 in the native form."""
    differs = []
    for model in (GEMMA_4, GEMMA_3):
        found = get_signature_under(sandbox, capsys, signatures, model, name)
        differs.append(found != get_signature_under(sandbox, capsys, signatures, model, "documented"))
    assert any(differs) is (name not in INVISIBLE_DIALECTS)


def test_a_difference_is_named_in_the_report(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.dialect = ["crlf", "no_usage"]
    assert main(["verify", "--yes"]) == 1
    text = capsys.readouterr().out
    differing = text.split("## Different or inconclusive")[1].split("## All facts")[0]
    assert "| ✗ | Line ending of a stream | `LF` | `CRLF` (reported before) | docs/wire.md 4 |" in differing
    assert "| ✗ | Usage of a reply | `counts that add up` | `none` | docs/wire.md 3 |" in differing
    assert f"# Verification of `{GEMMA_4}` on cloudflare" in text
    folded = json.loads(re.findall(r"```json\n(.*)\n```", text, re.DOTALL)[0])
    assert folded["ok"] is False
    assert folded["versions"]["langchain-workers-gemma"]


def test_the_cost_is_shown_before_the_confirmation(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("", "n\n", "perhaps\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert main(["verify"]) == 2
        prompt = capsys.readouterr().err
        assert re.search(
            r"About \d+ calls of .*: [\d,]+ tokens in, up to [\d,]+ out, at most about \$0\.00\d\d", prompt
        )
        assert "No call was made." in prompt
    assert sandbox.requests == []
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["verify"]) == 0
    assert sandbox.requests


def test_the_estimate_is_an_upper_bound(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", "--yes"])
    estimate = re.search(r"([\d,]+) tokens in, up to ([\d,]+) out", capsys.readouterr().err)
    assert estimate is not None
    limits = [entry.json.get("max_tokens", 0) for entry in sandbox.requests if entry.json and "messages" in entry.json]
    refused = 2
    assert sum(limits) - refused <= int(estimate[2].replace(",", "")) + 64


def test_an_unpublished_price_is_reported(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", "--yes", "--model", "@cf/google/gemma-2b-it-lora"])
    assert "the price is not published" in capsys.readouterr().err


def test_both_reports_are_written(sandbox: Sandbox, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["verify", "--yes", "--output", str(tmp_path / "report.v1")]) == 0
    assert (tmp_path / "report.v1.md").read_text().startswith("# Verification of")
    assert json.loads((tmp_path / "report.v1.json").read_text())["ok"] is True
    capsys.readouterr()
    assert main(["verify", "--yes", "--output", str(tmp_path / "nowhere" / "report")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_report_does_not_have_the_token(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.script({"result": {"response": f"Your token is {sandbox.api_token}"}, "success": True}, times=30)
    main(["verify", "--yes"])
    printed = capsys.readouterr()
    assert sandbox.api_token not in printed.out + printed.err


def test_missing_and_refused_credentials_are_exit_code_1(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "some-other-token")
    assert main(["verify", "--yes"]) == 1
    assert "run `workers-gemma check`" in capsys.readouterr().err
    assert len(sandbox.requests) == 1
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN")
    assert main(["verify", "--yes"]) == 1
    assert "CLOUDFLARE_API_TOKEN" in capsys.readouterr().err


def test_a_failed_check_is_inconclusive(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.fail(next=3, status=429, code=3040, path="/ai/run/")
    code, report = run_verify(capsys)
    assert code == 1
    inconclusive = [entry for entry in report["results"] if entry["status"] == "inconclusive"]
    assert [entry["id"] for entry in inconclusive] == ["a_chat"]
    assert "Capacity temporarily exceeded" in inconclusive[0]["observed"]


def test_a_busy_service_is_retried(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.fail(next=2, status=429, code=3040, path="/ai/run/")
    assert run_verify(capsys)[0] == 0


def test_a_used_up_quota_ends_the_run(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.fail(next=99, status=429, code=3036, path="/ai/run/")
    code, report = run_verify(capsys)
    assert code == 1
    assert report["calls"] == 2
    assert report["results"][-1]["status"] == "inconclusive"


@pytest.mark.parametrize("fault", ["html", "garbage", "empty", "reset", "cut"])
def test_a_report_is_written_after_broken_responses(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    getattr(sandbox, fault)(times=99)
    code, report = run_verify(capsys)
    assert code == 1
    assert report["results"]


def test_text_of_a_service_is_escaped_in_the_report() -> None:
    hostile = "a | b\n`x` <img src=x> @someone ```json"
    result = Result("id", "A fact", "docs/wire.md 1", "differs", "", hostile)
    report = Report("cloudflare", GEMMA_4, "http://x", {"Python": "3"}, "now", 1, (result, replace(result, id="b")), ())
    text = report.to_markdown()
    row = next(line for line in text.splitlines() if "A fact" in line)
    assert row == "| ✗ | A fact |  | `a \\| b 'x' <img src=x> @someone '''json` | docs/wire.md 1 |"
    assert "````json" in text
    assert json.loads(text.split("````json\n")[1].split("\n````")[0])["results"][0]["observed"] == hostile


def test_an_embedding_model_is_exit_code_1(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--yes", "--model", "@cf/google/embeddinggemma-300m"]) == 1
    assert "returns embeddings" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "variable"), [("dataoorts", "DATAOORTS_API_KEY"), ("aimlapi", "AIMLAPI_API_KEY")])
def test_other_hosts_are_verified(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, variable: str
) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", getattr(sandbox, f"{host}_url"))
    monkeypatch.setenv(variable, sandbox.api_token)
    code, report = run_verify(capsys, "--host", host)
    assert [entry for entry in report["results"] if entry["status"] in ("differs", "inconclusive")] == []
    assert code == 0


def test_a_gateway_url_is_exit_code_2(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.gateway_url)
    assert main(["verify", "--yes"]) == 2
    assert "the base URL of the API itself" in capsys.readouterr().err
    assert sandbox.requests == []


@pytest.mark.parametrize("model", ["gemma3:12b", "google/gemma-4-31b-it"])
def test_openai_compatible_servers_are_verified(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("WORKERS_GEMMA_BASE_URL", sandbox.openai_url)
    code, report = run_verify(capsys, "--host", "openai_compatible", "--model", model)
    assert [entry for entry in report["results"] if entry["status"] in ("differs", "inconclusive")] == []
    assert code == 0
