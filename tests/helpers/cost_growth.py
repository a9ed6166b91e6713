"""Work whose cost must be linear in its input. Tests count the lines that it runs; `benchmarks/growth.py` times it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from pydantic import create_model

import langchain_workers_gemma
from langchain_workers_gemma.json_text.growing import PartialJsonParser
from langchain_workers_gemma.request.tool_methods import STRING_TOKENS
from langchain_workers_gemma.response.arguments import ArgumentsReader
from langchain_workers_gemma.response.call_pieces import CallPieces
from langchain_workers_gemma.schemas import to_json_schema
from langchain_workers_gemma.schemas.argument_types import ArgumentType
from langchain_workers_gemma.tool_text.reader import TextReader
from langchain_workers_gemma.tool_text.tokens import get_markup
from langchain_workers_gemma.tool_text.tool_names import ToolNames
from tests.helpers.schema_engines import SCHEMA_TRANSFORMS

_PACKAGE = str(Path(langchain_workers_gemma.__file__).parent)


def count_lines_run(act: Callable[[], object]) -> int:
    """Return how many lines of this package `act` runs in this thread. Lines of libraries are not counted.

    This measure of cost is the same in every run, on a busy machine too.
    """
    count = 0

    def in_frame(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        return in_frame

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return in_frame if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()  # the one of a debugger or of coverage
    sys.settrace(on_call)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


Action: TypeAlias = Callable[[], object]

_TOOLS = ToolNames({name: ArgumentType.of({}) for name in ("get_weather", "f")})

PIECE_LENGTH = 4  # characters, as many as a chunk often has

ADVERSARIAL_TEXTS = {
    "lists": "[",
    "objects": "{",
    "lists on lines": "[\n\n",
    "tokens": "<",
    "backticks": "`",
    "calls without an end": '<|tool_call>call:f{a:<|"|>',
    "calls in words": "<|tool_call>call:f{a:",
    "fences": "```json\n",
    "tool fences": "```tool_code\nf(",
    "objects in objects": '{"name": "f", "parameters": {"a": [[[[\n',
    "strings without an end": "f(a='x\n\n",
    "white space": "\n",
    "thoughts": "<|channel>thought\n",
    "thoughts without a name": "<|channel>\nx",
    "thoughts with calls": "<|channel>thought\n<|tool_call>call:f{}<tool_call|>",
    "calls of an unknown tool": "<|tool_call>call:g{",
    "calls that cannot be read": "<|tool_call>call:f{a}",
    "ends of calls in a string": '<|tool_call>call:f{a:<|"|>' + "}<tool_call|>x" * 9,
    "ends of turns": "<turn|> ",
    "commas in words": "call:f{a:b" + ",c" * 9,
    "quote tokens in a string": '<|tool_call>call:f{a:<|"|>b <|"|>c<|"|> ',
    "raw strings without an end": '<|tool_call>call:f{a:r#"b "c" ',
    "commas": "<|tool_call>call:f{a:1" + "," * 9,
    "tildes": "~",
    "fences of tildes": "~~~\n",
    "tags in square brackets": '[TOOL_REQUEST]{"name": "g"',
    "code in tags": "<tool_code>\nx = f(",
}
"""Texts that could make a parser of tool calls rescan or hold its input again and again."""

DOCUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "text": lambda size: {"text": "word \n" * (size // 7)},
    "keys": lambda size: {f"key {number:05}": 10_000 + number for number in range(size // 20)},
    "items": lambda size: {"items": [{"id": 10_000 + number, "name": "Ada"} for number in range(size // 30)]},
}
"""JSON documents, by their approximate size in characters."""


def read_calls(name: str, piece: int, size: int) -> Action:
    """Return an action that parses an adversarial text of `size` characters in pieces."""
    unit = ADVERSARIAL_TEXTS[name]
    text = unit * (size // len(unit))

    def act() -> None:
        reader = TextReader(_TOOLS, get_markup("gemma-4").thinking)
        for start in range(0, len(text), piece):
            reader.feed(text[start : start + piece])
        reader.flush()

    return act


ARGUMENT_TEXTS = {
    "text": "word \\n",
    "quote tokens": '<|\\"|>',
    "escaped quote tokens": '\\u003c|\\"|\\u003e',
    "beginnings of tokens": "<|",
    "backslashes": "\\\\",
    "strings in quotes": '\\"a\\"", "t": "',
    "lists": '"], "l": [["',
    "text behind the arguments": '"} <tool_call|> ',
    "keys with tokens": '", "<|\\"|>a": "',
}
"""Strings in the arguments of a call that could be rescanned or held again and again."""


def read_arguments(content: str, size: int) -> Action:
    """Return an action that parses the arguments of a call in pieces, with a schema."""
    text = '{"s": "' + ARGUMENT_TEXTS[content] * (size // len(ARGUMENT_TEXTS[content])) + '"}'
    tool = ArgumentType.of({"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "integer"}}})

    def act() -> None:
        reader = ArgumentsReader(tool, STRING_TOKENS, unquotes=True)
        for start in range(0, len(text), PIECE_LENGTH):
            reader.feed(text[start : start + PIECE_LENGTH])
        reader.flush()

    return act


def collect_pieces(size: int) -> Action:
    """Return an action that assembles a call from pieces that each repeat the name, as if each began another call."""
    pieces = [
        {"function": {"name": "f", "arguments": text}} for text in ('{"a": "', *["word"] * (size // PIECE_LENGTH), '"}')
    ]

    def act() -> None:
        calls = CallPieces()
        for piece in pieces:
            list(calls.read([piece]))

    return act


def read_document(shape: str, size: int) -> Action:
    """Return an action that parses a document in pieces, with a snapshot after each."""
    text = json.dumps(DOCUMENTS[shape](size))

    def act() -> None:
        growing = PartialJsonParser()
        for start in range(0, len(text), PIECE_LENGTH):
            if growing.feed(text[start : start + PIECE_LENGTH]):
                growing.get_snapshot()

    return act


def prepare_schema(size: int) -> Action:
    """Return an action that converts a schema into each form. `size` is the approximate length of its JSON."""
    inner = create_model("Inner", **{f"g{index}": (int | None, None) for index in range(5)})  # type: ignore[call-overload]
    model = create_model("M", **{f"f{index}": (inner, ...) for index in range(size // 50)})  # type: ignore[call-overload]
    schema = to_json_schema(model)
    return lambda: [function(schema) for function in SCHEMA_TRANSFORMS]


WORKLOADS: dict[str, Callable[[int], Action]] = {
    **{f"{name}, in pieces": partial(read_calls, name, PIECE_LENGTH) for name in ADVERSARIAL_TEXTS},
    **{f"{name}, at once": partial(read_calls, name, sys.maxsize) for name in ADVERSARIAL_TEXTS},
    **{f"document of {shape}": partial(read_document, shape) for shape in DOCUMENTS},
    **{f"arguments of {content}": partial(read_arguments, content) for content in ARGUMENT_TEXTS},
    "pieces of a call": collect_pieces,
    "schema": prepare_schema,
}
"""Functions that return an action for a size of input in characters."""
