"""The special tokens of each generation of Gemma, as data.

A new generation with other tokens is one more entry in `MARKUPS`, with its family in `models.py` as the key. The tokens
come from the published tokenizers and chat templates (`docs/wire.md` sections 6 and 10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ThinkingMarkup:
    """How a model marks its thoughts.

    Attributes:
        opening: The token that opens a thought.
        closing: The token that closes it.
        name: The word after the opening token, on its own line; empty if there is none.
    """

    opening: str
    closing: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class CallMarkup:
    """The tokens around one or more calls.

    Attributes:
        opening: The opening token.
        closing: The closing token.
    """

    opening: str
    closing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """The special tokens of one generation, which a reply can hold as text.

    Attributes:
        turn_start: The token that opens a turn; the role follows on the same line.
        turn_ends: The tokens that end a turn or the text.
        thinking: How it marks its thoughts, `None` if it has none.
        call: The tokens around a call, `None` if the generation writes calls as plain text.
        quote: The token around a string in a call; empty if strings have plain quotes.
        results: The tokens around the result of a call.
        others: Tokens without meaning in a reply.
    """

    turn_start: str = "<start_of_turn>"
    turn_ends: tuple[str, ...] = ("<end_of_turn>", "<eos>")
    thinking: ThinkingMarkup | None = None
    call: CallMarkup | None = None
    quote: str = ""
    results: tuple[str, ...] = ()
    others: tuple[str, ...] = ("<bos>", "<pad>")


MARKUPS: Mapping[str, Markup] = MappingProxyType(
    {
        "gemma": Markup(),  # Gemma 1 to 3
        "functiongemma": Markup(
            call=CallMarkup("<start_function_call>", "<end_function_call>"),
            quote="<escape>",
            results=("<start_function_response>", "<end_function_response>"),
        ),
        "gemma-4": Markup(
            turn_start="<|turn>",
            turn_ends=("<turn|>", "<|end_of_turn>", "<eos>"),
            thinking=ThinkingMarkup("<|channel>", "<channel|>", "thought"),
            call=CallMarkup("<|tool_call>", "<tool_call|>"),
            quote='<|"|>',
            results=("<|tool_response>", "<tool_response|>"),
            others=("<bos>", "<pad>", "<|think|>"),
        ),
    }
)
"""The markup of each generation, by its family in `models.py`."""


def get_markup(family: str) -> Markup:
    """Return the markup of a family of models; that of Gemma 1 to 3 if the family has no entry."""
    return MARKUPS.get(family, MARKUPS["gemma"])


CODE_TAG = "<tool_code>"
"""The tag before Python code, as in a fence of that name."""

TAGS = (
    CallMarkup("<tool_call>", "</tool_call>"),
    CallMarkup("<call>", "</call>"),
    CallMarkup("<tool>", "</tool>"),
    CallMarkup(CODE_TAG, "</tool_code>"),
    CallMarkup("<function_call>", "</function_call>"),
    CallMarkup("<tool_call:", "<tool_call|>"),
    CallMarkup("<|tool_call:", "<tool_call|>"),
    CallMarkup("<|tool_call|>", "<tool_call|>"),  # as some tokenizers decode the token (vllm#44532)
    CallMarkup("[TOOL_REQUEST]", "[END_TOOL_REQUEST]"),  # as LM Studio teaches models without tools of their own
)
"""Tags that Gemmas write around a call instead of their own tokens. They are plain text, not special tokens."""

CODE_FENCE = "```tool_code"
"""The opening of a fenced block of Python."""

FENCES = (CODE_FENCE, "```tool_call", "```json")
"""The openings of fenced blocks that can hold calls. Other fences hold examples for the user."""


def _remove_repeats(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(token for token in tokens if token))


# A Gemma sometimes uses the notation of another generation, so all notations are read for every model.
_ALL = tuple(MARKUPS.values())
CALL_TOKENS = {markup.call.opening: markup.call.closing for markup in _ALL if markup.call is not None}
"""The special tokens that open and close a call."""

CALLS = (*(CallMarkup(*tokens) for tokens in CALL_TOKENS.items()), *TAGS)
QUOTES = _remove_repeats(markup.quote for markup in _ALL)
RESULTS = _remove_repeats(token for markup in _ALL for token in markup.results)
TURN_STARTS = _remove_repeats(markup.turn_start for markup in _ALL)
TURN_ENDS = _remove_repeats(token for markup in _ALL for token in markup.turn_ends)

CALL_OPENERS = tuple(call.opening for call in CALLS)
CALL_CLOSERS = _remove_repeats(call.closing for call in CALLS)
CALL_ENDS = (*CALL_CLOSERS, *CALL_OPENERS, *RESULTS, *TURN_ENDS, *TURN_STARTS)
"""Tokens that show that the call before them is complete."""

SPECIAL = _remove_repeats(
    (
        *(token for markup in _ALL if markup.call for token in (markup.call.opening, markup.call.closing)),
        *QUOTES,
        *RESULTS,
        *TURN_STARTS,
        *TURN_ENDS,
        *(token for markup in _ALL for token in markup.others),
    )
)
"""Every special token except those around thoughts. Users must not see them."""
