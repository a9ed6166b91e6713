"""The command line: `workers-gemma COMMAND`, also as `python -m langchain_workers_gemma COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from langchain_workers_gemma.cli.chat import add_chat_command
from langchain_workers_gemma.cli.check import add_check_command
from langchain_workers_gemma.cli.command import CommandError, add_command
from langchain_workers_gemma.cli.map import add_map_command
from langchain_workers_gemma.cli.model_table import add_models_command
from langchain_workers_gemma.cli.sandbox import add_sandbox_command
from langchain_workers_gemma.cli.verify import add_verify_command
from langchain_workers_gemma.version import __version__

_EXAMPLES = """\
examples:
  workers-gemma demo
  workers-gemma check
  workers-gemma chat "Name three rivers."

The commands read the same environment variables as ChatWorkersGemma: CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_TOKEN,
WORKERS_GEMMA_BASE_URL. `workers-gemma COMMAND --help` shows the options of a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command and its options. By default those of the process.

    Returns:
        The exit code: 0 for success, 1 for failure, 2 for bad arguments.
    """
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `workers-gemma models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CommandError as error:
        print(f"workers-gemma: {error}", file=sys.stderr)
        return error.code
    return code


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workers-gemma",
        description="Google's Gemma models on Cloudflare Workers AI, from the command line.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="command")
    _add_demo_command(commands)
    add_chat_command(commands)
    add_map_command(commands)
    add_sandbox_command(commands)
    add_models_command(commands)
    add_check_command(commands)
    add_verify_command(commands)
    return parser


def _add_demo_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = add_command(
        commands,
        "demo",
        "show chat, stream, agent and structured output against the sandbox, without an account",
        examples="workers-gemma demo",
    )
    demo.set_defaults(command=_run_demo)


def _run_demo(_options: argparse.Namespace) -> int:
    try:
        from langchain_workers_gemma.cli.demo import run_demo
    except ImportError as error:
        raise CommandError(error) from error
    return run_demo()


if __name__ == "__main__":
    sys.exit(main())
