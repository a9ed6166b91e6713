"""Keep the calls of one block, for the readers of all notations."""

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
    """A call in the form in which it is emitted.

    Attributes:
        name: The tool's name.
        arguments: Its arguments in JSON, or as they were written if they cannot be read.
        closed: Whether the text after it shows that it is complete.
    """

    name: str
    arguments: str
    closed: bool


class CallState:
    """The state that the readers of one block share.

    Args:
        source: The text to read.
        tools: The bound tools.

    Attributes:
        calls: The calls that were read so far.
        marked: Whether a fence, a token or a list shows that the text is a call.
        name: The tool of the call that is being read, `None` if it is not known.
        start: The position where the arguments of that call start.
    """

    def __init__(self, source: Source, tools: ToolNames) -> None:
        self.calls: list[Call] = []
        self.source = source
        self.tools = tools
        self.marked = False
        self.name: str | None = None
        self.start = 0

    def partial_call(self) -> tuple[str, str] | None:
        """Return the name and the arguments' text of the call that is being read, `None` if its tool is not known."""
        return (self.name, self.source.get_held(self.start) or "{") if self.name is not None else None

    def read_word(self, viable: Callable[[str], bool], stop: str = "") -> Steps[str]:
        """Read a name.

        Args:
            viable: Returns whether the characters so far can be the beginning of a name.
            stop: The character after the name; without one, the name ends before the first character of another kind.

        Raises:
            UnreadableError: If `viable` returns false.
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
        """Return whether the arguments of `name` start here. Between marks, a name at the end is a truncated call."""
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


def is_short_enough(word: str) -> bool:
    """Return whether a word is short enough for a name."""
    return len(word) <= MAX_NAME_LENGTH


def to_arguments(value: Any) -> dict[str, Any]:
    """Return the arguments in a value: an object, or its JSON text, as OpenAI's API writes them.

    Raises:
        UnreadableError: If it is neither.
    """
    if isinstance(value, str):
        value = read_text(value)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise UnreadableError("arguments that are not an object")


def to_json(arguments: Mapping[str, object]) -> str:
    """Return arguments as JSON that can be encoded in UTF-8."""
    text = json.dumps(arguments, ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)  # a lone surrogate cannot be encoded


def make_invalid_json(name: str, arguments: str) -> str:
    """Return unreadable arguments as text that no parser accepts as JSON."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return name + arguments
