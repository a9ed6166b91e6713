"""Read one block of tool calls as text, in any of Gemma's notations.

The notations are those of `docs/wire.md` section 6:

- Gemma 3 writes Python calls, `[get_weather(city='Paris'), f(x=1)]`, or JSON, `{"name": ..., "parameters": {...}}`
  (ai.google.dev/gemma/docs/capabilities/function-calling teaches both): one call, a list of calls, or one call per
  line, with or without a fence. It sometimes writes `print(f(...))`, or a `tool_call` fence.
- FunctionGemma writes `<start_function_call>call:f{x:<escape>a<escape>}<end_function_call>`.
- Gemma 4 writes `<|tool_call>call:f{x:<|"|>a<|"|>}<tool_call|>`. Special tokens can be missing, parentheses can replace
  braces, and strings can have plain quotes.

All of these can occur between the marks of a call, with the deviations that users report. Without marks, the reader
stops at the first character that cannot belong to a call of a bound tool, so that a stream of text is held back as
briefly as possible.
"""

from __future__ import annotations

import re

from langchain_workers_gemma.tool_text.calls import MAX_NAME_LENGTH, Call, CallState, is_short_enough
from langchain_workers_gemma.tool_text.gemma_fields import GemmaFields
from langchain_workers_gemma.tool_text.json_calls import read_json_call
from langchain_workers_gemma.tool_text.literals import BLANK, skip
from langchain_workers_gemma.tool_text.python_calls import PythonCalls
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import CALL_CLOSERS, CALL_ENDS, CODE_FENCE, CODE_TAG, QUOTES, SPECIAL
from langchain_workers_gemma.tool_text.tool_names import ToolNames

_SPACE = re.compile(r"[ \t\r]+")
_PATH = re.compile(r"[\w.\-:/]+")
_HEAD = re.compile(r"[^<{(\[\n]+")
_LAST_PATH = re.compile(r"[\w.\-:/]+$")
_BEGUN = re.compile(r"\s*(?::?call:?\s*)?\S*\s*")  # the part of a truncated call before its arguments
_BEGUN_IN_PROSE = re.compile(r"(?:c|ca|cal|:?call:?[\w.\-:/]*)?\s*")
_CALLED = re.compile(r"[\s:]*call:\s*([\w.\-:/]+)")
_BEFORE_NAME = frozenset({"call:", ":call:", "call", ":"})
_JUNK = re.compile(r"[^<\n]+")
_HARMLESS_JUNK = re.compile(r"[^\"'`{\[(:=]*")  # it cannot hold an argument of the call
_CLOSING_JUNK = re.compile(r"[\s)}\]]*")
_NOT_A_MARK = re.compile(r"[^<\[]+")


