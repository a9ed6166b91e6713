"""Write sentences about any topic. They state no facts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_UNITS = {"word": 1, "line": 8, "verse": 8, "sentence": 0, "stanza": 30, "haiku": 17, "paragraph": 60, "page": 400}
_NUMERALS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}
_COUNT = rf"\d{{1,5}}|{'|'.join(_NUMERALS)}"
_LENGTH = re.compile(rf"\b({_COUNT})[\s-]+(?:\w+\s+)?({'|'.join(_UNITS)})s?\b", re.IGNORECASE)
_LONG = re.compile(r"\b(?:long|lengthy|detailed|in detail|essay|story|thorough|comprehensive)\b", re.IGNORECASE)
_ITEMS = re.compile(
    rf"\b(?:list|name|give(?: me)?|suggest|write)\s+({_COUNT})\s+(?!(?:{'|'.join(_UNITS)})s?\b)"
    r"(?:\w+\s+){0,2}?(\w+s)\b",
    re.IGNORECASE,
)
_MAX_QUESTION = 4_000
_LONG_WORDS = 400
_MAX_WORDS = 5000
_LINES = ("verse", "line", "haiku", "stanza")

_OPENERS = (
    "",
    "In practice, ",
    "As a rule, ",
    "More often than not, ",
    "Seen from a distance, ",
    "For a newcomer, ",
    "For an expert, ",
    "On a closer look, ",
    "Most of the time, ",
    "In everyday life, ",
    "With a little patience, ",
    "After a while, ",
)
_ABOUT_QUESTION = (
    "{topic} is a good question, and the short answer depends on the details.",
    "The answer to {topic} begins with a closer look at the words in it.",
    "There is a short answer to {topic} and a longer one; the short one comes first.",
    "Before answering {topic}, it helps to agree on what is meant.",
)
_ABOUT_STATEMENT = (
    "About {topic}: a simple plan comes first, and the details follow.",
    "I have read {topic}, and a small first step would be the best start.",
    "Thank you for {topic}; here is a short note on it.",
    "With {topic} in mind, one thing after the other works best.",
)
_ITEM_TEXTS = (
    "The classic choice",
    "A quieter alternative",
    "Something for a special occasion",
    "A favourite of beginners",
    "The one that experts prefer",
    "A small surprise",
    "A cheap and cheerful option",
    "The traditional way",
    "A modern twist",
    "Something for rainy days",
    "The fastest of all",
    "One that takes patience",
    "A good fit for groups",
    "The one to share with friends",
    "An old idea with new details",
    "A bold experiment",
    "The safe bet",
    "A local speciality",
    "Something simple and honest",
    "The best one for last",
)
_STATEMENTS = (
    "the short version of {topic} fits into a single sentence",
    "it helps to start with the basics of {topic} and to add the details later",
    "one good example says more about {topic} than a long definition",
    "people come to {topic} with different questions and leave with better ones",
    "a closer look at {topic} pays off sooner than expected",
    "the details of {topic} depend on where one begins",
    "small steps lead further into {topic} than one big leap",
    "there is a simple side to {topic} and a surprising one",
    "it is worth asking what {topic} means for the people involved",
    "the history behind {topic} explains a good part of the present",
    "a clear picture of {topic} needs more than one point of view",
    "what looks difficult about {topic} often becomes easier with practice",
    "a careful reader checks the sources before judging {topic}",
    "the next step with {topic} is usually the most instructive",
    "comparing two cases shows what really matters about {topic}",
    "a short summary of {topic} leaves room for further questions",
    "everyone who works with {topic} finds a favourite part of it",
    "the best way to learn about {topic} is to try something small",
    "common sense and curiosity both help with {topic}",
    "a good teacher would begin {topic} with a story",
)


def write_about(topic: str, question: str, rng: random.Random) -> str:
    """Write about a topic, at the length that the question requests. Without a length, write one sentence.

    Args:
        topic: A phrase, or a whole sentence in quotation marks.
        question: The question, which may request a length.
        rng: Chooses the sentences.
    """
    question = question[:_MAX_QUESTION]
    items = _ITEMS.search(question)
    if items is not None:
        number = min(_find_number(items[1]), len(_ITEM_TEXTS))
        return "\n".join(f"{index}. {text}" for index, text in enumerate(rng.sample(_ITEM_TEXTS, number), 1))
    sentences = _iterate_sentences(topic, rng)
    found = _LENGTH.search(question)
    if found is None:
        return _join_at_least(_LONG_WORDS, sentences) if _LONG.search(question) else next(sentences)
    number, unit = _find_number(found[1]), found[2].lower()
    if unit == "sentence":
        return " ".join(next(sentences) for _ in range(min(number, _MAX_WORDS // 10)))
    separator = "\n" if unit in _LINES else " "
    return _join_at_least(min(number * _UNITS[unit], _MAX_WORDS), sentences, separator)


def _find_number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMERALS[text.lower()]


def _join_at_least(wanted: int, sentences: Iterator[str], separator: str = " ") -> str:
    """Join sentences until they have at least a number of words."""
    written: list[str] = []
    count = 0
    while count < wanted:
        written.append(next(sentences))
        count += len(written[-1].split())
    return separator.join(written)


def _iterate_sentences(topic: str, rng: random.Random) -> Iterator[str]:
    """Yield an infinite number of sentences, of which the first 240 differ."""
    if topic.startswith("“"):
        is_question = topic.endswith("?”")
        yield rng.choice(_ABOUT_QUESTION if is_question else _ABOUT_STATEMENT).format(topic=topic)
        topic = "this question" if is_question else "this"
    statements = list(_STATEMENTS)
    rng.shuffle(statements)
    while True:
        for cycle in range(len(_OPENERS)):
            for index, statement in enumerate(statements):
                opener = _OPENERS[1 + (index + cycle) % (len(_OPENERS) - 1) if cycle else 0]
                sentence = opener + statement.format(topic=topic)
                yield f"{sentence[0].upper()}{sentence[1:]}."
