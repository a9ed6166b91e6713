"""The stand-in's prose: it says what it is and what it was given."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .hints import OPENERS, words

if TYPE_CHECKING:
    import random

    from langchain_workers_gemma.sandbox.images import Image

    from .conversation import Conversation

_OPENINGS = (
    "I am the sandbox's stand-in, not a Gemma.",
    "This is the sandbox's stand-in speaking, no Gemma is behind it.",
    "You have reached the sandbox's stand-in for Gemma.",
    "The sandbox's stand-in answers here in Gemma's place.",
)
_QUOTED_WORDS = 40
_LONG = 400
_MOST_WORDS = 5000
_UNITS = {"word": 1, "line": 8, "sentence": 12, "verse": 20, "stanza": 30, "haiku": 17, "paragraph": 60, "page": 400}
_LENGTH = re.compile(
    rf"\b(\d+|an?|one|two|three|four|five|six|ten)[\s-]+(?:\w+\s+)?({'|'.join(_UNITS)})s?\b", re.IGNORECASE
)
_LENGTHY = re.compile(r"\b(?:long|lengthy|detailed|in detail|essay|story|thorough|comprehensive)\b", re.IGNORECASE)
_NUMERALS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}

_MEASURES = frozenset(_UNITS) | frozenset(_NUMERALS)


def write_answer(conversation: Conversation, rng: random.Random) -> str:
    """An answer to the last question."""
    if conversation.results:
        return _from_results(conversation, rng)
    parts = [rng.choice(_OPENINGS)]
    parts += [_describe(image) for image in conversation.asked.images]
    if conversation.system:
        parts.append(f"My instructions begin: “{_beginning(conversation.system, 12)}”.")
    question = _beginning(conversation.question, _QUOTED_WORDS)
    parts.append(f"You wrote: “{question}”." if question else "You wrote nothing.")
    if conversation.turns > 2:
        parts.append(f"That was message {conversation.turns} of our conversation.")
    wanted = _wanted_words(conversation.question)
    if wanted:
        parts.append(_filler(conversation.question, wanted, rng))
    return " ".join(parts)


def write_reasoning(conversation: Conversation) -> str:
    """What the stand-in thinks before it answers."""
    if conversation.results:
        names = ", ".join(dict.fromkeys(name for name, _ in conversation.results))
        return f"I have the results of {names}. I can answer with them."
    return f"The user wrote {len(words(conversation.question))} words. I am a stand-in, so I look at what they ask for."


def _from_results(conversation: Conversation, rng: random.Random) -> str:
    told = [f"{name} says {_readable(outcome)}" for name, outcome in conversation.results]
    return f"{rng.choice(_OPENINGS)} Here is what the tools gave: {'; '.join(told)}."


def _readable(outcome: str) -> str:
    try:
        value = json.loads(outcome)
    except ValueError:
        return _beginning(outcome, 120).rstrip(".")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe(image: Image) -> str:
    return f"I was given a {image.format} image of {image.width} by {image.height} pixels."


def _beginning(text: str, most: int) -> str:
    found = text.split()
    return " ".join(found[:most]) + (" …" if len(found) > most else "")


def _wanted_words(question: str) -> int:
    asked = sum(
        (int(number) if number.isdigit() else _NUMERALS[number.lower()]) * _UNITS[unit.lower()]
        for number, unit in _LENGTH.findall(question)
    )
    return min(asked or (_LONG if _LENGTHY.search(question) else 0), _MOST_WORDS)


def _filler(question: str, wanted: int, rng: random.Random) -> str:
    """As many words as were asked for, made of the question's own."""
    plain = dict.fromkeys(word for word in words(question) if word not in OPENERS and word.rstrip("s") not in _MEASURES)
    stock = list(plain) or ["word"]
    written: list[str] = []
    while len(written) < wanted:
        sentence = [rng.choice(stock) for _ in range(min(rng.randint(5, 9), wanted - len(written)))]
        written += [sentence[0].capitalize(), *sentence[1:-1], f"{sentence[-1]}."][: len(sentence)]
    return " ".join(written)
