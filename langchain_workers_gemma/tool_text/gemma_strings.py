"""Read a string in Gemma 4's and FunctionGemma's notation, and its variants.

Strings are between quote tokens and hold no escapes. One of the two tokens can be missing or doubled, and plain quotes,
backticks or other quotes can replace them (`docs/wire.md` section 6).
"""

from __future__ import annotations

import re

from langchain_workers_gemma.tool_text.literals import BLANK, MAX_DEPTH, read_character, unescape_json
from langchain_workers_gemma.tool_text.source import Source, Steps, UnreadableError
from langchain_workers_gemma.tool_text.tokens import (
    CALL_CLOSERS,
    CALL_OPENERS,
    CALL_TOKENS,
    QUOTES,
    RESULTS,
    TURN_ENDS,
)

PLAIN_QUOTES = "\"'`"
_WRAPPERS = {'r#"': '"#', '<|"': '"|>'}
"""Other quotes: those of raw strings in Rust (ollama/ollama#15315), and halves of a quote token (THUDM/slime#2097)."""

_QUOTE = next(token for token in QUOTES if '"' in token)
_NO_TOKEN = re.compile(r"[^<]+")
_NO_QUOTE = re.compile(r'[^"]+')
_QUOTED = {quote: re.compile(rf"[^{quote}<\\]+") for quote in PLAIN_QUOTES}
_LATER_KEY = re.compile(r"[,\]}]\s*([\w$@./\-]+)\s*:")
_BEFORE_STRING = re.compile(r"(?:[,{\[]|[,{]\s*[\w$@./\-]+\s*:)\s*$")
_SPECIAL_CLOSERS = frozenset(CALL_TOKENS.values())
_MAX_TAIL = 4 * MAX_DEPTH  # the number of characters that are searched for the brackets that close a call


