"""Apply stop sequences in the client."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_workers_gemma.response.events import Event, Finish, Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.response.stages.markers import measure_open_suffix


class StopSequences:
    """Applies `stop` in the client, for a model whose published schema has no such parameter.

    The answer ends before the first complete stop sequence, as it would if the service applied it. The rest of the
    reply is read and dropped, except for usage.

    Args:
        stops: The stop sequences, none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self._is_stopped = False

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if isinstance(event, Text):
            return () if self._is_stopped else self._read(self._held + event.text)
        if self._is_stopped:
            return () if isinstance(event, Finish | ToolCallDelta | Reasoning) else (event,)
        if isinstance(event, ToolCallDelta | Finish):
            return (*self.flush(), event)
        return (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return the text that was held back."""
        held, self._held = self._held, ""
        return (Text(held),) if held else ()

    def _read(self, text: str) -> list[Event]:
        at = self._find_first_stop(text)
        if at is not None:
            self._is_stopped = True
            self._held = ""
            return [*([Text(text[:at])] if at else []), Finish("stop")]
        keep = measure_open_suffix(text, self._stops)
        self._held = text[len(text) - keep :]
        ready = text[: len(text) - keep]
        return [Text(ready)] if ready else []

    def _find_first_stop(self, text: str) -> int | None:
        """Return where the answer ends: at the start of the sequence that is completed first."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None
