"""Reads a reply that obeys `guided_schema`, while it grows.

The answer's text is told as text, calls as pieces of calls; anything else comes back as the text it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from langchain_workers_gemma.json_text.scanner import StringDecoder, ValueScanner
from langchain_workers_gemma.response.events import CallsEnd, Event, Stage, Text, ToolCallDelta

_WHITE_SPACE = " \t\r\n"
_KEY = re.compile(r'"([^"\\]*)"\s*:')
MAX_KEY_LENGTH = 400


class _NotGuided(Exception):  # noqa: N818 - a signal within this module
    """The reply is not in the form that was asked for."""


class GuidedCalls:
    """Reads a reply that obeys `guided_schema`, while it grows: the answer's text as text, calls as pieces of calls.

    Args:
        names: The bound tools.
        unguided: Makes the stage that reads a reply which does not obey, since the service may have ignored the
            constraint: it may hold calls in another notation.
    """

    def __init__(self, names: Collection[str], unguided: Callable[[], Stage] | None = None) -> None:
        self._names = frozenset(names)
        self._make_unguided = unguided
        self._unguided: Stage | None = None
        self._buffer = ""
        self._raw: list[str] | None = []  # all that came, until something has been told
        self._state = self._start
        self._value: ValueScanner | None = None
        self._string: StringDecoder | None = None
        self._call_index = -1
        self._call_name: str | None = None
        self._pending_name: list[str] = []
        self._pending_arguments: list[str] = []
        self._in_list = False
        self._told: list[Event] = []

    def feed(self, event: Event) -> Iterable[Event]:
        """Take one event and give those that can be told now."""
        if isinstance(event, Text):
            return self._read(event.text)
        return (*self.flush(), event) if isinstance(event, ToolCallDelta) else (event,)

    def flush(self) -> Iterable[Event]:
        """The reply has ended: give what was held back."""
        if self._raw is not None:
            self._told = []
            self._give_up()
            told, self._told = self._told, []
            return [*told, *self._flush_unguided()]
        self._buffer = ""
        return self._flush_unguided()

    def _flush_unguided(self) -> list[Event]:
        return [] if self._unguided is None else list(self._unguided.flush())

    def _read(self, text: str) -> list[Event]:
        if self._raw is not None:
            self._raw.append(text)
        self._buffer += text
        self._told = []
        try:
            while self._buffer and self._state():
                pass
        except _NotGuided:
            self._give_up()
        told, self._told = self._told, []
        return told

    def _tell(self, event: Event) -> None:
        self._raw = None
        self._told.append(event)

    def _give_up(self) -> None:
        """The rest, or all if nothing has been told, is text."""
        text = "".join(self._raw) if self._raw is not None else self._buffer
        if self._raw is not None and self._make_unguided is not None:
            self._unguided = self._make_unguided()
        self._raw = None
        self._buffer = text
        self._state = self._plain
        if text:
            self._plain()

    # --- States: each takes from the buffer and gives whether it is worth going on ---

    def _plain(self) -> bool:
        text = Text(self._buffer)
        self._told.extend([text] if self._unguided is None else self._unguided.feed(text))
        self._buffer = ""
        return False

    def _ignore_rest(self) -> bool:
        """After the end: white space is dropped, anything else is not lost."""
        if self._skip_white_space():
            raise _NotGuided
        return False

    def _start(self) -> bool:
        if self._skip_to("{"):
            self._state = self._top_key
            return True
        return False

    def _top_key(self) -> bool:
        key = self._take_key()
        if key is None:
            return False
        if key == "tool_calls":
            self._state = self._list_start
        elif key == "answer":
            self._state = self._answer_start
        elif key in ("name", "arguments", "parameters"):
            self._open_call()
            self._state = self._name_start if key == "name" else self._arguments_start
        else:
            raise _NotGuided
        return True

    def _list_start(self) -> bool:
        if self._skip_to("["):
            self._in_list = True
            self._state = self._list_item
            return True
        return False

    def _list_item(self) -> bool:
        character = self._next_of("{,]")
        if character == "{":
            self._open_call()
            self._state = self._call_key
        elif character == "]":
            self._state = self._closing
        return bool(character)

    def _open_call(self) -> None:
        self._call_index += 1
        self._call_name = None
        self._pending_arguments = []

    def _call_key(self) -> bool:
        key = self._take_key()
        if key is None:
            return False
        if key == "name":
            self._state = self._name_start
        elif key in ("arguments", "parameters"):
            self._state = self._arguments_start
        else:
            raise _NotGuided
        return True

    def _name_start(self) -> bool:
        if not self._skip_to('"'):
            return False
        self._string = StringDecoder()
        self._pending_name = []
        self._state = self._name
        return True

    def _name(self) -> bool:
        if self._string is None:
            raise _NotGuided
        text, rest = self._string.feed(self._buffer)
        self._pending_name.append(text)
        if rest is None:
            self._buffer = ""
            return False
        self._buffer = rest
        name = "".join(self._pending_name)
        if name not in self._names and self._raw is not None:
            raise _NotGuided
        self._call_name = name
        self._tell(ToolCallDelta(self._call_index, None, name, "".join(self._pending_arguments)))
        self._pending_arguments = []
        self._state = self._after_member
        return True

    def _arguments_start(self) -> bool:
        if not self._skip_white_space():
            return False
        self._value = ValueScanner()
        self._state = self._arguments
        return True

    def _arguments(self) -> bool:
        text, ended = self._take_value()
        if text and self._call_name is None:
            self._pending_arguments.append(text)
        elif text:
            self._tell(ToolCallDelta(self._call_index, None, None, text))
        if ended:
            self._state = self._after_member
        return ended

    def _after_member(self) -> bool:
        character = self._next_of(",}")
        if character == ",":
            self._state = self._call_key
        elif character == "}":
            if self._call_name is None:
                raise _NotGuided
            self._tell(CallsEnd())  # the model wrote the end of the call, whatever cuts the reply later
            self._state = self._list_item if self._in_list else self._ignore_rest
        return bool(character)

    def _answer_start(self) -> bool:
        if not self._skip_white_space():
            return False
        if self._buffer[0] == '"':
            self._buffer = self._buffer[1:]
            self._string = StringDecoder()
            self._raw = None
            self._state = self._answer_text
        else:
            self._value = ValueScanner()
            self._state = self._answer_value
        return True

    def _answer_text(self) -> bool:
        if self._string is None:
            raise _NotGuided
        text, rest = self._string.feed(self._buffer)
        if text:
            self._tell(Text(text))
        self._buffer = rest or ""
        if rest is not None:
            self._state = self._closing
        return rest is not None

    def _answer_value(self) -> bool:
        text, ended = self._take_value()
        if text:
            self._tell(Text(text))
        if ended:
            self._state = self._closing
        return ended

    def _closing(self) -> bool:
        if self._next_of("}"):
            self._state = self._ignore_rest
            return True
        return False

    # --- Taking from the buffer ---

    def _skip_white_space(self) -> bool:
        self._buffer = self._buffer.lstrip(_WHITE_SPACE)
        return bool(self._buffer)

    def _next_of(self, allowed: str) -> str:
        """The next character, which must be one of these; empty if it has not come."""
        if not self._skip_white_space():
            return ""
        character = self._buffer[0]
        if character not in allowed:
            raise _NotGuided
        self._buffer = self._buffer[1:]
        return character

    def _skip_to(self, character: str) -> bool:
        return bool(self._next_of(character))

    def _take_key(self) -> str | None:
        self._buffer = self._buffer.lstrip(_WHITE_SPACE)
        match = _KEY.match(self._buffer)
        if match is not None:
            self._buffer = self._buffer[match.end() :]
            return match.group(1)
        if self._buffer and (self._buffer[0] != '"' or len(self._buffer) > MAX_KEY_LENGTH):
            raise _NotGuided
        return None

    def _take_value(self) -> tuple[str, bool]:
        """The next part of a JSON value, and whether it ended."""
        if self._value is None:
            raise _NotGuided
        end = self._value.scan(self._buffer)
        if end is None:
            text, self._buffer = self._buffer, ""
            return text, False
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        return text.rstrip(_WHITE_SPACE), True
