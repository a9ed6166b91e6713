"""Enforce a forced tool choice: emit nothing before the forced call has begun."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_workers_gemma.response.events import Event, Finish, Reasoning, Text, ToolCallDelta, Usage


class ForcedCall:
    """Holds text and calls of other tools back until a call to one of the forced tools begins.

    Gemma 4 can answer a forced choice with plain text (cloudflare/ai#561). Text that a user has seen cannot be
    withdrawn, so it is held here. If the call never begins, the text is dropped and the call is requested again.

    Args:
        names: The tools of which one must be called.

    Attributes:
        has_begun: Whether a call to one of them has begun.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.has_begun = False
        self._held: list[Event] = []

    @property
    def text_instead_of_call(self) -> str:
        """The text that the model wrote instead of a call."""
        return "".join(event.text for event in self._held if isinstance(event, Text))

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if self.has_begun or isinstance(event, Reasoning | Usage | Finish):
            return (event,)
        self._held.append(event)
        if not (isinstance(event, ToolCallDelta) and event.name in self.names):
            return ()
        self.has_begun = True
        held, self._held = self._held, []
        return held

    def flush(self) -> Sequence[Event]:
        """End the reply. Text that is still held is not emitted."""
        return ()
