"""`workers-gemma sandbox`: serve a local Workers AI until Ctrl-C."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.cli.command import CommandError, add_command

if TYPE_CHECKING:
    from langchain_workers_gemma.sandbox import Sandbox

DEFAULT_PORT = 8790
"""The default port. Dask and Cloudflare's `wrangler` use 8786 to 8788."""

_EXAMPLES = """
workers-gemma sandbox
workers-gemma sandbox --port 0 --tokens-per-second 40
workers-gemma sandbox --upstream http://127.0.0.1:11434/v1 --upstream-model gemma3:4b
"""


def add_sandbox_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    sandbox = add_command(
        commands,
        "sandbox",
        "serve a local Workers AI until Ctrl-C",
        description=(
            "Serve a local Workers AI until Ctrl-C. It answers with a deterministic mock model, or with a real Gemma.\n"
            "Open its inspector in a browser to see each request."
        ),
        examples=_EXAMPLES,
    )
    sandbox.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"the port; 0 for any free one (default: {DEFAULT_PORT})"
    )
    sandbox.add_argument(
        "--upstream", metavar="URL", help="an OpenAI-compatible server with a real Gemma, such as Ollama"
    )
    sandbox.add_argument("--upstream-model", metavar="NAME", help="the name of the model on that server")
    sandbox.add_argument(
        "--tokens-per-second", type=float, metavar="N", help="the speed of streams (default: as fast as possible)"
    )
    sandbox.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    if (options.upstream is None) != (options.upstream_model is None):
        raise CommandError("Pass both --upstream and --upstream-model, or neither.", code=2)
    with closing(_start(options)) as sandbox:
        print(f"A local Workers AI is listening at {sandbox.base_url}. Press Ctrl-C to stop it.")
        if options.upstream is None:
            print("HTTP is real; answers are mock data of a deterministic mock model.")
        print(f"Inspector: http://127.0.0.1:{sandbox.port}/")
        print("To use it, set these variables in another terminal:")
        for name, value in _list_variables(sandbox).items():
            print(_format_assignment(name, value), flush=True)
        _log_requests()
        try:
            _wait_until_interrupted()
        except KeyboardInterrupt:
            print("\nThe sandbox has stopped.")
    return 0


def _list_variables(sandbox: Sandbox) -> dict[str, str]:
    return {
        "WORKERS_GEMMA_BASE_URL": sandbox.base_url,
        "CLOUDFLARE_ACCOUNT_ID": sandbox.account_id,
        "CLOUDFLARE_API_TOKEN": sandbox.api_token,
    }


def _format_assignment(name: str, value: str) -> str:
    """Return the line that sets a variable in the usual shell of this system, which is PowerShell on Windows."""
    return f'$Env:{name} = "{value}"' if sys.platform == "win32" else f"export {name}={value}"


def _start(options: argparse.Namespace) -> Sandbox:
    try:
        from langchain_workers_gemma.sandbox import Sandbox

        return Sandbox(
            options.port,
            upstream=options.upstream,
            upstream_model=options.upstream_model,
            tokens_per_second=options.tokens_per_second,
        ).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {options.port} is in use. Choose another with --port N, or any free one with --port 0."
            ) from error
        raise CommandError(error) from error
    except (ImportError, OverflowError, ValueError) as error:  # a package is missing, or an option is not valid
        raise CommandError(error) from error


def _log_requests() -> None:
    """Log one line for each request to standard error."""
    from langchain_workers_gemma.sandbox.inspector import ACCESS_LOG

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    ACCESS_LOG.handlers = [handler]
    ACCESS_LOG.setLevel(logging.INFO)
    ACCESS_LOG.propagate = False


def _wait_until_interrupted() -> None:
    threading.Event().wait()
