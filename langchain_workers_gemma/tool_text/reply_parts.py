"""What a reply has been read to hold: text, thoughts, and calls, of which those in a thought wait for what follows."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_workers_gemma.tool_text.calls import WrittenCall
from langchain_workers_gemma.tool_text.emitter import Emitter
from langchain_workers_gemma.tool_text.markdown import MarkdownState


class ReplyParts:
    """Sorts what is read into text, thoughts and calls.

    Calls in a thought are real if nothing but calls follows; else they are a part of the thought.

    Args:
        emitter: Takes what is decided.

    Attributes:
        emitter: The same.
        thought_page: The position in the Markdown of the thought that is open, `None` if none is.
        calls: The calls in that thought.
        turn_ended: Whether the model has ended its turn, and nothing but white space has followed.
    """

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.thought_page: MarkdownState | None = None
        self.calls: list[WrittenCall] = []
        self.turn_ended = False
        self._text_page = MarkdownState()
        self._calls_text: list[str] = []  # what the calls were read from

    @property
    def page(self) -> MarkdownState:
        """The position in the Markdown of the thought that is open, else of the text."""
        return self._text_page if self.thought_page is None else self.thought_page

    def append(self, text: str, *, refused: bool = False) -> None:
        """Take text, or a piece of the thought that is open.

        Args:
            text: The text.
            refused: Whether it is the beginning of what could have been a call.
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

    def take_calls(self, calls: Iterable[WrittenCall], text: str) -> None:
        """Take calls. In a thought they wait for what follows.

        Args:
            calls: The calls.
            text: What they were read from.
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
        """Close the thought that is open, if one is.

        Args:
            calls_are_real: Whether the calls in it are calls.
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
        """Make what looked like calls in a thought part of the thought."""
        text = "".join(self._calls_text)
        self.calls.clear()
        self._calls_text.clear()
        self.page.add(text, refused=True)
        self.emitter.add_thought(text)
