"""Correct the names and arguments of calls that the service parsed, by the bound tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_workers_gemma.response.arguments import ArgumentsReader
from langchain_workers_gemma.response.events import CallsEnd, Event, GarbledCall, Text, ToolCallDelta
from langchain_workers_gemma.response.string_tokens import NO_TOKENS, StringTokens
from langchain_workers_gemma.schemas.argument_types import ArgumentType

# Engines leave blanks and quotes around a name, and the text between the name and the arguments of a JSON call.
_NAME = re.compile(r"""\s*["']?([^\s"'{}(),]+)["']?\s*(?:,\s*["'](?:arguments|parameters|args)["']\s*:\s*)?""")
_NAMESPACE_END = re.compile(r"[.:/]")


@dataclass(frozen=True, slots=True)
class BoundTools:
    """The facts about the bound tools that are needed to read their calls.

    Attributes:
        types: The argument types of each tool, by its schema.
        tokens: The special tokens that an engine may leave in a string.
        unquotes: Whether an engine parses calls in Gemma's notation, and may treat plain quotes as content.
    """

    types: Mapping[str, ArgumentType]
    tokens: StringTokens = NO_TOKENS
    unquotes: bool = False

    def resolve(self, name: str) -> str:
        """Return the name of the matching bound tool, or the name itself if none matches.

        A namespace before the name is dropped: Gemma writes `default_api.f` and `google:mcp:f` (mlx-vlm#1379).
        """
        if name in self.types or not (match := _NAME.fullmatch(name)):
            return name
        bare = self.tokens.strip(match[1])
        candidates = (bare, *(bare[end.end() :] for end in _NAMESPACE_END.finditer(bare)))
        return next((candidate for candidate in candidates if candidate in self.types), name)


class _Call:
    """A call, as far as it has arrived.

    Attributes:
        name: The tool's name.
        reader: Reads its arguments, `None` if the tool is not bound.
        beginning: The first characters of its arguments, while the arguments may still turn out to be empty.
    """

    __slots__ = ("beginning", "name", "reader")

    def __init__(self, name: str, reader: ArgumentsReader | None) -> None:
        self.name = name
        self.reader = reader
        self.beginning = ""


class BoundCalls:
    """Corrects the calls that the service sent as data, by the bound tools.

    It removes namespaces from names, and reads arguments by the tool's schema. A call of an unknown tool is held until
    its arguments arrive: if the reply ends before that, the name was truncated, and the call is dropped.

    Args:
        tools: The bound tools.
        is_truncated: Returns whether the reply was truncated. It is called after the reply has ended.
    """

    def __init__(self, tools: BoundTools, is_truncated: Callable[[], bool]) -> None:
        self._tools = tools
        self._is_truncated = is_truncated
        self._calls: dict[int, _Call] = {}
        self._held: list[ToolCallDelta] = []  # pieces of a call of an unknown tool, without arguments so far

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if isinstance(event, ToolCallDelta):
            return self._read_piece(event)
        return (*self._release(), event) if self._held and isinstance(event, Text | CallsEnd) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return the events that were held back."""
        events: list[Event] = []
        if self._held and self._is_truncated():
            self._held.clear()
            events.append(CallsEnd())  # the calls before it are complete
        events += self._release()
        for index, call in self._calls.items():
            if call.reader is not None and (rest := call.reader.flush()):
                events.append(ToolCallDelta(index, None, None, rest))
            if call.reader is not None and call.reader.is_garbled:
                events.append(GarbledCall(index))
        return events

    def _read_piece(self, delta: ToolCallDelta) -> list[Event]:
        events = self._release() if self._held and self._held[0].index != delta.index else []
        call = self._calls.get(delta.index)
        name = delta.name
        if call is None or (delta.name and not call.name):
            is_late = call is not None
            name = self._tools.resolve(delta.name or "")
            call = self._calls[delta.index] = _Call(name, None if is_late else self._make_reader(name))
        arguments = delta.arguments if call.reader is None else call.reader.feed(delta.arguments)
        if not (name or delta.id or arguments):
            return events
        ready = ToolCallDelta(delta.index, delta.id, name, arguments)
        if not (call.name and call.reader is None and self._may_be_truncated_name(call, arguments)):
            return [*events, *self._release(), ready]
        self._held.append(ready)
        return events

    def _may_be_truncated_name(self, call: _Call, arguments: str) -> bool:
        """Return whether only empty arguments have arrived, which engines write for a truncated name."""
        if call.name in self._tools.types or len(call.beginning) > 2:
            return False
        call.beginning += "".join(arguments.split())[:3]
        return "{}".startswith(call.beginning)

    def _make_reader(self, name: str) -> ArgumentsReader | None:
        type_ = self._tools.types.get(name)
        return None if type_ is None else ArgumentsReader(type_, self._tools.tokens, unquotes=self._tools.unquotes)

    def _release(self) -> list[Event]:
        """Return the pieces of the call that was held back: its name is complete."""
        held, self._held = self._held, []
        return list(held)
