"""The calls that one block of them has given so far, shared by the readers of the notations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from langchain_workers_gemma.tool_text.literals import read_text
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tool_names import ToolNames

MAX_NAME_LENGTH = 256
_NAME = re.compile(r"[\w.\-:/]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Call(NamedTuple):
    """A call that was read."""

    name: str
    arguments: dict[str, Any]


class WrittenCall(NamedTuple):
    """A call as it is emitted.

    Attributes:
        name: The tool's name.
        arguments: Its arguments in JSON, or the text of such as cannot be read.
        closed: Whether what follows it shows that it is whole.
    """

    name: str
    arguments: str
    closed: bool


class CallState:
    """What the readers of one block share.

    Args:
        source: Where to read.
        tools: The bound tools.

    Attributes:
        calls: The calls read so far.
        marked: Whether a fence, a token or a list shows that calls are here.
        name: The tool of the call that is being read, once it is known.
        start: Where the arguments of that call start.
    """

    def __init__(self, source: Source, tools: ToolNames) -> None:
        self.calls: list[Call] = []
        self.source = source
        self.tools = tools
        self.marked = False
        self.name: str | None = None
        self.start = 0

    def partial_call(self) -> tuple[str, str] | None:
        """Return the call that was being read, if its tool is known: its name and the text of its arguments so far."""
        return (self.name, self.source.get_held(self.start) or "{") if self.name is not None else None

    def read_word(self, viable: Callable[[str], bool], stop: str = "") -> Steps[str]:
        """Read a name up to `stop` or to what is no name, for as long as `viable` agrees to it.

        Raises:
            UnreadableError: If `viable` refuses it.
        """
        word = ""
        while (character := (yield from self.source.peek())) and character != stop:
            if not stop and not _NAME.match(character):
                break
            word += character
            if not viable(word):
                raise UnreadableError("no bound tool")
            self.source.advance()
        return word

    def begins(self, name: str, *openers: str) -> Steps[bool]:
        """Return whether the arguments of `name` start here. Between marks a name alone is a truncated call."""
        self.start = self.source.tell()
        opener = yield from self.source.startswith(*openers)
        if opener or (self.marked and not (yield from self.source.peek())):
            self.name = name
        return bool(opener)

    def finish(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Keep a call whose arguments are complete.

        Raises:
            UnreadableError: If JSON cannot hold them.
        """
        try:
            resolved = self.tools.parameters[name].resolve(dict(arguments))
        except ValueError:
            raise UnreadableError("arguments that JSON cannot hold") from None
        self.calls.append(Call(name, resolved))
        self.name = None


def fits(word: str) -> bool:
    """Return whether a name is no longer than names are."""
    return len(word) <= MAX_NAME_LENGTH


def to_arguments(value: Any) -> dict[str, Any]:
    """Return the arguments that `value` is or, as OpenAI's API writes them, is the JSON text of.

    Raises:
        UnreadableError: If it is neither.
    """
    if isinstance(value, str):
        value = read_text(value)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise UnreadableError("arguments that are no object")


def to_json(arguments: Mapping[str, object]) -> str:
    """Return arguments as JSON that can be encoded."""
    text = json.dumps(arguments, ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)  # half a character cannot be encoded


def make_invalid_json(name: str, arguments: str) -> str:
    """Return unreadable arguments in a form that no parser accepts as JSON."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return name + arguments
