"""Find values in a prompt: quoted texts, names, numbers, dates, addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")
_QUOTED = re.compile(r"(?<!\w)(?:'([^'\n]{1,200})'|\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|`([^`\n]{1,200})`)(?!\w)")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_TIME = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,64}+(?:\.[\w-]{1,64}+)+")
_URL = re.compile(r"\bhttps?://[^\s<>\"']+[^\s<>\"'.,;:!?)]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\d)")
_EXPRESSION = re.compile(r"(?<![\d(.,])[\d(][\d\s().,]{0,40}(?:[-+*/^%][\d\s().,]{0,40})+[\d)]")
_NAME = re.compile(
    r"[A-ZÀ-ÖØ-Þ][\w'\u2019&-]*(?:\s+(?:(?:of|de|da|do|del|la|le|van|von|the|and the)\s+)?[A-ZÀ-ÖØ-Þ][\w'\u2019&-]*)*"
    r"(?:,\s[A-Z]{2}\b)?|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)
_AFTER = re.compile(
    r"\b(?:in|at|for|to|from|about|named|called|of|on|with|near)\s+(?:the\s+|a\s+|an\s+)?([^\W\d][\w'\u2019-]*(?:\s[\w'\u2019-]+)?)"
)
_DICTATED = re.compile(
    r"\b(?:saying|says|telling \w+|which reads|with the text)[\s:,]+(?:that\s+)?(\S.{0,180}?)(?=[.!?\n]|$)"
)
_OPERATION = re.compile(r"\d\s*([-+*/×÷])\s*-?\d")  # noqa: RUF001 - the signs of arithmetic
_OPERATIONS = {"+": "add", "-": "subtract", "*": "multiply", "×": "multiply", "/": "divide", "÷": "divide"}  # noqa: RUF001
_SYNONYMS = {"plus": "add", "sum": "add", "minus": "subtract", "times": "multiply", "product": "multiply"}
_WORD = re.compile(r"[^\W\d_]+")
_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve"
_COUNTED = _NUMERALS.split()
_SUFFIXES = "ations ation ators ator ings ing ers ors ies er or ed es s y e"
_ENDINGS = tuple(_SUFFIXES.split())
_MIN_STEM_LENGTH = 3
_MAX_DIGITS = 30


def _to_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that are not names even with a capital letter at the start of a sentence, and that say nothing about its topic.
STOPWORDS = _to_set(
    """
    a an and are as at be been but by call can could did do does for from get give had has have hello hey hi how i
    if in into is it its let like make may me might my need no not now of off ok on or our out please shall she he
    should show so some such tell than thank thanks that the their them then there these they this those to tool tools
    up us use used using value want was we were what when where which who whom why will with would write yes you
    your result results answer question also about any all more most just only very too here okay sure good
    json
    """
)
OPENERS = STOPWORDS | _to_set(
    """
    add ask book calculate check compare compute convert count create define delete describe divide draw explain fetch
    find generate list look multiply name open order pick play put read remind reply reserve return save say schedule
    search select send set start stop subtract sum summarise summarize take translate turn update
    """
)


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case. Names in camel and snake case are split."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return [word.lower() for word in _WORD.findall(spaced)]


def stem(word: str) -> str:
    """Return a word without its common endings, so that `generator` equals `generate`."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM_LENGTH:
            return word[: -len(ending)]
    return word


def get_stems(text: str) -> frozenset[str]:
    """Return the stems of the words of a text."""
    return frozenset(map(stem, text.split()))


def get_content_stems(text: str) -> set[str]:
    """Return the stems of the words of a text, without stopwords."""
    found = [word for word in split_words(text) if word not in STOPWORDS and len(word) > 1]
    signs = [_OPERATIONS[sign] for sign in _OPERATION.findall(text)]
    return {stem(_SYNONYMS.get(word, word)) for word in (*found, *signs)}


@dataclass(slots=True)
class Hints:
    """The values in a text. Each list has the order of the text and no duplicates."""

    text: str
    quoted: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)
    expressions: list[str] = field(default_factory=list)
    dictated_texts: list[str] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """A few words that describe the topic of the text."""
        telling = [word for word in _WORD.findall(self.text) if word.lower() not in OPENERS]
        return " ".join(dict.fromkeys(telling[:6])) or "nothing in particular"


def read_hints(text: str) -> Hints:
    """Find the values in a text."""
    rest = _DATE.sub(" ", _TIME.sub(" ", _URL.sub(" ", _EMAIL.sub(" ", text))))
    names, openers = _find_names(_QUOTED.sub(" ", rest))
    quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(text)]
    return Hints(
        text=text,
        quoted=_remove_duplicates(quoted),
        names=_remove_duplicates(names),
        numbers=_remove_duplicates([*_find_numbers(rest), *_find_counted(rest)]),
        dates=_remove_duplicates(_DATE.findall(text)),
        times=_remove_duplicates(_TIME.findall(text)),
        emails=_remove_duplicates(_EMAIL.findall(text)),
        urls=_remove_duplicates(_URL.findall(text)),
        phrases=_remove_duplicates([*_find_phrases(rest), *openers]),
        expressions=_remove_duplicates([found.strip() for found in _EXPRESSION.findall(rest)]),
        dictated_texts=[found.strip() for found in _DICTATED.findall(text)],
    )


def _find_names(text: str) -> tuple[list[str], list[str]]:
    """Return names, and single capitalised words at the start of a sentence, which may or may not be names."""
    found, openers = [], []
    for match in _NAME.finditer(text):
        name = match.group()
        before = text[: match.start()].rstrip()
        if not before or before[-1] in ".!?:;\n":
            first, _, rest = name.partition(" ")
            if first.lower() in OPENERS:
                name = rest
                if name:
                    found.append(name)
            elif rest:
                found.append(name)
            else:
                openers.append(name)
        elif name.lower() not in STOPWORDS:
            found.append(name)
    return found, openers


def _find_phrases(text: str) -> list[str]:
    found = []
    for phrase in _AFTER.findall(text):
        kept = phrase.split()
        while kept and kept[-1].lower() in STOPWORDS:
            kept.pop()
        if kept and kept[0].lower() not in STOPWORDS:
            found.append(" ".join(kept))
    return found


def _find_numbers(text: str) -> list[float]:
    return [_parse_number(found) for found in _NUMBER.findall(text) if len(found) <= _MAX_DIGITS]


def _parse_number(text: str) -> float:
    plain = text.replace(",", "")
    return float(plain) if "." in plain else int(plain)


def _find_counted(text: str) -> list[float]:
    return [_COUNTED.index(word) for word in split_words(text) if word in _COUNTED]


def _remove_duplicates(found: list[_T]) -> list[_T]:
    return list(dict.fromkeys(found))
