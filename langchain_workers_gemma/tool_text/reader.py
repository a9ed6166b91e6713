"""Find the calls, thoughts and special tokens in the text of a reply."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

from langchain_workers_gemma.response.events import Reasoning, Text, ToolCallDelta
from langchain_workers_gemma.tool_text.blocks import Block
from langchain_workers_gemma.tool_text.calls import WrittenCall, make_invalid_json, to_json
from langchain_workers_gemma.tool_text.emitter import Emitter
from langchain_workers_gemma.tool_text.literals import BLANK
from langchain_workers_gemma.tool_text.reply_parts import ReplyParts
from langchain_workers_gemma.tool_text.source import Source, Steps, TruncatedError, UnreadableError
from langchain_workers_gemma.tool_text.tokens import (
    CALL_CLOSERS,
    CALL_ENDS,
    CALL_OPENERS,
    FENCES,
    QUOTES,
    RESULTS,
    SPECIAL,
    TURN_ENDS,
    TURN_STARTS,
    ThinkingMarkup,
)
from langchain_workers_gemma.tool_text.tool_names import ToolNames

_STRETCH = re.compile(r"[ \t\r]+|\n+|`+|.[^\n`<]*", re.DOTALL)
_EXAMPLE_STRETCH = re.compile(r"[ \t\r]+|\n+|`+|.[^\n`<\[]*", re.DOTALL)  # a tag can begin with `[`
_NO_MARK = re.compile(r"[^<`~]+")
_WITHIN_LINE = re.compile(r"[^<`~\n()\[\]{}]+")
_NOT_A_TOKEN = re.compile(r"[^<]+")
_ANYTHING = re.compile(r".+", re.DOTALL)
_SPACE = re.compile(r"[ \t\r]+")
_ROLE = re.compile(r"\w+")
_MODEL_ROLES = ("model", "assistant")
_AFTER_WORDS = frozenset(".,;:!?)]}\"'\u201d\u2019»`*_|")
_AROUND_CALLS = frozenset({*CALL_OPENERS, *CALL_CLOSERS, *QUOTES})


TextEvent: TypeAlias = Text | Reasoning | ToolCallDelta
"""An event that can be found in a text."""


@lru_cache
def _list_markers(thinking: ThinkingMarkup | None, *, with_tools: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tokens that end a call, and all tokens to search for."""
    own = () if thinking is None else (thinking.opening, thinking.closing)
    tokens = (token for token in SPECIAL if with_tools or token not in _AROUND_CALLS)
    return (*CALL_ENDS, *own), (*tokens, *own)


