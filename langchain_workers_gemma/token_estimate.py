"""Estimate the number of tokens in a text, without Gemma's tokenizer.

Characters are counted by class, and each class has a weight. `benchmarks/token_estimate.py` fitted the weights to the
vocabulary of Gemma 3, with the Universal Declaration of Human Rights in 35 languages, everyday prose and code.
`docs/guides/tokens.md` lists the remaining errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

IMAGE_TOKENS = 256
"""The tokens of an image: Gemma 3 uses 256 for each."""

MESSAGE_TOKENS = 4
"""The tokens that the chat template adds to each message: its start, its role and its end."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_RUN = re.compile(r"\w+")
_ENGLISH = frozenset({
    "the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "on", "are", "with", "as", "be", "this", "by",
    "at", "from", "or", "have", "an", "not", "which", "has",
})  # fmt: skip
_RARE_IN_ENGLISH = "jkwyz"
_ENGLISH_SHARE = 0.22  # the share of the words above in English prose
_FREE_LETTERS = 4  # letters of a word that add nothing to its weight

_PER_WORD, _PER_LETTER, _ENGLISH_DISCOUNT, _PER_RARE_LETTER = 0.69, 0.33, 0.095, 0.24

# Counted in every text: a pattern, and the weight of each match.
_ANYWHERE = (
    (re.compile(r"[0-9]"), 1.1),
    (re.compile(r"\n+"), 1.5),
    (re.compile(r"[ \t]{2,}"), 0.5),
    (re.compile(r"[!-/:-@\[-`{-~]+"), 0.92),
)

# Counted in a text that is not ASCII: a pattern of runs, and the weights of a run and of a character.
_SCRIPTS = (
    ("[\u00c0-\u0102\u0104-\u0110\u0112-\u019f\u01a2-\u01ae\u01b1-\u024f\u1e00-\u1e9f]", 0.39, 0.0),  # Latin
    ("[\u0300-\u036f]", 1.06, 0.0),  # combining marks
    ("[\u0400-\u052f]+", 1.63, 0.0),  # Cyrillic
    ("[\u0370-\u03ff\u1f00-\u1fff]+", 0.95, 0.23),  # Greek
    ("[\u0590-\u05ff]+", 0.05, 0.53),  # Hebrew
    ("[\u0600-\u06ff\u0750-\u077f]+", 0.0, 0.40),  # Arabic
    ("[\u0900-\u097f]+", 0.48, 0.195),  # Devanagari
    ("[\u0980-\u09ff]+", 1.38, 0.0),  # Bengali
    ("[\u0a00-\u0bff\u0c80-\u0dff]+", 2.75, 0.0),  # Gurmukhi to Sinhala, except
    ("[\u0c00-\u0c7f]+", 4.0, 0.0),  # Telugu
    ("[\u0e00-\u0eff]+", 0.0, 0.35),  # Thai and Lao
    ("[\u3040-\u30ff]+", 0.0, 0.48),  # Kana
    ("[\u3400-\u9fff\uf900-\ufaff]+", 0.0, 0.62),  # Han
    ("[\uac00-\ud7af\u1100-\u11ff]+", 0.0, 0.68),  # Hangul
    ("[\u2000-\u2bff\u3000-\u303f\uff00-\uffef]", 0.75, 0.0),  # punctuation, arrows, full-width forms
    ("[\ue000-\uf8ff\U00010000-\U0010ffff]", 2.0, 0.0),  # emoji and the rest
)


@cache
def _compile_scripts() -> list[tuple[re.Pattern[str], float, float]]:
    """Return `_SCRIPTS` with compiled patterns, which takes longer than importing the module."""
    return [(re.compile(pattern), per_run, per_character) for pattern, per_run, per_character in _SCRIPTS]


def estimate_text_tokens(text: str) -> int:
    """Estimate the tokens of a text.

    Args:
        text: Any text.

    Returns:
        A number of tokens; 0 for an empty text.

    Example:
        >>> estimate_text_tokens("The weather in Paris was lovely yesterday.")
        8
    """
    if not text:
        return 0
    total = _estimate_latin_words(text)
    for pattern, weight in _ANYWHERE:
        total += weight * len(pattern.findall(text))
    if not text.isascii():
        for pattern, per_run, per_character in _compile_scripts():
            runs = pattern.findall(text)
            if runs:
                total += per_run * len(runs) + per_character * sum(map(len, runs))
    return max(1, round(total))


def _estimate_latin_words(text: str) -> float:
    words = _WORD.findall(text)
    if not words:
        return 0.0
    common = sum(map(_ENGLISH.__contains__, _RUN.findall(text.lower())))
    english = min(1.0, common / len(words) / _ENGLISH_SHARE)
    letters = sum([len(word) - _FREE_LETTERS for word in words if len(word) > _FREE_LETTERS])
    rare = sum(map(text.count, _RARE_IN_ENGLISH))
    return (
        _PER_WORD * len(words)
        + (_PER_LETTER - _ENGLISH_DISCOUNT * english) * letters
        + _PER_RARE_LETTER * (1 - english) * rare
    )


def estimate_request_tokens(body: Mapping[str, Any]) -> int:
    """Estimate the input tokens of a request, in any form that the services accept.

    Args:
        body: The request: `messages` or `prompt`, with or without `tools`; its input may be under `data`.

    Example:
        >>> estimate_request_tokens({"messages": [{"role": "user", "content": "Hello"}]})
        5
    """
    data = body.get("data")
    body = data if isinstance(data, Mapping) else body
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return estimate_text_tokens(prompt)
    messages = body.get("messages")
    total = sum(map(_estimate_message, messages)) if isinstance(messages, Sequence) else 0
    return total + estimate_tools_tokens(body.get("tools") or ())


def estimate_tools_tokens(
    tools: Iterable[Mapping[str, Any]], count: Callable[[str], int] = estimate_text_tokens
) -> int:
    """Estimate the tokens of tool declarations in OpenAI's form.

    Args:
        tools: The declarations.
        count: Counts the tokens of a text.
    """
    return sum(count(json.dumps(tool, ensure_ascii=False, default=str)) for tool in tools)


def estimate_content_tokens(content: object, count: Callable[[str], int] = estimate_text_tokens) -> int:
    """Estimate the tokens of a message's content: a string, or a list of content blocks.

    Args:
        content: The content.
        count: Counts the tokens of a text.
    """
    if isinstance(content, str):
        return count(content)
    if not isinstance(content, Sequence):
        return 0
    return sum(_estimate_block(block, count) for block in content)


def _estimate_block(block: object, count: Callable[[str], int]) -> int:
    if isinstance(block, str):
        return count(block)
    if not isinstance(block, Mapping):
        return 0
    kind, text = str(block.get("type")), block.get("text")
    if isinstance(text, str):
        return count(text)
    return IMAGE_TOKENS if kind.startswith("image") else 0


def _estimate_message(message: Mapping[str, Any]) -> int:
    calls = message.get("tool_calls")
    written = json.dumps(calls, ensure_ascii=False, default=str) if calls else ""
    return MESSAGE_TOKENS + estimate_content_tokens(message.get("content")) + estimate_text_tokens(written)
