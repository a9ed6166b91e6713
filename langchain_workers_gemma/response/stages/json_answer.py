"""Extract the JSON of an answer, without the fence and the text that the model wrote around it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from langchain_workers_gemma.json_text.finder import NoJsonError, find_json, find_last_object
from langchain_workers_gemma.json_text.scanner import ValueScanner
from langchain_workers_gemma.response.events import Event, Finish, Reasoning, Text, ToolCallDelta

_OPENING = re.compile(r'\s*(?:```[ \t]*(?:json)?[ \t]*\r?\n?\s*)?(?=\{\s*")', re.IGNORECASE)
_STILL_OPENING = re.compile(
    r"\s*(?:`{0,2}|```[ \t]*(?:j|js|jso|json)?[ \t]*\r?\n?\s*|(?:```[ \t]*(?:json)?[ \t]*\r?\n?\s*)?\{\s*)\Z",
    re.IGNORECASE,
)
MAX_HEAD_BYTES = 1000  # for white space and a fence; a longer run of white space does not end


Withholding: TypeAlias = Literal["all", "not_json"]
"""The answers that are kept from the caller, so that they can be requested again: all, or those without JSON first."""


class JsonAnswer:
    """Removes the fence and the text around JSON, since programs that use `response_format` parse the text as it is.

    If the answer begins with JSON, bare or fenced, it is streamed. If it begins with other text, it is held until the
    reply ends. The whole reply of a thinking model can be in its thoughts, JSON included (`docs/wire.md` section 10):
    if there is no other text and the reply was not truncated, the last object in the thoughts is the answer.

    Args:
        withholds: The answers to leave in `withheld` when the reply ends; `None` emits every answer.

    Attributes:
        withheld: The answer that was not emitted; `None` if there is none.
        is_followed: Whether anything follows the JSON, white space included.
    """

    def __init__(self, withholds: Withholding | None = None) -> None:
        self.withheld: str | None = None
        self.is_followed = False
        self._withholds = withholds
        self._held: list[str] = []
        self._head = ""
        self._thoughts: list[str] = []
        self._is_answered = False
        self._state: Callable[[str], Sequence[Event]] = self._hold if withholds == "all" else self._read_opening
        self._scanner = ValueScanner()

    def feed(self, event: Event) -> Sequence[Event]:
        """Take one event and return the events that are ready."""
        if isinstance(event, Text):
            return self._state(event.text)
        if isinstance(event, Reasoning):
            self._thoughts.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self._is_answered = True
            return (*_pass_text(self._take_held()), event)
        elif isinstance(event, Finish):
            self._is_answered = self._is_answered or event.reason == "length"
        return (event,)

    def flush(self) -> Sequence[Event]:
        """End the reply, and return the text that was held back, or leave it in `withheld`."""
        text = self._take_held()
        if not (self._is_answered or text.strip()):
            text = self._find_answer_in_thoughts() or text
        if self._withholds is not None and not self._is_answered:
            self.withheld = text
            return ()
        return _pass_text(text)

    def _take_held(self) -> str:
        """Return the JSON in the text that was held back, or the whole text if it holds none."""
        text, self._head, self._held = self._head + "".join(self._held), "", []
        self.is_followed = self.is_followed or text[-1:] not in ("}", "]", "")
        opening = _OPENING.match(text)
        if opening is not None:
            return text[opening.end() : ValueScanner().scan(text, opening.end())]
        try:
            return json.dumps(find_json(text), ensure_ascii=False)
        except (NoJsonError, RecursionError):
            return text

    def _find_answer_in_thoughts(self) -> str:
        try:
            return json.dumps(find_last_object("".join(self._thoughts)), ensure_ascii=False)
        except (NoJsonError, RecursionError):
            return ""

    def _read_opening(self, text: str) -> Sequence[Event]:
        self._head += text
        match = _OPENING.match(self._head)
        if match is None:
            if len(self._head) >= MAX_HEAD_BYTES or not _STILL_OPENING.match(self._head):
                self._held, self._head = [self._head], ""
                self._state = self._hold
            return ()
        rest, self._head = self._head[match.end() :], ""
        self._state = self._read_inside
        self._is_answered = True
        return self._read_inside(rest)

    def _hold(self, text: str) -> Sequence[Event]:
        self._held.append(text)
        return ()

    def _read_inside(self, text: str) -> Sequence[Event]:
        end = self._scanner.scan(text)
        if end is not None:
            self._state = self._drop
            self.is_followed = end < len(text)
            text = text[:end]
        return (Text(text),) if text else ()

    def _drop(self, text: str) -> Sequence[Event]:
        self.is_followed = self.is_followed or bool(text)
        return ()


def _pass_text(text: str) -> Sequence[Event]:
    return (Text(text),) if text else ()
