r"""Recognise Gemma's special tokens at the ends of a JSON string that arrives in pieces.

Some engines leave tokens in the arguments of a call: `{"city": "<|\"|>Rome<|\"|>"}` (vllm#39468, LiteRT-LM#2172).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_BRACKETS = ")]}"
MAX_TAIL = 256
"""The maximum number of characters held back at the end of a string. A longer run of tokens is content."""


class StringTokens(NamedTuple):
    """The special tokens that an engine may leave in a string of a call.

    Attributes:
        quotes: Tokens that surround a string.
        closers: Tokens that can follow a string: they end a call or a turn.
        others: All other tokens. A text that has a token anywhere but at its ends is about tokens, and is not changed.
    """

    quotes: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def are_in(self, text: str) -> bool:
        """Return whether a text holds any of the tokens."""
        return "<" in text and any(token in text for token in (*self.quotes, *self.closers, *self.others))

    def surround(self, inside: str, text: str) -> bool:
        """Return whether a text is `inside` between two quote tokens."""
        return not self.are_in(inside) and any(text == f"{quote}{inside}{quote}" for quote in self.quotes)

    def are_all(self, text: str) -> bool:
        """Return whether a text holds only tokens that can follow a string, and blanks."""
        for token in self.closers:
            text = text.replace(token, "")
        return not text.strip()

    def strip(self, text: str) -> str:
        """Return a whole string without the tokens at its ends.

        Example:
            >>> tokens = StringTokens(quotes=('<|"|>',), closers=("<tool_call|>",))
            >>> tokens.strip('<|"|>Rome<|"|><tool_call|>')
            'Rome'
        """
        opening = next((quote for quote in self.quotes if text.startswith(quote)), "")
        inside = stripped = text[len(opening) :]
        while end := self._find_end(stripped):
            stripped = stripped[: -len(end)]
        return inside if self.are_in(stripped) else stripped

    def _find_end(self, text: str) -> str:
        """Return the token at the end of a text, with the closing brackets that may follow a quote token."""
        bare = text.rstrip(_BRACKETS)
        quote = next((one for one in self.quotes if bare.endswith(one)), "")
        return quote + text[len(bare) :] if quote else next((one for one in self.closers if text.endswith(one)), "")


NO_TOKENS = StringTokens()


class TokenPatterns(NamedTuple):
    """Patterns of tokens within a JSON string, where `"` is escaped, and some encoders escape `<` and `>`.

    Attributes:
        opening: A token at the start of a string.
        opening_begins: The beginning of such a token, up to the end of the text.
        tail: Text that can still become tokens at the string's end.
        closing: Tokens at the string's end.
        token: Any token.
    """

    opening: re.Pattern[str]
    opening_begins: re.Pattern[str]
    tail: re.Pattern[str]
    closing: re.Pattern[str]
    token: re.Pattern[str]


@lru_cache(maxsize=16)
def get_token_patterns(tokens: StringTokens) -> TokenPatterns | None:
    """Return the patterns for the tokens of a model generation, `None` if it has none."""
    every = (*tokens.quotes, *tokens.closers, *tokens.others)
    if not every:
        return None
    opening = "|".join(map(_write_pattern, tokens.quotes)) or "(?!)"
    quotes = (f"{_write_pattern(quote)}[{re.escape(_BRACKETS)}]*+" for quote in tokens.quotes)
    closing = "|".join((*quotes, *map(_write_pattern, tokens.closers))) or "(?!)"
    return TokenPatterns(
        opening=re.compile(opening),
        opening_begins=re.compile(rf"(?:{'|'.join(map(_write_beginnings_pattern, tokens.quotes)) or '(?!)'})\Z"),
        tail=re.compile(rf"(?=[<\\])(?:{closing})*(?:{'|'.join(map(_write_beginnings_pattern, every))})?\Z"),
        closing=re.compile(rf"(?:{closing})+\Z"),
        token=re.compile("|".join(map(_write_pattern, every))),
    )


_WRITTEN = {'"': r'\\"', "<": r"(?:<|\\u003[cC])", ">": r"(?:>|\\u003[eE])"}
_BEGUN = {'"': r"\\", "<": r"\\(?:u(?:0(?:03?)?)?)?", ">": r"\\(?:u(?:0(?:03?)?)?)?"}


def _write_pattern(token: str) -> str:
    return "".join(_WRITTEN.get(character, re.escape(character)) for character in token)


def _write_beginnings_pattern(token: str) -> str:
    """Return a pattern of every beginning of a token that the text ends in, the whole token included."""
    pattern = ""
    for character in reversed(token):
        pattern = _WRITTEN.get(character, re.escape(character)) + (rf"(?:{pattern}|\Z)" if pattern else "")
        if character in _BEGUN:
            pattern = rf"(?:{pattern}|{_BEGUN[character]}\Z)"
    return pattern
