"""A reply to the results of tools, whose first thought the chat template has opened in the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_workers_gemma.response.events import Event, Reasoning, Text, ToolCallDelta

MAX_THOUGHT = 2_000
"""Characters in which the end of such a thought is waited for, so that an answer without one still streams."""


class OpenedThought:
    """Puts the token before a reply's text that the chat template has put at the end of the prompt.

    With thinking on, a template can open the thought that follows results (vllm#45834, omlx#2533). Where the service
    does not read thoughts, its text starts inside of one, and only the closing token shows it. That token is waited
    for, unless the service sends a thought or a call as data first.

    Args:
        opening: What opens a thought.
        name: The name behind it, on its own line.
        closing: What closes it.
    """

    def __init__(self, opening: str, name: str, closing: str) -> None:
        self._opening = opening
        self._name = name
        self._closing = closing
        self._held: list[str] = []
        self._length = 0
        self._end = ""  # the end of what is held, in which the closing token may begin
        self._is_decided = False

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if self._is_decided:
            return (event,)
        if isinstance(event, Text):
            return self._wait(event.text)
        return (*self.flush(), event) if isinstance(event, Reasoning | ToolCallDelta) else (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply and return what was held back."""
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
