"""Parse the text of a reply in pieces, and compare its text, thoughts and calls."""

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from langchain_workers_gemma.response.events import Text, ToolCallDelta
from langchain_workers_gemma.schemas.argument_types import ArgumentType
from langchain_workers_gemma.tool_text.reader import TextReader
from langchain_workers_gemma.tool_text.tokens import get_markup
from langchain_workers_gemma.tool_text.tool_names import ToolNames

Reply: TypeAlias = list[Any]
THINKING = get_markup("gemma-4").thinking
TOOLS = ["get_weather", "f", "search-web"]
PARIS: tuple[str, dict[str, Any]] = ("get_weather", {"city": "Paris"})


def make_reader(
    tools: Iterable[str] = TOOLS, parameters: dict[str, list[str]] | None = None, **options: Any
) -> TextReader:
    """Return a reader for tools whose parameters have these names and any type."""
    names = parameters or {}
    types = {name: ArgumentType.of({"properties": dict.fromkeys(names.get(name, ()), True)}) for name in tools}
    return TextReader(ToolNames(types), THINKING, **options)


def parse_pieces(pieces: Iterable[str], **options: Any) -> Reply:
    """Parse pieces of text and return the texts and calls in order, with adjacent texts joined."""
    reader = make_reader(**options)
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.flush()
    reply: Reply = []
    for event in events:
        if isinstance(event, ToolCallDelta):
            assert event.id is None
            assert event.index == sum(not isinstance(part, str) for part in reply)
            reply.append((event.name, event.arguments))
            continue
        assert isinstance(event, Text)
        assert event.text
        if reply and isinstance(reply[-1], str):
            reply[-1] += event.text
        else:
            reply.append(event.text)
    return reply


def encode_calls(*expected: tuple[str, dict[str, Any]]) -> Reply:
    """Return calls with their arguments as JSON."""
    return [(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in expected]
