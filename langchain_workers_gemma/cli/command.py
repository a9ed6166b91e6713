"""Shared helpers for all commands."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.hosts import HOSTS

if TYPE_CHECKING:
    from langchain_workers_gemma.chat_models import ChatWorkersGemma


class CommandError(Exception):
    """The command cannot run, or has failed. The message names the cause.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: object, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def add_command(commands: Any, name: str, summary: str, *, examples: str, description: str = "") -> Any:
    """Add a command whose help ends with examples.

    Args:
        commands: The object that `ArgumentParser.add_subparsers` returned.
        name: The name of the command.
        summary: One line that describes the command.
        examples: Lines that users can copy into a shell.
        description: A longer description. By default the summary.

    Returns:
        The parser of the command.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model_arguments(parser: Any) -> None:
    """Add the arguments that choose the model and the host."""
    parser.add_argument("--model", default="", metavar="ID", help="the model (default: the host's default model)")
    parser.add_argument("--host", choices=list(HOSTS), default="cloudflare", help="the hosting provider")


def make_model_from_arguments(options: argparse.Namespace, *, code: int = 1, **settings: Any) -> ChatWorkersGemma:
    """Create the model from `--model`, `--host` and the environment. Its warnings go to standard error.

    Args:
        options: The parsed arguments.
        code: The exit code if the model cannot be created.
        settings: Further fields of the model.

    Raises:
        CommandError: If an argument or a credential is missing or not valid.
    """
    from pydantic import ValidationError

    from langchain_workers_gemma.chat_models import ChatWorkersGemma
    from langchain_workers_gemma.cli.findings import describe_problems

    if options.model:
        settings["model"] = options.model
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            llm = ChatWorkersGemma(host=options.host, **settings)
    except ValidationError as error:
        raise CommandError(describe_problems(error), code) from None
    for warning in caught:
        print(f"workers-gemma: {warning.message}", file=sys.stderr)
    return llm
