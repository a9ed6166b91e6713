"""Sort a reply into text, thoughts and calls; hold the calls in a thought until it is clear whether they count."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_workers_gemma.tool_text.calls import WrittenCall
from langchain_workers_gemma.tool_text.emitter import Emitter
from langchain_workers_gemma.tool_text.markdown import MarkdownState


class ReplyParts:
    """Sorts the text of a reply into text, thoughts and calls.

    Calls in a thought count if only calls follow; else they are a part of the thought.

    Args:
        emitter: Collects the results.

    Attributes:
        emitter: Collects the results.
        thought_page: The Markdown state of the open thought, `None` if no thought is open.
        calls: The calls in that thought.
        turn_ended: Whether the model has ended its turn, and only white space has followed.
    """

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.thought_page: MarkdownState | None = None
        self.calls: list[WrittenCall] = []
        self.turn_ended = False
        self._text_page = MarkdownState()
        self._calls_text: list[str] = []  # the text of the calls in the thought

    @property
    def page(self) -> MarkdownState:
        """The Markdown state of the open thought, else of the text."""
        return self._text_page if self.thought_page is None else self.thought_page

    def append(self, text: str, *, refused: bool = False) -> None:
        """Add a piece of the open thought, else of the text.

        Args:
            text: The piece.
            refused: Whether it was read as the beginning of a call, but is none.
        """
        blank = text.isspace()
        if self.calls and blank:
            self._calls_text.append(text)
            return
        if self.calls:
            self._drop_calls()
        self.turn_ended = self.turn_ended and blank
        self.page.add(text, refused=refused)
        if self.thought_page is None:
            self.emitter.add_text(text)
        else:
            self.emitter.add_thought(text)

    def add_calls(self, calls: Iterable[WrittenCall], text: str) -> None:
        """Add calls. In a thought, they are held until it is clear whether they count.

        Args:
            calls: The calls.
            text: The text of the calls.
        """
        self.page.begin_line()
        if self.thought_page is None:
            self._emit(calls)
        else:
            self.calls += calls
            self._calls_text.append(text)

    def begin_thought(self) -> None:
        """Open a thought."""
        self.thought_page = MarkdownState()

    def end_thought(self, *, calls_are_real: bool) -> None:
        """Close the open thought, if there is one.

        Args:
            calls_are_real: Whether the calls in it count.
        """
        if self.calls and not calls_are_real:
            self._drop_calls()
        self.emitter.end_thought()
        self._emit(self.calls)
        self.calls.clear()
        self._calls_text.clear()
        if self.thought_page is not None:
            self.thought_page = None
            self._text_page.begin_line()

    def _emit(self, calls: Iterable[WrittenCall]) -> None:
        for call in calls:
            self.emitter.add_call(call.name, call.arguments, closed=call.closed)

    def _drop_calls(self) -> None:
        """Add the text of the calls in a thought to the thought."""
        text = "".join(self._calls_text)
        self.calls.clear()
        self._calls_text.clear()
        self.page.add(text, refused=True)
        self.emitter.add_thought(text)
