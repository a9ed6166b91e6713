"""Assign the pieces of streamed tool calls to their calls.

Servers differ (`docs/wire.md` section 4; langchainjs#11373, smolagents#1569): they number the pieces or not; send an id
once, on every piece, a new one on every piece, or the word "null"; repeat the name or not; and send several complete
calls under one index or one id. This rule works for all of them:

- a piece without a name continues the call of its index, whatever its id;
- a piece with a name opens a call, unless the call that it points to has that name and is not complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_workers_gemma.json_text.scanner import ValueScanner
from langchain_workers_gemma.response.events import ToolCallDelta

_NO_IDS = frozenset({"", "null", "none", "undefined"})


class _OpenCall:
    """A call that may receive further pieces.

    Attributes:
        position: Its position among the reply's calls, counted from 0.
        name: The tool's name, `None` while it has not arrived.
        is_named_again: Whether a piece without arguments named it after it was complete.
    """

    __slots__ = ("_has_arguments", "_is_complete", "_scanner", "_unscanned", "is_named_again", "name", "position")

    def __init__(self, position: int, name: str | None) -> None:
        self.position = position
        self.name = name
        self.is_named_again = False
        self._has_arguments = False
        self._is_complete = False
        self._scanner: ValueScanner | None = None
        self._unscanned: list[str] = []

    def add(self, arguments: str, *, whole: bool) -> None:
        """Add the next piece of the arguments; with `whole` they arrived as an object, so nothing can follow."""
        self._has_arguments = self._has_arguments or bool(arguments.strip())
        self._is_complete = self._is_complete or whole
        self._unscanned.append(arguments)

    @property
    def is_begun(self) -> bool:
        """Whether a part of its arguments has arrived."""
        return self._has_arguments

    def is_complete(self) -> bool:
        """Return whether its arguments are one complete JSON value; each piece is scanned once, on demand."""
        if not self._is_complete and self._has_arguments:
            self._scanner = self._scanner or ValueScanner()
            self._is_complete = any(self._scanner.scan(piece) is not None for piece in self._unscanned)
            self._unscanned.clear()
        return self._is_complete

    def is_over(self, text: str) -> bool:
        """Return whether these arguments belong to another call of the same name."""
        return self.is_named_again and bool(text.strip()) and self.is_complete()


class CallPieces:
    """Finds the call of each piece, and numbers the calls from 0.

    Attributes:
        is_in_call: Whether the last event held a piece of a call, so that text would show that the call is over.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_in_this_event", "is_in_call")

    def __init__(self) -> None:
        self.is_in_call = False
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}
        self._by_id: dict[str, _OpenCall] = {}
        self._in_this_event: set[int] = set()

    def read(self, pieces: object, *, are_whole: bool = False) -> Iterator[ToolCallDelta]:
        """Return the pieces of one event as pieces of numbered calls.

        Args:
            pieces: The value of `tool_calls`.
            are_whole: Whether each is a complete call, as in a response without `stream`.
        """
        self._in_this_event.clear()
        for piece in pieces if isinstance(pieces, list) else [pieces]:
            if isinstance(piece, dict):
                delta = self._read_piece(piece, are_whole=are_whole)
                if delta is not None:
                    self.is_in_call = True
                    self._in_this_event.add(delta.index)
                    yield delta

    def _read_piece(self, piece: Mapping[str, Any], *, are_whole: bool) -> ToolCallDelta | None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else piece
        name = _to_text(function.get("name"))
        call_id = _to_text(piece.get("id"))
        call_id = None if call_id is None or call_id.lower() in _NO_IDS else call_id
        index = piece.get("index")
        index = index if isinstance(index, int) and not isinstance(index, bool) else None
        arguments = function.get("arguments", function.get("parameters"))
        whole = arguments is not None and not isinstance(arguments, str)
        text = "" if arguments is None else json.dumps(arguments, ensure_ascii=False) if whole else arguments

        call = None if are_whole else self._find_continued(index, call_id, name, text, whole=whole)
        if call is not None and name is None and call.is_over(text):
            name, call = call.name, None  # its arguments belong to the second call of that name
        if call is None and name is None and call_id is None and not text:
            return None  # some servers end with `{"id": null, "function": {"name": null, "arguments": ""}}`
        is_new = call is None
        if call is None:
            call = _OpenCall(len(self._calls), name)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if call_id is not None:
            self._by_id[call_id] = call
        call.add(text, whole=whole)
        if is_new:
            return ToolCallDelta(call.position, call_id, name or "", text)
        late_name = name if call.name is None else None
        call.name = call.name or name
        return ToolCallDelta(call.position, None, late_name, text) if text or late_name else None

    def _find_continued(
        self, index: int | None, call_id: str | None, name: str | None, text: str, *, whole: bool
    ) -> _OpenCall | None:
        """Return the call that a piece continues, `None` if it opens one."""
        last = self._calls[-1] if self._calls else None
        call = self._by_index.get(index) if index is not None else None
        if name is None:
            call = call or (self._by_id.get(call_id) if call_id is not None else None)
            # No call has this index: the piece belongs to the call without an index.
            return call or (last if index is None or (last is not None and not last.is_complete()) else None)
        if index is None:
            call = self._by_id.get(call_id, last) if call_id is not None else last
        if call is None or call.name is None:
            return call
        if name != call.name or call.position in self._in_this_event:
            return None  # no event has two named pieces of one call
        if not (call.is_complete() or (whole and call.is_begun)):
            return call
        # If a server repeats the name on every piece, its last piece has no arguments and opens no call.
        call.is_named_again = not text.strip() and (call_id is None or self._by_id.get(call_id) is call)
        return call if call.is_named_again else None


def _to_text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
