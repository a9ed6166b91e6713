"""What the commands share."""

from __future__ import annotations

import argparse
from typing import Any

from langchain_workers_gemma.hosts import HOSTS


class CommandError(Exception):
    """The command cannot be run, or failed; the message says why.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: object, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def add_command(commands: Any, name: str, summary: str, *, examples: str, description: str = "") -> Any:
    """Add a command whose help ends in examples.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
        name: The command's name.
        summary: What it does, in one line.
        examples: Lines that can be copied into a shell.
        description: More about it; the summary if left out.

    Returns:
        The command's parser.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model_arguments(parser: Any) -> None:
    """Add the arguments that choose who answers."""
    parser.add_argument("--model", default="", metavar="ID", help="the model; the host's default if left out")
    parser.add_argument("--host", choices=list(HOSTS), default="cloudflare", help="the hosting provider")