class TextReader:
    """Reads a reply's text, piece by piece.

    Text is emitted at once, except for text that can still become a call, a thought or a special token, and line ends
    that can precede one. A call is emitted when it is complete, as one delta without an id. Text that names no bound
    tool or cannot be read is emitted unchanged, and so is everything in inline code and in fences that are not for
    calls.

    If the reply ends inside a call of a bound tool, the call is emitted with the text of its arguments so far. That
    text is not JSON, so the call is neither run nor lost.

    The closing token ends a thought. A call in a thought counts if only calls follow: then the model has left out the
    closing token. Special tokens are dropped, unless one is used like a word within a line.

    Args:
        tools: The bound tools.
        thinking: How the model marks its thoughts, `None` if it has none.
        first_index: The index of the first call.

    Attributes:
        in_reasoning: Whether the service sent the last piece as reasoning.
    """

    def __init__(self, tools: ToolNames, thinking: ThinkingMarkup | None = None, *, first_index: int = 0) -> None:
        self._tools = tools
        self._thinking = thinking
        self._ends, self._tokens = _list_markers(thinking, with_tools=bool(tools))
        self._parts = ReplyParts(Emitter(first_index, holds_blanks=bool(tools)))
        self.in_reasoning = False
        self._text_follows = False  # whether text follows the thought that is being ended
        self._at_start = True
        self._rescanned = False  # whether the text was read to its end without finding the end of a thought
        self._idle = True  # whether the reader waits for the next character, and no construct is open
        self._source = Source()
        self._reading = self._read()

    @property
    def holds_call(self) -> bool:
        """Whether a thought may hold a call, which depends on the text that follows."""
        return bool(self._parts.calls) or not self._idle

    def feed(self, text: str) -> list[TextEvent]:
        """Take the next piece of the text and return the events that are ready."""
        self._source.feed(text)
        next(self._reading, None)
        return self._parts.emitter.pop_events()

    def passes(self, text: str, *, reasoning: bool = False) -> bool:
        """Return whether a piece can be emitted unchanged, and if so, record it. Other pieces must be fed.

        Args:
            text: The piece.
            reasoning: Whether the service sent it as reasoning.
        """
        parts = self._parts
        if not self._idle or parts.calls or parts.turn_ended or self.in_reasoning is not reasoning:
            return False
        page, plain = parts.page, _NO_MARK
        if reasoning:
            passes = parts.thought_page is not None and parts.emitter.passes_thought(text)
        elif parts.thought_page is not None:
            return False
        elif self._at_start:
            passes, plain = self._may_start_with(text), _WITHIN_LINE if self._tools else _NO_MARK
        elif self._tools:
            passes, plain = not page.line_is_blank and parts.emitter.passes_text, _WITHIN_LINE
        else:
            passes = True
        if not (passes and page.is_plain and plain.fullmatch(text)):
            return False
        if self._at_start:
            self._at_start = False
            if not reasoning:
                parts.emitter.note_text()
        page.add_plain(text)
        return True

    def _may_start_with(self, text: str) -> bool:
        """Return whether a reply can start with this plain text, and not with a thought's name or a call."""
        first = text[:1]
        if first.isspace() or (self._thinking is not None and self._thinking.name.startswith(first)):
            return False
        return not (self._tools and (first in "[{" or self._tools.can_begin_line(first)))

    def begin_reasoning(self) -> None:
        """Record that the service sends the next pieces as reasoning."""
        self.in_reasoning = True
        self._parts.begin_thought()

    def flush(self, *, call_follows: bool = False, text_follows: bool = False) -> list[TextEvent]:
        """End the text, finally or temporarily, and return the events that were held back.

        More text may follow, for example after a call that the service parsed. No call continues after the gap.

        Args:
            call_follows: Whether a call that the service parsed follows. The beginning of its token may be in the text.
            text_follows: Whether text follows a thought, so that calls in the thought do not count.
        """
        self._text_follows = text_follows or (call_follows and self.in_reasoning)
        emitter = self._parts.emitter
        if self._idle and self._parts.thought_page is None and not self._parts.calls:  # nothing is open
            self.in_reasoning = self._rescanned = False
            emitter.close()
            return emitter.pop_events()
        after_call = call_follows or emitter.after_call
        if after_call and not self._source.holding and _is_truncated_opener(self._source.waiting):
            self._source = Source()
        self._source.end()
        next(self._reading, None)
        emitter.close()
        self._source = Source()
        self._reading = self._read()
        self._idle = True
        self.in_reasoning = self._rescanned = False
        self._parts.thought_page = None
        return emitter.pop_events()

    # --- The text as a whole ---

    def _read(self) -> Steps[None]:
        self._idle = False
        if self._at_start and self._thinking is not None:
            yield from self._read_bare_thought(self._thinking)
        while True:
            self._idle = True
            character = yield from self._source.peek()
            self._idle = False
            if not character:
                break
            self._at_start = False
            code = self._parts.page.is_code(character)
            if character == "<" and (yield from self._read_token(in_code=code)):
                continue
            if not code and self._tools and (yield from self._read_block(character)):
                continue
            self._parts.append(self._source.take_chunk(_STRETCH))
        self._parts.end_thought(calls_are_real=not self._text_follows)

    # --- Calls ---

    def _read_block(self, character: str) -> Steps[bool]:
        """Read the calls that begin here, if calls can. Text that turns out not to be a call is emitted as text."""
        source, page = self._source, self._parts.page
        token = (yield from source.startswith(*CALL_OPENERS)) if character in "<[" else ""
        if character == "<" and not token:
            return False
        if token and (character == "<" or page.line_is_free):
            block = Block(source, self._tools, self._ends)
            reading = block.read_tokens(token, in_prose=not page.line_is_blank and page.is_at_word_start)
        elif self.in_reasoning and self._parts.thought_page is not None:
            return False  # engines leave calls between tokens in a thought; all other text is part of the thought
        elif character == "`":
            fence = yield from source.startswith(*FENCES)
            if not fence:
                return False
            block = Block(source, self._tools, self._ends)
            reading = block.read_fenced(fence, inline=not page.line_is_blank)
        elif page.line_is_free and (character in "[{" or self._tools.can_begin_line(character)):
            block = Block(source, self._tools, self._ends)
            reading = block.read_line()
        else:
            return False
        yield from self._attempt(block, reading)
        return True

    def _attempt(self, block: Block, reading: Steps[None]) -> Steps[None]:
        source = self._source
        source.hold()
        example = False
        try:
            yield from reading
        except TruncatedError:
            held = source.get_held()
            if block.has_calls_before_end() and not self._text_follows:
                self._add_calls(block, block.partial_call())
            elif self._text_follows or not block.is_truncated_opening(held, after_call=self._parts.emitter.after_call):
                self._parts.append(block.drop_stray_token(held), refused=True)
        except UnreadableError:
            if block.is_unreadable_call():
                self._add_calls(block, (yield from block.read_unreadable_call()))
            else:
                example = block.is_example() and not block.closed
                self._parts.append(block.drop_stray_token(source.get_held()), refused=True)
        else:
            self._add_calls(block, None)
        source.release()
        if example:
            yield from self._read_example()

    def _read_example(self) -> Steps[None]:
        """Read the rest of an example of a call as text, with its closing token."""
        source = self._source
        while (yield from source.peek()) and not (yield from source.startswith(*CALL_OPENERS)):
            if closer := (yield from source.accept(*CALL_CLOSERS)):
                self._parts.append(closer)
                return
            self._parts.append(source.take_chunk(_EXAMPLE_STRETCH), refused=True)

    def _add_calls(self, block: Block, partial: tuple[str, str] | None) -> None:
        calls = [WrittenCall(name, to_json(arguments), closed=True) for name, arguments in block.calls]
        if partial is not None:
            calls.append(WrittenCall(partial[0], make_invalid_json(*partial), closed=False))
        elif calls:
            calls[-1] = calls[-1]._replace(closed=block.closed)
        self._parts.add_calls(calls, self._source.get_held())

    # --- Special tokens ---

    def _read_token(self, *, in_code: bool) -> Steps[bool]:
        """Read a special token that does not open a call, and return whether there is one."""
        source, thinking = self._source, self._thinking
        token = yield from source.startswith(*self._tokens)
        if not token or (token in CALL_OPENERS and self._tools):
            return False
        if self._parts.thought_page is not None and thinking is not None and token == thinking.closing:
            yield from self._close_thought(token)
        elif in_code:
            yield from self._read_token_in_code(token)
        elif token in TURN_STARTS:
            yield from self._read_turn_start(token)
        elif thinking is not None and token == thinking.opening:
            yield from self._open_thought(thinking)
        else:
            yield from self._read_stray(token)
        return True

    def _read_stray(self, token: str) -> Steps[None]:
        """Drop a token without meaning here, unless it is a word in a sentence, as in `Use <eos> there`."""
        source, parts = self._source, self._parts
        apart, first = parts.page.is_at_word_start, parts.page.line_is_blank
        yield from source.accept(token)
        after_call = parts.emitter.after_call or bool(parts.calls)
        if after_call and token in RESULTS:
            yield from self._drop_invented_result()
        parts.turn_ended = parts.turn_ended or token in TURN_ENDS
        if apart and not after_call:
            space = yield from source.run(_SPACE)
            following = yield from source.peek()
            if space:
                is_word = following not in ("", "\n", "<") or (
                    following == "<" and not (yield from source.startswith(*self._tokens))
                )
            else:
                is_word = not first and following in _AFTER_WORDS
            if is_word or space:
                self._parts.append(token + space if is_word else space)
        if parts.turn_ended:
            blank = yield from source.run(BLANK)
            at_end = not (yield from source.peek()) or (yield from source.startswith(*TURN_STARTS))
            if blank and not at_end:  # white space at the end only separates the token
                self._parts.append(blank)

    def _drop_invented_result(self) -> Steps[None]:
        """Drop the result that a model invents for its own call if the service does not stop it."""
        source = self._source
        if not (yield from source.startswith(*(f"response:{name}{{" for name in self._tools.parameters))):
            return
        while (yield from source.run(_NOT_A_TOKEN)) or (yield from source.peek()):
            if (yield from source.accept(*RESULTS)) or (yield from source.startswith(*TURN_ENDS)):
                break
            if (yield from source.peek()):
                source.advance()

    def _read_token_in_code(self, token: str) -> Steps[None]:
        """Keep a token in code, unless it ends the whole reply."""
        yield from self._source.accept(token)
        blank = yield from self._source.run(BLANK)
        if token not in TURN_ENDS or (yield from self._source.peek()):
            self._parts.append(token + blank)

    def _read_turn_start(self, token: str) -> Steps[None]:
        """Drop the header of the model's turn, and everything from the turn of another role after the model's turn."""
        source = self._source
        if not (self._parts.turn_ended or self._parts.page.line_is_blank):
            yield from self._read_stray(token)
            return
        yield from source.accept(token)
        role = yield from source.run(_ROLE)
        line_end = yield from source.accept("\n")
        if role in _MODEL_ROLES and line_end:
            if self._parts.turn_ended and self._parts.thought_page is not None:  # it was never closed
                self._parts.end_thought(calls_are_real=not self._text_follows)
            return
        if not self._parts.turn_ended:
            self._parts.append(token + role + line_end)
            return
        while (yield from source.peek()):
            source.take_chunk(_ANYTHING)

    # --- Thoughts ---

    def _read_bare_thought(self, thinking: ThinkingMarkup) -> Steps[None]:
        """Open a thought if the reply begins with the thought's name: the opening token is then in the prompt."""
        if not thinking.name:
            return
        blank = yield from self._source.run(BLANK)
        if (yield from self._source.startswith(thinking.name + "\n", thinking.name + thinking.closing)):
            yield from self._source.accept(thinking.name)
            yield from self._source.accept("\n")
            self._parts.begin_thought()
        elif blank:
            self._parts.append(blank)

    def _open_thought(self, thinking: ThinkingMarkup) -> Steps[None]:
        """Read the opening of a thought: the token, which can be repeated, and the name after it."""
        source, page = self._source, self._parts.page
        is_prose = page.is_at_word_start and not page.line_is_blank
        glued = not page.is_at_word_start
        yield from source.accept(thinking.opening)
        if is_prose and self._parts.thought_page is None:
            self._parts.append(thinking.opening)
            return
        yield from source.run(BLANK)
        while (yield from source.accept(thinking.opening)):
            yield from source.run(BLANK)
        name = yield from source.accept(thinking.name) if thinking.name else _read_nothing()
        if thinking.name and not name and source.accept_truncated(thinking.name):
            return
        if self._parts.thought_page is not None:  # a thought is open already
            if name and not (yield from source.accept("\n")):
                self._parts.append(name)
            return
        following = yield from source.peek()
        if thinking.name and (not name or (following.isalnum() and not following.isupper())):
            yield from self._read_nameless(thinking, name, glued=glued)
            return
        if following in ("\n", " ", ":"):
            source.advance()
        self._parts.begin_thought()

    def _read_nameless(self, thinking: ThinkingMarkup, begun: str, *, glued: bool) -> Steps[None]:
        """Read a thought without its name. If no token closes it, the opening token is dropped and the text is kept."""
        source = self._source
        if glued or self._rescanned:
            if begun:
                self._parts.append(begun)
            return
        pieces = [begun]
        while True:
            pieces.append((yield from source.run(_NOT_A_TOKEN)))
            if not (yield from source.peek()):
                self._source = Source.of("".join(pieces))
                self._rescanned = True
                return
            if (yield from source.accept(thinking.closing)):
                break
            source.advance()
            pieces.append("<")
        self._parts.begin_thought()
        self._parts.append("".join(pieces))
        self._parts.end_thought(calls_are_real=False)

    def _close_thought(self, closing: str) -> Steps[None]:
        """Read the closing token of a thought. Between backticks it is text."""
        source = self._source
        after_tick = self._parts.page.after_tick
        yield from source.accept(closing)
        if after_tick and (yield from source.peek()) == "`":
            self._parts.append(closing)
            return
        blank = ""
        if self._parts.calls:
            blank = yield from source.run(BLANK)
            nothing = not (yield from source.peek()) or bool((yield from source.startswith(*CALL_OPENERS)))
            self._parts.end_thought(calls_are_real=nothing)
        else:
            self._parts.end_thought(calls_are_real=False)
        if blank:
            self._parts.append(blank)


def _is_truncated_opener(text: str) -> bool:
    """Return whether a text is the beginning of a token that opens a call."""
    return bool(text) and any(opener.startswith(text) for opener in CALL_OPENERS)


def _read_nothing() -> Steps[str]:
    yield from ()
    return ""
