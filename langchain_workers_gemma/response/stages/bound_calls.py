"""Correct the names and arguments of calls that the service parsed, by the bound tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_workers_gemma.response.arguments import ArgumentsReader
from langchain_workers_gemma.response.events import CallsEnd, Event, Text, ToolCallDelta
from langchain_workers_gemma.response.string_tokens import NO_TOKENS, StringTokens
from langchain_workers_gemma.schemas.argument_types import ArgumentType

# What engines add to a name: blanks and quotes around it, and text between it and a JSON call's arguments.
_NAME = re.compile(r"""\s*["']?([^\s"'{}(),]+)["']?\s*(?:,\s*["'](?:arguments|parameters|args)["']\s*:\s*)?""")
_NAMESPACE_END = re.compile(r"[.:/]")


@dataclass(frozen=True, slots=True)
class BoundTools:
    """The bound tools, as far as reading their calls needs them.

    Attributes:
        types: The argument types of each tool, by its schema.
        tokens: The special tokens that an engine may leave in a string.
        unquotes: Whether an engine parses calls in Gemma's notation, and may treat plain quotes as content.
    """

    types: Mapping[str, ArgumentType]
    tokens: StringTokens = NO_TOKENS
    unquotes: bool = False

    def resolve(self, name: str) -> str:
        """Return the bound tool that a name means, or the name itself if it means none.

        A namespace before the name is dropped: Gemma writes `default_api.f` and `google:mcp:f` (mlx-vlm#1379).
        """
        if name in self.types or not (match := _NAME.fullmatch(name)):
            return name
        bare = match[1]
        candidates = (bare, *(bare[end.end() :] for end in _NAMESPACE_END.finditer(bare)))
        return next((candidate for candidate in candidates if candidate in self.types), name)


class _Call:
    """A call so far.

    Attributes:
        name: The tool's name.
        reader: Reads its arguments, `None` if the tool is not bound.
        begins: What its arguments begin with, while they may still be none.
    """

    __slots__ = ("begins", "name", "reader")

    def __init__(self, name: str, reader: ArgumentsReader | None) -> None:
        self.name = name
        self.reader = reader
        self.begins = ""


class BoundCalls:
    """Corrects the calls that arrived as data by the bound tools.

    Names lose their namespaces, and arguments are read by the tool's schema. A call of an unknown tool waits for its
    arguments: if the reply ended before they arrived, its name was truncated, and it is no call.

    Args:
        tools: The bound tools.
        is_cut: Returns whether the reply was truncated; called once it has ended.
    """

    def __init__(self, tools: BoundTools, is_cut: Callable[[], bool]) -> None:
        self._tools = tools
        self._is_cut = is_cut
        self._calls: dict[int, _Call] = {}
        self._held: list[ToolCallDelta] = []  # of a call of an unknown tool, without arguments so far

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if isinstance(event, ToolCallDelta):
            return self._read_piece(event)
        return (*self._release(), event) if self._held and isinstance(event, Text | CallsEnd) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return what was held back."""
        if self._held and self._is_cut():
            self._held.clear()
        events = self._release()
        for index, call in self._calls.items():
            if call.reader is not None and (rest := call.reader.flush()):
                events.append(ToolCallDelta(index, None, None, rest))
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
        if not (call.name and call.reader is None and self._may_be_cut_name(call, arguments)):
            return [*events, *self._release(), ready]
        self._held.append(ready)
        return events

    def _may_be_cut_name(self, call: _Call, arguments: str) -> bool:
        """Return whether only empty arguments have arrived, which engines write for a truncated name."""
        if call.name in self._tools.types or len(call.begins) > 2:
            return False
        call.begins += "".join(arguments.split())[:3]
        return "{}".startswith(call.begins)

    def _make_reader(self, name: str) -> ArgumentsReader | None:
        type_ = self._tools.types.get(name)
        return None if type_ is None else ArgumentsReader(type_, self._tools.tokens, unquotes=self._tools.unquotes)

    def _release(self) -> list[Event]:
        """Return the pieces of a call that was held: its name is whole."""
        held, self._held = self._held, []
        return list(held)
