"""Work that must grow with its input and no faster. Tests count its lines, `benchmarks/growth.py` takes its time."""

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
from tests.helpers.schema_engines import FUNCTIONS

_PACKAGE = str(Path(langchain_workers_gemma.__file__).parent)


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of this package `act` runs, in this thread; what libraries do is not counted.

    A measure of cost that is the same in every run, whatever else the machine does.
    """
    count = 0

    def in_frame(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        return in_frame

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return in_frame if frame.f_code.co_filename.startswith(_PACKAGE) else None

    before = sys.gettrace()  # that of a debugger, or of coverage
    sys.settrace(on_call)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


Act: TypeAlias = Callable[[], object]

_TOOLS = ToolNames({name: ArgumentType.of({}) for name in ("get_weather", "f")})

PIECE = 4  # characters, as much as a chunk often has

ADVERSARIES = {
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
    "words that go on": "call:f{a:b" + ",c" * 9,
}
"""Texts at which a reader of calls could wait indefinitely."""

DOCUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "text": lambda size: {"text": "word \n" * (size // 7)},
    "keys": lambda size: {f"key {number:05}": 10_000 + number for number in range(size // 20)},
    "items": lambda size: {"items": [{"id": 10_000 + number, "name": "Ada"} for number in range(size // 30)]},
}
"""By size in characters, about."""


def read_calls(adversary: str, piece: int, size: int) -> Act:
    """Read an adversary's text, so many characters long, in pieces."""
    unit = ADVERSARIES[adversary]
    text = unit * (size // len(unit))

    def act() -> None:
        reader = TextReader(_TOOLS, get_markup("gemma-4").thinking)
        for at in range(0, len(text), piece):
            reader.feed(text[at : at + piece])
        reader.flush()

    return act


ARGUMENTS = {
    "text": "word \\n",
    "quote tokens": '<|\\"|>',
    "escaped quote tokens": '\\u003c|\\"|\\u003e',
    "beginnings of tokens": "<|",
    "backslashes": "\\\\",
    "strings in quotes": '\\"a\\"", "t": "',
    "lists": '"], "l": [["',
}
"""Strings of a call's arguments that could be held indefinitely."""


def read_arguments(content: str, size: int) -> Act:
    """Read the arguments of a call in pieces, by a schema."""
    text = '{"s": "' + ARGUMENTS[content] * (size // len(ARGUMENTS[content])) + '"}'
    tool = ArgumentType.of({"type": "object", "properties": {"s": {"type": "string"}, "n": {"type": "integer"}}})

    def act() -> None:
        reader = ArgumentsReader(tool, STRING_TOKENS, unquotes=True)
        for at in range(0, len(text), PIECE):
            reader.feed(text[at : at + PIECE])
        reader.flush()

    return act


def collect_pieces(size: int) -> Act:
    """Put a call together whose every piece repeats the name, so that each may open another call."""
    pieces = [{"function": {"name": "f", "arguments": text}} for text in ('{"a": "', *["word"] * (size // PIECE), '"}')]

    def act() -> None:
        calls = CallPieces()
        for piece in pieces:
            list(calls.read([piece]))

    return act


def view_document(shape: str, size: int) -> Act:
    """Read a document in pieces, looking at it after each."""
    text = json.dumps(DOCUMENTS[shape](size))

    def act() -> None:
        growing = PartialJsonParser()
        for at in range(0, len(text), PIECE):
            if growing.feed(text[at : at + PIECE]):
                growing.get_snapshot()

    return act


def prepare_schema(size: int) -> Act:
    """Bring a schema into each form; the size is about that of its JSON in characters."""
    inner = create_model("Inner", **{f"g{at}": (int | None, None) for at in range(5)})  # type: ignore[call-overload]
    model = create_model("M", **{f"f{at}": (inner, ...) for at in range(size // 50)})  # type: ignore[call-overload]
    schema = to_json_schema(model)
    return lambda: [function(schema) for function in FUNCTIONS]


WORK: dict[str, Callable[[int], Act]] = {
    **{f"{name}, in pieces": partial(read_calls, name, PIECE) for name in ADVERSARIES},
    **{f"{name}, at once": partial(read_calls, name, sys.maxsize) for name in ADVERSARIES},
    **{f"document of {shape}": partial(view_document, shape) for shape in DOCUMENTS},
    **{f"arguments of {content}": partial(read_arguments, content) for content in ARGUMENTS},
    "pieces of a call": collect_pieces,
    "schema": prepare_schema,
}
"""What prepares the work, by the size of its input in characters."""
