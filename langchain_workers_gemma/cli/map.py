"""The command `workers-gemma map`: send every row of a JSON Lines file to a model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from langchain_workers_gemma.cli.command import (
    CommandError,
    add_command,
    add_model_arguments,
    make_model_from_arguments,
)

EXIT_SUCCESS = 0
EXIT_INCOMPLETE = 1
EXIT_BAD_ARGUMENTS = 2

_DESCRIPTION = """\
Send every row of a data set to a model. Each row of OUTPUT is the row of INPUT plus the fields `output`, `usage` and
`cost_usd`, or plus `error`. The rows are in the same order.

You can stop or kill the command at any time. Run it again with the same arguments to resume: it sends rows with an
error again, but not finished rows. The file OUTPUT.journal stores the finished rows.

Exit codes: 0 if every row has its output, 1 if not, 2 for bad arguments."""
_EXAMPLES = """
workers-gemma map reviews.jsonl labelled.jsonl --prompt "Good or bad? {text}" --rate 300 --max-cost 5
workers-gemma map reviews.jsonl labelled.jsonl --prompt "{text}" --schema label.json --max-tokens 200
workers-gemma map reviews.jsonl labelled.jsonl --prompt "{text}" --scheduler tcp://scheduler:8786
"""


def add_map_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    parser = add_command(
        commands, "map", "send every row of a data set to a model", description=_DESCRIPTION, examples=_EXAMPLES
    )
    parser.add_argument("input", metavar="INPUT.jsonl", type=Path, help="one JSON object per line")
    parser.add_argument("output", metavar="OUTPUT.jsonl", type=Path, help="the rows with their outputs")
    parser.add_argument(
        "--prompt",
        required=True,
        metavar="TEXT",
        help="the prompt; {field} is replaced by the field of that name",
    )
    parser.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    parser.add_argument("--schema", type=Path, metavar="FILE", help="a JSON Schema for each output")
    add_model_arguments(parser)
    parser.add_argument("--max-tokens", type=int, metavar="N", help="maximum number of tokens of each output")
    parser.add_argument("--max-concurrency", type=int, metavar="N", help="maximum number of rows in flight")
    parser.add_argument(
        "--rate", type=float, metavar="N", help="maximum number of requests per minute, over all workers"
    )
    parser.add_argument(
        "--max-cost", type=float, metavar="USD", help="maximum cost in US dollars, including earlier runs of this job"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler whose workers send the requests")
    parser.set_defaults(command=run_map)


def run_map(options: argparse.Namespace) -> int:
    """Run the command.

    Args:
        options: The parsed arguments.

    Returns:
        The exit code.

    Raises:
        CommandError: If the run cannot start, or a file or the scheduler fails.
    """
    from langchain_workers_gemma.scale import MapStoppedError, map_file

    try:
        report = map_file(
            options.input,
            options.output,
            make_model_from_arguments(options, code=EXIT_BAD_ARGUMENTS, max_tokens=options.max_tokens),
            prompt=options.prompt,
            system=options.system,
            schema=None if options.schema is None else _read_schema(options.schema),
            max_concurrency=options.max_concurrency,
            rate=options.rate,
            max_cost=options.max_cost,
            scheduler=options.scheduler,
            show_progress=True,
        )
    except ValueError as error:
        raise CommandError(error, EXIT_BAD_ARGUMENTS) from error
    except (ImportError, MapStoppedError, OSError) as error:
        raise CommandError(error, EXIT_INCOMPLETE) from error
    print(report, file=sys.stderr)
    return EXIT_SUCCESS if report.complete else EXIT_INCOMPLETE


def _read_schema(path: Path) -> dict[str, Any]:
    """Read a JSON Schema.

    Raises:
        ValueError: If the file cannot be read or does not contain one.
    """
    try:
        schema = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"--schema {str(path)!r} cannot be read: {error}") from error
    if not isinstance(schema, dict):
        raise ValueError(f"--schema {str(path)!r} is not a JSON Schema: it must be a JSON object.")
    return schema
