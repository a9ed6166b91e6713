"""The command line: `workers-gemma demo | map | sandbox | models | check`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import closing

from langchain_workers_gemma.cli.map import add_map_command
from langchain_workers_gemma.hosts import HOSTS
from langchain_workers_gemma.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command and its options; those of the process if left out.

    Returns:
        The exit code: 0 if all is well.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return 130
    except CommandError as error:
        print(f"workers-gemma: {error}", file=sys.stderr)
        return 1
    return code


class CommandError(Exception):
    """The command cannot be run; the message says why."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workers-gemma", description="Gemma on Cloudflare Workers AI.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="command", required=True)

    demo = commands.add_parser("demo", help="show the main job against the sandbox, without an account")
    demo.set_defaults(command=_demo)

    add_map_command(commands)

    sandbox = commands.add_parser("sandbox", help="serve a local Workers AI until Ctrl-C")
    sandbox.add_argument("--port", type=int, default=0, help="the port; any free one if left out")
    sandbox.add_argument("--upstream", metavar="URL", help="an OpenAI-compatible server that answers, such as Ollama")
    sandbox.add_argument("--upstream-model", metavar="NAME", help="the model's name on that server")
    sandbox.set_defaults(command=_sandbox)

    models = commands.add_parser("models", help="what is published about each Gemma; with credentials, the live list")
    models.set_defaults(command=_models)

    check = commands.add_parser("check", help="try the credentials found, and say what is wrong")
    check.add_argument("--host", choices=list(HOSTS), default="cloudflare", help="who serves the model")
    check.add_argument("--model", default="", help="the model to call; the host's default if left out")
    check.set_defaults(command=_check)
    return parser


def _demo(_options: argparse.Namespace) -> int:
    try:
        from langchain_workers_gemma.cli.demo import run_demo
    except ImportError as error:
        raise CommandError(error) from error
    return run_demo()


def _sandbox(options: argparse.Namespace) -> int:
    if (options.upstream is None) != (options.upstream_model is None):
        raise CommandError("--upstream and --upstream-model go together.")
    try:
        from langchain_workers_gemma.sandbox import Sandbox

        sandbox = Sandbox(options.port, upstream=options.upstream, upstream_model=options.upstream_model).start()
    except (ImportError, OSError, OverflowError) as error:  # an extra or a port is missing
        raise CommandError(error) from error
    with closing(sandbox):
        print(f"A local Workers AI is listening at {sandbox.base_url}. Ctrl-C ends it. To use it:")
        print(f"export WORKERS_GEMMA_BASE_URL={sandbox.base_url}")
        print(f"export CLOUDFLARE_ACCOUNT_ID={sandbox.account_id}")
        print(f"export CLOUDFLARE_API_TOKEN={sandbox.api_token}", flush=True)
        try:
            _until_interrupted()
        except KeyboardInterrupt:
            print("\nThe sandbox has stopped.")
    return 0


def _until_interrupted() -> None:
    threading.Event().wait()


def _models(_options: argparse.Namespace) -> int:
    from langchain_workers_gemma.cli.model_table import live_table, published_table

    print("Published, as of 2026-11-21 ('-': not published):")
    print(*published_table(), sep="\n")
    host = HOSTS["cloudflare"]
    if not all(any(map(os.environ.get, names)) for names in (host.account_variables, host.token_variables)):
        print("\nFor the live list of your account, set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN.")
        return 0
    from langchain_workers_gemma import WorkersGemmaError
    from langchain_workers_gemma.cli.account import search_models
    from langchain_workers_gemma.cli.check import FailedError, explain, make_model
    from langchain_workers_gemma.client import connection
    from langchain_workers_gemma.transport.driver import run

    try:
        llm = make_model("cloudflare", "")
        entries = run(connection.transport(llm), search_models(llm, "gemma"))
    except FailedError as error:
        raise CommandError(error) from error
    except WorkersGemmaError as error:
        raise CommandError(f"the live list cannot be read.\n{explain(error)}") from error
    print("\nListed for your account:")
    print(*live_table(entries), sep="\n")
    return 0


def _check(options: argparse.Namespace) -> int:
    from langchain_workers_gemma.cli.check import diagnose

    failed = False
    for finding in diagnose(options.host, options.model):
        print(finding, flush=True)
        failed = failed or finding.state == "FAIL"
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
