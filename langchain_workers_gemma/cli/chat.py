"""`workers-gemma chat`: stream one response."""

from __future__ import annotations

import argparse
import base64
import mimetypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.cli.command import (
    CommandError,
    add_command,
    add_model_arguments,
    make_model_from_arguments,
)

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk, BaseMessage

    from langchain_workers_gemma.chat_models import ChatWorkersGemma

_EXAMPLES = """
workers-gemma chat "Name three rivers." --system "Answer with a list."
cat report.txt | workers-gemma chat "Summarize this."
workers-gemma chat "What is in this picture?" --image photo.png
workers-gemma chat "Hello" --model @cf/aisingapore/gemma-sea-lion-v4-27b-it
"""
_URL_PREFIXES = ("http://", "https://")


def add_chat_command(commands: Any) -> None:
    """Add the command to the subcommands of a parser."""
    chat = add_command(
        commands,
        "chat",
        "stream one response",
        description=(
            "Send one prompt and stream the response to standard output. Tokens and cost go to standard error.\n"
            "If you pipe text into the command, it is added after the prompt. Without a prompt, it is the prompt."
        ),
        examples=_EXAMPLES,
    )
    chat.add_argument("prompt", nargs="?", default="", help="the prompt; without it, standard input is read")
    add_model_arguments(chat)
    chat.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    chat.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="an image, as a file or an http(s) URL; repeatable",
    )
    chat.add_argument(
        "--max-tokens", type=int, metavar="N", help="maximum number of tokens; the service's default is 256"
    )
    chat.set_defaults(command=_run_chat)


def _run_chat(options: argparse.Namespace) -> int:
    messages = _build_messages(options)
    llm = _make_model(options)
    merged = _stream(llm, messages)
    if merged is not None:
        _print_usage(merged)
    return 0


def _build_messages(options: argparse.Namespace) -> list[BaseMessage]:
    from langchain_core.messages import HumanMessage, SystemMessage

    prompt = "\n\n".join(text for text in (options.prompt, _read_standard_input()) if text.strip())
    if not prompt and not options.image:
        raise CommandError('There is no prompt: add one, as in `workers-gemma chat "Hello"`, or pipe one in.', code=2)
    blocks: list[str | dict[str, Any]] = [_read_image(image) for image in options.image]
    if prompt:
        blocks.append({"type": "text", "text": prompt})
    human = HumanMessage(content=blocks if options.image else prompt)
    return [SystemMessage(options.system), human] if options.system else [human]


def _read_standard_input() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.read()


def _read_image(source: str) -> dict[str, Any]:
    if source.startswith(_URL_PREFIXES):
        return {"type": "image", "url": source}
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f"--image {source!r} cannot be read: {error.strerror or error}.", code=2) from error
    mime_type = mimetypes.guess_type(source)[0] or "image/png"  # the request builder detects the type from the bytes
    return {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": mime_type}


def _make_model(options: argparse.Namespace) -> ChatWorkersGemma:
    settings: dict[str, Any] = {"max_tokens": options.max_tokens}
    if any(image.startswith(_URL_PREFIXES) for image in options.image):
        settings["inline_image_urls"] = True
    return make_model_from_arguments(options, **settings)


def _stream(llm: ChatWorkersGemma, messages: list[BaseMessage]) -> AIMessageChunk | None:
    """Print the chunks of the stream as they arrive, and return the merged message.

    Raises:
        CommandError: If the service refuses the request, or the stream ends prematurely.
    """
    from langchain_workers_gemma.cli.findings import explain
    from langchain_workers_gemma.errors import WorkersGemmaError

    merged: AIMessageChunk | None = None
    is_terminal = sys.stdout.isatty()
    try:
        for chunk in llm.stream(messages):
            sys.stdout.write(strip_control_characters(chunk.text) if is_terminal else chunk.text)
            sys.stdout.flush()
            merged = chunk if merged is None else merged + chunk
    except WorkersGemmaError as error:
        if merged is not None:
            print()
        raise CommandError(explain(error, llm.model, llm.host).message) from None
    except ValueError as error:  # the input is not valid for this model
        raise CommandError(error, code=2) from None
    print()
    return merged


def strip_control_characters(text: str) -> str:
    """Return a text without the characters that could control a terminal."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _print_usage(message: AIMessageChunk) -> None:
    metadata, usage = message.response_metadata, message.usage_metadata
    parts = [f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out"] if usage else []
    if "cost_usd" in metadata:
        parts.append(f"${metadata['cost_usd']:.7f}")
    if metadata.get("finish_reason") == "length":
        parts.append("truncated: raise --max-tokens")
    if parts:
        print(f"({', '.join(parts)})", file=sys.stderr)