class Block:
    """Reads one block of calls: the text between two marks, or one line without marks.

    Args:
        source: The text to read.
        tools: The bound tools.
        ends: Tokens that end a line of calls.

    Attributes:
        closed: Whether the text after the calls shows that they are complete.
    """

    def __init__(self, source: Source, tools: ToolNames, ends: tuple[str, ...] = CALL_ENDS) -> None:
        self.closed = False
        self._source = source
        self._tools = tools
        self._ends = ends
        self._state = CallState(source, tools)
        self._python = PythonCalls(self._state)
        self._opener = ""  # the special token or the tag that opened the block
        self._in_prose = False  # whether words precede the block on its line, where it may be an example
        self._is_over = False  # whether the closing token has been consumed
        self._begun = False  # whether the arguments of any tool have begun

    @property
    def calls(self) -> list[Call]:
        """The calls that were read."""
        return self._state.calls

    def partial_call(self) -> tuple[str, str] | None:
        """Return the name and the arguments' text of a truncated call, `None` if its tool is not known.

        That text is never JSON: one of its braces or quotes is still open, or the brace of the call around it.
        """
        return self._state.partial_call()

    def has_calls_before_end(self) -> bool:
        """Return whether the block holds calls that are emitted even if the text ended before the block."""
        return self._state.name is not None or (self._state.marked and bool(self.calls))

    def is_truncated_opening(self, held: str, *, after_call: bool) -> bool:
        """Return whether the text is only the opening of a call: a special token or, after another call, a tag.

        Args:
            held: The text that was consumed.
            after_call: Whether another call precedes it.
        """
        if self.calls or not (self._opener in SPECIAL or (self._opener and after_call)):
            return False
        begun = _BEGUN_IN_PROSE if self._in_prose else _BEGUN
        return begun.fullmatch(self._drop_opener(held)) is not None

    def is_unreadable_call(self) -> bool:
        """Return whether this is a call of a bound tool between special tokens, with unreadable arguments."""
        return bool(self._opener) and not self._in_prose and self._state.name is not None

    def is_example(self) -> bool:
        """Return whether text that looks like a call names no bound tool, or is among words."""
        return self._begun

    def drop_stray_token(self, text: str) -> str:
        """Return text that is not a call, without the special token at its start if nothing like a call follows.

        A token with a blank after it is kept, since it is a word of a sentence.
        """
        is_word = self._in_prose or text.removeprefix(self._opener)[:1] in (" ", "\t")
        if self._begun or is_word or self._opener not in SPECIAL:
            return text
        return self._drop_opener(text)

    def _drop_opener(self, text: str) -> str:
        while text.startswith(self._opener):
            text = text.removeprefix(self._opener).lstrip()
        return text

    def read_unreadable_call(self) -> Steps[tuple[str, str]]:
        """Consume the rest of a call that cannot be read, and return its tool and the text of its arguments."""
        source = self._source
        while True:
            yield from source.run(_NOT_A_MARK)
            if not (yield from source.peek()) or (yield from source.startswith(*CALL_CLOSERS, *self._ends)):
                break
            source.advance()
        arguments = source.get_held(self._state.start)
        yield from source.accept(*CALL_CLOSERS)
        return self._state.name or "", arguments

    def read_fenced(self, fence: str, *, inline: bool = False) -> Steps[None]:
        """Read a fenced block of Python calls or JSON, from its opening line to its closing one.

        Args:
            fence: The opening fence.
            inline: Whether text precedes the fence on its line. If no line end follows the fence, it is inline code.

        Raises:
            UnreadableError: If it holds anything else.
        """
        source = self._source
        yield from source.accept(fence)
        blank = yield from source.run(BLANK)
        if not blank or (inline and "\n" not in blank):
            raise source.make_unreadable_error()
        self._state.marked = True
        self._python = PythonCalls(self._state, statements=fence == CODE_FENCE)
        yield from skip(source)
        while not (self.calls and (yield from self._read_fence_end())):
            yield from self._read_written()
            yield from skip(source)
            if (yield from source.accept(",", ";")):
                yield from skip(source)

    def _read_fence_end(self) -> Steps[bool]:
        self.closed = bool((yield from self._source.accept("```")) or (yield from self._source.startswith(*self._ends)))
        return self.closed or self._source.accept_truncated("```")  # it may be missing at the end of the text

    def read_tokens(self, opening: str, *, in_prose: bool = False) -> Steps[None]:
        """Read one or more calls between the special tokens of Gemma 4 or FunctionGemma, or between tags.

        Args:
            opening: The opening token or tag.
            in_prose: Whether words precede it on its line. If words follow it too, it is an example: a Gemma that
                makes a call stops after it.

        Raises:
            UnreadableError: If there is no call of a bound tool.
        """
        source = self._source
        self._opener, self._in_prose = opening, in_prose
        while (yield from source.accept(opening)):
            yield from source.run(BLANK)
        self._state.marked = True
        while True:
            yield from self._read_between_tokens()
            if self._is_over or (yield from self._read_tokens_end()):
                break
        if in_prose and self.closed and not (yield from self._is_set_apart()):
            raise source.make_unreadable_error()

    def _read_between_tokens(self) -> Steps[None]:
        """Read one call, or a list of calls, in any notation."""
        source = self._source
        if (yield from source.peek()) in ("{", "["):
            self._begun = True
            yield from self._read_written()
            return
        if self._opener == CODE_TAG:
            yield from self._read_code()
            return
        is_strict = self._in_prose or self._opener not in SPECIAL
        head_start = source.tell()
        head = yield from (self._read_strict_head() if is_strict else self._read_head())
        self._begun = (yield from source.peek()) in ("{", "(")
        if head in _BEFORE_NAME and (yield from source.peek()) == "{":
            yield from read_json_call(self._state)  # `call:{"name": ...}`
            return
        name = self._tools.find(head)
        if name is not None and (yield from self._state.begins(name, "{", "(")):
            yield from self._read_gemma_arguments(name)
        elif name is not None and self._opener in SPECIAL and (yield from source.startswith(*CALL_ENDS)):
            self._state.finish(name, {})  # `call:now<tool_call|>`
        else:
            if not is_strict:
                self._record_unreadable_call(source.get_held(head_start))
            raise source.make_unreadable_error()

    def _read_code(self) -> Steps[None]:
        """Read Python statements up to the closing tag."""
        source = self._source
        self._python = PythonCalls(self._state, statements=True)
        while not (self.calls and (yield from source.peek()) == "<"):
            yield from self._python.read()
            yield from skip(source)
            if (yield from source.accept(",", ";")):
                yield from skip(source)

    def _record_unreadable_call(self, head: str) -> None:
        """Record the tool after `call:` if the text after it cannot be read as arguments."""
        called = _CALLED.match(head)
        name = self._tools.find(called[1].rstrip(":")) if called else None
        if called and name is not None:
            self._state.name = name
            self._state.start = self._source.tell() - (len(head) - called.end())

    def _read_head(self) -> Steps[str]:
        """Read the text before a call's arguments, and return the name at its end."""
        head = yield from self._source.run(_HEAD)
        yield from self._source.run(BLANK)
        if head.strip() in _BEFORE_NAME:
            return head.strip()
        found = _LAST_PATH.search(head.rstrip(" \t\r:\"'`")[-MAX_NAME_LENGTH:])
        return found[0] if found else ""

    def _read_strict_head(self) -> Steps[str]:
        """Read `call:name`, and refuse anything else."""
        source = self._source
        word = yield from source.run(_PATH)
        blank = yield from source.run(BLANK)
        if blank and word in _BEFORE_NAME:
            word = yield from source.run(_PATH)
            yield from source.run(BLANK)
        return word

    def _read_gemma_arguments(self, name: str) -> Steps[None]:
        reader = GemmaFields(self._source)
        self._state.finish(name, (yield from reader.read(self._tools.parameters[name])))
        self._is_over = reader.ended_early
        self.closed = self._is_over and bool((yield from self._source.peek()))

    def _read_tokens_end(self) -> Steps[bool]:
        """Return whether the block ends here, with or without its closing token. Junk before the token is consumed."""
        source = self._source
        blank = yield from source.run(BLANK)
        junk = yield from source.accept(",", ";")
        blank += yield from source.run(BLANK)
        ends = yield from source.startswith(*CALL_CLOSERS)
        if not ends and (yield from source.startswith("call:", ":call:", "{", "[")):
            return False
        if not ends and (junk or "\n" not in blank):
            junk += yield from source.run(_JUNK)
        if (yield from source.startswith(*CALL_CLOSERS, *QUOTES, *self._ends)):
            if not _HARMLESS_JUNK.fullmatch(junk) or (yield from source.startswith(*QUOTES)):
                self._state.name = self.calls.pop().name  # arguments follow the closing brace of this call
                raise UnreadableError("arguments after the call")
            yield from source.accept(*CALL_CLOSERS)
            self.closed = True
            return True
        if not _CLOSING_JUNK.fullmatch(junk):
            raise UnreadableError("words after the call: an example in prose")
        source.accept_truncated(*CALL_CLOSERS)
        self.closed = bool((yield from source.peek()))
        return True

    def _is_set_apart(self) -> Steps[bool]:
        """Return whether no words follow on the line, except right after the token."""
        before = self._source.tell()
        if (yield from self._ends_line()):
            return True
        character = yield from self._source.peek()
        return self._source.tell() == before and character.isalnum()

    def read_line(self) -> Steps[None]:
        """Read calls without marks, which have their own line."""
        source = self._source
        while True:
            if (yield from source.startswith("call:")):  # Gemma 4 without its special tokens
                yield from self._read_stripped()
            else:
                yield from self._read_written()
            if self.calls and (yield from self._ends_line()):
                self.closed = bool((yield from source.peek()))
                return

    def _read_stripped(self) -> Steps[None]:
        source = self._source
        path = yield from self._state.read_word(is_short_enough)
        if path == "call:":
            yield from source.run(_SPACE)
            path = yield from self._state.read_word(is_short_enough)
        name = self._tools.find(path)
        if name is None:
            raise source.make_unreadable_error()
        yield from source.run(_SPACE)
        if not (yield from self._state.begins(name, "{", "(")):
            raise source.make_unreadable_error()
        yield from self._read_gemma_arguments(name)
        yield from source.accept(*CALL_CLOSERS)
        source.accept_truncated(*CALL_CLOSERS)

    def _ends_line(self) -> Steps[bool]:
        """Return whether only special tokens follow on the line."""
        yield from self._source.run(_SPACE)
        if (yield from self._source.peek()) in ("", "\n"):
            return True
        return bool((yield from self._source.startswith(*self._ends)))

    def _read_written(self) -> Steps[None]:
        """Read a call in Python or JSON, or a list of calls."""
        source = self._source
        opener = yield from source.peek()
        if opener == "{":
            yield from read_json_call(self._state)
        elif opener == "[":
            source.advance()
            yield from skip(source)
            yield from self._read_list()
        else:
            yield from self._python.read()

    def _read_list(self) -> Steps[None]:
        source = self._source
        while True:
            if (yield from source.peek()) == "{":
                yield from read_json_call(self._state)
            else:
                yield from self._python.read()
            self._state.marked = True
            yield from skip(source)
            comma = yield from source.accept(",")
            yield from skip(source)
            if (yield from source.accept("]")):
                return
            if not comma:
                raise source.make_unreadable_error()
