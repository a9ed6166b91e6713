"""`workers-gemma map`: arguments, exit codes and requests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from langchain_workers_gemma.cli.main import main
from tests.helpers.model_calls import ACCOUNT_ID, API_TOKEN, SEA_LION

REPLY = {"response": "good", "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}}


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT_ID)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", API_TOKEN)
    with respx.mock(assert_all_called=False) as router:
        yield router.post(url__startswith="https://api.cloudflare.com/").mock(
            return_value=httpx.Response(200, json={"result": REPLY, "success": True})
        )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": 1, "text": "soup"}\n{"id": 2, "text": "bread"}\n')
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_all_options_are_applied(route: Any, source: Path, target: Path, tmp_path: Path, capsys: Any) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"title": "Label", "type": "object", "properties": {"label": {"type": "string"}}}))
    route.mock(return_value=httpx.Response(200, json={"result": {**REPLY, "response": '{"label": "good"}'}}))
    arguments = ["--prompt", "Is {text} good?", "--system", "Be fair.", "--schema", str(schema), "--model", SEA_LION]
    arguments += ["--host", "cloudflare", "--max-tokens", "50", "--max-concurrency", "1", "--rate", "100000"]
    assert main(["map", str(source), str(target), *arguments, "--max-cost", "1"]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["output"] for row in rows] == [{"label": "good"}, {"label": "good"}]
    assert rows[0]["usage"] == {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert rows[0]["cost_usd"] == pytest.approx((10 * 0.351 + 20 * 0.555) / 1e6, rel=0.02)
    request = route.calls[0].request
    assert request.url.path.endswith(SEA_LION)
    body = json.loads(request.content)
    assert body["max_tokens"] == 50
    assert body["response_format"]["type"] == "json_schema"
    texts = " ".join(str(message["content"]) for message in body["messages"])
    assert "Be fair." in texts
    assert "Is soup good?" in texts
    output = capsys.readouterr()
    assert output.out == ""
    assert "100% |####################| 2/2 rows" in output.err
    assert "2 of 2 rows have their output" in output.err
    assert API_TOKEN not in output.err + target.read_text() + Path(f"{target}.journal").read_text()


def test_a_row_without_its_output_is_exit_code_1(route: Any, source: Path, target: Path, capsys: Any) -> None:
    overflow = "This model's maximum context length is 131072 tokens. However, you requested 200000"
    refused = httpx.Response(400, json={"success": False, "errors": [{"code": 8001, "message": overflow}]})
    route.side_effect = [httpx.Response(200, json={"result": REPLY}), refused]
    arguments = ["map", str(source), str(target), "--prompt", "{text}", "--max-concurrency", "1"]
    assert main(arguments) == 1
    assert "1 ended in an error" in capsys.readouterr().err
    first, second = (json.loads(line) for line in target.read_text().splitlines())
    assert first["output"] == "good"
    assert second.keys() == {"id", "text", "error"}
    assert "ContextOverflowError" in second["error"]
    route.side_effect = None
    assert main(arguments) == 0
    assert route.call_count == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "{"], "is not a field in braces"),
        (["--prompt", "x", "--rate", "0"], "rate=0.0 must be"),
        (["--prompt", "x", "--max-cost", "-1"], "max_cost=-1.0 must be"),
        (["--prompt", "x", "--max-concurrency", "0"], "max_concurrency=0 must be"),
        (["--prompt", "x", "--max-tokens", "0"], "max_tokens"),
        (["--prompt", "x", "--schema", "nowhere.json"], "--schema 'nowhere.json' cannot be read"),
        (["--prompt", "x", "--schema", __file__], "cannot be read"),
        (["--prompt", "x", "--max-cost", "1", "--model", "@cf/google/gemma-2b-it-lora"], "needs a published price"),
    ],
)
def test_invalid_arguments_are_exit_code_2(
    route: Any, source: Path, target: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    assert main(["map", str(source), str(target), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert route.call_count == 0
    assert not target.exists()


def test_a_schema_must_be_an_object(route: Any, source: Path, target: Path, tmp_path: Path, capsys: Any) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text("[]")
    assert main(["map", str(source), str(target), "--prompt", "x", "--schema", str(schema)]) == 2
    assert "must be a JSON object" in capsys.readouterr().err


def test_a_missing_input_is_exit_code_2(route: Any, target: Path, capsys: Any) -> None:
    assert main(["map", "nowhere.jsonl", str(target), "--prompt", "x"]) == 2
    assert "The input 'nowhere.jsonl' does not exist" in capsys.readouterr().err


def test_missing_credentials_are_exit_code_2(source: Path, target: Path, capsys: Any) -> None:
    assert main(["map", str(source), str(target), "--prompt", "x"]) == 2
    assert "CLOUDFLARE_ACCOUNT_ID" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["in.jsonl"], ["in", "out"], ["in", "out", "--prompt", "x", "--rate", "fast"]])
def test_arguments_that_the_parser_refuses_are_exit_code_2(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["map", *arguments])
    assert raised.value.code == 2


def test_another_prompt_or_input_is_exit_code_2(route: Any, source: Path, target: Path, capsys: Any) -> None:
    assert main(["map", str(source), str(target), "--prompt", "{text}"]) == 0
    before = target.read_bytes()
    assert main(["map", str(source), str(target), "--prompt", "{text}!"]) == 2
    assert "prompt changed since" in capsys.readouterr().err
    source.write_text(source.read_text() + '{"text": "x"}\n')
    assert main(["map", str(source), str(target), "--prompt", "{text}"]) == 2
    assert "The input has changed since" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert route.call_count == 2


def test_a_quota_error_names_the_reset_time(route: Any, source: Path, target: Path, capsys: Any) -> None:
    used_up = {"code": 3036, "message": "You have used up your daily free allocation of 10,000 neurons."}
    route.mock(return_value=httpx.Response(429, json={"success": False, "errors": [used_up]}))
    assert main(["map", str(source), str(target), "--prompt", "{text}", "--max-concurrency", "1"]) == 1
    output = capsys.readouterr().err
    assert "00:00 UTC" in output
    assert "min. Run again then to continue" in output
    assert route.call_count == 1
    assert all("Not sent" in json.loads(line)["error"] for line in target.read_text().splitlines())


def test_an_unusable_cluster_is_exit_code_1(
    route: Any, source: Path, target: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["--prompt", "{text}", "--scheduler", "tcp://127.0.0.1:1"]
    assert main(["map", str(source), str(target), *arguments]) == 1
    assert 'pip install "langchain-workers-gemma[scale]"' in capsys.readouterr().err
