"""Reply in the exact form that a prompt requests: given words, a number, one of several labels, or one word."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .hints import OPENERS, get_content_stems, get_stems, read_hints, split_words

if TYPE_CHECKING:
    import random

_ANSWER = r"(?:answer|reply|respond|say|output|return|write|print|repeat)"
_EXACT = (
    re.compile(rf"\b{_ANSWER}\b[^.\n'\"“]{{0,40}}?['\"“]([^'\"”\n]{{1,200}})['\"”]", re.IGNORECASE),
    re.compile(
        rf"\b(?i:{_ANSWER})\b(?: with)? (?:exactly|only|just)\s*:?\s+(?:the (?:word|text|phrase)\s+)?"
        r"([A-Z0-9][\w-]*)[.!]?\s*$"
    ),
    re.compile(r"^\W*say(?: only| just)?:?\s+([^\s.,;:!?]+(?: [^\s.,;:!?]+){0,2})[.!]?\s*$", re.IGNORECASE),
    re.compile(rf"\b{_ANSWER}\b(?: with)? exactly\s*:\s*(\S[^\n]{{0,200}})", re.IGNORECASE),
)
_WHERE_EXACT = re.compile(
    r"\b(?:exactly|only|just|the word|the text|the phrase|repeat|say|nothing else)\b", re.IGNORECASE
)
_NUMBER = re.compile(
    r"\b(?:only|just|single)\b[^.\n]{0,20}\b(?:number|integer|digit)\b|\b(?:number|integer|digits?) (?:only|alone)\b"
    rf"|\b{_ANSWER} (?:with|as|in) (?:a|an|one|the)? ?(?:single |whole )?(?:number|integer|digit)\b|\bas a number\b",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\b(?:from |between )?(-?\d+)\s*(?:to|and|-|–)\s*(-?\d+)\b", re.IGNORECASE)  # noqa: RUF001
_ONE_WORD = re.compile(r"\b(?:one|a single|1)[ -]word\b|\bsingle word\b|\bword only\b", re.IGNORECASE)
_LABEL = re.compile(
    r"\b(?:classif\w+|labels?|categor\w+|sentiment|one of|which of|choose|pick|decide|only|just|exactly|"
    rf"{_ANSWER} (?:with )?['\"]?(?:yes|true)\b)",
    re.IGNORECASE,
)
_OPTION = r"(?<![\w-])['\"“`]?[A-Za-z][\w-]*+['\"”`]?"
_OPTIONS = (
    re.compile(rf"({_OPTION}(?:\s*,\s*{_OPTION}){{0,20}}\s*,?\s+or\s+{_OPTION})", re.IGNORECASE),
    re.compile(
        r"(?:one of|labels?|categor\w+|options?|from|into)[^:.\n]{0,30}[:(\[]\s*"
        rf"({_OPTION}(?:\s*[,/|]\s*{_OPTION})+)",
        re.IGNORECASE,
    ),
    re.compile(rf"(?<![\w/])({_OPTION}(?:\s*[/|]\s*{_OPTION}){{1,20}})(?![\w/])"),
)
_GOOD = get_stems(
    "good great excellent love loved wonderful fantastic happy perfect best amazing delicious enjoyed positive"
)
_BAD = get_stems(
    "bad terrible awful hate hated poor broken worst sad slow late cold disappointing angry wrong negative"
)
_POSITIVE, _NEGATIVE = get_stems("good positive yes true"), get_stems("bad negative no false")
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_EXPRESSION_CHARACTERS = 100
_MAX_TEXT = 8_000
"""Maximum number of characters, at the end of a text, that are searched."""
_MAX_VALUE = 1e15


def find_exact_answer(question: str, system: str, material: str, rng: random.Random) -> str | None:
    """Return the reply to a prompt that requests exact words, a number, a label or one word.

    Args:
        question: The question.
        system: The system message, which may request a form too.
        material: The text that the reply is about: the question, or the results of tools.
        rng: Makes the choices that the prompt leaves open.

    Returns:
        The requested words without any other text, or `None` if the prompt requests plain text.
    """
    question, system, material = question[-_MAX_TEXT:], system[-_MAX_TEXT:], material[-_MAX_TEXT:]
    instructions = f"{system}\n{question}" if system else question
    given = _find_given_words(question)
    if given is not None:
        return given
    if _NUMBER.search(instructions):
        return _choose_number(instructions, material, rng)
    options = _list_options(question) or _list_options(system)
    if options and (_LABEL.search(instructions) or _ONE_WORD.search(instructions)):
        return _choose(options, material, rng)
    return _choose_word(material, rng) if _ONE_WORD.search(instructions) else None


def calculate(text: str) -> str | None:
    """Return the value of the arithmetic expression in a text, if there is one."""
    for expression in read_hints(text).expressions:
        if len(expression) > _MAX_EXPRESSION_CHARACTERS:
            continue
        try:
            value = _evaluate(ast.parse(expression.replace(",", "").strip(" ."), mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
            continue
        return f"{value:.10g}"
    return None


def _evaluate(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
        if abs(value) > _MAX_VALUE:
            raise ValueError("too large")
        return value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    raise ValueError("not arithmetic")


def _find_given_words(question: str) -> str | None:
    if not _WHERE_EXACT.search(question):
        return None
    for pattern in _EXACT:
        found = pattern.search(question)
        if found is not None:
            return found[1].strip()
    return None


def _choose_number(instructions: str, material: str, rng: random.Random) -> str:
    result = calculate(material)
    if result is not None:
        return result
    bounds = _RANGE.search(instructions) or _RANGE.search(material)
    if bounds is not None:
        low, high = sorted((int(bounds[1]), int(bounds[2])))
        mood = _score_mood(get_content_stems(material))
        middle = (low + high) // 2
        return str(rng.randint(middle + 1 if mood > 0 else low, middle if mood < 0 else high))
    numbers = read_hints(material).numbers
    return f"{numbers[0]:.10g}" if numbers else str(rng.randint(2, 9))


def _list_options(text: str) -> list[str]:
    for pattern in _OPTIONS:
        found = pattern.search(text)
        if found is not None:
            options = re.split(r"\s*(?:,\s*or|,|/|\||\bor\b)\s*", found[1])
            return [stripped for option in options if (stripped := option.strip(" '\"“”`"))]
    return []


def _choose(options: list[str], material: str, rng: random.Random) -> str:
    """Choose the option that the text mentions again after it lists the options, or that matches the text's mood."""
    rest = " ".join(split_words(material))
    for option in options:
        rest = rest.replace(option.lower(), " ", 1)
    stems = get_content_stems(rest)
    mentioned = [option for option in options if get_content_stems(option) & stems]
    if mentioned:
        return mentioned[0]
    mood = _score_mood(stems)
    wanted = _POSITIVE if mood > 0 else _NEGATIVE if mood < 0 else frozenset()
    fitting = [option for option in options if set(get_content_stems(option) or {option.lower()}) & wanted]
    return fitting[0] if fitting else rng.choice(options)


def _score_mood(stems: set[str]) -> int:
    return len(stems & _GOOD) - len(stems & _BAD)


def _choose_word(material: str, rng: random.Random) -> str:
    names = [name for name in read_hints(material).names if " " not in name]
    if names:
        return names[0]
    telling = [word for word in split_words(material) if word not in OPENERS and word not in ("one", "single", "word")]
    return rng.choice(telling).capitalize() if telling else "Yes"
