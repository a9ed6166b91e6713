"""Calls to bound tools read out of a reply's text, piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_workers_gemma.response.events import Event, Text, ToolCallDelta
from langchain_workers_gemma.tool_text.blocks import Block, Call, ToolNames
from langchain_workers_gemma.tool_text.source import CutError, Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import CALL_TOKENS, FENCES, RESULT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_BLANKS = " \t\r\n"
_STRETCH = re.compile(r"[ \t\r]+|\n+|`+|.[^\n`<]*", re.DOTALL)
_MARKDOWN = re.compile(r"\n|`+|[(\[{]|[)\]}]|[ \t\r]+|[^\n`()\[\]{} \t\r]+")
_FENCE = 3
_SURROGATE = re.compile("[\ud800-\udfff]")


class TextCallReader:
    """Reads calls to bound tools out of a reply's text, piece by piece.

    Text goes through at once, except for what could still become a call and the line ends that could still turn out to
    stand before one. A call is given when it is complete, as one delta without an id. What names no bound tool or
    cannot be read stays text, unaltered; so does everything in inline code and in a fence that is not for calls.

    Where the reply ends inside a call of a bound tool, the call is given with the text of its arguments so far, which
    is no JSON, so that it is neither run nor lost.

    Args:
        tool_names: The names of the bound tools.
        first_index: The index of the first call found.
        tool_parameters: The names of each tool's parameters in order. With them Python calls can be read that give
            arguments without keywords.
    """

    def __init__(
        self,
        tool_names: Collection[str],
        *,
        first_index: int = 0,
        tool_parameters: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._tools = ToolNames(tool_names, tool_parameters)
        self._source = Source()
        self._page = _MarkdownState()
        self._outlet = _Emitter(first_index)
        self._reading = self._read()

    def feed(self, text: str) -> list[Text | ToolCallDelta]:
        """Take the next piece of the text and give what can be told now."""
        self._source.feed(text)
        next(self._reading, None)
        return self._outlet.take()

    def flush(self) -> list[Text | ToolCallDelta]:
        """The reply's text has ended, here or for a while: give what was held back.

        Text may come after it again, as when the service itself gives a call in between. No call reaches across.
        """
        self._source.end()
        next(self._reading, None)
        self._outlet.close()
        self._source = Source()
        self._reading = self._read()
        return self._outlet.take()

    def _read(self) -> Steps[None]:
        source = self._source
        block = Block(source, self._tools)
        while character := (yield from source.peek()):
            if self._outlet.after_call and (yield from source.accept(*RESULT_TOKENS, *CALL_TOKENS.values())):
                continue
            if reading := (yield from self._begin(block, character)):
                yield from self._attempt(block, reading)
                block = Block(source, self._tools)
            else:
                self._append_text(source.chunk(_STRETCH))

    def _begin(self, block: Block, character: str) -> Steps[Steps[None] | None]:
        """How to read the calls that could begin here, `None` if none could."""
        if not self._tools.names or self._page.is_code(character):
            return None
        if character == "`":
            fence = yield from self._source.startswith(*FENCES)
            return block.fenced(fence, inline=not self._page.line_is_blank) if fence else None
        if character == "<":
            token = yield from self._source.startswith(*CALL_TOKENS)
            return block.tokens(token, inline=not self._page.line_is_blank) if token else None
        if self._page.line_is_free and (character in "[{" or self._tools.can_begin_line(character)):
            return block.line()
        return None

    def _attempt(self, block: Block, reading: Steps[None]) -> Steps[None]:
        self._source.hold()
        try:
            yield from reading
        except CutError:
            if block.is_cut_short():
                self._call(block.calls, block.rest())
            else:
                self._append_text(self._source.held(), refused=True)
        except UnreadableError:
            self._append_text(self._source.held(), refused=True)
        else:
            self._call(block.calls)
        self._source.release()

    def _append_text(self, text: str, *, refused: bool = False) -> None:
        self._page.add(text, refused=refused)
        self._outlet.text(text)

    def _call(self, calls: Sequence[Call], rest: tuple[str, str] | None = None) -> None:
        self._page.begin_line()
        for name, arguments in calls:
            self._outlet.call(name, _to_json(arguments))
        if rest is not None:
            self._outlet.call(*rest)


def _to_json(arguments: Mapping[str, object]) -> str:
    text = json.dumps(arguments, ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)  # half a character cannot be encoded


class _MarkdownState:
    """Where in its Markdown the text has come to: which stretches are code, and where a line of calls can stand.

    The same characters lead to the same place, however they were cut.

    Attributes:
        line_is_blank: Whether nothing but white space stands on the line so far.
    """

    def __init__(self) -> None:
        self.line_is_blank = True
        self._depth = 0  # how many brackets are open
        self._refused = False  # whether they may be those of something that is no call
        self._last = ""  # the last character that is not white space
        self._code = 0  # how many backticks opened the code that is open
        self._fenced = False
        self._ticks = 0  # how many backticks stand just before here
        self._ticks_lead = False

    @property
    def line_is_free(self) -> bool:
        """Whether a line of calls can begin here: it is blank and does not go on with what the lines before began.

        So a call in a list of other things, or within what is no call, stays text with it. An open bracket in prose
        does not count, unless its line ends in it or in a comma.
        """
        return self.line_is_blank and not (self._depth and (self._refused or self._last in "([{,"))

    def begin_line(self) -> None:
        """A block of calls was taken out: what comes next stands as if on a line of its own."""
        self._end_ticks("\n")
        self.line_is_blank = True

    def is_code(self, character: str) -> bool:
        """Whether `character`, which comes next, is in code or belongs to what opens or closes it."""
        if character == "`":
            return bool(self._ticks or self._code)
        self._end_ticks(character)
        return bool(self._code)

    def add(self, text: str, *, refused: bool = False) -> None:
        """Take the next piece of the text.

        Args:
            text: The piece.
            refused: Whether it is the beginning of what could have been a call.
        """
        self._refused |= refused
        for token in _MARKDOWN.findall(text):
            kind = token[0]
            if kind == "`":
                self._ticks_lead = self._ticks_lead if self._ticks else self.line_is_blank
                self._ticks += len(token)
                self.line_is_blank = False
                continue
            self._end_ticks(kind)
            if kind == "\n":
                self._end_line()
            elif kind not in _BLANKS:
                self.line_is_blank = False
                self._last = token[-1]
                if kind in "([{" and not self._code:
                    self._depth += 1
                elif kind in ")]}" and not self._code:
                    self._depth = max(0, self._depth - 1)

    def _end_line(self) -> None:
        if self.line_is_blank:
            self._depth = 0
        self._refused = self._refused and self._depth > 0
        if not self._fenced:  # what is still open is a fence or, if too short for one, a stray backtick
            self._fenced = self._code >= _FENCE
            self._code = self._code if self._fenced else 0
        self.line_is_blank = True

    def _end_ticks(self, following: str) -> None:
        ticks, self._ticks = self._ticks, 0
        if not ticks:
            return
        if self._fenced:
            if self._ticks_lead and ticks >= self._code and following in _BLANKS:
                self._code, self._fenced = 0, False
        elif self._code in (0, ticks):
            self._code = 0 if self._code else ticks


class _Emitter:
    """Gives text and calls out, without the white space that only set a call apart from the text around it."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._events: list[Text | ToolCallDelta] = []
        self._pieces: list[str] = []  # text that goes behind the events
        self._said = False  # whether there has been any text
        self._blank: list[str] = []  # white space that waits for what comes after it
        self._separator: str | None = None  # after a call: what stood between it and the text before

    @property
    def after_call(self) -> bool:
        """Whether nothing but white space has come since a call."""
        return self._separator is not None

    def text(self, text: str) -> None:
        """Take a piece of text."""
        body = text.rstrip(_BLANKS)
        if body:
            self._put(self._gap() + body)
        tail = text[len(body) :]
        if self._said and not self._blank and not self.after_call:  # blanks that end no line need not wait
            line_end = tail.find("\n")
            spaces = tail if line_end < 0 else tail[:line_end]
            self._put(spaces)
            tail = tail[len(spaces) :]
        if tail:
            self._blank.append(tail)

    def call(self, name: str, arguments: str) -> None:
        """Take a call."""
        blank = "".join(self._blank)
        self._separator = self._separator or blank[: blank.rfind("\n") + 1]  # what follows indents the call
        self._blank.clear()
        self._end_text()
        self._events.append(ToolCallDelta(self._index, None, name, arguments))
        self._index += 1

    def close(self) -> None:
        """The text has ended: white space at its end is part of it, unless it stood around a call."""
        if not self.after_call:
            self._put("".join(self._blank))
        self._blank.clear()
        self._separator = None

    def take(self) -> list[Text | ToolCallDelta]:
        """Give what has come since it was last asked for."""
        self._end_text()
        events, self._events = self._events, []
        return events

    def _gap(self) -> str:
        blank = "".join(self._blank)
        self._blank.clear()
        if self._separator is None:
            return blank
        gap, self._separator = (self._separator or blank) if self._said else "", None
        return gap

    def _put(self, text: str) -> None:
        if text:
            self._said = True
            self._pieces.append(text)

    def _end_text(self) -> None:
        if self._pieces:
            self._events.append(Text("".join(self._pieces)))
            self._pieces.clear()


class WrittenCalls:
    """Feeds text to the reader of notations.

    Args:
        tools: The bound tools, in OpenAI's form.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool["function"] for tool in tools]
        parameters = {
            str(function["name"]): tuple((function.get("parameters") or {}).get("properties") or ())
            for function in functions
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
