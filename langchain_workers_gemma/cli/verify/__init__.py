"""`workers-gemma verify`: compare the responses of the live service with the facts that this package relies on."""

from langchain_workers_gemma.cli.verify.command import add_verify_command

__all__ = ["add_verify_command"]
