"""`workers-gemma verify`: compare what the live service sends with what this package expects."""

from langchain_workers_gemma.cli.verify.command import add_verify_command

__all__ = ["add_verify_command"]
