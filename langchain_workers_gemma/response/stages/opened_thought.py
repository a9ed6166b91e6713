"""Find the end of a thought that the chat template has opened in the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta

MAX_THOUGHT = 2_000
"""The maximum number of characters held back for the end of the thought, so that an answer without one streams."""


class OpenedThought:
    """Adds the opening token to a reply whose first thought the chat template has opened at the end of the prompt.

    With thinking on, a template can open the thought after tool results (vllm#45834, omlx#2533). If the service does
    not parse thoughts, the text of the reply starts within one, and only the closing token shows it. The text is held
    until that token arrives, unless the service sends a thought or a call as data first.

    Args:
        opening: The token that opens a thought.
        name: The name after that token, on its own line.
        closing: The token that closes the thought.
    """

    def __init__(self, opening: str, name: str, closing: str) -> None:
        self._opening = opening
        self._name = name
        self._closing = closing
        self._held: list[str] = []
        self._length = 0
        self._end = ""  # the end of the held text, where the closing token may begin
        self._is_decided = False

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if self._is_decided:
            return (event,)
        if isinstance(event, Text):
            return self._wait(event.text)
        return (*self.flush(), event) if isinstance(event, Reasoning | ToolCallDelta) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return the text that was held back."""
        self._is_decided = True
        held, self._held = "".join(self._held), []
        return (Text(held),) if held else ()

    def _wait(self, text: str) -> Sequence[Event]:
        self._held.append(text)
        self._length += len(text)
        seen = self._end + text
        before = seen.find(self._closing)
        if before >= 0 and self._length - len(seen) + before <= MAX_THOUGHT:
            is_named = "".join(self._held).lstrip().startswith(self._name)
            self._held.insert(0, self._opening if is_named else f"{self._opening}{self._name}\n")
            return self.flush()
        self._end = seen[1 - len(self._closing) :]
        return self.flush() if self._length - len(self._end) > MAX_THOUGHT else ()