class GemmaStrings:
    """Reads the strings in the arguments of one call.

    Args:
        source: The text to read.

    Attributes:
        ended_early: Whether the call's closing token came before the last quote token or bracket of its arguments:
            `{command:<|"|>ls}<tool_call|>` or `{command:<|"|>ls<|"|><tool_call|>`.
    """

    def __init__(self, source: Source) -> None:
        self.ended_early = False
        self._source = source
        self._closers: list[str] = []  # the closing characters of open brackets, the innermost last
        self._names: set[str] = set()  # the names of the properties that the objects so far can have
        self._opened_twice = False  # whether the last string had two opening tokens
        self._inner_quotes = (
            False  # whether a string held quote tokens, so that only known names count as keys after it
        )

    def read_string(self) -> Steps[tuple[str, str] | None]:
        """Read a string in any kind of quotes; return its source text and its value, `None` if there is none."""
        source = self._source
        character = yield from source.peek()
        if character and character in PLAIN_QUOTES:
            return (yield from self._read_plain_quoted(character))
        token = (yield from source.accept(*QUOTES)) if character == "<" else ""
        if not token:
            return None
        self._opened_twice = bool((yield from source.accept(token)))
        if self._opened_twice:  # an empty string, or a doubled token
            yield from source.run(BLANK)
            if (yield from source.peek()) in (",", ":", self._closers[-1]):
                return token * 2, ""
        text = yield from self._read_quoted(token)
        return f"{token}{text}{token}", text

    def _read_plain_quoted(self, quote: str) -> Steps[tuple[str, str]]:
        """Read a string in plain quotes; a quote token can replace the closing quote."""
        source = self._source
        close = (yield from source.accept(quote * 3)) or quote
        if close == quote:
            source.advance()
        pieces = []
        while True:
            pieces.append((yield from source.run(_QUOTED[quote])))
            if (yield from source.accept(close)):
                end = close
                break
            if token := (yield from source.accept(*QUOTES)):
                pieces.append(token)
                if (yield from source.peek()) in (",", self._closers[-1]):
                    end = pieces.pop()
                    break
                continue
            pieces.append((yield from read_character(source)))
            if pieces[-1] == "\\":
                pieces.append((yield from read_character(source)))
        text = "".join(pieces)
        return f"{close}{text}{end}", unescape_json(text) if "\\" in text else text

    def _read_quoted(self, token: str) -> Steps[str]:
        """Read a string up to its closing token."""
        source = self._source
        pieces = []
        calls = 0  # open examples of calls within the string
        while True:
            run = yield from source.run(_NO_TOKEN)
            pieces.append(run)
            if (yield from source.accept(token)):
                return "".join(pieces)
            if opener := (yield from source.accept(*CALL_OPENERS)):
                calls += 1
                pieces.append(opener)
            elif closer := (yield from source.accept(*CALL_CLOSERS)):
                # An argument may hold a tag such as `</call>` as text, but not a special token.
                tail = self._measure_tail(run) if not calls and closer in _SPECIAL_CLOSERS else None
                if tail is not None and (yield from self._is_over(passed := [closer])):
                    self.ended_early = True
                    pieces[-1] = run[: len(run) - tail]
                    return self._check_end("".join(pieces))
                calls = max(0, calls - 1)
                pieces += passed if tail is not None else [closer]
            else:
                pieces.append((yield from read_character(source)))

    def _check_end(self, text: str) -> str:
        """Return a string without its closing token.

        Raises:
            UnreadableError: If it may have ended earlier, since it holds text that looks like a further argument.
        """
        if any(key[1] in self._names for key in _LATER_KEY.finditer(text)):
            raise UnreadableError("a string without its closing token, before further arguments")
        return text

    def _measure_tail(self, run: str) -> int | None:
        """Return the length of the brackets at the end of `run` if they close the call, else `None`."""
        end = len(run)
        for closer in self._closers:
            end = len(run[max(0, end - _MAX_TAIL) : end].rstrip()) + max(0, end - _MAX_TAIL)
            if not run[:end].endswith(closer):
                return None
            end -= 1
        return len(run) - end

    def _is_over(self, passed: list[str]) -> Steps[bool]:
        """Return whether nothing but calls and special tokens follows the closing token of a call."""
        passed.append((yield from self._source.run(BLANK)))
        if not (yield from self._source.peek()):
            return True
        return bool((yield from self._source.startswith(*CALL_OPENERS, *RESULTS, *TURN_ENDS)))

    def ends_value(self, closer: str) -> Steps[bool]:
        """Return whether the current value ends here."""
        character = yield from self._source.peek()
        return character in (",", closer) or bool((yield from self._source.startswith(*CALL_CLOSERS)))

    def read_wrapped(self, closer: str) -> Steps[str | None]:
        """Read a string in one of `_WRAPPERS`, `None` if there is none."""
        source = self._source
        if (yield from source.peek()) not in ("r", "<") or (yield from source.startswith(*QUOTES)):
            return None
        opening = yield from source.accept(*_WRAPPERS)
        if not opening:
            return None
        pieces = []
        while not (yield from source.accept(_WRAPPERS[opening])):
            pieces.append((yield from source.run(_NO_QUOTE)) or (yield from read_character(source)))
        yield from source.run(BLANK)
        if not (yield from self.ends_value(closer)):
            raise source.make_unreadable_error()
        return "".join(pieces)

    def read_token_quoted(
        self, raw: str, text: str, blank: str, token: str, closer: str, keys: tuple[str, ...]
    ) -> Steps[str]:
        """Read the rest of a string in quote tokens if it does not end at its closing token.

        Args:
            raw: Its source text so far.
            text: The string so far.
            blank: The blanks after its closing token.
            token: A further quote token after them: an extra one, or a quote in the string.
            closer: The bracket that closes the container.
            keys: The keys that can follow without a comma.

        Raises:
            UnreadableError: If it is not clear where the string ends.
        """
        source = self._source
        more = yield from source.run(BLANK)
        if token and (yield from self.ends_value(closer)):
            return text
        if (yield from source.accept(";")) or (keys and (yield from source.startswith(*keys))):
            return text
        if self._opened_twice or closer == "]" or not raw.startswith(_QUOTE):
            raise source.make_unreadable_error()
        return (yield from self._read_inner_quotes(text, f'{blank}"{more}' if token else blank + more, closer))

    def _read_inner_quotes(self, text: str, after: str, closer: str) -> Steps[str]:
        """Read the rest of a string that holds the quote token instead of a quote (vllm-project/vllm#44715).

        Args:
            text: The string up to the first such token.
            after: The text after that token that was consumed.
            closer: The bracket that closes the container.

        Raises:
            UnreadableError: If the quotes are not in pairs, or one may belong to another value, whose key is in the
                string.
        """
        source = self._source
        pieces = [text]
        count = after.count('"')
        self._inner_quotes = True
        while True:
            if _BEFORE_STRING.search("".join(pieces[-2:])[-_MAX_TAIL:]):
                raise source.make_unreadable_error()
            pieces.append(f'"{after}')
            pieces.append((yield from self._read_quoted(_QUOTE)))
            count += 1
            after = yield from source.run(BLANK)
            if self.ended_early or (yield from self.ends_value(closer)):
                break
        if self.ended_early or count % 2:
            raise source.make_unreadable_error()
        return self._check_end("".join(pieces))
