"""The command `workers-gemma verify`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.cli.command import CommandError, add_command, add_model_arguments

if TYPE_CHECKING:
    from langchain_workers_gemma.chat_models import ChatWorkersGemma
    from langchain_workers_gemma.cli.verify.checks import Check
    from langchain_workers_gemma.cli.verify.report import Report
    from langchain_workers_gemma.models import GemmaModel

_DECLINED = 2
_EXAMPLES = """
workers-gemma verify
workers-gemma verify --yes --output report
workers-gemma verify --model @cf/google/gemma-2b-it-lora --yes --json
"""
sleep = time.sleep


def add_verify_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    verify = add_command(
        commands,
        "verify",
        "compare the live service with the facts that this package relies on",
        description=(
            "Make about twenty small live calls and compare the responses with\n"
            "docs/wire.md and models.py. The report goes to standard output; you can paste it into an issue.\n"
            "The exit code is 0 if every fact is as expected, 1 if not, 2 if no call was made."
        ),
        examples=_EXAMPLES,
    )
    add_model_arguments(verify)
    verify.add_argument("--yes", action="store_true", help="make the calls without asking first")
    verify.add_argument("--json", action="store_true", help="print the report as JSON instead of Markdown")
    verify.add_argument("--output", type=Path, metavar="NAME", help="also write NAME.md and NAME.json")
    verify.set_defaults(command=_verify)


def _verify(options: argparse.Namespace) -> int:
    from langchain_workers_gemma.cli.diagnosis import make_model
    from langchain_workers_gemma.cli.findings import FailedError
    from langchain_workers_gemma.cli.verify.checks import CHECKS
    from langchain_workers_gemma.hosts import is_legacy_gateway
    from langchain_workers_gemma.models import resolve_model

    try:
        llm = make_model(options.host, options.model)
    except FailedError as error:
        raise CommandError(error.finding.message) from None
    if is_legacy_gateway(llm.base_url or ""):
        raise CommandError("verify needs the base URL of the API itself: a gateway does not have all routes.", code=2)
    spec = resolve_model(llm.model, llm.host)
    chosen = [check for check in CHECKS if check.applies(spec)]
    _show_estimate(llm, spec, chosen)
    if not options.yes and not _is_confirmed():
        print("No call was made.", file=sys.stderr)
        return _DECLINED
    report = run_checks(llm, chosen, [check.name for check in CHECKS if not check.applies(spec)])
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    if options.output is not None:
        _write(options.output.with_name(f"{options.output.name}.md"), report.to_markdown())
        _write(options.output.with_name(f"{options.output.name}.json"), text)
    print(text if options.json else report.to_markdown())
    return 0 if report.ok else 1


def estimate_cost(spec: GemmaModel, checks: list[Check]) -> tuple[int, int, float | None]:
    """Estimate the input tokens of checks, their maximum output tokens, and the maximum cost in US dollars."""
    input_tokens = sum(check.input_tokens for check in checks)
    output_tokens = sum(check.get_max_output_tokens(spec) for check in checks)
    return input_tokens, output_tokens, spec.cost_usd(input_tokens, output_tokens)


def _show_estimate(llm: ChatWorkersGemma, spec: GemmaModel, checks: list[Check]) -> None:
    input_tokens, output_tokens, cost = estimate_cost(spec, checks)
    price = f"at most about ${cost:.4f}" if cost is not None else "the price is not published"
    print(
        f"About {sum(check.calls for check in checks)} calls of {llm.model} at {llm.base_url}: "
        f"{input_tokens:,} tokens in, up to {output_tokens:,} out, {price}.",
        file=sys.stderr,
    )


def _is_confirmed() -> bool:
    print("Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def run_checks(llm: ChatWorkersGemma, checks: list[Check], skipped: list[str]) -> Report:
    """Run checks and return the report.

    Args:
        llm: The model object with the credentials.
        checks: The checks to run.
        skipped: The names of the checks that do not apply.

    Raises:
        CommandError: If the service refuses the credentials.
    """
    from datetime import UTC, datetime

    from langchain_workers_gemma.cli.verify.probe import InconclusiveError, Probe, RefusedCredentialsError
    from langchain_workers_gemma.cli.verify.report import Report
    from langchain_workers_gemma.cli.verify.result import Result

    results: list[Result] = []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Probe(llm, sleep=sleep) as probe:
        for number, check in enumerate(checks, 1):
            print(f"[{number}/{len(checks)}] {check.name}", file=sys.stderr, flush=True)
            try:
                results.extend(check.run(probe))
            except RefusedCredentialsError as error:
                raise CommandError(f"The credentials are refused: run `workers-gemma check`. ({error})") from None
            except InconclusiveError as error:
                name = check.name.replace(" ", "_")
                results.append(Result(name, f"{check.name}: the call failed", "", "inconclusive", "", str(error)))
                if error.final:
                    break
        calls = probe.calls
        results = [_redact(probe, result) for result in results]
    return Report(
        host=llm.host,
        model=llm.model,
        base_url=llm.base_url or "",
        versions=_collect_versions(),
        started=started,
        calls=calls,
        results=tuple(results),
        skipped=tuple(skipped),
    )


def _redact(probe: Any, result: Any) -> Any:
    from dataclasses import replace

    return replace(result, observed=probe.redact(result.observed))


def _collect_versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    from langchain_workers_gemma.version import __version__

    return {
        "langchain-workers-gemma": __version__,
        "langchain-core": version("langchain-core"),
        "httpx": version("httpx"),
        "Python": platform.python_version(),
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output {str(path)!r} cannot be written: {error.strerror or error}.") from error
