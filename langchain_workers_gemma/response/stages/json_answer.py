"""The JSON alone of an answer that was to be JSON, without what the model wrapped around it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from langchain_workers_gemma.json_text.finder import NoJsonError, find_json
from langchain_workers_gemma.json_text.scanner import ValueScanner
from langchain_workers_gemma.response.events import Event, Text, ToolCallDelta

_OPENING = re.compile(r'\s*(?:```[ \t]*(?:json)?[ \t]*\r?\n?\s*)?(?=\{\s*")', re.IGNORECASE)
_STILL_OPENING = re.compile(
    r"\s*(?:`{0,2}|```[ \t]*(?:j|js|jso|json)?[ \t]*\r?\n?\s*|(?:```[ \t]*(?:json)?[ \t]*\r?\n?\s*)?\{\s*)\Z",
    re.IGNORECASE,
)
MAX_HEAD_BYTES = 1000  # white space and a fence; more than that is an endless run of white space


class JsonAnswer:
    """Takes the fence and the prose off, since programs that asked with `response_format` parse the text as it is.

    JSON that comes first, bare or fenced, streams as it grows; where prose comes first, the reply is held to its end.
    """

    def __init__(self) -> None:
        self._held: list[str] = []
        self._head = ""
        self._state: Callable[[str], Iterable[Event]] = self._opening
        self._scanner = ValueScanner()

    def feed(self, event: Event) -> Iterable[Event]:
        """Take one event and give those that can be told now."""
        if isinstance(event, Text):
            return self._state(event.text)
        if isinstance(event, ToolCallDelta):
            return (*self.flush(), event)
        return (event,)

    def flush(self) -> Iterable[Event]:
        """The reply has ended: give what was held back."""
        text = self._head + "".join(self._held)
        self._head = ""
        self._held = []
        if not text:
            return ()
        try:
            return (Text(json.dumps(find_json(text), ensure_ascii=False)),)
        except (NoJsonError, RecursionError):
            return (Text(text),)

    def _opening(self, text: str) -> Iterable[Event]:
        self._head += text
        match = _OPENING.match(self._head)
        if match is None:
            if len(self._head) >= MAX_HEAD_BYTES or not _STILL_OPENING.match(self._head):
                self._held, self._head = [self._head], ""
                self._state = self._holding
            return ()
        rest, self._head = self._head[match.end() :], ""
        self._state = self._inside
        return self._inside(rest)

    def _holding(self, text: str) -> Iterable[Event]:
        self._held.append(text)
        return ()

    def _inside(self, text: str) -> Iterable[Event]:
        end = self._scanner.scan(text)
        if end is not None:
            self._state = self._after
            text = text[:end]
        return (Text(text),) if text else ()

    def _after(self, _text: str) -> Iterable[Event]:
        return ()
