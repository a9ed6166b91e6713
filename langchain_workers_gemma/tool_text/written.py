"""The stage that recovers calls a model wrote as text, beside those that the service reads itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_workers_gemma.request.tools import tool_name
from langchain_workers_gemma.response.events import Event, Text, ToolCallDelta
from langchain_workers_gemma.tool_text.reader import TextCallReader


class WrittenCalls:
    """Feeds text to the reader of notations.

    Args:
        tools: The bound tools, in OpenAI's form.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        parameters = {
            tool_name(tool): tuple((tool["function"].get("parameters") or {}).get("properties") or ()) for tool in tools
        }
        self._reader = TextCallReader(parameters, tool_parameters=parameters)

    def feed(self, event: Event) -> Iterable[Event]:
        """Take one event and give those that can be told now."""
        if isinstance(event, Text):
            return _apart(self._reader.feed(event.text))
        if isinstance(event, ToolCallDelta):
            return (*self.flush(), event)
        return (event,)

    def flush(self) -> Iterable[Event]:
        """The reply has ended: give what was held back."""
        return _apart(self._reader.flush())


def _apart(events: Iterable[Text | ToolCallDelta]) -> list[Event]:
    """Calls found in text are counted downwards from -1, apart from those that the service numbers from 0."""
    return [replace(event, index=-1 - event.index) if isinstance(event, ToolCallDelta) else event for event in events]
