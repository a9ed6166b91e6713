"""`workers-gemma check`: test the credentials step by step, and report what is wrong."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.cli.command import add_command, add_model_arguments
from langchain_workers_gemma.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from langchain_workers_gemma.cli.findings import Finding

_EXAMPLES = """
workers-gemma check
workers-gemma check --model @cf/google/gemma-4-26b-a4b-it --json
workers-gemma check --host aimlapi
"""


def add_check_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    check = add_command(
        commands,
        "check",
        "test your credentials, and report what is wrong",
        description="Test your credentials step by step, and report what is wrong. The exit code is 1 if a step fails.",
        examples=_EXAMPLES,
    )
    add_model_arguments(check)
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    check.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from langchain_workers_gemma.cli.diagnosis import diagnose

    findings = []
    for finding in diagnose(options.host, options.model):
        findings.append(finding)
        if not options.json:
            print(finding, flush=True)
    is_ok = all(finding.state != "FAIL" for finding in findings)
    if options.json:
        print(json.dumps(_build_report(findings, options, is_ok=is_ok), indent=2, ensure_ascii=False))
    return 0 if is_ok else 1


def _build_report(findings: list[Finding], options: argparse.Namespace, *, is_ok: bool) -> dict[str, Any]:
    return {
        "ok": is_ok,
        "host": options.host,
        "model": options.model or DEFAULT_MODEL.get(options.host),
        "findings": [
            {
                "state": finding.state.lower(),
                "topic": finding.topic,
                "text": finding.text,
                "server": finding.server or None,
            }
            for finding in findings
        ],
    }
