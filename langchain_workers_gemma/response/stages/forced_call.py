"""A forced choice: nothing is emitted before the demanded call has begun."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_workers_gemma.response.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage


class ForcedCall:
    """Holds text and calls of other tools back until a call to one of the right tools begins.

    On Gemma 4 a forced choice is advisory and can be answered with plain text (cloudflare/ai#561). Text that was
    handed to a user cannot be withdrawn, so it is held here; if the call never begins, it is dropped and the call
    requested again.

    Args:
        names: The tools of which one must be called.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.begun = False
        self._held: list[Event] = []

    @property
    def prose(self) -> str:
        """The text in place of a call."""
        return "".join(event.text for event in self._held if isinstance(event, Text))

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if self.begun or isinstance(event, Reasoning | Usage | Finish):
            return (event,)
        self._held.append(event)
        if not (isinstance(event, ToolCallDelta) and event.name in self.names):
            return ()
        self.begun = True
        held, self._held = self._held, []
        return held

    def flush(self) -> Sequence[Event]:
        """End the reply: what is still held is no call, and is not emitted."""
        return ()
