"""Read calls in Python, `name(key=value, ...)`, and the statements that Gemmas write around them in `tool_code`.

No code is evaluated. Statements that use the result of a call, such as `print(result)`, are skipped.
"""

from __future__ import annotations

import re
from typing import Any

from langchain_workers_gemma.schemas.argument_types import Constant
from langchain_workers_gemma.tool_text.calls import CallState, is_short_enough, to_arguments
from langchain_workers_gemma.tool_text.literals import BLANK, is_constant, read_literal, read_quoted, skip
from langchain_workers_gemma.tool_text.source import Steps, UnreadableError

IDENTIFIER = re.compile(r"[^\W\d]\w*")
_KEYWORD = re.compile(r"\w+")
_SPACE = re.compile(r"[ \t]+")
_ANNOTATION = re.compile(r"[\w\[\]., |]+")
_LINE = re.compile(r"[^\n]+")
_STRING_PREFIXES = ("f", "F", "r", "R", "b", "B", "u", "U", "rf", "fr", "Rf", "fR", "rF", "Fr", "RF", "FR", "")


class PythonCalls:
    """Reads the calls of one block.

    Args:
        state: The state of the block, to which calls are added.
        statements: Whether the block holds Python code, not only calls.
    """

    def __init__(self, state: CallState, *, statements: bool = False) -> None:
        self._state = state
        self._source = state.source
        self._statements = statements
        self._results: set[str] = set()  # variables that hold the result of a call

    def read(self) -> Steps[None]:
        """Read a call, also with `print(...)` around it, or a statement that makes one or uses its result.

        Raises:
            UnreadableError: If it is anything else.
        """
        state, source = self._state, self._source
        path = yield from state.read_word(is_short_enough if state.marked else state.tools.can_begin_line)
        if self._statements and path in ("await", "return"):
            yield from source.run(_SPACE)
            path = yield from state.read_word(is_short_enough)
        if path == "print" and not state.tools.find(path) and (yield from source.accept("(")):
            yield from self._read_printed()
        elif not self._statements or (yield from source.peek()) in ("", "("):
            yield from self._read_call(path)
        else:
            yield from self._read_statement(path)

    def _read_statement(self, name: str) -> Steps[None]:
        """Read the rest of a statement that begins with a name and is not a call."""
        source = self._source
        if name in ("import", "from"):
            yield from source.run(_LINE)
            return
        yield from source.run(_SPACE)
        if name.endswith(":"):  # an annotation
            yield from source.run(_ANNOTATION)
        if (yield from source.peek()) == "(":
            yield from self._read_call(name)
            return
        if not (yield from source.accept("=")):
            if name not in self._results:
                raise source.make_unreadable_error()
            return
        yield from source.run(_SPACE)
        path = yield from self._state.read_word(is_short_enough)
        if path == "await":
            yield from source.run(_SPACE)
            path = yield from self._state.read_word(is_short_enough)
        yield from self._read_call(path)
        self._results.add(name.removesuffix(":"))

    def _read_printed(self) -> Steps[None]:
        """Read the contents of `print(...)`: a call or, in Python code, results and strings."""
        source = self._source
        yield from skip(source)
        if not self._statements and (yield from source.peek()) == ")":
            raise source.make_unreadable_error()
        while not (yield from source.accept(")")):
            path = yield from self._state.read_word(is_short_enough)
            if not (yield from self._read_shown(path)):
                yield from self._read_call(path)
            yield from skip(source)
            if not (yield from source.accept(",")) and (yield from source.peek()) != ")":
                if self._state.calls and not (yield from source.peek()):
                    return  # the text ended after a complete call
                raise source.make_unreadable_error()
            yield from skip(source)

    def _read_shown(self, path: str) -> Steps[bool]:
        """Return whether a string or the result of a call is here, and consume it."""
        source = self._source
        if not self._statements:
            return False
        if path in _STRING_PREFIXES and (yield from source.peek()) in ('"', "'"):
            yield from read_quoted(source, unescape=str)
            return True
        if path.partition(".")[0] not in self._results:
            return False
        yield from self._skip_access()
        return True

    def _skip_access(self) -> Steps[None]:
        """Skip the access to a part of a result, `['temperature']` or `.temperature`."""
        source = self._source
        while accessor := (yield from source.accept("[", ".")):
            if accessor == ".":
                yield from source.run(_KEYWORD)
                continue
            yield from read_literal(source)
            if not (yield from source.accept("]")):
                raise source.make_unreadable_error()

    def _read_call(self, path: str) -> Steps[None]:
        state = self._state
        name = state.tools.find(path)
        if name is None or not (yield from state.begins(name, "(")):
            raise self._source.make_unreadable_error()
        self._source.advance()
        state.finish(name, (yield from self._read_arguments(name)))
        if self._statements:
            yield from self._skip_access()

    def _read_arguments(self, name: str) -> Steps[dict[str, Any]]:
        source = self._source
        arguments: dict[str, Any] = {}
        free = list(self._state.tools.parameters[name].names)[::-1]
        yield from skip(source)
        while not (yield from source.accept(")")):
            new = yield from self._read_argument(free)
            if not arguments.keys().isdisjoint(new):
                raise UnreadableError("an argument given twice")
            arguments |= new
            yield from skip(source)
            if not (yield from source.accept(",")) and (yield from source.peek()) != ")":
                raise source.make_unreadable_error()
            yield from skip(source)
        return arguments

    def _read_argument(self, free: list[str]) -> Steps[dict[str, Any]]:
        """Read `key=value`, `**{...}`, or a positional value for the last of the `free` parameters."""
        source = self._source
        if (yield from source.accept("**")):
            free.clear()
            return to_arguments((yield from read_literal(source, python=True)))
        word = ""
        if IDENTIFIER.match((yield from source.peek())):
            word = yield from source.run(_KEYWORD)
            yield from source.run(BLANK)
            if (yield from source.accept("=")):
                free.clear()  # as in Python, no positional value follows it
                yield from skip(source)
                return {word: (yield from read_literal(source, python=True))}
        if not free or not (yield from source.peek()) or (word and not is_constant(word)):
            raise source.make_unreadable_error()
        if word:
            return {free.pop(): None if word in ("None", "null") else Constant(word)}
        return {free.pop(): (yield from read_literal(source, python=True))}
