"""Read calls, thoughts and special tokens in the text of a reply."""

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
from langchain_workers_gemma.tool_text.source import CutError, Source, Steps, UnreadableError
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
_NO_MARK = re.compile(r"[^<`]+")
_WITHIN_LINE = re.compile(r"[^<`\n()\[\]{}]+")
_NOT_A_TOKEN = re.compile(r"[^<]+")
_ANYTHING = re.compile(r".+", re.DOTALL)
_SPACE = re.compile(r"[ \t\r]+")
_ROLE = re.compile(r"\w+")
_MODEL_ROLES = ("model", "assistant")
_AFTER_WORDS = frozenset(".,;:!?)]}\"'\u201d\u2019»`*_|")
_AROUND_CALLS = frozenset({*CALL_OPENERS, *CALL_CLOSERS, *QUOTES})


TextEvent: TypeAlias = Text | Reasoning | ToolCallDelta
"""What can be read out of a text."""


@lru_cache
def _list_markers(thinking: ThinkingMarkup | None, *, with_tools: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what ends a call, and every token that is looked for."""
    own = () if thinking is None else (thinking.opening, thinking.closing)
    tokens = (token for token in SPECIAL if with_tools or token not in _AROUND_CALLS)
    return (*CALL_ENDS, *own), (*tokens, *own)


class TextReader:
    """Reads a reply's text, piece by piece.

    Text goes through at once, except for what could still become a call, a thought or a special token, and the line
    ends that could still turn out to precede one. A call is emitted when it is complete, as one delta without an
    id. What names no bound tool or cannot be read stays text, unaltered; so does everything in inline code and in a
    fence that is not for calls.

    Where the reply ends inside a call of a bound tool, the call is emitted with the text of its arguments so far, which
    is no JSON, so that it is neither run nor lost.

    A thought is closed by its closing token. A call in a thought is one if nothing but calls follows: the model has
    left the closing token out. Special tokens are dropped, unless one is used like a word within a line.

    Args:
        tools: The bound tools.
        thinking: How the model marks its thoughts, `None` if it has none.
        first_index: The index of the first call found.

    Attributes:
        in_reasoning: Whether the last piece was a thought by the service's own account.
    """

    def __init__(self, tools: ToolNames, thinking: ThinkingMarkup | None = None, *, first_index: int = 0) -> None:
        self._tools = tools
        self._thinking = thinking
        self._ends, self._tokens = _list_markers(thinking, with_tools=bool(tools))
        self._parts = ReplyParts(Emitter(first_index, holds_blanks=bool(tools)))
        self.in_reasoning = False
        self._text_follows = False  # whether text follows the thought that ends here
        self._at_start = True
        self._rescanned = False  # whether no thought can be closed any more
        self._idle = True  # whether the next character is waited for, outside of everything
        self._source = Source()
        self._reading = self._read()

    @property
    def holds_call(self) -> bool:
        """Whether a thought may hold a call, which depends on what follows."""
        return bool(self._parts.calls) or not self._idle

    def feed(self, text: str) -> list[TextEvent]:
        """Take the next piece of the text and return the events that can be emitted now."""
        self._source.feed(text)
        next(self._reading, None)
        return self._parts.emitter.take()

    def passes(self, text: str, *, reasoning: bool = False) -> bool:
        """Return whether a piece can be emitted as it is, since nothing in it or before it has to be looked at.

        Such a piece is taken note of. Any other is to be fed.

        Args:
            text: The piece.
            reasoning: Whether it is a thought by the service's own account.
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
        """Whether a reply that starts with a plain piece starts neither with a thought's name nor with a call."""
        first = text[:1]
        if first.isspace() or (self._thinking is not None and self._thinking.name.startswith(first)):
            return False
        return not (self._tools and (first in "[{" or self._tools.can_begin_line(first)))

    def begin_reasoning(self) -> None:
        """Note that the next pieces are a thought by the service's own account."""
        self.in_reasoning = True
        self._parts.begin_thought()

    def flush(self, *, call_follows: bool = False, text_follows: bool = False) -> list[TextEvent]:
        """End the text, finally or temporarily, and return what was held back.

        More text may follow, for example after a call that the service parsed. No call continues across the gap.

        Args:
            call_follows: Whether a call follows that the service has read. The beginning of its token may be left.
            text_follows: Whether text follows a thought, so that what looks like a call in it is none.
        """
        self._text_follows = text_follows or (call_follows and self.in_reasoning)
        emitter = self._parts.emitter
        if self._idle and self._parts.thought_page is None and not self._parts.calls:  # nothing is open
            self.in_reasoning = self._rescanned = False
            emitter.close()
            return emitter.take()
        after_call = call_follows or emitter.after_call
        if after_call and not self._source.holding and _is_cut_opener(self._source.waiting):
            self._source = Source()
        self._source.end()
        next(self._reading, None)
        emitter.close()
        self._source = Source()
        self._reading = self._read()
        self._idle = True
        self.in_reasoning = self._rescanned = False
        self._parts.thought_page = None
        return emitter.take()

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
        """Read the calls that begin here, if any can; what turns out to be none is emitted as text."""
        source, page = self._source, self._parts.page
        token = (yield from source.startswith(*CALL_OPENERS)) if character in "<[" else ""
        if character == "<" and not token:
            return False
        if token and (character == "<" or page.line_is_free):
            block = Block(source, self._tools, self._ends)
            reading = block.read_tokens(token, in_prose=not page.line_is_blank and page.stands_apart)
        elif self.in_reasoning and self._parts.thought_page is not None:
            return False  # engines leave calls between tokens in a thought; anything else in it is a thought
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
        except CutError:
            held = source.get_held()
            if block.is_cut_short() and not self._text_follows:
                self._take_calls(block, block.partial_call())
            elif self._text_follows or not block.is_cut_markup(held, after_call=self._parts.emitter.after_call):
                self._parts.append(block.drop_stray_token(held), refused=True)
        except UnreadableError:
            if block.is_unreadable_call():
                self._take_calls(block, (yield from block.read_unreadable_call()))
            else:
                example = block.is_example() and not block.closed
                self._parts.append(block.drop_stray_token(source.get_held()), refused=True)
        else:
            self._take_calls(block, None)
        source.release()
        if example:
            yield from self._pass_example()

    def _pass_example(self) -> Steps[None]:
        """Pass the rest of what is no call as text, with its closing token."""
        source = self._source
        while (yield from source.peek()) and not (yield from source.startswith(*CALL_OPENERS)):
            if closer := (yield from source.accept(*CALL_CLOSERS)):
                self._parts.append(closer)
                return
            self._parts.append(source.take_chunk(_STRETCH), refused=True)

    def _take_calls(self, block: Block, partial: tuple[str, str] | None) -> None:
        calls = [WrittenCall(name, to_json(arguments), closed=True) for name, arguments in block.calls]
        if partial is not None:
            calls.append(WrittenCall(partial[0], make_invalid_json(*partial), closed=False))
        elif calls:
            calls[-1] = calls[-1]._replace(closed=block.closed)
        self._parts.take_calls(calls, self._source.get_held())

    # --- Special tokens ---

    def _read_token(self, *, in_code: bool) -> Steps[bool]:
        """Read a special token that is none of a call's opening ones, if one is here."""
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
        """Drop a token that means nothing here, unless it is a word in a line of prose, as in `Use <eos> there`."""
        source, parts = self._source, self._parts
        apart, first = parts.page.stands_apart, parts.page.line_is_blank
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
            if blank and not at_end:  # at the end it only sets the token apart
                self._parts.append(blank)

    def _drop_invented_result(self) -> Steps[None]:
        """Drop the result that a model invents for its own call if it is not stopped there."""
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
        """Drop the model's own header. Turns of other roles after the end of its turn are no part of the reply."""
        source = self._source
        if not (self._parts.turn_ended or self._parts.page.line_is_blank):
            yield from self._read_stray(token)
            return
        yield from source.accept(token)
        role = yield from source.run(_ROLE)
        line_end = yield from source.accept("\n")
        if role in _MODEL_ROLES and line_end:
            return
        if not self._parts.turn_ended:
            self._parts.append(token + role + line_end)
            return
        while (yield from source.peek()):
            source.take_chunk(_ANYTHING)

    # --- Thoughts ---

    def _read_bare_thought(self, thinking: ThinkingMarkup) -> Steps[None]:
        """Open a thought if the reply begins with its name alone: the opening token was part of the prompt."""
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
        """Read what opens a thought: the token, doubled ones, and the name behind it."""
        source, page = self._source, self._parts.page
        is_prose = page.stands_apart and not page.line_is_blank
        glued = not page.stands_apart
        yield from source.accept(thinking.opening)
        if is_prose and self._parts.thought_page is None:
            self._parts.append(thinking.opening)
            return
        yield from source.run(BLANK)
        while (yield from source.accept(thinking.opening)):
            yield from source.run(BLANK)
        name = yield from source.accept(thinking.name) if thinking.name else _read_nothing()
        if thinking.name and not name and source.accept_cut(thinking.name):
            return
        if self._parts.thought_page is not None:  # it is open already
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
        """Read a thought without its name. If nothing closes it, the opening token is dropped."""
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
        """Read what closes a thought. Between backticks it is a word."""
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


def _is_cut_opener(text: str) -> bool:
    """Return whether a text is the beginning of the token that opens a call."""
    return bool(text) and any(opener.startswith(text) for opener in CALL_OPENERS)


def _read_nothing() -> Steps[str]:
    yield from ()
    return ""
