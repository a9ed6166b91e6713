"""The stage that reads the calls and thoughts in a model's text, in addition to those that the service parses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from langchain_workers_gemma.response.events import CallsEnd, Event, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.tool_text.reader import TextEvent, TextReader
from langchain_workers_gemma.tool_text.tokens import ThinkingMarkup
from langchain_workers_gemma.tool_text.tool_names import ToolNames
from langchain_workers_gemma.tool_text.twins import DuplicateFilter


class TextStage:
    """Reads calls, thoughts and special tokens in a reply's text and reasoning.

    Args:
        tools: The bound tools.
        thinking: How the model marks its thoughts, `None` if it has none.
    """

    def __init__(self, tools: ToolNames, thinking: ThinkingMarkup | None = None) -> None:
        self._reader = TextReader(tools, thinking)
        self._reads_reasoning = thinking is not None
        self._blank = ""  # white space after a thought that may hold a call
        self._duplicates = DuplicateFilter()

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if type(event) is Text:
            if not self._duplicates.held and self._reader.passes(event.text):
                return (event,)
            return self._emit(self._read_text(event.text))
        if type(event) is Reasoning and self._reads_reasoning:
            if not (self._duplicates.held or self._blank) and self._reader.passes(event.text, reasoning=True):
                return (event,)
            return self._emit(self._read_reasoning(event.text))
        if isinstance(event, ToolCallDelta):
            return [*self._emit(self._end(call_follows=True)), *self._duplicates.add_parsed(event)]
        return [*self._duplicates.release(), event] if isinstance(event, CallsEnd) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return the events that were held back."""
        return [*self._emit(self._end()), *self._duplicates.release()]

    def _read_text(self, text: str) -> list[TextEvent]:
        reader = self._reader
        if not reader.in_reasoning:
            return reader.feed(text)
        if text.isspace() and reader.holds_call:
            self._blank += text
            return []
        events = reader.flush(text_follows=True)
        return [*events, *reader.feed(self._take_blank() + text)]

    def _read_reasoning(self, text: str) -> list[TextEvent]:
        reader = self._reader
        if reader.in_reasoning:
            return reader.feed(self._take_blank() + text)
        events = reader.flush()
        reader.begin_reasoning()
        return [*events, *reader.feed(text)]

    def _end(self, *, call_follows: bool = False) -> list[TextEvent]:
        events = self._reader.flush(call_follows=call_follows)
        blank = self._take_blank()
        if blank and not any(isinstance(event, ToolCallDelta) for event in events):
            events.append(Text(blank))
        return events

    def _take_blank(self) -> str:
        blank, self._blank = self._blank, ""
        return blank

    def _emit(self, events: Iterable[TextEvent]) -> list[Event]:
        """Return the events with calls numbered from -1 downwards, since the service numbers its own from 0."""
        emitted: list[Event] = []
        for event in events:
            if not isinstance(event, ToolCallDelta):
                emitted += (*self._duplicates.release(), event)
            elif self._duplicates.add_written(event):
                emitted.append(replace(event, index=-1 - event.index))
        return emitted
